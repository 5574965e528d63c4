"""The parts of a saved reconstruction: what each needs, and how it is written.

Counterparts of the options of DepthSplat's released test mode (`test.*` of its configuration):

    inputs              save_input_images      inputs/<frame>.png, or .jpg; so are the next two
    rendered            save_image             rendered/<frame>.png, drawn a few at a time (render_chunk_size)
    truth               save_gt_image          truth/<frame>.png
    depth               save_depth             depth/<frame>.png, all on one logarithmic scale
    depth-beside-image  save_depth_concat_img  depth_beside_image.png, the inputs above their depth
    raw-depth           save_depth_npy         raw_depth/<frame>.npy, float32, world units; also .exr, .png (16 bits)
    gaussians           save_gaussian          gaussians.ply, which renders the same when it is read back
    video               save_video             video.mp4; path "stabilized" with `window` frames is stablize_camera with
                                               stab_camera_kernel, "interpolate" and "wobble" are its validation videos;
                                               of several reconstructions it shows all, side by side

Pictures at target cameras are always drawn at these; only a video's path is ever smoothed.
"""

import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor

from pmgs_lib.data.config import Config
from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.metrics import psnr
from pmgs_lib.export.certification import write_splats
from pmgs_lib.export.comparison import comparison_frames
from pmgs_lib.export.depth import MILLIMETRES, write_depth
from pmgs_lib.export.images import depth_colors, image_to_uint8, save_image, save_pixels
from pmgs_lib.export.reconstruction import (
    CHUNK_VIEWS,
    STABILIZING_WINDOW,
    PathKind,
    Reconstruction,
    camera_path,
    render_path,
)
from pmgs_lib.export.video import stream_video
from pmgs_lib.views import Views

Part = Literal["inputs", "rendered", "truth", "depth", "depth-beside-image", "raw-depth", "gaussians", "video"]
VideoKind = Literal["none", PathKind]
DepthFormat = Literal["npy", "exr", "png"]
Written = Iterator[tuple[str, dict[str, Any]]]  # file names relative to the folder, with facts for the manifest

# The depth scale of the colours spans these quantiles: a few pixels far off would leave all others one colour.
DEPTH_QUANTILES = (0.01, 0.99)
CERTIFYING_VIEWS = 2  # context cameras at which the file of Gaussians is proven


class SaveSettings(Config):
    """What to save of a reconstruction, and how."""

    save: tuple[Part, ...] = Field((), description=f"some of {', '.join(get_args(Part))}; none named: all that can be")
    pictures: Literal["png", "jpg"] = Field("png", description="format of inputs, rendered and truth")
    depth_as: tuple[DepthFormat, ...] = Field(("npy",), min_length=1, description="formats of the raw depth, some of "
                                              f"{', '.join(get_args(DepthFormat))}; png has 16 bits")  # fmt: skip
    steps_per_unit: float = Field(MILLIMETRES, gt=0, allow_inf_nan=False, description="of depth in a png, a world unit")
    video: VideoKind = Field("none", description="path of the video's cameras")
    frames: int = Field(60, ge=1, description="frames of a video along a made-up path")
    window: int = Field(STABILIZING_WINDOW, ge=1, description="frames over which a stabilized path is smoothed, odd")
    chunk: int = Field(CHUNK_VIEWS, ge=1, description="views drawn at once; decides the memory, not the pictures")
    fps: float = Field(30.0, gt=0, description="frames a second of the video")


@dataclass(frozen=True)
class SaveJob:
    """Everything the writers look at; frames are the numbers that name files. beside: shown in the video only."""

    folder: Path
    reconstruction: Reconstruction
    target: Views | None
    settings: SaveSettings
    context_frames: tuple[int, ...]
    target_frames: tuple[int, ...]
    beside: tuple[Reconstruction, ...] = ()


def obstacle(part: Part, job: SaveJob) -> str | None:
    """Why a part cannot be written, with the next step, or None."""
    made, path = job.reconstruction, job.settings.video
    if part in ("rendered", "gaussians", "video") and made.gaussians is None:
        return "the model predicts depth only; take a splatting model"
    if part in ("depth", "depth-beside-image", "raw-depth") and made.depth is None:
        return "the model predicts no depth; take another model"
    if part == "raw-depth" and "exr" in job.settings.depth_as and importlib.util.find_spec("OpenEXR") is None:
        return "its .exr needs the package OpenEXR; install it, or take another format"
    if part in ("rendered", "truth") and job.target is None:
        return "there are no target views; name target frames"
    if part == "video" and path == "none":
        return "no path was chosen for its cameras; name one"
    if part == "video" and path in ("target", "stabilized") and job.target is None:
        return f"path {path!r} has no target views to follow; name target frames or another path"
    if part == "video" and path == "stabilized" and job.settings.window % 2 == 0:
        return f"path {path!r} is smoothed over an odd number of frames, not {job.settings.window}; add one"
    if part == "video" and (made.context.height % 2 or made.context.width % 2):
        return f"{made.context.height}x{made.context.width} pixels are odd, a video needs even sides; take another size"
    return None


