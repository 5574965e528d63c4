"""What models that find depth by matching ask of their input, said in one line when it is not met."""

from dataclasses import replace

import torch
from torch import Tensor

from pmgs_lib.cameras import ROTATION_TOLERANCE, Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.views import Views

# Rotations this close to orthonormal are rounded, not wrong: they stay as they are, bit for bit.
ROUNDING = 1e-5


def check_context(name: str, context: Views, multiple: int, *, fewest_views: int = 2) -> Views:
    """Context views that a matching model can take, with orthonormal rotations, or an error that says why not.

    name: of the model, first word of the message. multiple: image sides must divide by it. fewest_views: 2 for a model
    that matches; one that asks for more than that, or for another reason, says so itself. Rotations up to
    `ROTATION_TOLERANCE` off orthonormal are replaced by the nearest rotation; worse ones, and numbers that are not
    finite or out of order, raise `DataError` or `ParameterError`. Looking at numbers waits for the device once; a
    compiled graph leaves it out and checks shapes only.
    """
    _check_shapes(name, context, multiple, fewest_views)
    if not torch.compiler.is_compiling() and not bool(_usable(context)):
        _explain(name, context)
    return replace(context, cameras=_with_nearest_rotations(context.cameras))


def _check_shapes(name: str, context: Views, multiple: int, fewest_views: int) -> None:
    if len(context.batch_shape) != 1:
        raise ParameterError(
            f"{name}: images of shape {tuple(context.images.shape)} have batch shape {tuple(context.batch_shape)}; "
            "expected (batch,): stack scenes with Views.stack"
        )
    if context.count < fewest_views:
        raise ParameterError(
            f"{name}: {context.count} context view; expected at least {fewest_views}, since depth comes from matching"
        )
    if context.height % multiple or context.width % multiple:
        nearest = " x ".join(str(max(side // multiple, 1) * multiple) for side in (context.height, context.width))
        raise ParameterError(
            f"{name}: images of {context.height} x {context.width}; expected multiples of {multiple}: "
            f"crop or resize them, for example to {nearest}"
        )


def _usable(context: Views) -> Tensor:
    """One boolean on the device: whether every number is as `_explain` expects it."""
    poses, intrinsics = context.cameras.world_from_camera, context.cameras.intrinsics
    right, down, forward = poses[..., :3, :3].unbind(-1)
    conditions = [
        (context.near > 0) & (context.near < context.far) & context.far.isfinite(),
        context.images.isfinite(),
        poses.isfinite(),
        intrinsics.isfinite(),
        _deviation(poses[..., :3, :3]) <= ROTATION_TOLERANCE,
        (torch.linalg.cross(right, down) * forward).sum(-1) > 0,
        torch.diagonal(intrinsics, dim1=-2, dim2=-1)[..., :2] > 0,
    ]
    return torch.stack([condition.all() for condition in conditions]).all()


def _explain(name: str, context: Views) -> None:
    """Name the first unusable scene and view; returns if it was rounding at the edge of a tolerance."""
    ordered = (context.near > 0) & (context.near < context.far) & context.far.isfinite()
    if not ordered.all():
        ranges = ", ".join(f"{n:g}..{f:g}" for n, f in zip(context.near.tolist(), context.far.tolist(), strict=True))
        raise ParameterError(f"{name}: depth ranges {ranges}; expected finite 0 < near < far for every scene")
    blank = (~context.images.isfinite().flatten(2).all(-1)).nonzero().tolist()
    if blank:
        scene, view = blank[0]
        raise ParameterError(
            f"{name}: the image of scene {scene}, view {view} has NaN or infinite values; expected numbers in [0, 1]: "
            "repair or leave out the picture"
        )
    for scene in range(len(context.images)):
        context.cameras[scene].validate(f"{name}: scene {scene}")


def _with_nearest_rotations(cameras: Cameras) -> Cameras:
    """Cameras whose slightly skewed rotations are replaced by the nearest ones, in the sense of squared differences.

    Two steps of the Newton-Schulz iteration to the polar factor: from `ROTATION_TOLERANCE` the first leaves 1e-6.
    """
    pose = cameras.world_from_camera
    given = rotation = pose[..., :3, :3]
    for _ in range(2):
        rotation = 1.5 * rotation - 0.5 * rotation @ rotation.mT @ rotation
    rotation = torch.where((_deviation(given) > ROUNDING)[..., None, None], rotation, given)
    top = torch.cat([rotation, pose[..., :3, 3:]], dim=-1)
    return replace(cameras, world_from_camera=torch.cat([top, pose[..., 3:, :]], dim=-2))


def _deviation(rotation: Tensor) -> Tensor:
    identity = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    return (rotation @ rotation.mT - identity).abs().amax((-2, -1))
