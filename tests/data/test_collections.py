"""Data sets in their released layouts: cameras and pictures come through, what is left out is counted, none is half."""

import importlib.util
import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch

from pmgs_lib.data import decode_image, import_capture, read_collection_manifest
from pmgs_lib.data.chunks import ChunkScene, encode_jpeg, write_chunk
from pmgs_lib.data.folders import ChunkFolder, write_scenes
from pmgs_lib.data.importers import recognised_kind
from pmgs_lib.data.importers.dl3dv import Dl3dvImporter
from pmgs_lib.data.importers.dtu import read_dtu_cloud
from pmgs_lib.data.importers.re10k import Re10kImporter
from pmgs_lib.data.importers.rehearsal import write_camera_texts, write_dl3dv
from pmgs_lib.errors import DataError, ParameterError

specification = importlib.util.spec_from_file_location("layouts", Path(__file__).with_name("layouts.py"))
layouts = importlib.util.module_from_spec(specification)
specification.loader.exec_module(layouts)

HERE = {"workers": 1, "progress": False}
NAMES = ("1K/aaa", "1K/bbb", "2K/ccc", "2K/ddd")


@pytest.fixture
def dl3dv(tmp_path, plane_scene):
    """Four training scenes as DL3DV's folders, an index that keeps `bbb` for evaluation, and the scenes by key."""
    scenes = {name: plane_scene(name, frames=3, height=270, width=480, depth=False) for name in NAMES}
    write_dl3dv(tmp_path / "source", scenes)
    (tmp_path / "index.json").write_text(json.dumps({"dl3dv_bbb": {"context": [0, 1], "target": [2]}, "zzz": None}))
    kept = {f"dl3dv_{name[3:]}": scene for name, scene in scenes.items() if not name.endswith("bbb")}
    return tmp_path / "source", {**HERE, "exclude": str(tmp_path / "index.json")}, kept


def assert_same(found: ChunkScene, expected: ChunkScene) -> None:
    for name in ("world_from_camera", "intrinsics"):
        torch.testing.assert_close(getattr(found.cameras, name), getattr(expected.cameras, name), atol=1e-6, rtol=0)
    for one, other in zip(found.images, expected.images, strict=True):
        assert torch.equal(decode_image(one), decode_image(other))


# --- DL3DV ---


def test_dl3dv_comes_through_as_it_is(tmp_path, dl3dv):
    source, options, kept = dl3dv
    assert recognised_kind(source) == "dl3dv"
    manifest = import_capture(source, tmp_path / "data", **options)
    folder = ChunkFolder(tmp_path / "data", "train")
    assert sorted(folder.keys) == sorted(kept)
    for key, scene in kept.items():
        found = folder.scene(key)
        assert_same(found, scene)
        assert found.timestamps.tolist() == [1, 2, 3]
    pictures = sorted((source / "1K" / "aaa" / "images_8").iterdir())
    assert list(folder.scene("dl3dv_aaa").images) == [path.read_bytes() for path in pictures]
    assert (manifest.kind, manifest.split, manifest.listed, manifest.imported) == ("dl3dv", "train", 4, 3)
    assert manifest.left_out == {"dl3dv_bbb": "kept for evaluation: listed in index.json"}
    assert manifest.reasons == {"kept for evaluation": 1}
    assert manifest.notes["excluded_keys"] == 2
    assert read_collection_manifest(tmp_path / "data", "train", "dl3dv") == manifest


def test_frames_keep_the_order_of_the_file(tmp_path, dl3dv):
    """Protocols name frames by their place in the file, whatever their names."""
    source, options, kept = dl3dv
    path = source / "2K" / "ddd" / "transforms.json"
    content = json.loads(path.read_text())
    content["frames"] = [content["frames"][n] for n in (2, 0, 1)]
    path.write_text(json.dumps(content))
    import_capture(source, tmp_path / "data", **options)
    found = ChunkFolder(tmp_path / "data", "train").scene("dl3dv_ddd")
    assert found.timestamps.tolist() == [3, 1, 2]
    expected = kept["dl3dv_ddd"].cameras.world_from_camera[[2, 0, 1]]
    torch.testing.assert_close(found.cameras.world_from_camera, expected, atol=1e-6, rtol=0)


