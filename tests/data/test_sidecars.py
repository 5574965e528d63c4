"""Offsets of a chunk: the same scenes as unpickling gives, from a few bytes; never trusted, and never in the way."""

import json
import logging
import os
import pickle
import random
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from pmgs_lib.data.chunks import read_chunk, write_chunk
from pmgs_lib.data.folders import ChunkFolder, update_index, write_scenes
from pmgs_lib.data.offsets import NoOffsets, find_offsets
from pmgs_lib.data.open_chunks import OpenChunks
from pmgs_lib.data.pieces import OpenFile, StoredImages
from pmgs_lib.data.sidecars import sidecar_path, write_sidecar
from pmgs_lib.errors import DataError


@pytest.fixture
def root(tmp_path, plane_scene, monkeypatch):
    """Three scenes in two chunks, the second without depth; the cache folder is the test's own."""
    monkeypatch.setenv("PMGS_CACHE", str(tmp_path / "cache"))
    scenes = [plane_scene("a"), plane_scene("b", frames=3, depth=False), plane_scene("c", height=40)]
    write_scenes(tmp_path / "data", "test", scenes, scenes_per_chunk=2)
    return tmp_path / "data"


def chunk_of(root: Path, number: int = 0) -> Path:
    return root / "test" / f"{number:06d}.torch"


def assert_same_as_unpickled(root: Path, how: str) -> None:
    """Every scene, through a folder just opened, equals what the whole chunk holds; all chunks were opened as `how`."""
    folder = ChunkFolder(root, "test")
    for chunk in sorted((root / "test").glob("*.torch")):
        for expected in read_chunk(chunk):
            found = folder.scene(expected.key)
            assert (found.key, found.url, found.frames) == (expected.key, expected.url, expected.frames)
            assert found.images == expected.images
            assert list(found.images[1:]) == list(expected.images[1:])
            assert found.images[-1] == expected.images[-1]
            assert torch.equal(found.timestamps, expected.timestamps)
            assert torch.equal(found.cameras.world_from_camera, expected.cameras.world_from_camera)
            assert torch.equal(found.cameras.intrinsics, expected.cameras.intrinsics)
            assert (found.depth is None) == (expected.depth is None)
            assert found.depth is None or torch.equal(found.depth, expected.depth)
    assert set(folder.openings) == {how}


def without_sidecars(root: Path) -> None:
    for path in (root / "test").glob("*.offsets.json"):
        path.unlink()


def test_scenes_read_by_offsets_equal_those_unpickled(root):
    assert sidecar_path(chunk_of(root)).is_file()
    assert_same_as_unpickled(root, "beside")
    assert not (root.parent / "cache").exists()


def test_a_chunk_from_elsewhere_is_looked_through_once_and_its_folder_stays_as_it_was(root):
    without_sidecars(root)
    before = {path.name: path.read_bytes() for path in (root / "test").iterdir()}
    assert_same_as_unpickled(root, "found")
    assert_same_as_unpickled(root, "cache")
    assert {path.name: path.read_bytes() for path in (root / "test").iterdir()} == before


def test_without_a_cache_folder_offsets_are_kept_in_memory(root, monkeypatch):
    without_sidecars(root)
    (root.parent / "file").write_text("in the way")
    monkeypatch.setenv("PMGS_CACHE", str(root.parent / "file"))
    assert_same_as_unpickled(root, "found")
    assert_same_as_unpickled(root, "found")


def test_a_chunk_put_in_the_place_of_another_is_noticed(root, plane_scene, caplog):
    kept = sidecar_path(chunk_of(root)).read_bytes()
    write_chunk(chunk_of(root), [plane_scene("a", frames=4), plane_scene("b", frames=5)])
    sidecar_path(chunk_of(root)).write_bytes(kept)
    sidecar_path(chunk_of(root, 1)).unlink()
    folder = ChunkFolder(root, "test")
    with caplog.at_level(logging.WARNING):
        assert folder.scene("a").frames == 4
    assert "its file of offsets is not used (the chunk has another size)" in caplog.text
    assert folder.openings == {"found again": 1}


