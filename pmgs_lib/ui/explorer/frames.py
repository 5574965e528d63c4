"""One picture of an explorer: from a state to encoded bytes, with the numbers that belong to these very pixels."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numba
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.evaluation.methods import NO_SURFACE_ALPHA, nearest_cameras, surface_depth
from pmgs_lib.evaluation.metrics import psnr
from pmgs_lib.export.images import color_error
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.geometry.harmonics import CONSTANT_HARMONIC
from pmgs_lib.rasterizers.base import Rendering
from pmgs_lib.rasterizers.dispatch import render_with_settings
from pmgs_lib.ui.explorer.maps import ALPHA_SCALE, ERROR_SCALE, Scale, certainty_scale, depth_scale
from pmgs_lib.ui.explorer.stage import Stage
from pmgs_lib.ui.explorer.state import ExplorerState
from pmgs_lib.ui.explorer.subjects import Subject

JPEG_QUALITY = 85  # of pictures that pass by; those that stay are sent as PNG, without loss
SEAM = 255  # white line between two halves


@dataclass(frozen=True)
class Frame:
    """An encoded picture and what belongs to it.

    data: bytes of an image file of type `mime`. coarse: whether it was drawn smaller or thinned. target: the held-out
    camera that scores and errors compare with: the nearest one. at_target: whether the picture was drawn from it.
    psnr: by subject, in dB, of the full rendering in that camera under the cuts, as evaluations take it (infinite for
    equal pictures); empty on coarse frames. kept: by subject, how many Gaussians the cuts leave, and of how many.
    scale: of the colours, if they stand for numbers. missing: what could not be drawn, and why. seconds: for drawing
    and for encoding.
    """

    data: bytes
    mime: str
    height: int
    width: int
    coarse: bool
    target: int
    at_target: bool
    psnr: dict[str, float]
    kept: dict[str, tuple[int, int]]
    scale: Scale | None
    missing: tuple[str, ...]
    seconds: tuple[float, float]

    def facts(self) -> dict[str, Any]:
        """Everything but the bytes, as JSON can hold it."""
        names = ("mime", "height", "width", "coarse", "target", "at_target", "kept", "missing", "seconds")
        # JSON has no infinity.
        scores = {name: value if value < float("inf") else "infinite" for name, value in self.psnr.items()}
        legend = None if self.scale is None else self.scale.legend()
        return {name: getattr(self, name) for name in names} | {"psnr": scores, "legend": legend}


@torch.no_grad()
def render_frame(stage: Stage, state: ExplorerState, *, coarse: bool = False) -> Frame:
    """The picture that `state` describes. coarse: quick rather than exact, for while something moves.

    Errors exist only where there is a truth: in mode "error" the picture is drawn from the nearest held-out camera.
    Raises `ParameterError` for a scene or subject that the stage does not have.
    """
    started = time.perf_counter()
    scene = stage.scene(state.scene)
    camera, target = stage.camera(state), nearest_target(stage, state)
    if state.mode == "error":
        state = at_target(state, target)
        camera = stage.camera(state)
    height, width = scene.size
    if coarse:
        height, width = (max(round(side * stage.coarse_share), 1) for side in (height, width))
    for name in state.subjects:
        stage.subject(state.scene, name)  # a model that runs for this picture has all threads
    with _one_thread() if coarse else nullcontext():
        drawings = [_draw(stage, state, name, camera, (height, width), coarse) for name in state.subjects]
    pixels = _joined([drawing.pixels for drawing in drawings], state)
    array = pixels.movedim(0, -1).contiguous().cpu().numpy()
    scores = {} if coarse else {name: target_psnr(stage, state, name, target) for name in state.subjects}
    drawn = time.perf_counter()
    data, mime = _encoded(array, lossless=not coarse)
    scales = [drawing.scale for drawing in drawings if drawing.scale is not None]
    return Frame(
        *(data, mime, array.shape[0], array.shape[1], coarse, target),
        at_target=state.at_anchor and state.target == target,
        psnr=scores,
        kept={name: drawing.kept for name, drawing in zip(state.subjects, drawings, strict=True)},
        scale=scales[0] if scales else None,
        missing=tuple(drawing.missing for drawing in drawings if drawing.missing),
        seconds=(drawn - started, time.perf_counter() - drawn),
    )


def nearest_target(stage: Stage, state: ExplorerState) -> int:
    """Number of the held-out camera nearest to the state's: the one it stands at, if it stands at one."""
    if state.target is not None and state.at_anchor:
        return state.target
    cameras = stage.scene(state.scene).example.target.cameras
    return int(nearest_cameras(stage.camera(state)[None], cameras)[0])


def at_target(state: ExplorerState, target: int) -> ExplorerState:
    """The same with the camera at a held-out view."""
    return replace(state, target=target, yaw_deg=0.0, pitch_deg=0.0, shift_right=0.0, shift_up=0.0, closer=0.0)