def test_the_benchmark_is_a_test_set_and_is_not_cut(tmp_path, plane_scene):
    scenes = {name: plane_scene(name, frames=2, height=540, width=960, depth=False) for name in ("aaa", "bbb")}
    write_dl3dv(tmp_path / "source", scenes, pictures="images_4", nerfstudio=True)
    (tmp_path / "source" / "aaa" / "gaussian_splat" / "images_4").mkdir(parents=True)
    manifest = import_capture(tmp_path / "source", tmp_path / "data", **HERE)
    folder = ChunkFolder(tmp_path / "data", "test")
    assert (manifest.split, manifest.left_out, sorted(folder.keys)) == ("test", {}, ["aaa", "bbb"])
    assert_same(folder.scene("aaa"), scenes["aaa"])
    assert manifest.scenes["aaa"].height == 540


def test_the_published_benchmark_is_what_training_leaves_out(tmp_path, shared, dl3dv, monkeypatch):
    source, options, _ = dl3dv
    monkeypatch.setenv("PMGS_INDEXES", str(shared / "assets" / "indexes"))
    benchmark = "032dee9fb0a8bc1b90871dc5fe950080d0bcd3caf166447f44e60ca50ac04ec7"
    (source / "2K" / "ddd").rename(source / "2K" / benchmark)
    manifest = import_capture(source, tmp_path / "data", **{**options, "exclude": None})
    assert manifest.notes["excluded_keys"] == 140
    assert set(manifest.left_out) == {f"dl3dv_{benchmark}"}


def test_incomplete_scenes_are_left_out_and_say_why(tmp_path, dl3dv):
    source, options, _ = dl3dv
    (source / "1K" / "aaa" / "images_8" / "frame_00002.png").unlink()
    (source / "2K" / "ccc" / "transforms.json").unlink()
    manifest = import_capture(source, tmp_path / "data", **options)
    assert sorted(manifest.scenes) == ["dl3dv_ddd"]
    assert (
        "1 of 3 pictures cannot be used, first images_8/frame_00002.png: the file is missing"
        in (manifest.left_out["dl3dv_aaa"])
    )
    assert "transforms.json: cannot be read" in manifest.left_out["dl3dv_ccc"]
    assert manifest.reasons == {"damaged or incomplete": 2, "kept for evaluation": 1}
    assert manifest.listed == manifest.imported + len(manifest.left_out) == 4


def test_other_sizes_and_damaged_pictures_are_left_out(tmp_path, dl3dv):
    source, options, _ = dl3dv
    picture = source / "1K" / "aaa" / "images_8" / "frame_00001.png"
    picture.write_bytes(encode_jpeg(torch.zeros(540, 960, 3, dtype=torch.uint8)))
    picture = source / "2K" / "ccc" / "images_8" / "frame_00003.png"
    picture.write_bytes(picture.read_bytes()[:2000])
    manifest = import_capture(source, tmp_path / "data", **options)
    assert "frame_00001.png is 540x960, the released sets have (270, 480)" in manifest.left_out["dl3dv_aaa"]
    assert "frame_00003.png: the picture is damaged" in manifest.left_out["dl3dv_ccc"]


def test_repaired_and_further_scenes_come_with_the_next_call(tmp_path, dl3dv):
    source, options, _ = dl3dv
    hidden = tmp_path / "hidden.png"
    (source / "1K" / "aaa" / "images_8" / "frame_00002.png").rename(hidden)
    first = import_capture(source / "2K", tmp_path / "data", **options)
    assert (first.imported, first.left_out) == (2, {})
    second = import_capture(source, tmp_path / "data", **options)
    assert (second.imported, set(second.left_out)) == (2, {"dl3dv_aaa", "dl3dv_bbb"})
    hidden.rename(source / "1K" / "aaa" / "images_8" / "frame_00002.png")
    third = import_capture(source, tmp_path / "data", **options)
    assert (third.imported, set(third.left_out), len(third.sources)) == (3, {"dl3dv_bbb"}, 2)