def test_equal_length_with_other_content_is_noticed(root):
    """A picture replaced by one of as many bytes: only the CRC in the archive's directory tells."""
    entries = torch.load(chunk_of(root), weights_only=True)
    torch.save(entries, chunk_of(root))
    write_sidecar(chunk_of(root))
    size = chunk_of(root).stat().st_size
    entries[1]["images"][0] = entries[1]["images"][0].flip(0)
    torch.save(entries, chunk_of(root))
    assert chunk_of(root).stat().st_size == size
    folder = ChunkFolder(root, "test")
    assert folder.scene("a").frames == 10
    assert folder.openings == {"found again": 1}
    with pytest.raises(DataError, match=r"scene 'b', frame 0: .* no picture"):
        folder.scene("b")


def test_a_chunk_and_its_offsets_depend_on_the_scenes_only(root, plane_scene):
    """So that what a run makes can be compared by digest."""
    first = [path.read_bytes() for path in (chunk_of(root), sidecar_path(chunk_of(root)))]
    write_chunk(root / "again.torch", [plane_scene("a"), plane_scene("b", frames=3, depth=False)])
    assert [path.read_bytes() for path in (root / "again.torch", sidecar_path(root / "again.torch"))] == first


def _forge(root: Path, change) -> None:
    """Change the offsets and sign them, as nobody but an attacker would."""
    from pmgs_lib.data.sidecars import _digest

    path = sidecar_path(chunk_of(root))
    content = json.loads(path.read_text())["offsets"]
    change(content)
    text = json.dumps(content, separators=(",", ":"))
    path.write_text(f'{{"sha256": "{_digest(text)}", "offsets": {text}}}')


def _beyond(content):
    content["scenes"][0]["image_offsets"][2] = content["chunk_bytes"] - 10


def _far(content):
    content["scenes"][0]["image_offsets"][2] = 10**30


def _huge(content):
    content["scenes"][0]["depth"]["shape"] = [2**32, 2**32, 2**32]


def _uneven(content):
    content["scenes"][0]["image_bytes"].pop()


def _directory_first(content):
    content["directory_start"] = 0


def _negative(content):
    content["scenes"][0]["cameras"]["offset"] = -1


def _other_type(content):
    content["scenes"][0]["cameras"]["dtype"] = "object"


@pytest.mark.parametrize("change", [_beyond, _far, _huge, _uneven, _directory_first, _negative, _other_type])
def test_signed_offsets_that_lead_elsewhere_are_not_followed(root, change):
    _forge(root, change)
    sidecar_path(chunk_of(root, 1)).unlink()
    folder = ChunkFolder(root, "test")
    assert folder.scene("a").images == read_chunk(chunk_of(root))[0].images
    assert folder.openings == {"found again": 1}


def test_random_damage_to_a_sidecar_changes_nothing_that_is_read(root):
    path, draw = sidecar_path(chunk_of(root)), random.Random(3)
    content, expected = path.read_bytes(), read_chunk(chunk_of(root))[0]
    for _ in range(40):
        damaged = bytearray(content)
        for _ in range(draw.choice((1, 3, 50))):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(damaged[: draw.choice((len(damaged), draw.randrange(len(damaged))))])
        assert ChunkFolder(root, "test").scene("a").images == expected.images


@pytest.mark.parametrize("shape", [[], [180], [10, 3, 6], [0, 18]])
def test_a_signed_shape_that_is_none_of_a_chunk_is_one_clear_error(root, shape):
    _forge(root, lambda content: content["scenes"][0]["cameras"].update(shape=shape))
    with pytest.raises(DataError, match=r"scene 'a': (cameras is \(|0 cameras for 10 pictures)"):
        ChunkFolder(root, "test").scene("a")


# --- chunks that can only be read as a whole ---


def _old_format(root):
    entries = torch.load(chunk_of(root), weights_only=True)
    torch.save(entries, chunk_of(root), _use_new_zipfile_serialization=False)


