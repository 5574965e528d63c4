"""A crop shows the same points of the world at the same places of the picture."""

import pytest
import torch

from pmgs_lib import Cameras, Views
from pmgs_lib.data.crops import cropped, interleaved
from pmgs_lib.errors import ParameterError


def views(batch: tuple[int, ...], rng: torch.Generator, count: int = 3, depth: bool = True) -> Views:
    shape = (*batch, count)
    poses = torch.eye(4, dtype=torch.float64).repeat(*shape, 1, 1)
    poses[..., :3, 3] = torch.randn(*shape, 3, generator=rng, dtype=torch.float64)
    intrinsics = torch.tensor([[0.9, 0, 0.47], [0, 1.3, 0.55], [0, 0, 1]], dtype=torch.float64)
    maps = 1 + torch.rand(*shape, 12, 20, generator=rng, dtype=torch.float64)
    images = torch.rand(*shape, 3, 12, 20, generator=rng, dtype=torch.float64)
    cameras = Cameras(poses, intrinsics.repeat(*shape, 1, 1))
    near, far = torch.ones(batch, dtype=torch.float64), torch.full(batch, 9.0, dtype=torch.float64)
    return Views(images, cameras, near, far, maps if depth else None)


@pytest.mark.parametrize("batch", [(), (1,), (3, 1, 2)], ids=str)
def test_pixels_of_a_crop_unproject_to_the_same_points(batch, rng):
    whole = views(batch, rng)
    part = cropped(whole, 3, 5, 8, 11)
    window = (..., slice(3, 11), slice(5, 16))
    assert torch.equal(part.images, whole.images[window])
    points = whole.cameras.unproject(whole.depth)[..., 3:11, 5:16, :]
    torch.testing.assert_close(part.cameras.unproject(part.depth), points)


def test_the_whole_picture_is_a_crop(rng):
    whole = views((), rng, depth=False)
    same = cropped(whole, 0, 0, 12, 20)
    assert torch.equal(same.cameras.intrinsics, whole.cameras.intrinsics)
    assert same.depth is None


@pytest.mark.parametrize("window", [(-1, 0, 4, 4), (0, 0, 13, 4), (9, 0, 4, 4), (0, 18, 4, 4), (0, 0, 0, 4)])
def test_a_window_beyond_the_picture_is_refused(window, rng):
    with pytest.raises(ParameterError, match="does not lie in pictures of 12 x 20"):
        cropped(views((), rng), *window)


@pytest.mark.parametrize("batch", [(), (2,)], ids=str)
def test_interleaved_takes_views_in_turns(batch, rng):
    first, second = views(batch, rng), views(batch, rng)
    mixed = interleaved(first, second)
    for view, origin in enumerate([first, second, first]):
        assert torch.equal(mixed.images[..., view, :, :, :], origin.images[..., view, :, :, :])
        assert torch.equal(mixed.depth[..., view, :, :], origin.depth[..., view, :, :])
        for name in ("world_from_camera", "intrinsics"):
            mine, theirs = getattr(mixed.cameras, name), getattr(origin.cameras, name)
            assert torch.equal(mine[..., view, :, :], theirs[..., view, :, :])
    assert interleaved(first, views(batch, rng, depth=False)).depth is None
    with pytest.raises(ParameterError, match="the same frames at one size"):
        interleaved(first, cropped(second, 0, 0, 8, 8))
