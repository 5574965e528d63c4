"""Depth Anything 3 through its package: a stand-in of the documented interface shows planes of known depth."""

import sys
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from scenes import random_views
from torch import nn
from torch.testing import assert_close

from pmgs_lib.errors import BackendError, ParameterError
from pmgs_lib.geometry.similarity import similarity_transform
from pmgs_lib.pointmaps import CachedPointmap, build_pointmap_source

SMALL = (14, 28)


class StandIn(nn.Module):
    """`depth_anything_3.api.DepthAnything3` as documented: a list of 8-bit images in, arrays out."""

    made: ClassVar[list["StandIn"]] = []

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(3.0))
        self.asked, self.answer = [], lambda images, cameras: plane(len(images))
        StandIn.made.append(self)

    @classmethod
    def from_pretrained(cls, name):
        model = cls()
        model.name = name
        return model

    def inference(self, image, extrinsics=None, intrinsics=None, process_res=504):
        assert all(each.dtype == np.uint8 and each.shape[-1] == 3 for each in image)
        self.asked.append((image, extrinsics, intrinsics, process_res))
        return self.answer(image, (extrinsics, intrinsics))


def plane(views, confidence=True):
    """Depth 2 everywhere, cameras one unit apart along x that look along z; focal length 20 pixels."""
    height, width = SMALL
    extrinsics = np.tile(np.eye(4, dtype=np.float32)[:3], (views, 1, 1))
    extrinsics[:, 0, 3] = -np.arange(views)
    intrinsics = np.array([[20, 0, width / 2], [0, 20, height / 2], [0, 0, 1]], np.float32)
    return SimpleNamespace(
        depth=np.full((views, height, width), 2.0, np.float32),
        conf=np.full((views, height, width), 3.0, np.float32) if confidence else None,
        extrinsics=extrinsics,
        intrinsics=np.tile(intrinsics, (views, 1, 1)),
    )


@pytest.fixture
def package(monkeypatch):
    api = ModuleType("depth_anything_3.api")
    api.DepthAnything3 = StandIn
    monkeypatch.setitem(sys.modules, "depth_anything_3", ModuleType("depth_anything_3"))
    monkeypatch.setitem(sys.modules, "depth_anything_3.api", api)
    monkeypatch.setattr(StandIn, "made", [])


def source(**options):
    return build_pointmap_source("depth-anything-3", weights="depth-anything/DA3-BASE", accept_licence=True, **options)


def test_points_lie_at_integer_pixels_of_the_predicted_cameras(package, rng):
    views = random_views(rng=rng, views=3, height=SMALL[0], width=SMALL[1])
    found = source().with_confidence(views)
    rows, columns = torch.meshgrid(*(torch.arange(n).float() for n in SMALL), indexing="ij")
    one = torch.stack([(columns - 14) / 20 * 2, (rows - 7) / 20 * 2, torch.full(SMALL, 2.0)], dim=-1)
    shift = torch.tensor([1.0, 0, 0]) * torch.arange(3)[:, None, None, None]
    assert_close(found.points, one + shift, rtol=1e-5, atol=1e-5)
    assert torch.equal(found.confidence, torch.full((3, *SMALL), 3.0))


@pytest.mark.parametrize("batch", [(), (1,), (2, 2)], ids=str)
def test_batches_go_scene_by_scene_and_points_come_back_to_the_full_size(package, batch, rng):
    views = random_views(*batch, rng=rng)
    pointmaps = source(process_resolution=280)
    points = pointmaps(views)
    assert points.shape == (*batch, 2, 30, 45, 3)
    asked = StandIn.made[0].asked
    assert len(asked) == max(1, torch.Size(batch).numel())
    first = torch.from_numpy(np.stack(asked[0][0])).permute(0, 3, 1, 2).float() / 255
    assert torch.equal(first, views.images.reshape(-1, 2, 3, 30, 45)[0])
    assert asked[0][1:] == (None, None, 280)
    rows, columns = torch.arange(30) * 14 // 30, torch.arange(45) * 28 // 45
    assert_close(points[..., 2], torch.full(points.shape[:-1], 2.0))
    assert_close(points.reshape(-1, 30, 45, 3)[0, :, 0, 1], (rows - 7) / 10)
    assert_close(points.reshape(-1, 30, 45, 3)[0, 0, :, 0], (columns - 14) / 10)


