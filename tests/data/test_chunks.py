"""Chunk files keep what is put in, in the layout others read, and never appear by halves."""

import pickle

import pytest
import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.chunks import (
    cameras_from_numbers,
    decode_image,
    encode_jpeg,
    encoded_size,
    numbers_from_cameras,
    read_chunk,
    write_chunk,
)
from pmgs_lib.data.files import replaced_atomically
from pmgs_lib.data.folders import ChunkFolder, add_scene, update_index, write_scenes
from pmgs_lib.errors import DataError, ParameterError


def test_a_chunk_gives_back_its_scenes(tmp_path, plane_scene):
    scenes = [plane_scene("a"), plane_scene("b", frames=3, depth=False)]
    write_chunk(tmp_path / "000000.torch", scenes)
    for written, found in zip(scenes, read_chunk(tmp_path / "000000.torch"), strict=True):
        assert (found.key, found.url, found.images) == (written.key, written.url, written.images)
        assert torch.equal(found.timestamps, written.timestamps)
        torch.testing.assert_close(
            found.cameras.world_from_camera, written.cameras.world_from_camera, atol=1e-6, rtol=0
        )
        torch.testing.assert_close(found.cameras.intrinsics, written.cameras.intrinsics, atol=0, rtol=0)
        assert (found.depth is None) == (written.depth is None)
        assert found.depth is None or torch.equal(found.depth, written.depth)


def test_the_layout_is_the_one_pixelsplat_readers_expect(tmp_path, plane_scene):
    scene = plane_scene("a", frames=4)
    write_chunk(tmp_path / "x.torch", [scene])
    (entry,) = torch.load(tmp_path / "x.torch", weights_only=True)
    assert isinstance(entry["key"], str)
    assert isinstance(entry["url"], str)
    assert entry["timestamps"].dtype == torch.int64
    assert entry["cameras"].dtype == torch.float32
    assert entry["cameras"].shape == (4, 18)
    assert all(image.dtype == torch.uint8 and image.dim() == 1 for image in entry["images"])
    numbers = entry["cameras"][2]
    k = scene.cameras.intrinsics[2]
    torch.testing.assert_close(numbers[:4], torch.stack([k[0, 0], k[1, 1], k[0, 2], k[1, 2]]), atol=0, rtol=0)
    assert torch.equal(numbers[4:6], torch.zeros(2))
    camera_from_world = torch.cat([numbers[6:].reshape(3, 4), torch.tensor([[0.0, 0, 0, 1]])])
    torch.testing.assert_close(camera_from_world @ scene.cameras.world_from_camera[2], torch.eye(4), atol=1e-6, rtol=0)


def test_camera_numbers_and_back(rng):
    rotations = torch.linalg.qr(torch.randn(7, 3, 3, generator=rng, dtype=torch.float64)).Q
    rotations = rotations * torch.linalg.det(rotations)[:, None, None]
    poses = torch.eye(4, dtype=torch.float64).repeat(7, 1, 1)
    poses[:, :3, :3], poses[:, :3, 3] = rotations, torch.randn(7, 3, generator=rng, dtype=torch.float64)
    intrinsics = torch.tensor([[0.8, 0, 0.47], [0, 1.3, 0.51], [0, 0, 1]], dtype=torch.float64).repeat(7, 1, 1)
    found = cameras_from_numbers(numbers_from_cameras(Cameras(poses, intrinsics)))
    torch.testing.assert_close(found.world_from_camera.double(), poses, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.intrinsics.double(), intrinsics, atol=1e-7, rtol=0)


def test_pictures_survive_encoding(plane_world):
    moving_cameras, photograph = plane_world
    picture = photograph(moving_cameras(1, 48, 64), 48, 64)[0][0]
    encoded = encode_jpeg(picture)
    assert encoded == encode_jpeg(picture.numpy())
    assert encoded_size(encoded) == (48, 64)
    error = (decode_image(encoded).float() - picture.float()).square().mean().sqrt()
    assert error < 2.5  # of 255


