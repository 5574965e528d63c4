"""Laws of the core types: cameras, Gaussians, views."""

import pytest
import torch
from torch.testing import assert_close

from pmgs_lib import Cameras, Example, Gaussians, Views
from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.geometry import quaternion_to_matrix

BATCHES = [(), (1,), (3, 1, 2)]


def random_cameras(batch, rng, dtype=torch.float64):
    pose = torch.eye(4, dtype=dtype).repeat(*batch, 1, 1)
    pose[..., :3, :3] = quaternion_to_matrix(torch.randn(*batch, 4, dtype=dtype, generator=rng))
    pose[..., :3, 3] = torch.randn(*batch, 3, dtype=dtype, generator=rng)
    intrinsics = torch.tensor([[0.9, 0, 0.47], [0, 1.3, 0.55], [0, 0, 1]], dtype=dtype).expand(*batch, 3, 3)
    return Cameras(pose, intrinsics)


def random_gaussians(batch, rng, count=6, degree=2):
    def normal(*shape):
        return torch.randn(*batch, count, *shape, dtype=torch.float64, generator=rng)

    return Gaussians(normal(3), normal(3).exp(), normal(4), normal().sigmoid(), normal((degree + 1) ** 2, 3))


@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-11)], ids=str)
def test_unproject_then_project_returns_pixel_centres_and_depth(batch, dtype, tolerance, rng):
    cameras = random_cameras(batch, rng, dtype)
    depth = 1 + torch.rand(*batch, 5, 7, dtype=dtype, generator=rng)
    pixels, found = cameras.project(cameras.unproject(depth).flatten(-3, -2), 5, 7)
    y, x = torch.meshgrid(torch.arange(5) + 0.5, torch.arange(7) + 0.5, indexing="ij")
    assert_close(found.reshape(depth.shape), depth, atol=tolerance, rtol=0)
    expected = torch.stack([x, y], dim=-1).to(dtype).flatten(0, 1).expand(pixels.shape)
    assert_close(pixels, expected, atol=tolerance, rtol=0)


def test_normalised_intrinsics_hold_at_every_resolution(rng):
    cameras = random_cameras((), rng)
    point = torch.tensor([[0.1, -0.2, 3.0]], dtype=torch.float64)
    small, _ = cameras.project(point, 64, 112)
    large, _ = cameras.project(point, 256, 448)
    assert_close(large, 4 * small)


def test_opengl_cameras_look_along_minus_z():
    cameras = Cameras.from_opengl(torch.eye(4), torch.eye(3))
    _, directions = cameras.rays(1, 1)
    assert directions[0, 0, 2] == -1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p, k: p[1, 0].fill_(float("nan")), "camera 1 has a NaN or infinite pose"),
        (lambda p, k: p[1, :3, 0].neg_(), r"camera 1 is mirrored \(determinant -1.000"),
        (lambda p, k: p[1, :3, :3].mul_(2), "camera 1 has no rotation in its pose"),
        (lambda p, k: k[1, 0, 0].zero_(), "camera 1 has a focal length that is not positive"),
    ],
)
def test_unusable_cameras_are_named(spoil, message, rng):
    cameras = random_cameras((2,), rng)
    cameras = Cameras(cameras.world_from_camera.clone(), cameras.intrinsics.clone())
    assert cameras.validate("scene a") is cameras
    spoil(cameras.world_from_camera, cameras.intrinsics)
    with pytest.raises(DataError, match="scene a: " + message):
        cameras.validate("scene a")


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_rigid_motion_moves_covariances(batch, rng):
    gaussians = random_gaussians(batch, rng)
    motion = random_cameras((), rng).world_from_camera
    moved = gaussians.transformed(motion)
    rotation = motion[:3, :3]
    assert_close(moved.covariances(), rotation @ gaussians.covariances() @ rotation.mT)
    back = moved.transformed(torch.linalg.inv(motion))
    assert_close(back.means, gaussians.means)
    assert_close(back.harmonics, gaussians.harmonics)


def test_gaussians_concatenate_index_and_select(rng):
    first, second = random_gaussians((2,), rng), random_gaussians((2,), rng, count=3)
    both = Gaussians.concatenate([first, second])
    assert (both.count, both.batch_shape, both.degree) == (9, (2,), 2)
    scene = both[1]
    assert_close(scene.select(torch.arange(6, 9)).harmonics, second[1].harmonics)
    assert scene.select(scene.opacities > 2).count == 0


def test_views_collate_and_keep_depth_only_when_all_have_it(rng):
    def example(depth):
        cameras = random_cameras((2,), rng, torch.float32)
        depth = torch.ones(2, 4, 6) if depth else None
        views = Views(torch.zeros(2, 3, 4, 6), cameras, torch.tensor(1.0), torch.tensor(9.0), depth)
        return Example(views, views, "scene")

    batch = Example.collate([example(True), example(True)])
    assert batch.context.images.shape == (2, 2, 3, 4, 6)
    assert batch.context.depth.shape == (2, 2, 4, 6)
    assert batch.key == ("scene", "scene")
    assert Example.collate([example(True), example(False)]).target.depth is None
    assert batch.to(torch.float64).context[0].near.dtype == torch.float64


def test_views_refuse_cameras_of_another_shape(rng):
    with pytest.raises(ParameterError, match="expected one camera for each view"):
        Views(torch.zeros(2, 3, 4, 6), random_cameras((3,), rng), torch.tensor(1.0), torch.tensor(9.0))
