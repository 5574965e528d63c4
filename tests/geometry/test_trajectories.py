"""Laws of camera paths: they pass their keys, stay rigid, move with the world, and run backwards as they ran."""

import math

import pytest
import torch
from torch.testing import assert_close

from pmgs_lib.errors import ParameterError
from pmgs_lib.geometry.pose import inverse_pose, quaternion_to_matrix
from pmgs_lib.geometry.trajectories import interpolate_intrinsics, interpolate_poses, spin, stabilize_poses, wobble

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-10}
EVEN_TURN_DEG = 3.0


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


def random_poses(count, rng, dtype=torch.float64, spread=1.0):
    poses = torch.eye(4, dtype=dtype).repeat(count, 1, 1)
    quaternions = torch.randn(count, 4, dtype=dtype, generator=rng)
    poses[:, :3, :3] = quaternion_to_matrix(quaternions)
    poses[:, :3, 3] = spread * torch.randn(count, 3, dtype=dtype, generator=rng)
    return poses


def shaken_walk(count, rng, dtype=torch.float64, shake=0.05):
    """A bent walk whose every pose was pushed and turned a little."""
    time = torch.linspace(0, 1, count, dtype=dtype)
    poses = torch.eye(4, dtype=dtype).repeat(count, 1, 1)
    noise = shake * torch.randn(count, 3, dtype=dtype, generator=rng)
    turn = torch.stack([torch.zeros_like(time), 0.4 * time, 0.2 * time.square()], dim=-1) + noise
    poses[:, :3, :3] = quaternion_to_matrix(torch.cat([torch.ones(count, 1, dtype=dtype), turn / 2], dim=-1))
    path = torch.stack([2 * time, time.square(), 0 * time], dim=-1)
    poses[:, :3, 3] = path + shake * torch.randn(count, 3, dtype=dtype, generator=rng)
    return poses


def interpolated(poses, positions="spline", frames=23):
    return interpolate_poses(poses, torch.linspace(0, len(poses) - 1, frames, dtype=poses.dtype), positions=positions)


PATHS = {
    "spline": lambda poses: interpolated(poses),
    "linear": lambda poses: interpolated(poses, "linear"),
    "stabilized": lambda poses: stabilize_poses(poses, 5),
    "wobble": lambda poses: wobble(poses[0], 0.3, 12),
    "wobble with a focus": lambda poses: wobble(poses[0], 0.3, 12, focus=2.0),
    "spin": lambda poses: spin(poses[0], 1.5, 12),
}
THROUGH_MANY = ("spline", "linear", "stabilized")


def close(actual, expected, dtype):
    assert_close(actual, expected, atol=TOLERANCE[dtype], rtol=0)


@pytest.mark.parametrize("name", PATHS)
def test_poses_stay_rigid(name, dtype, rng):
    poses = PATHS[name](random_poses(6, rng, dtype))
    rotation = poses[:, :3, :3]
    assert poses.dtype == dtype
    close(rotation @ rotation.mT, torch.eye(3, dtype=dtype).expand_as(rotation), dtype)
    close(torch.linalg.det(rotation), torch.ones(len(poses), dtype=dtype), dtype)
    close(poses[:, 3], torch.tensor([0.0, 0, 0, 1], dtype=dtype).expand(len(poses), 4), dtype)


@pytest.mark.parametrize("name", PATHS)
def test_a_motion_of_the_world_moves_the_path(name, dtype, rng):
    keys, motion = random_poses(6, rng, dtype), random_poses(1, rng, dtype, spread=3.0)[0]
    close(PATHS[name](motion @ keys), motion @ PATHS[name](keys), dtype)


@pytest.mark.parametrize("name", THROUGH_MANY)
def test_a_constant_path_stays_constant(name, dtype, rng):
    poses = random_poses(1, rng, dtype).expand(7, 4, 4)
    path = PATHS[name](poses)
    close(path, poses[:1].expand_as(path), dtype)


@pytest.mark.parametrize("name", THROUGH_MANY)
def test_reversed_keys_give_the_reversed_path(name, dtype, rng):
    poses = shaken_walk(6, rng, dtype)
    close(PATHS[name](poses.flip(0)), PATHS[name](poses).flip(0), dtype)


