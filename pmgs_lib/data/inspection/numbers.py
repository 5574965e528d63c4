"""What can be told from poses and intrinsics as numbers, without a picture."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from pmgs_lib.cameras import ROTATION_TOLERANCE, Cameras
from pmgs_lib.data.inspection.base import Finding, named_frames

MAX_FOV_DEG = 100.0  # beyond it the released data code leaves a scene out
MAX_TRANSLATION = 1e3  # beyond it the released data code leaves a DL3DV scene out
MAX_OFF_CENTER = 0.02  # of the picture; released renderers take the principal point to be in the middle
JUMP = 10.0  # times the median step between neighbouring frames
FEW_FRAMES = 8
DISORDER = 3.0  # median step over the median distance to the nearest other camera; along a walk it is near 1


def check_poses(poses: Float64[Tensor, "frame 4 4"], intrinsics: Float64[Tensor, "frame 3 3"]) -> list[Finding]:
    """Faults of raw matrices: numbers that are none, and rotations that are none."""
    finite = poses.isfinite().flatten(1).all(1) & intrinsics.isfinite().flatten(1).all(1)
    broken = (~finite).nonzero().flatten().tolist()
    if broken:
        text = f"{named_frames(broken)}: NaN or infinite numbers in a pose or camera matrix; remove or repair them"
        return [Finding("not finite", text, tuple(broken))]
    rotation, scale = unscaled(poses)
    identity = torch.eye(3, dtype=rotation.dtype)
    skewed = (rotation @ rotation.mT - identity).abs().amax(dim=(1, 2)) > ROTATION_TOLERANCE
    scaled = ~skewed & ((scale - 1).abs() > ROTATION_TOLERANCE)
    mirrored = ~skewed & (torch.linalg.det(rotation) < 0)
    told = {
        "not a rotation": (skewed, "axes are not at right angles or of unequal length; export the poses again"),
        "scaled rotation": (scaled, f"rotation is multiplied by {scale.median().item():.4g}; divide it out"),
        "mirrored": (mirrored, "determinant is -1: one axis of the camera, or of the world, is flipped"),
    }
    found = []
    for check, (where, text) in told.items():
        frames = where.nonzero().flatten().tolist()
        if frames:
            found.append(Finding(check, f"{named_frames(frames)}: {text}", tuple(frames)))
    return found


def unscaled(poses: Float64[Tensor, "frame 4 4"]) -> tuple[Float64[Tensor, "frame 3 3"], Float64[Tensor, " frame"]]:
    """Rotation part of each pose with its scale (cube root of the volume that its axes span) divided out."""
    axes = poses[:, :3, :3]
    scale = torch.linalg.det(axes).abs().pow(1 / 3)
    return axes / torch.where(scale > 0, scale, 1.0)[:, None, None], scale


def fields_of_view(cameras: Cameras) -> tuple[Float[Tensor, " frame"], Float[Tensor, " frame"]]:
    """Horizontal and vertical angle that each picture spans, in degrees."""
    k = cameras.intrinsics.double()
    angles = [(k[:, i, 2] / k[:, i, i]).arctan() + ((1 - k[:, i, 2]) / k[:, i, i]).arctan() for i in range(2)]
    return angles[0].rad2deg(), angles[1].rad2deg()


def check_cameras(cameras: Cameras) -> list[Finding]:
    """Oddities of cameras that are sound: angles, principal points, distances."""
    frames, found = len(cameras.world_from_camera), []
    if frames < FEW_FRAMES:
        found.append(Finding("few frames", f"only {frames} frames: context and targets leave little choice"))
    wide = (torch.maximum(*fields_of_view(cameras)) > MAX_FOV_DEG).nonzero().flatten().tolist()
    if wide:
        text = f"{len(wide)} frames see more than {MAX_FOV_DEG:g} degrees: check focal lengths"
        found.append(Finding("wide", text, tuple(wide)))
    off = off_center(cameras)
    if off > MAX_OFF_CENTER:
        text = f"principal point {off:.1%} of the picture off its middle: released renderers assume the middle"
        found.append(Finding("off-centre", text))
    if cameras.centers.abs().max() > MAX_TRANSLATION:
        text = f"a camera is more than {MAX_TRANSLATION:g} units from the origin: check the scale"
        found.append(Finding("far away", text))
    return found + _check_steps(cameras)


def off_center(cameras: Cameras) -> float:
    """Largest distance of a principal point from the middle, as a share of the picture."""
    return (cameras.intrinsics[:, :2, 2] - 0.5).abs().max().item()


def steps_of(cameras: Cameras) -> Float[Tensor, " step"]:
    """Distances between neighbouring frames."""
    centers = cameras.centers.double()
    return (centers[1:] - centers[:-1]).norm(dim=-1)


def _check_steps(cameras: Cameras) -> list[Finding]:
    steps, found = steps_of(cameras), []
    median = steps.median().item() if len(steps) else 0.0
    still = (steps == 0).nonzero().flatten().tolist()
    if still:
        text = f"{len(still)} frames stand where the one before stood: no parallax between them"
        found.append(Finding("still", text, tuple(frame + 1 for frame in still)))
    jumps = (steps > JUMP * median).nonzero().flatten().tolist() if median > 0 else []
    if jumps:
        text = f"{len(jumps)} steps are over {JUMP:g} times the median one: frames may be out of order or misplaced"
        found.append(Finding("jump", text, tuple(frame + 1 for frame in jumps)))
    if len(steps) + 1 >= FEW_FRAMES:
        centers = cameras.centers.double()
        others = torch.cdist(centers, centers).fill_diagonal_(torch.inf)
        nearest = others.amin(dim=1).median().item()
        if nearest > 0 and median > DISORDER * nearest:
            text = (
                f"neighbours in the list stand {median / nearest:.1f} times as far apart as neighbours in the room: "
                "frames are not in the order of the walk; sort them, or choose context frames by position"
            )
            found.append(Finding("out of order", text))
    return found