def test_a_limit_leaves_the_rest_waiting(tmp_path, dl3dv):
    source, options, kept = dl3dv
    manifest = import_capture(source, tmp_path / "data", **options, limit=2)
    assert (manifest.listed, manifest.imported, manifest.waiting) == (4, 2, 1)
    chunks = {path: path.stat().st_mtime_ns for path in (tmp_path / "data" / "train").glob("*.torch")}
    manifest = import_capture(source, tmp_path / "data", **options, limit=2)
    assert (manifest.listed, manifest.imported, manifest.waiting) == (4, 3, 0)
    assert chunks == {path: path.stat().st_mtime_ns for path in chunks}  # what was there is not written again
    assert sorted(ChunkFolder(tmp_path / "data", "train").keys) == sorted(kept)


def test_processes_give_what_one_process_gives(tmp_path, dl3dv):
    source, options, _ = dl3dv
    one = import_capture(source, tmp_path / "one", **options)
    two = import_capture(source, tmp_path / "two", **{**options, "workers": 2})
    assert one.digest == two.digest
    assert {key: scene.digest for key, scene in one.scenes.items()} == {k: s.digest for k, s in two.scenes.items()}


def test_undoing_the_lens_is_a_choice(tmp_path, dl3dv):
    source, options, _ = dl3dv
    manifest = import_capture(source, tmp_path / "data", **options, lens="undone")
    assert manifest.notes["lens"] == "undone"
    assert manifest.scenes["dl3dv_aaa"].height < 270


def test_two_scenes_of_one_name_are_refused(tmp_path, dl3dv):
    source, options, _ = dl3dv
    (source / "2K" / "ddd").rename(source / "2K" / "aaa")
    with pytest.raises(DataError, match=r"scene aaa lies in .* and in .*; remove one of the two"):
        import_capture(source, tmp_path / "data", **options)


def test_a_set_of_which_nothing_can_be_used_is_one_clear_error(tmp_path, dl3dv):
    source, options, _ = dl3dv
    for path in source.glob("*/*/transforms.json"):
        path.write_text("{")
    with pytest.raises(
        DataError, match=r"none of 4 scenes can be imported; the first, dl3dv_aaa: .*is not JSON"
    ) as caught:
        import_capture(source, tmp_path / "data", **options)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "data").rglob("*.torch")) + list((tmp_path / "data").rglob("index.json"))
    (tmp_path / "index.json").write_text("[1]")
    with pytest.raises(DataError, match=r"index of scenes to exclude .*expected an object or list of keys"):
        import_capture(source, tmp_path / "data", **options)


def test_options_of_another_kind_are_refused(tmp_path, dl3dv):
    source, options, _ = dl3dv
    for wrong, expected in (
        ({"key": "x"}, "key: Extra inputs"),
        ({"workers": -1}, "workers: Input"),
        ({"lens": "x"}, "lens"),
    ):
        with pytest.raises(ParameterError, match=expected):
            import_capture(source, tmp_path / "data", **{**options, **wrong})


# --- ended in the middle ---


def _import_until(step: int, source: Path, output: Path, options: dict) -> None:
    """Import in this process, which kills itself at the `step`-th time that a file is about to take its place."""
    torch.set_num_threads(1)
    left, replace = [step], os.replace

    def deadly(*arguments):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*arguments)

    os.replace = deadly
    import_capture(source, output, **options)


def test_killed_at_any_moment_what_was_finished_stays_and_the_rest_follows(tmp_path, plane_scene, monkeypatch):
    kept = {key: plane_scene(key, frames=2, depth=False) for key in ("0a1", "0b2", "0c3")}
    write_camera_texts(tmp_path / "source", list(kept.values()))
    source, options = tmp_path / "source", {**HERE, "kind": "re10k"}
    monkeypatch.setattr(Re10kImporter, "scenes_per_chunk", 1)
    whole = import_capture(source, tmp_path / "whole", **options)
    survived = set()
    for step in range(40):
        output = tmp_path / f"killed{step}"
        process = multiprocessing.get_context("fork").Process(
            target=_import_until, args=(step, source, output, options)
        )
        process.start()
        process.join(60)
        index = output / "train" / "index.json"
        if index.is_file():
            folder = ChunkFolder(output, "train")
            survived.add(len(folder.keys))
            for key in folder.keys:
                assert_same(folder.scene(key), kept[key])
        manifest = import_capture(source, output, **options)
        assert manifest.digest == whole.digest
        assert sorted(ChunkFolder(output, "train").keys) == sorted(kept)
        left = [path.name for path in (output / "train").iterdir() if path.name.endswith(".part")]
        chunks = {path.name for path in (output / "train").glob("*.torch")}
        assert (left, chunks) == ([], {scene.chunk for scene in manifest.scenes.values()})
        if process.exitcode == 0:
            break
    assert survived == {1, 2, 3}
    assert process.exitcode == 0