@pytest.mark.parametrize("positions", ["spline", "linear"])
def test_the_path_passes_through_every_key(positions, dtype, rng):
    poses = random_poses(5, rng, dtype)
    close(interpolate_poses(poses, torch.arange(5, dtype=dtype), positions=positions), poses, dtype)


def test_a_single_key_is_the_whole_path(dtype, rng):
    pose = random_poses(1, rng, dtype)
    close(interpolate_poses(pose, torch.zeros(3, dtype=dtype)), pose.expand(3, 4, 4), dtype)


def test_the_spline_has_a_continuous_velocity_and_the_polyline_has_not(rng):
    poses, step = random_poses(6, rng), 1e-5
    around = torch.tensor([2 - step, 2, 2 + step], dtype=torch.float64)
    jumps = {}
    for positions in ("spline", "linear"):
        before, at, after = interpolate_poses(poses, around, positions=positions)[:, :3, 3]
        jumps[positions] = ((after - at) - (at - before)).norm() / step
    assert jumps["spline"] < 1e-3 < 0.1 < jumps["linear"]


def test_evenly_spaced_keys_on_a_line_are_walked_evenly(rng):
    poses = torch.eye(4, dtype=torch.float64).repeat(4, 1, 1)
    poses[:, 0, 3] = torch.arange(4)
    times = torch.linspace(0, 3, 31, dtype=torch.float64)
    assert_close(interpolate_poses(poses, times)[:, 0, 3], times)


def test_a_turn_takes_the_shortest_arc_evenly():
    angles = torch.tensor([0.0, 170.0], dtype=torch.float64).deg2rad()
    poses = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    poses[:, :3, :3] = quaternion_to_matrix(
        torch.stack([(angles / 2).cos(), 0 * angles, (angles / 2).sin(), 0 * angles], -1)
    )
    for keys in (poses, poses @ inverse_pose(poses[1])):  # the second pair has the identity last
        path = interpolate_poses(keys, torch.linspace(0, 1, 18, dtype=torch.float64))
        turned = (path[1:, :3, :3] @ path[:-1, :3, :3].mT).diagonal(dim1=-2, dim2=-1).sum(-1)
        assert_close(((turned - 1) / 2).acos().rad2deg(), torch.full((17,), 10.0, dtype=torch.float64))


def test_nearly_equal_rotations_are_interpolated_without_loss():
    poses = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    poses[1, :3, :3] = quaternion_to_matrix(torch.tensor([1.0, 1e-9, 0, 0], dtype=torch.float64))
    middle = interpolate_poses(poses, torch.tensor([0.5], dtype=torch.float64))[0]
    assert_close(middle[2, 1].item(), 1e-9, rtol=1e-6, atol=0)


def test_focal_lengths_interpolate_in_their_logarithm(dtype):
    keys = torch.tensor([[[1.0, 0, 0.4], [0, 2, 0.5], [0, 0, 1]], [[4.0, 0, 0.6], [0, 2, 0.7], [0, 0, 1]]], dtype=dtype)
    path = interpolate_intrinsics(keys, torch.tensor([0, 0.5, 1], dtype=dtype))
    close(path[[0, 2]], keys, dtype)
    close(path[1], torch.tensor([[2.0, 0, 0.5], [0, 2, 0.6], [0, 0, 1]], dtype=dtype), dtype)
    close(interpolate_intrinsics(keys.flip(0), torch.tensor([0.25], dtype=dtype)),
          interpolate_intrinsics(keys, torch.tensor([0.75], dtype=dtype)), dtype)  # fmt: skip


def test_the_wobble_starts_at_its_pose_and_keeps_its_radius(dtype, rng):
    pose = random_poses(1, rng, dtype)[0]
    local = inverse_pose(pose) @ wobble(pose, 0.3, 40)
    close(local[0], torch.eye(4, dtype=dtype), dtype)
    close(local[:, :3, :3], torch.eye(3, dtype=dtype).expand(40, 3, 3), dtype)
    assert local[:, 2, 3].abs().max() < TOLERANCE[dtype]
    close(local[:, 0, 3].max(), torch.tensor(0.3, dtype=dtype), dtype)
    close(local[:, :2, 3].mean(dim=0), torch.zeros(2, dtype=dtype), dtype)


