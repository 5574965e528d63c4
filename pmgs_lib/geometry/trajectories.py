"""Camera paths on plain tensors: through given poses, around one pose, and the steady version of a shaken path.

Poses are `world_from_camera` (4x4) with OpenCV axes; lengths are in world units. Every path moves with the world: a
rigid motion of the given poses moves the path by the same motion.
"""

import math
from typing import Literal

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.errors import ParameterError
from pmgs_lib.geometry.pose import matrix_to_quaternion, quaternion_to_matrix

# Half an angle between quaternions below which sin(t x) / sin(x) is t to float64's last digit.
SMALL_ANGLE = 1e-8


def interpolate_poses(
    poses: Float[Tensor, "key 4 4"],
    times: Float[Tensor, " frame"],
    *,
    positions: Literal["spline", "linear"] = "spline",
) -> Float[Tensor, "frame 4 4"]:
    """Poses at `times` on a path through all key poses; key i is passed at time i, so times lie in [0, key - 1].

    Positions follow a Catmull-Rom spline (continuous velocity; Catmull and Rom, "A class of local interpolating
    splines", 1974), or straight lines; rotations turn evenly along the shortest arc from key to key (Shoemake,
    "Animating rotation with quaternion curves", 1985). Raises `ParameterError` for times beyond the keys.

    >>> poses = torch.eye(4).repeat(2, 1, 1)
    >>> poses[1, 0, 3] = 2.0
    >>> interpolate_poses(poses, torch.tensor([0.5]))[0, 0, 3].item()
    1.0
    """
    start, share = _segments("interpolate_poses", len(poses), times)
    end = (start + 1).clamp(max=len(poses) - 1)
    centers = poses[:, :3, 3]
    if positions == "spline":
        placed = _spline(centers, start, share)
    else:
        placed = centers[start] + share[:, None] * (centers[end] - centers[start])
    quaternions = matrix_to_quaternion(poses[:, :3, :3])
    turned = quaternion_to_matrix(_slerp(quaternions[start], quaternions[end], share))
    return _poses(turned, placed)


def interpolate_intrinsics(
    intrinsics: Float[Tensor, "key 3 3"], times: Float[Tensor, " frame"]
) -> Float[Tensor, "frame 3 3"]:
    """Intrinsics at `times` (as `interpolate_poses` counts them), even in everything but focal lengths.

    Those go evenly in their logarithm, so that a zoom runs at one pace.
    """
    start, share = _segments("interpolate_intrinsics", len(intrinsics), times)
    end = (start + 1).clamp(max=len(intrinsics) - 1)
    first, second, share = intrinsics[start], intrinsics[end], share[:, None]
    between = first + share[..., None] * (second - first)
    focal, last_focal = (matrix.diagonal(dim1=-2, dim2=-1)[:, :2] for matrix in (first, second))
    between.diagonal(dim1=-2, dim2=-1)[:, :2] = focal * (last_focal / focal) ** share
    return between


def wobble(
    pose: Float[Tensor, "4 4"], radius: float, frames: int, *, focus: float | None = None
) -> Float[Tensor, "frame 4 4"]:
    """A figure of eight around a pose, in its own image plane, that starts at the pose and would end there again.

    radius: largest step to either side, in world units; half of it up and down. focus: distance along the optical axis
    of the point that the camera keeps in the middle of the picture; None keeps the direction instead.
    """
    _require_frames("wobble", frames)
    if radius < 0 or (focus is not None and focus <= 0):
        raise ParameterError(
            f"wobble: radius {radius} and focus {focus}, expected a radius of 0 or more, focus above 0"
        )
    phase = 2 * math.pi * torch.arange(frames, dtype=pose.dtype, device=pose.device) / frames
    steps = radius * torch.stack([phase.sin(), (2 * phase).sin() / 2, torch.zeros_like(phase)], dim=-1)
    turns = torch.eye(3, dtype=pose.dtype, device=pose.device).expand(frames, 3, 3)
    if focus is not None:
        turns = _looking_along(pose.new_tensor([0.0, 0.0, focus]) - steps)
    return pose @ _poses(turns, steps)


def spin(
    pose: Float[Tensor, "4 4"], distance: float, frames: int, *, sweep_deg: float = 360.0
) -> Float[Tensor, "frame 4 4"]:
    """A circle that starts at a pose, around the point `distance` ahead of it and about its own vertical axis.

    The camera always looks at that point. sweep_deg: how far round it goes; frame n of `frames` would be the end.
    """
    _require_frames("spin", frames)
    if not 0 < distance < math.inf:
        raise ParameterError(f"spin: distance {distance}, expected a positive length in world units")
    angle = math.radians(sweep_deg) * torch.arange(frames, dtype=pose.dtype, device=pose.device) / frames
    about_y = torch.stack([(angle / 2).cos(), torch.zeros_like(angle), (angle / 2).sin(), torch.zeros_like(angle)], -1)
    turns = quaternion_to_matrix(about_y)
    ahead = pose.new_tensor([0.0, 0.0, distance])
    return pose @ _poses(turns, ahead - turns @ ahead)