def target_psnr(stage: Stage, state: ExplorerState, name: str, target: int) -> float:
    """PSNR in dB of one subject under the state's cuts in a held-out camera, as `pmgs_lib.evaluation` computes it."""
    key = (state.scene, name, state.opacity_from, state.scale_to, target)
    return stage.scores.get(key, lambda: _score(stage, state, name, target))


@torch.no_grad()
def _score(stage: Stage, state: ExplorerState, name: str, target: int) -> float:
    scene = stage.scene(state.scene)
    subject, _ = stage.drawn(state, name, coarse=False)
    camera = stage.camera(at_target(state, target))
    color = _render(stage, state, subject, camera, scene.size).color
    return psnr(color, scene.example.target.images[target]).item()


@dataclass(frozen=True)
class _Drawing:
    pixels: UInt8[Tensor, "3 h w"]
    kept: tuple[int, int]
    scale: Scale | None = None
    missing: str = ""


def _draw(
    stage: Stage, state: ExplorerState, name: str, camera: Cameras, size: tuple[int, int], coarse: bool
) -> _Drawing:
    scene = stage.scene(state.scene)
    subject, left = stage.drawn(state, name, coarse=coarse)
    kept = (left, stage.subject(state.scene, name).gaussians.count)
    if state.mode == "match probability":
        if subject.certainty is None:
            gray = torch.full((3, *size), 128, dtype=torch.uint8, device=stage.device)
            return _Drawing(gray, kept, missing=f"{name} gives no match probability")
        scale = certainty_scale(subject.certainty_label)
        rendering = _render(stage, state, _painted(subject), camera, size)
        drawn = rendering.alpha >= NO_SURFACE_ALPHA
        values = rendering.color[0] / torch.where(drawn, rendering.alpha, 1.0)
        return _Drawing(scale.colors(values, drawn), kept, scale)
    rendering = _render(stage, state, subject, camera, size)
    if state.mode == "colour":
        return _Drawing((rendering.color.clamp(0, 1) * 255).round().byte(), kept)
    if state.mode == "alpha":
        return _Drawing(ALPHA_SCALE.colors(rendering.alpha), kept, ALPHA_SCALE)
    if state.mode == "depth":
        depth, scale = surface_depth(rendering), depth_scale(*scene.depth_range)
        return _Drawing(scale.colors(depth, depth > 0), kept, scale)
    truth = _resized(scene.example.target.images[state.target], size)
    return _Drawing(ERROR_SCALE.colors(color_error(rendering.color, truth)), kept, ERROR_SCALE)


def _render(stage: Stage, state: ExplorerState, subject: Subject, camera: Cameras, size: tuple[int, int]) -> Rendering:
    """As evaluations draw: with the subject's own settings and the near distance of the held-out views."""
    near = stage.scene(state.scene).example.target.near
    settings, backend = subject.settings, stage.backend
    drawn = render_with_settings(subject.gaussians, camera[None], *size, settings, near=near, backend=backend)
    return Rendering(drawn.color[0], drawn.depth[0], drawn.alpha[0])


def _painted(subject: Subject) -> Subject:
    """The same Gaussians, each in the gray of its certainty, on black."""
    g = subject.gaussians
    gray = ((subject.certainty - 0.5) / CONSTANT_HARMONIC)[:, None, None].expand(-1, 1, 3).to(g.harmonics)
    painted = Gaussians(g.means, g.scales, g.quaternions, g.opacities, gray)
    settings = subject.settings.model_copy(update={"background": (0.0, 0.0, 0.0)})
    return Subject(painted, settings, subject.certainty, subject.certainty_label)


def _resized(image: Float[Tensor, "3 h w"], size: tuple[int, int]) -> Float[Tensor, "3 new_h new_w"]:
    if image.shape[-2:] == size:
        return image
    return torch.nn.functional.interpolate(image[None], size=size, mode="area")[0]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Coarse pictures take 10 ms on one core. More of them gain little, and where others use them, threads wait for
    each other: 0.2 s a picture were measured on two busy cores, 0.03 s so."""
    of_kernels, of_tensors = numba.get_num_threads(), torch.get_num_threads()
    numba.set_num_threads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(of_kernels)
        torch.set_num_threads(of_tensors)


def _joined(pictures: list[Tensor], state: ExplorerState) -> UInt8[Tensor, "3 h w"]:
    """Two pictures of one camera beside each other, or with a seam in one."""
    if len(pictures) == 1:
        return pictures[0]
    left, right = pictures
    if state.split == "side by side":
        return torch.cat([left, torch.full_like(left[..., :2], SEAM), right], dim=-1)
    seam = round(state.wipe * left.shape[-1])
    joined = torch.cat([left[..., :seam], right[..., seam:]], dim=-1)
    if 0 < seam < left.shape[-1]:
        joined[..., seam] = SEAM
    return joined


def _encoded(pixels: Any, *, lossless: bool) -> tuple[bytes, str]:
    stream, image = io.BytesIO(), Image.fromarray(pixels)
    if lossless:
        image.save(stream, format="PNG", compress_level=1)
        return stream.getvalue(), "image/png"
    image.save(stream, format="JPEG", quality=JPEG_QUALITY)
    return stream.getvalue(), "image/jpeg"