def _compressed(root):
    with zipfile.ZipFile(chunk_of(root)) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(chunk_of(root), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def _strided(root):
    entries = torch.load(chunk_of(root), weights_only=True)
    entries[0]["cameras"] = entries[0]["cameras"].T.contiguous().T
    torch.save(entries, chunk_of(root))


def _half_precision(root):
    entries = torch.load(chunk_of(root), weights_only=True)
    entries[0]["timestamps"] = entries[0]["timestamps"].to(torch.int16)
    torch.save(entries, chunk_of(root))


@pytest.mark.parametrize("rewrite", [_old_format, _compressed, _strided, _half_precision])
def test_other_layouts_are_read_as_a_whole_and_that_is_said(root, rewrite, caplog):
    rewrite(root)
    chunk_of(root, 1).unlink()
    update_index(root / "test")
    with pytest.raises(NoOffsets):
        find_offsets(OpenFile(chunk_of(root)))
    assert_same_as_unpickled(root, "whole")
    assert "is read as a whole, which takes time and memory, since" in caplog.text


def test_views_of_one_storage_are_found_at_their_places(root, plane_scene):
    """Other writers store slices of one tensor: the pickle then names one entry and several places in it."""
    entries = torch.load(chunk_of(root), weights_only=True)
    images = entries[0]["images"]
    ends = torch.tensor([len(image) for image in images]).cumsum(0).tolist()
    together = torch.cat(images)
    entries[0]["images"] = [together[end - len(image) : end] for image, end in zip(images, ends, strict=True)]
    torch.save(entries, chunk_of(root))
    without_sidecars(root)
    assert_same_as_unpickled(root, "found")


# --- pictures on demand, and what is kept open ---


def test_stored_pictures_are_a_sequence_of_bytes(root):
    images = ChunkFolder(root, "test").scene("a").images
    whole = read_chunk(chunk_of(root))[0].images
    assert isinstance(images, StoredImages)
    assert (len(images), images[2:4], list(images)) == (10, whole[2:4], whole)
    assert images == whole
    assert whole == images
    assert images != whole[:-1]
    assert pickle.loads(pickle.dumps(images)) == whole
    with pytest.raises(IndexError):
        images[10]


def test_an_open_scene_survives_the_replacement_of_its_chunk(root, plane_scene):
    scene = ChunkFolder(root, "test").scene("a")
    expected = list(read_chunk(chunk_of(root))[0].images)
    write_chunk(chunk_of(root), [plane_scene("a", frames=2)])
    assert scene.images == expected


def test_a_chunk_cut_while_open_is_a_clear_error(root):
    scene = ChunkFolder(root, "test").scene("a")
    os.truncate(chunk_of(root), 2000)
    with pytest.raises(DataError, match="was cut while it was open"):
        scene.images[9]


def test_open_chunks_keep_within_their_bytes_and_close_their_files(root):
    for number in range(2, 8):
        shutil.copy(chunk_of(root), chunk_of(root, number))
    names = [f"{number:06d}.torch" for number in range(2, 8)]
    before = len(os.listdir("/proc/self/fd"))
    chunks = OpenChunks(root / "test", most_bytes=4000, most=64)  # of 1,300 each
    for name in names * 2:
        chunks[name]
        assert chunks.bytes_held <= 4000
    assert len(chunks) == 3
    assert chunks.openings.total() == 12
    assert len(os.listdir("/proc/self/fd")) == before + 3
    few = OpenChunks(root / "test", most_bytes=4000, most=2)
    for name in names:
        few[name]
    assert len(few) == 2
    del chunks, few
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_chunk_larger_than_the_bound_is_the_only_one_kept(root):
    _old_format(root)
    chunks = OpenChunks(root / "test", most_bytes=4000, most=64)
    chunks["000001.torch"]
    chunks["000000.torch"]
    assert len(chunks) == 1
    assert chunks.bytes_held > 4000
    chunks["000001.torch"]
    assert len(chunks) == 1