def test_a_full_disk_is_said_and_costs_one_chunk(tmp_path, dl3dv, monkeypatch):
    source, options, kept = dl3dv
    monkeypatch.setattr(Dl3dvImporter, "scenes_per_chunk", 1)
    good, written = write_chunk, []

    def full(path, scenes):
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(path)
        good(path, scenes)

    monkeypatch.setattr("pmgs_lib.data.importers.collection.write_chunk", full)
    with pytest.raises(DataError, match=r"cannot be written .No space left on device.; what was finished is valid"):
        import_capture(source, tmp_path / "data", **options)
    assert len(ChunkFolder(tmp_path / "data", "train").keys) == 2
    monkeypatch.undo()
    assert import_capture(source, tmp_path / "data", **options).imported == len(kept)


def test_a_second_import_of_the_kind_is_kept_out(tmp_path, dl3dv, monkeypatch):
    source, options, _ = dl3dv
    entered = []

    def meanwhile(path, scenes):
        if not entered:
            entered.append(path)
            with pytest.raises(DataError, match="another dl3dv import is writing there"):
                import_capture(source, tmp_path / "data", **options)
        write_chunk(path, scenes)

    monkeypatch.setattr("pmgs_lib.data.importers.collection.write_chunk", meanwhile)
    assert import_capture(source, tmp_path / "data", **options).imported == 3
    assert entered


def test_two_kinds_share_a_folder_and_do_not_touch_each_other(tmp_path, dl3dv, plane_scene):
    source, options, _ = dl3dv
    write_scenes(tmp_path / "data", "train", [plane_scene("other"), plane_scene("dl3dv_aaa")])
    manifest = import_capture(source, tmp_path / "data", **options)
    assert manifest.left_out["dl3dv_aaa"] == "the folder has a scene of this name: 000000.torch"
    again = import_capture(source, tmp_path / "data", **options, overwrite=True)
    assert again.imported == 2
    assert sorted(ChunkFolder(tmp_path / "data", "train").keys) == ["dl3dv_aaa", "dl3dv_ccc", "dl3dv_ddd", "other"]


# --- RealEstate10K and ACID ---


@pytest.mark.parametrize("kind", ["auto", "acid"])
@pytest.mark.parametrize("frames", ["", "pictures"])
def test_camera_texts_and_frames_come_through(tmp_path, plane_scene, kind, frames):
    scenes = [plane_scene(key, frames=4, depth=False) for key in ("0a1", "0b2", "0c3")]
    write_camera_texts(tmp_path / "source", scenes, split="test", frames=frames)
    folder = {"frames": str(tmp_path / "source" / frames)} if frames else {}
    manifest = import_capture(tmp_path / "source", tmp_path / "data", kind=kind, **HERE, **folder)
    assert (manifest.kind, manifest.split, manifest.imported) == ("re10k" if kind == "auto" else kind, "test", 3)
    for scene in scenes:
        found = ChunkFolder(tmp_path / "data", "test").scene(scene.key)
        assert_same(found, scene)
        assert torch.equal(found.timestamps, scene.timestamps)
        assert list(found.images) == list(scene.images)
        assert found.url == scene.url


def test_scenes_without_frames_are_counted(tmp_path, plane_scene):
    scenes = [plane_scene(key, frames=3, depth=False) for key in ("0a1", "0b2", "0c3")]
    write_camera_texts(tmp_path / "source", scenes, split="train")
    (tmp_path / "source" / "train" / "0b2").rename(tmp_path / "source" / "train" / "unknown")
    (tmp_path / "source" / "train" / "0c3" / "40.jpg").unlink()
    manifest = import_capture(tmp_path / "source", tmp_path / "data", **HERE)
    assert manifest.left_out["0b2"] == "no frames: no folder of that name"
    assert "1 of 3 pictures cannot be used, first 40.jpg" in manifest.left_out["0c3"]
    assert manifest.notes["frames_without_cameras"] == 1
    assert list(manifest.scenes) == ["0a1"]