def depth_range(depth: Float[Tensor, "view h w"]) -> tuple[float, float]:
    """Nearest and farthest depth that the colours tell apart, over all views."""
    seen = depth[(depth > 0) & depth.isfinite()].detach().cpu().numpy()
    if not seen.size:
        raise ParameterError("depth_range: no predicted depth is a positive number, expected some; check the model")
    low, high = (float(q) for q in np.quantile(seen, DEPTH_QUANTILES))
    return low, max(high, 1.01 * low)  # a flat map still needs a range


def _save_inputs(job: SaveJob) -> Written:
    return _save_images(job, "inputs", job.context_frames, job.reconstruction.context.images)


def _save_truth(job: SaveJob) -> Written:
    return _save_images(job, "truth", job.target_frames, job.target.images)


def _save_images(job: SaveJob, part: str, frames: tuple[int, ...], images: Float[Tensor, "view 3 h w"]) -> Written:
    for frame, image in zip(frames, images, strict=True):
        name = f"{part}/{frame:06d}.{job.settings.pictures}"
        save_image(job.folder / name, image)
        yield name, {"frame": frame}


def _save_rendered(job: SaveJob) -> Written:
    target = job.target
    path = render_path(job.reconstruction, target.cameras, target.height, target.width, chunk=job.settings.chunk)
    colors = (color for rendering in path for color in rendering.color)
    for frame, color, truth in zip(job.target_frames, colors, target.images, strict=True):
        # The figure is that of the rendering itself, before its file rounds it to bytes.
        name = f"rendered/{frame:06d}.{job.settings.pictures}"
        quality = psnr(color, truth.to(color.device)).item()
        save_image(job.folder / name, color)
        yield name, {"frame": frame, "psnr": quality if math.isfinite(quality) else None}


def _save_depth(job: SaveJob) -> Written:
    for frame, colors in zip(job.context_frames, _colored_depths(job), strict=True):
        name = f"depth/{frame:06d}.png"
        save_pixels(job.folder / name, colors)
        yield name, {"frame": frame}


def _save_depth_beside_image(job: SaveJob) -> Written:
    context = job.reconstruction.context
    images = [image_to_uint8(image) for image in context.images]
    # Some models predict at a lower resolution than that of their input.
    depths = [colors.repeat(context.height // len(colors), 0) for colors in _colored_depths(job)]
    depths = [colors.repeat(context.width // colors.shape[1], 1) for colors in depths]
    save_pixels(job.folder / "depth_beside_image.png", np.vstack([np.hstack(images), np.hstack(depths)]))
    yield "depth_beside_image.png", {}


def _save_raw_depth(job: SaveJob) -> Written:
    for frame, depth in zip(job.context_frames, job.reconstruction.depth, strict=True):
        for kind in job.settings.depth_as:
            name = f"raw_depth/{frame:06d}.{kind}"
            made = write_depth(job.folder / name, depth, steps_per_unit=job.settings.steps_per_unit)
            scale = {} if made.steps_per_unit is None else {"steps_per_unit": made.steps_per_unit}
            yield name, {"frame": frame, "clipped": made.clipped, "without_depth": made.without, **scale}


def _save_gaussians(job: SaveJob) -> Written:
    gaussians, context = job.reconstruction.gaussians, job.reconstruction.context
    cameras = context.cameras[:CERTIFYING_VIEWS].to(gaussians.means.device)
    size = {"height": context.height, "width": context.width}
    certificate = write_splats(job.folder / "gaussians.ply", gaussians, certify_with=cameras, **size)
    yield "gaussians.ply", {"gaussians": gaussians.count, "certified": str(certificate)}


def _save_video(job: SaveJob) -> Written:
    made, settings, context = job.reconstruction, job.settings, job.reconstruction.context
    target = None if job.target is None else job.target.cameras
    cameras = camera_path(settings.video, made, target, frames=settings.frames, window=settings.window)
    shown = [made, *job.beside]
    if job.beside:
        chunks = comparison_frames(shown, cameras, [each.model for each in shown], chunk=settings.chunk)
    else:
        path = render_path(made, cameras, context.height, context.width, chunk=settings.chunk)
        chunks = (image_to_uint8(part.color) for part in path)
    frames = stream_video(job.folder / "video.mp4", chunks, settings.fps)
    size = {"height": context.height, "width": context.width}
    yield "video.mp4", {"frames": frames, **size, "path": settings.video, "shows": [each.model for each in shown]}


def _colored_depths(job: SaveJob) -> list[UInt8[np.ndarray, "h w 3"]]:
    near, far = depth_range(job.reconstruction.depth)
    return [depth_colors(depth, near, far) for depth in job.reconstruction.depth]


WRITERS: dict[Part, Callable[[SaveJob], Written]] = {
    "inputs": _save_inputs,
    "rendered": _save_rendered,
    "truth": _save_truth,
    "depth": _save_depth,
    "depth-beside-image": _save_depth_beside_image,
    "raw-depth": _save_raw_depth,
    "gaussians": _save_gaussians,
    "video": _save_video,
}