@pytest.mark.parametrize("path", ["wobble", "spin"])
def test_the_point_of_interest_stays_in_the_middle(path, dtype, rng):
    pose = random_poses(1, rng, dtype)[0]
    point = pose[:3, 3] + 2 * pose[:3, 2]
    poses = wobble(pose, 0.5, 9, focus=2.0) if path == "wobble" else spin(pose, 2.0, 9)
    seen = (inverse_pose(poses) @ torch.cat([point, point.new_ones(1)]))[:, :3]
    close(seen[:, :2], torch.zeros(9, 2, dtype=dtype), dtype)
    assert bool((seen[:, 2] > 0).all())


def test_the_spin_is_a_circle_that_closes(dtype, rng):
    pose = random_poses(1, rng, dtype)[0]
    circle = spin(pose, 1.5, 8)
    close(circle[0], pose, dtype)
    point = pose[:3, 3] + 1.5 * pose[:3, 2]
    close((circle[:, :3, 3] - point).norm(dim=-1), torch.full((8,), 1.5, dtype=dtype), dtype)
    close(((circle[:, :3, 3] - pose[:3, 3]) * pose[:3, 1]).sum(-1), torch.zeros(8, dtype=dtype), dtype)
    steps = (circle.roll(-1, 0)[:, :3, 3] - circle[:, :3, 3]).norm(dim=-1)
    close(steps, torch.full((8,), 2 * 1.5 * math.sin(math.pi / 8), dtype=dtype), dtype)
    close(spin(pose, 1.5, 4, sweep_deg=180.0), circle[:4], dtype)


def test_stabilising_keeps_the_ends_and_straight_stretches(dtype, rng):
    poses = shaken_walk(15, rng, dtype)
    steady = stabilize_poses(poses, 9)
    close(steady[[0, -1]], poses[[0, -1]], dtype)
    time = torch.arange(15, dtype=dtype)
    half = (time * EVEN_TURN_DEG).deg2rad() / 2
    even = torch.eye(4, dtype=dtype).repeat(15, 1, 1)
    even[:, :3, :3] = quaternion_to_matrix(torch.stack([half.cos(), half.sin(), 0 * half, 0 * half], -1))
    even[:, 0, 3] = 0.1 * time
    close(stabilize_poses(even, 9), even, dtype)


def test_stabilising_takes_out_most_of_the_shake(rng):
    smooth, shaken = shaken_walk(60, rng, shake=0.0), shaken_walk(60, rng, shake=0.02)
    steady = stabilize_poses(shaken, 15)
    for part in (lambda poses: poses[:, :3, 3], lambda poses: poses[:, :3, 2]):
        jerk = [(part(p)[2:] - 2 * part(p)[1:-1] + part(p)[:-2]).norm(dim=-1).mean() for p in (shaken, steady)]
        assert jerk[1] < 0.1 * jerk[0]
        inner = slice(8, -8)
        off = [(part(p) - part(smooth))[inner].norm(dim=-1).mean() for p in (shaken, steady)]
        assert off[1] < 0.6 * off[0]


def test_a_wider_window_is_never_shakier(rng):
    shaken = shaken_walk(40, rng, shake=0.05)
    jerks = []
    for window in (1, 3, 7, 15, 31, 201):
        steady = stabilize_poses(shaken, window)[:, :3, 3]
        jerks.append((steady[2:] - 2 * steady[1:-1] + steady[:-2]).norm(dim=-1).mean().item())
    assert jerks == sorted(jerks, reverse=True)
    assert_close(stabilize_poses(shaken, 1), shaken)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda poses: interpolate_poses(poses, torch.tensor([-0.1])), "expected times in 0 to keys - 1"),
        (lambda poses: interpolate_poses(poses, torch.tensor([3.1])), "expected times in 0 to keys - 1"),
        (lambda poses: interpolate_poses(poses, torch.tensor([math.nan])), "expected times in 0 to keys - 1"),
        (lambda poses: interpolate_intrinsics(poses[:, :3, :3], torch.tensor([9.0])), "interpolate_intrinsics: 4 keys"),
        (lambda poses: stabilize_poses(poses, 4), "window 4, expected an odd number"),
        (lambda poses: wobble(poses[0], -1.0, 4), "radius -1.0"),
        (lambda poses: wobble(poses[0], 1.0, 0), "0 frames"),
        (lambda poses: spin(poses[0], 0.0, 4), "distance 0.0"),
    ],
)
def test_what_is_no_path_is_refused(call, message, rng):
    with pytest.raises(ParameterError, match=message):
        call(random_poses(4, rng, torch.float32))
