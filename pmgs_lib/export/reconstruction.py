"""One scene through a model, and pictures of the result along any camera path with bounded memory."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.methods import evaluation_mode
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.geometry.trajectories import (
    interpolate_intrinsics,
    interpolate_poses,
    spin,
    stabilize_poses,
    wobble,
)
from pmgs_lib.rasterizers.base import Rendering, RenderingSettings
from pmgs_lib.rasterizers.dispatch import render_with_settings
from pmgs_lib.views import Views

PathKind = Literal["target", "stabilized", "interpolate", "wobble", "spin"]

CHUNK_VIEWS = 8  # pictures drawn at once
WOBBLE_RADIUS = 0.25  # of the distance between the outermost context cameras, as the released code's wobble
STABILIZING_WINDOW = 45  # frames; the released code's kernel


@dataclass(frozen=True)
class Reconstruction:
    """What a model made of the context views of one scene (no batch axis), on the device where it made it.

    gaussians: in the world frame; None for a model that predicts depth only. depth: z-depth of every context view in
    world units. settings: how the Gaussians are meant to be rendered. seconds: the forward pass, the first of a process
    with everything that is prepared then.
    """

    model: str
    context: Views
    gaussians: Gaussians | None
    depth: Float[Tensor, "view h w"] | None
    settings: RenderingSettings
    seconds: float
    device: str


def reconstruct(model: nn.Module, context: Views, *, name: str | None = None) -> Reconstruction:
    """Run `model` on the context views of one scene, in evaluation mode and without gradients, where the model is.

    context: without batch axes, or a batch of one. name: how the result calls the model (its class by default). Raises
    `ParameterError` for more than one scene, and what the model raises for views that it cannot take.
    """
    if context.batch_shape not in ((), (1,)):
        raise ParameterError(
            f"reconstruct: a batch of {tuple(context.batch_shape)} scenes, expected one; call it for each scene"
        )
    first = next(model.parameters(), context.images)
    batch = (context if context.batch_shape else Views.stack([context])).to(first.device)
    with torch.no_grad(), evaluation_mode(model):
        started = _now(first.device)
        prediction = model(batch)
        seconds = _now(first.device) - started
    return Reconstruction(
        model=name or type(model).__name__,
        context=batch[0],
        gaussians=None if prediction.gaussians is None else prediction.gaussians[0],
        depth=None if prediction.depth is None else prediction.depth[0],
        settings=prediction.settings,
        seconds=seconds,
        device=str(first.device),
    )


def render_path(
    reconstruction: Reconstruction,
    cameras: Cameras,
    height: int,
    width: int,
    *,
    chunk: int = CHUNK_VIEWS,
    backend: str = "auto",
) -> Iterator[Rendering]:
    """Pictures of the reconstruction from cameras (frame), as its model asks for them, `chunk` frames at a time.

    Only the current chunk is held, so a path may have any length; the pictures do not depend on `chunk`. Raises
    `ParameterError` at once for a reconstruction without Gaussians and for cameras that are no path.
    """
    if reconstruction.gaussians is None:
        raise ParameterError(
            f"render_path: {reconstruction.model} predicts depth only, expected Gaussians to render; "
            "take a splatting model"
        )
    if chunk < 1 or len(cameras.batch_shape) != 1:
        raise ParameterError(
            f"render_path: cameras of shape {tuple(cameras.batch_shape)}, {chunk} at a time; expected (frame,) and a "
            "chunk of at least 1"
        )
    return _render_chunks(
        reconstruction, cameras.to(reconstruction.gaussians.means.device), (height, width), chunk, backend
    )


def _render_chunks(
    reconstruction: Reconstruction, cameras: Cameras, size: tuple[int, int], chunk: int, backend: str
) -> Iterator[Rendering]:
    settings, near = reconstruction.settings, reconstruction.context.near
    for start in range(0, len(cameras.world_from_camera), chunk):
        part = cameras[start : start + chunk]
        with torch.no_grad():  # not around the yield: what the caller does with a chunk is his own affair
            rendering = render_with_settings(
                reconstruction.gaussians, part, *size, settings, near=near, backend=backend
            )
        yield rendering


def camera_path(
    kind: PathKind,
    reconstruction: Reconstruction,
    target: Cameras | None = None,
    *,
    frames: int = 60,
    window: int = STABILIZING_WINDOW,
) -> Cameras:
    """Cameras (frame) for a video.

    target: the given target cameras in their order. stabilized: the same with a steady hand, smoothed over `window`
    frames. The others have `frames` frames: interpolate: through the context cameras in their order. wobble: a figure
    of eight around the middle of that path, a quarter of its cameras' span wide, looking at the middle depth. spin: a
    circle around the point at that depth.
    """
    if kind in ("target", "stabilized"):
        if target is None:
            raise ParameterError(f"camera_path: a {kind} path needs target cameras; give some, or take another path")
        if kind == "target":
            return target
        return Cameras(stabilize_poses(target.world_from_camera, window), target.intrinsics)
    if frames < 1:
        raise ParameterError(f"camera_path: {frames} frames, expected at least 1")
    context = reconstruction.context.cameras
    poses, last = context.world_from_camera, len(context.world_from_camera) - 1
    if kind == "interpolate":
        times = torch.linspace(0, last, frames, dtype=poses.dtype, device=poses.device)
        return Cameras(interpolate_poses(poses, times), interpolate_intrinsics(context.intrinsics, times))
    middle = poses.new_tensor([last / 2])
    pose, distance = interpolate_poses(poses, middle)[0], _middle_depth(reconstruction)
    if kind == "wobble":
        span = torch.cdist(context.centers, context.centers).max().item()
        around = wobble(pose, WOBBLE_RADIUS * span, frames, focus=distance)
    else:
        around = spin(pose, distance, frames)
    return Cameras(around, interpolate_intrinsics(context.intrinsics, middle).expand(frames, 3, 3))


def _middle_depth(reconstruction: Reconstruction) -> float:
    """Median of the predicted depth; without one, the middle of the depth range in inverse depth."""
    if reconstruction.depth is not None:
        return reconstruction.depth.median().item()
    return (2 / (1 / reconstruction.context.near + 1 / reconstruction.context.far)).item()


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
