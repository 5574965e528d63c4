"""The targets of a batch as a prediction draws them, with the graph of all of them kept or one at a time."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from pmgs_lib.errors import ParameterError
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.models.base import Prediction
from pmgs_lib.rasterizers import render_with_settings
from pmgs_lib.rasterizers.base import RenderingSettings
from pmgs_lib.views import Views


def draw_targets(
    prediction: Prediction, target: Views, *, backend: str = "auto", deferred: bool = False
) -> Float[Tensor, "batch view 3 h w"]:
    """Pictures of the target cameras, differentiable in the prediction's Gaussians.

    deferred: keep nothing but the Gaussians, and draw each target again, alone, when its gradient is wanted (deferred
    back-propagation of Zhang et al. 2022, "ARF", as GS-LRM trains): the memory of drawing is that of one target.

    A scene whose Gaussians, cameras or near distance are not finite gives pictures of NaN: some backends would leave
    such Gaussians out, others refuse to draw the batch, and whoever trains must see which scene it is. Raises
    `ParameterError` for a prediction without Gaussians, and what drawing raises.
    """
    if prediction.gaussians is None:
        raise ParameterError(
            "training: the model predicts depth only, expected Gaussians to draw; "
            "set photometric_weight and perceptual_weight to 0"
        )
    draw = _draw_deferred if deferred else _draw
    gaussians, settings = prediction.gaussians, prediction.settings
    finite = _finite_scenes(gaussians, target)
    try:
        color = draw(gaussians, target, settings, backend)
    except ParameterError:
        # Backends that look at no cost of time refuse such Gaussians; the other scenes are still worth a number.
        if finite.all():
            raise
        color = gaussians.means.new_zeros(target.images.shape)
        if finite.any():
            color[finite] = draw(gaussians[finite], target[finite], settings, backend)
    # No `if`: asking the device would make it wait.
    return torch.where(finite[:, None, None, None, None], color, torch.nan)


def _draw(
    gaussians: Gaussians, target: Views, settings: RenderingSettings, backend: str
) -> Float[Tensor, "*batch view 3 h w"]:
    return render_with_settings(
        gaussians, target.cameras, target.height, target.width, settings, near=target.near, backend=backend
    ).color


@torch.no_grad()
def _finite_scenes(gaussians: Gaussians, target: Views) -> Bool[Tensor, "batch"]:
    drawn = [getattr(gaussians, field.name) for field in fields(gaussians)]
    drawn += [target.cameras.world_from_camera, target.cameras.intrinsics, target.near]
    return torch.stack([tensor.isfinite().reshape(len(tensor), -1).all(-1) for tensor in drawn]).all(0)


def _draw_deferred(
    gaussians: Gaussians, target: Views, settings: RenderingSettings, backend: str
) -> Float[Tensor, "batch view 3 h w"]:
    def draw_one(scene: int, view: int, values: list[Tensor]) -> Tensor:
        one = target[scene]
        cameras = one.cameras[view : view + 1]
        return render_with_settings(
            Gaussians(*values), cameras, one.height, one.width, settings, near=one.near, backend=backend
        ).color[0]

    values = [getattr(gaussians, field.name) for field in fields(gaussians)]
    return _Deferred.apply(draw_one, target.images.shape[:2], *values)


class _Deferred(torch.autograd.Function):
    """Draws every target without a graph, and in the backward pass once more, one by one, each with its own graph.

    Not `torch.utils.checkpoint`: it drops saved tensors only, and a backend may keep its lists elsewhere.
    """

    @staticmethod
    def forward(
        ctx: Any, draw_one: Callable[[int, int, list[Tensor]], Tensor], targets: torch.Size, *values: Tensor
    ) -> Tensor:
        ctx.draw_one, ctx.targets = draw_one, targets
        ctx.save_for_backward(*values)
        scenes, views = targets
        return torch.stack(
            [torch.stack([draw_one(s, v, [x[s] for x in values]) for v in range(views)]) for s in range(scenes)]
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        values, (scenes, views) = ctx.saved_tensors, ctx.targets
        needed = ctx.needs_input_grad[2:]
        gradients: list[list[Tensor | None]] = []
        for scene in range(scenes):
            leaves = [x[scene].detach().requires_grad_(n) for x, n in zip(values, needed, strict=True)]
            for view in range(views):
                with torch.enable_grad():
                    color = ctx.draw_one(scene, view, leaves)
                color.backward(upstream[scene, view])  # adds up in the leaves
                del color  # before the next one is drawn: its graph may hold a backend's lists
            gradients.append([leaf.grad for leaf in leaves])
        together = zip(*gradients, strict=True)
        return None, None, *(torch.stack(g) if n else None for g, n in zip(together, needed, strict=True))