def test_slices_do_not_drag_their_storage_into_the_file(tmp_path, plane_scene):
    scene = plane_scene("a", frames=2)
    wide = torch.ones(500, *scene.depth.shape[1:])
    write_chunk(tmp_path / "x.torch", [type(scene)("a", scene.cameras, scene.images, scene.timestamps, "", wide[:2])])
    assert (tmp_path / "x.torch").stat().st_size < 100_000


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), replaced_atomically(target) as sibling:  # noqa: PT012
        sibling.write_text("half of the n")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]
    with replaced_atomically(target) as sibling:
        sibling.write_text("new")
    assert target.read_text() == "new"


def test_folder_keeps_order_and_finds_by_key(tmp_path, plane_scene):
    keys = ["c", "a", "d", "b", "e"]
    index = write_scenes(tmp_path, "train", (plane_scene(key, frames=2) for key in keys), scenes_per_chunk=2)
    assert index == {
        "c": "000000.torch",
        "a": "000000.torch",
        "d": "000001.torch",
        "b": "000001.torch",
        "e": "000002.torch",
    }
    folder = ChunkFolder(tmp_path, "train")
    assert folder.keys == keys
    assert [folder.scene(key).key for key in reversed(keys)] == list(reversed(keys))
    (tmp_path / "train" / "index.json").unlink()
    assert update_index(tmp_path / "train") == index


def test_a_folder_opens_its_own_chunks_in_every_process(tmp_path, plane_scene):
    write_scenes(tmp_path, "test", [plane_scene("a")])
    folder = ChunkFolder(tmp_path, "test")
    folder.scene("a")
    copy = pickle.loads(pickle.dumps(folder))
    assert len(copy._chunks) == 0
    assert copy.scene("a").images == folder.scene("a").images


def test_an_interrupted_writing_cannot_be_opened(tmp_path, plane_scene):
    def scenes():
        yield plane_scene("a")
        yield plane_scene("b")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path, "train", scenes(), scenes_per_chunk=1)
    assert len(list((tmp_path / "train").glob("*.torch"))) == 2
    with pytest.raises(DataError, match="was not finished"):
        ChunkFolder(tmp_path, "train")


def test_nothing_is_overwritten_unasked(tmp_path, plane_scene):
    write_scenes(tmp_path, "train", [plane_scene("a"), plane_scene("b")], scenes_per_chunk=1)
    with pytest.raises(DataError, match="already holds a dataset"):
        write_scenes(tmp_path, "train", [plane_scene("c")])
    write_scenes(tmp_path, "train", [plane_scene("c")], overwrite=True)
    assert ChunkFolder(tmp_path, "train").keys == ["c"]
    assert [path.name for path in (tmp_path / "train").glob("*.torch")] == ["000000.torch"]


def test_scenes_can_be_added_and_replaced_one_by_one(tmp_path, plane_scene):
    add_scene(tmp_path, "test", plane_scene("a"))
    add_scene(tmp_path, "test", plane_scene("b"))
    with pytest.raises(DataError, match="already has a scene 'a'"):
        add_scene(tmp_path, "test", plane_scene("a"))
    add_scene(tmp_path, "test", plane_scene("a", frames=3), overwrite=True)
    folder = ChunkFolder(tmp_path, "test")
    assert [folder.scene(key).frames for key in folder.keys] == [3, 10]
    assert len(list((tmp_path / "test").glob("*.torch"))) == 2


def test_mistaken_arguments(tmp_path, plane_scene):
    with pytest.raises(ParameterError, match="split 'val'"):
        write_scenes(tmp_path, "val", [plane_scene("a")])
    with pytest.raises(DataError, match="keys must differ"):
        write_scenes(tmp_path, "train", [plane_scene("a"), plane_scene("a")])
    with pytest.raises(DataError, match="no scenes to write"):
        write_scenes(tmp_path, "test", [])
    with pytest.raises(DataError, match="no scenes to write"):
        write_chunk(tmp_path / "x.torch", [])