def stabilize_poses(poses: Float[Tensor, "frame 4 4"], window: int) -> Float[Tensor, "frame 4 4"]:
    """The same walk with a steady hand: positions and rotations averaged over `window` frames by a Gaussian.

    window: an odd number of frames that spans three standard deviations to either side; 1 changes nothing. Beyond its
    ends the path goes on as its own reflection through the end pose, so both ends and straight, evenly turning
    stretches stay where they are; a window that reaches farther than the path is long is shortened. Rotations are
    averaged as matrices and brought back to the nearest rotation (Moakher, "Means and averaging in the group of
    rotations", 2002).
    """
    if window < 1 or window % 2 == 0:
        raise ParameterError(f"stabilize_poses: window {window}, expected an odd number of frames, 1 or more")
    reach = min(window // 2, len(poses) - 1)
    if reach == 0:
        return poses.clone()
    # float64: a mean of nearly equal rotations is projected, and the world's origin may be far away.
    exact = poses.double()
    rotation, center = exact[:, :3, :3], exact[:, :3, 3]
    before = [rotation[:1] @ rotation[1 : reach + 1].flip(0).mT @ rotation[:1], rotation]
    after = rotation[-1:] @ rotation[-reach - 1 : -1].flip(0).mT @ rotation[-1:]
    rotations = torch.cat([*before, after])
    centers = torch.cat(
        [2 * center[:1] - center[1 : reach + 1].flip(0), center, 2 * center[-1:] - center[-reach - 1 : -1].flip(0)]
    )
    offset = torch.arange(-reach, reach + 1, dtype=torch.float64, device=poses.device)
    weights = (-0.5 * (3 * offset / (reach + 0.5)).square()).exp()
    weights = weights / weights.sum()
    mean = rotations.unfold(0, 2 * reach + 1, 1) @ weights
    return _poses(roma.special_procrustes(mean), centers.unfold(0, 2 * reach + 1, 1) @ weights).to(poses.dtype)


def _segments(function: str, keys: int, times: Float[Tensor, " frame"]) -> tuple[Tensor, Tensor]:
    """Index of the key before each time, and the share of the way to the next one."""
    if keys == 0 or not bool(((times >= 0) & (times <= keys - 1)).all()):
        raise ParameterError(f"{function}: {keys} keys and times {times.tolist()[:8]}, expected times in 0 to keys - 1")
    start = times.floor().long().clamp(max=max(keys - 2, 0))
    return start, times - start


def _spline(centers: Float[Tensor, "key 3"], start: Tensor, share: Tensor) -> Float[Tensor, "frame 3"]:
    if len(centers) == 1:
        return centers[start]
    # Keys beyond the ends, so that two keys give a straight line and the ends have a velocity.
    centers = torch.cat([2 * centers[:1] - centers[1:2], centers, 2 * centers[-1:] - centers[-2:-1]])
    before, first, second, after = (centers[start + i] for i in range(4))
    t = share[:, None]
    bend = (second - before) + t * (2 * before - 5 * first + 4 * second - after)
    return first + 0.5 * t * (bend + t * t * (3 * (first - second) + after - before))


def _slerp(
    first: Float[Tensor, "frame 4"], second: Float[Tensor, "frame 4"], share: Float[Tensor, " frame"]
) -> Float[Tensor, "frame 4"]:
    second = torch.where((first * second).sum(-1, keepdim=True) < 0, -second, second)  # the shorter of the two arcs
    # Half the angle of the rotation between them; unlike the arc cosine this is exact for nearly equal ones.
    angle = 2 * torch.atan2((first - second).norm(dim=-1), (first + second).norm(dim=-1))
    near = angle < SMALL_ANGLE
    sine = torch.where(near, 1.0, angle.sin())
    weights = [torch.where(near, t, (t * angle).sin() / sine)[:, None] for t in (1 - share, share)]
    return weights[0] * first + weights[1] * second


def _looking_along(directions: Float[Tensor, "frame 3"]) -> Float[Tensor, "frame 3 3"]:
    """The smallest rotations that turn the optical axis to `directions`, all with z > 0."""
    unit = torch.nn.functional.normalize(directions, dim=-1)
    x, y, z = unit.unbind(-1)
    # Quaternion between two unit vectors: (1 + a . b, a x b), with a = (0, 0, 1).
    return quaternion_to_matrix(torch.stack([1 + z, -y, x, torch.zeros_like(x)], dim=-1))


def _poses(rotation: Float[Tensor, "frame 3 3"], center: Float[Tensor, "frame 3"]) -> Float[Tensor, "frame 4 4"]:
    poses = torch.eye(4, dtype=rotation.dtype, device=rotation.device).repeat(len(rotation), 1, 1)
    poses[:, :3, :3] = rotation
    poses[:, :3, 3] = center
    return poses


def _require_frames(function: str, frames: int) -> None:
    if frames < 1:
        raise ParameterError(f"{function}: {frames} frames, expected at least 1")