def test_known_cameras_are_handed_over_in_the_package_s_convention(package, rng):
    views = random_views(2, rng=rng)
    pointmaps = source(use_cameras=True)
    assert pointmaps.evidence == ("images", "cameras")
    pointmaps(views)
    _, extrinsics, intrinsics, _ = StandIn.made[0].asked[1]
    assert_close(torch.from_numpy(extrinsics), views.cameras.camera_from_world[1])
    assert_close(torch.from_numpy(intrinsics), views.cameras.pixel_intrinsics(30, 45)[1])


def test_the_frame_is_a_similarity_of_the_world(package, rng):
    """Exact depth in the package's convention comes back as the surface, up to a similarity."""
    views = random_views(rng=rng, views=2, height=28, width=28)
    pixels = views.cameras.pixel_intrinsics(28, 28)
    pixels[:, :2, 2] -= 0.5  # integer coordinates: the same ray half a pixel on

    def answer(images, cameras):
        extrinsics = views.cameras.camera_from_world.clone()
        extrinsics[:, :3, 3] *= 3
        arrays = {"depth": 3 * views.depth, "extrinsics": extrinsics[:, :3], "intrinsics": pixels}
        return SimpleNamespace(**{name: value.numpy() for name, value in arrays.items()}, conf=None)

    pointmaps = source()
    pointmaps.model.answer = answer
    found = pointmaps.with_confidence(views)
    assert found.confidence is None
    surface = views.cameras.unproject(views.depth).flatten(0, 2)
    aligned = similarity_transform(found.points.flatten(0, 2), surface)
    assert aligned.scale.item() == pytest.approx(1 / 3, rel=1e-4)
    assert_close(aligned.apply(found.points.flatten(0, 2)), surface, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["depth", "extrinsics", "intrinsics", "conf"])
def test_an_answer_of_another_form_is_told(package, name, rng):
    pointmaps = source()

    def answer(images, cameras):
        found = plane(len(images))
        setattr(found, name, None if name in ("extrinsics", "intrinsics") else getattr(found, name)[:1])
        return found

    pointmaps.model.answer = answer
    with pytest.raises(BackendError, match=r"answered pantry with .*take a model that predicts cameras"):
        pointmaps(random_views(rng=rng), "pantry")


def test_without_the_package_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "depth_anything_3", None)
    with pytest.raises(BackendError, match=r"cannot be imported .*pip install --no-deps depth-anything-3"):
        build_pointmap_source("depth-anything-3")


def test_licence_and_options(package, monkeypatch):
    monkeypatch.delenv("PMGS_ACCEPT_LICENCES", raising=False)
    with pytest.raises(ParameterError, match=r"DA3-LARGE: weights under CC-BY-NC-4\.0"):
        build_pointmap_source("depth-anything-3")
    assert not StandIn.made
    with pytest.raises(ParameterError, match="process_resolution 3"):
        source(process_resolution=3)


def test_its_cache_depends_on_the_weights(package, monkeypatch, rng, tmp_path):
    views, pointmaps = random_views(rng=rng), source()
    assert torch.equal(CachedPointmap(tmp_path, pointmaps)(views), pointmaps(views))
    assert source().identity == pointmaps.identity

    class Newer(StandIn):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(self.weight + 1)

    monkeypatch.setattr(sys.modules["depth_anything_3.api"], "DepthAnything3", Newer)
    assert source().identity != pointmaps.identity