TEXT_FAULTS = {
    "word": (lambda lines: [lines[0], lines[1].replace(" ", " x ", 1)], "line 2: could not convert"),
    "short": (lambda lines: [lines[0], lines[1].rsplit(" ", 1)[0]], "line 2: 18 numbers, expected a timestamp and 18"),
    "infinite": (lambda lines: [lines[0], lines[1].rsplit(" ", 1)[0] + " inf"], "line 2: 19 numbers, expected"),
    "empty": (lambda lines: [], "lists no frames"),
    "mirrored": (lambda lines: [lines[0], _mirrored(lines[1])], "line 2: camera 0 is mirrored"),
}


def _mirrored(line: str) -> str:
    words = line.split()
    for place in (7, 11, 15):
        words[place] = str(-float(words[place]))
    return " ".join(words)


@pytest.mark.parametrize("case", TEXT_FAULTS)
def test_damaged_camera_texts_name_the_line(tmp_path, plane_scene, case):
    write_camera_texts(tmp_path / "source", [plane_scene("0a1", frames=2, depth=False)])
    path = tmp_path / "source" / "train" / "0a1.txt"
    change, expected = TEXT_FAULTS[case]
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(DataError, match=rf"none of 1 scenes can be imported.*0a1.txt.*{expected}") as caught:
        import_capture(tmp_path / "source", tmp_path / "data", kind="re10k", **HERE)
    assert "\n" not in str(caught.value)


def test_an_unclear_split_is_asked_for(tmp_path, plane_scene):
    for split in ("train", "test"):
        write_camera_texts(tmp_path / "source", [plane_scene(split, frames=2, depth=False)], split=split)
    with pytest.raises(DataError, match="text files for train and test; say which split"):
        import_capture(tmp_path / "source", tmp_path / "data", **HERE)
    assert list(import_capture(tmp_path / "source", tmp_path / "data", **HERE, split="test").scenes) == ["test"]


# --- finished chunks ---


@pytest.mark.parametrize("place", ["copy", "link"])
def test_finished_chunks_are_verified_and_taken_over(tmp_path, plane_scene, place):
    scenes = [plane_scene(f"s{n}", frames=2) for n in range(5)]
    write_scenes(tmp_path / "source", "test", scenes, scenes_per_chunk=2)
    manifest = import_capture(tmp_path / "source", tmp_path / "data", **HERE, place=place)
    assert (manifest.kind, manifest.imported, manifest.left_out) == ("chunks", 5, {})
    folder = ChunkFolder(tmp_path / "data", "test")
    for scene in scenes:
        assert_same(folder.scene(scene.key), scene)
    chunks = list((tmp_path / "data" / "test").glob("*.torch"))
    assert len(chunks) == 3
    assert all(path.stat().st_nlink == (2 if place == "link" else 1) for path in chunks)


def test_chunks_without_an_index_are_indexed_where_they_are(tmp_path, plane_scene):
    write_scenes(tmp_path / "data", "train", [plane_scene("a"), plane_scene("b")], scenes_per_chunk=1)
    (tmp_path / "data" / "train" / "index.json").unlink()
    before = {path: path.read_bytes() for path in (tmp_path / "data" / "train").glob("*.torch")}
    manifest = import_capture(tmp_path / "data", tmp_path / "data", **HERE)
    assert manifest.imported == 2
    assert before == {path: path.read_bytes() for path in (tmp_path / "data" / "train").glob("*.torch")}
    assert sorted(ChunkFolder(tmp_path / "data", "train").keys) == ["a", "b"]


