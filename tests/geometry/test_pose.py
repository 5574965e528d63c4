"""Laws of poses, quaternions and intrinsics: round trips over batch shapes and dtypes."""

import pytest
import torch
from torch.testing import assert_close

from pmgs_lib.geometry import pose

BATCHES = [(), (1,), (3, 1, 2)]
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}


def random_quaternion(batch, dtype, rng):
    return torch.nn.functional.normalize(torch.randn(*batch, 4, dtype=dtype, generator=rng), dim=-1)


def random_pose(batch, dtype, rng):
    matrix = torch.eye(4, dtype=dtype).repeat(*batch, 1, 1)
    matrix[..., :3, :3] = pose.quaternion_to_matrix(random_quaternion(batch, dtype, rng))
    matrix[..., :3, 3] = torch.rand(*batch, 3, dtype=dtype, generator=rng) - 0.5
    return matrix


@pytest.fixture(params=BATCHES, ids=str)
def batch(request):
    return request.param


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


def close(actual, expected, dtype):
    assert_close(actual, expected, atol=TOLERANCE[dtype], rtol=0)


def test_inverse_undoes_a_pose(batch, dtype, rng):
    world_from_camera = random_pose(batch, dtype, rng)
    points = torch.rand(*batch, 5, 3, dtype=dtype, generator=rng) - 0.5
    there = pose.transform_points(pose.inverse_pose(world_from_camera), points)
    close(pose.transform_points(world_from_camera, there), points, dtype)
    close(pose.inverse_pose(pose.inverse_pose(world_from_camera)), world_from_camera, dtype)


def test_opengl_and_back(batch, dtype, rng):
    world_from_camera = random_pose(batch, dtype, rng)
    opengl = pose.opengl_from_opencv(world_from_camera)
    close(pose.opencv_from_opengl(opengl), world_from_camera, dtype)
    close(opengl[..., :3, 2], -world_from_camera[..., :3, 2], dtype)
    close(opengl[..., :3, 3], world_from_camera[..., :3, 3], dtype)
    close(torch.linalg.det(opengl), torch.ones(batch, dtype=dtype), dtype)


def test_intrinsics_in_pixels_and_back(batch, dtype, rng):
    normalized = torch.eye(3, dtype=dtype).repeat(*batch, 1, 1)
    normalized[..., 0, 0] = torch.rand(batch, dtype=dtype, generator=rng) + 0.5
    normalized[..., :2, 2] = 0.5
    pixel = pose.pixel_intrinsics(normalized, 256, 448)
    close(pixel[..., 0, 2], torch.full(batch, 224.0, dtype=dtype), dtype)
    close(pose.normalized_intrinsics(pixel, 256, 448), normalized, dtype)


def test_quaternion_orders(batch, dtype, rng):
    wxyz = random_quaternion(batch, dtype, rng)
    xyzw = pose.xyzw_from_wxyz(wxyz)
    close(xyzw[..., 3], wxyz[..., 0], dtype)
    close(pose.wxyz_from_xyzw(xyzw), wxyz, dtype)


def test_matrix_and_back(batch, dtype, rng):
    quaternion = random_quaternion(batch, dtype, rng)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    close(pose.matrix_to_quaternion(pose.quaternion_to_matrix(quaternion)), quaternion, dtype)


@pytest.mark.parametrize("axis", range(4))
def test_matrix_to_quaternion_where_one_component_rules(axis):
    quaternion = torch.full((4,), 1e-9, dtype=torch.float64)
    quaternion[axis] = 1
    quaternion = torch.nn.functional.normalize(quaternion, dim=-1)
    found = pose.matrix_to_quaternion(pose.quaternion_to_matrix(quaternion))
    assert_close(found, quaternion, atol=1e-12, rtol=0)


def test_product_of_quaternions_is_product_of_rotations(batch, dtype, rng):
    left, right = random_quaternion(batch, dtype, rng), random_quaternion(batch, dtype, rng)
    product = pose.quaternion_to_matrix(pose.quaternion_multiply(left, right))
    close(product, pose.quaternion_to_matrix(left) @ pose.quaternion_to_matrix(right), dtype)
