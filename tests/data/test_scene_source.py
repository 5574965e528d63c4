"""Scenes from a dataset folder or straight from a capture."""

import pytest
import torch

from pmgs_lib.data import make_scene, open_scenes
from pmgs_lib.data.chunks import ChunkScene, encode_jpeg
from pmgs_lib.data.folders import write_scenes
from pmgs_lib.data.scene_source import pick_scene
from pmgs_lib.errors import DataError
from pmgs_lib.export.nerfstudio import write_nerfstudio


@pytest.fixture(scope="module")
def scene():
    return make_scene(3, frames=4, height=48, width=64)


@pytest.fixture
def dataset_folder(scene, tmp_path):
    images = [encode_jpeg(image) for image in scene.images]
    stored = [ChunkScene(key, scene.cameras, images, torch.arange(4), depth=scene.depth) for key in "abcdef"]
    write_scenes(tmp_path / "scenes", "test", stored[:6])
    return tmp_path / "scenes"


def test_a_dataset_folder_is_opened_as_it_is(dataset_folder, tmp_path):
    dataset = open_scenes(dataset_folder, imported_to=tmp_path / "imported", near=0.5, far=40.0)
    assert dataset.keys == list("abcdef")
    assert dataset.depth_range("a") == (0.5, 40.0)
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("named", ["folder", "file"])
def test_a_capture_is_imported_first_and_again(named, scene, tmp_path):
    description = write_nerfstudio(tmp_path / "walk", scene.images, scene.cameras)
    source = description if named == "file" else tmp_path / "walk"
    for _ in range(2):
        dataset = open_scenes(source, imported_to=tmp_path / "imported", near=0.5, far=40.0)
        assert dataset.keys == ["walk"]
        assert dataset.scene("walk").frames == 4
    torch.testing.assert_close(
        dataset.scene("walk").cameras.world_from_camera, scene.cameras.world_from_camera, atol=1e-5, rtol=0
    )


def test_what_is_neither_is_refused(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        open_scenes(tmp_path / "nowhere", imported_to=tmp_path / "imported")


def test_the_scene_that_is_meant(dataset_folder, scene, tmp_path):
    dataset = open_scenes(dataset_folder, imported_to=tmp_path)
    assert pick_scene(dataset, "c") == "c"
    with pytest.raises(DataError, match=r"no scene was named of its 6; expected one of a, b, c, d \.\.\."):
        pick_scene(dataset, None)
    with pytest.raises(DataError, match="no scene 'z' among its 6"):
        pick_scene(dataset, "z")
    write_nerfstudio(tmp_path / "walk", scene.images, scene.cameras)
    assert pick_scene(open_scenes(tmp_path / "walk", imported_to=tmp_path / "imported"), None) == "walk"