def test_damaged_chunks_and_scenes_are_left_out(tmp_path, plane_scene):
    scenes = [plane_scene(f"s{n}", frames=2, depth=False) for n in range(4)]
    write_scenes(tmp_path / "source", "test", scenes, scenes_per_chunk=2)
    folder = tmp_path / "source" / "test"
    (folder / "000001.torch").write_bytes((folder / "000001.torch").read_bytes()[:3000])
    entries = torch.load(folder / "000000.torch", weights_only=True)
    entries[1]["cameras"][0, 9] = torch.nan
    torch.save(entries, folder / "000000.torch")
    index = json.loads((folder / "index.json").read_text()) | {"s9": "000009.torch"}
    (folder / "index.json").write_text(json.dumps(index))
    manifest = import_capture(tmp_path / "source", tmp_path / "data", **HERE)
    assert list(manifest.scenes) == ["s0"]
    assert manifest.reasons == {"damaged": 3, "its chunk is missing": 1}
    assert "NaN" in manifest.left_out["s1"]
    assert ChunkFolder(tmp_path / "data", "test").keys == ["s0"]


# --- DTU ---


@pytest.fixture
def dtu(tmp_path, plane_world, monkeypatch):
    monkeypatch.setattr("pmgs_lib.data.importers.dtu.VIEWS", 4)
    moving_cameras, photograph = plane_world
    cameras = moving_cameras(4, 64, 80)
    cameras.intrinsics[:, 0, 2], cameras.intrinsics[:, 1, 2] = 0.52, 0.49
    for scan in ("scan1_train", "scan8_train", "scan2_train"):
        layouts.write_dtu(tmp_path / "source", scan, photograph(cameras, 64, 80)[0], cameras)
    return tmp_path / "source", cameras


def test_dtu_comes_through_in_its_unit(tmp_path, dtu):
    source, cameras = dtu
    manifest = import_capture(source, tmp_path / "data", **HERE)
    assert (manifest.kind, manifest.imported) == ("dtu", 2)
    assert manifest.left_out == {"scan2_train": "none of the 16 test scans"}
    assert (manifest.notes["near"], manifest.notes["far"]) == (2.125, 4.525)
    scene = ChunkFolder(tmp_path / "data", "test").scene("scan8_train")
    torch.testing.assert_close(scene.cameras.world_from_camera, cameras.world_from_camera, atol=1e-6, rtol=0)
    torch.testing.assert_close(scene.cameras.intrinsics, cameras.intrinsics, atol=1e-6, rtol=0)


def test_dtu_as_mvsplat_reads_it(tmp_path, dtu):
    source, cameras = dtu
    import_capture(source, tmp_path / "data", **HERE, principal_point="middle", scans="all")
    found = ChunkFolder(tmp_path / "data", "test").scene("scan2_train").cameras.intrinsics
    assert torch.equal(found[:, :2, 2], torch.full((4, 2), 0.5))
    torch.testing.assert_close(found[:, 0, 0], cameras.intrinsics[:, 0, 0] / (2 * 0.52), atol=1e-6, rtol=0)


def test_dtu_clouds_are_named_and_read(tmp_path, dtu):
    from plyfile import PlyData, PlyElement

    source, _ = dtu
    path = source / "Points" / "stl" / "stl008_total.ply"
    path.parent.mkdir(parents=True)
    vertices = torch.tensor([[0.0, 200.0, 400.0], [1.0, 2.0, 3.0]]).numpy().view([(a, "f4") for a in "xyz"])[:, 0]
    PlyData([PlyElement.describe(vertices, "vertex")]).write(str(path))
    manifest = import_capture(source, tmp_path / "data", **HERE)
    assert manifest.notes["clouds"] == {"scan8_train": "Points/stl/stl008_total.ply"}
    assert read_dtu_cloud(path)[0].tolist() == [0.0, 1.0, 2.0]
    path.write_bytes(b"ply\nbroken")
    with pytest.raises(DataError, match=r"point cloud .*cannot be read"):
        read_dtu_cloud(path)


def test_dtu_damage_is_named(tmp_path, dtu):
    source, _ = dtu
    (source / "Rectified" / "scan1_train" / "rect_002_3_r5000.png").unlink()
    manifest = import_capture(source, tmp_path / "data", **HERE)
    assert "1 of 4 pictures cannot be used, first rect_002_3_r5000.png" in manifest.left_out["scan1_train"]
    path = source / "Cameras" / "train" / "00000002_cam.txt"
    path.write_text(path.read_text().replace("intrinsic", "intrinsics"))
    with pytest.raises(DataError, match=r"00000002_cam.txt: the words extrinsic and intrinsic are not where"):
        import_capture(source, tmp_path / "data", **HERE, overwrite=True)
