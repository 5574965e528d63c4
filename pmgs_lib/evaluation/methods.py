"""What is evaluated: models, and the two control rows that tell a reader what the numbers mean."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.geometry.harmonics import CONSTANT_HARMONIC
from pmgs_lib.rasterizers.base import Rendering, RenderingSettings
from pmgs_lib.rasterizers.dispatch import render_with_settings
from pmgs_lib.views import Example, Views

# Below this a pixel shows no surface, so it has no depth either (the rasterizers drop what covers less than 1/255).
NO_SURFACE_ALPHA = 1 / 255
# Standard deviation of an unprojected pixel, in pixels of its own view. On embedded rooms 0.7 costs 3 dB against 0.2,
# as the rasterizers add a low-pass of 0.55 pixels; less gains under 0.4 dB and leaves gaps where a target comes near.
PIXEL_FOOTPRINT = 0.2
CONTROL_OPACITY = 0.99


@dataclass(frozen=True)
class MethodOutput:
    """What a method says about one scene (no batch axis); what it does not say is None.

    color: predicted target images, not clipped. depth: z-depth of the targets, 0 where nothing was drawn.
    context_depth: z-depth of the context views. centers: world points of the prediction.
    """

    color: Float[Tensor, "target 3 h w"]
    depth: Float[Tensor, "target h w"] | None = None
    context_depth: Float[Tensor, "view context_h context_w"] | None = None
    centers: Float[Tensor, "point 3"] | None = None
    gaussians: Gaussians | None = None


class Method(ABC):
    """Predicts the target views of an unbatched example from its context views; it may look at target cameras only."""

    name: str
    control: ClassVar[bool] = False  # a row that explains the others, not a contender

    @abstractmethod
    def __call__(self, example: Example) -> MethodOutput: ...


class GaussianMethod(Method):
    """A feed-forward model: context views to Gaussians, rendered with the settings that the model asks for."""

    def __init__(self, model: nn.Module, backend: str = "auto", name: str = "model") -> None:
        self.model, self.backend, self.name = model, backend, name

    def __call__(self, example: Example) -> MethodOutput:
        with torch.no_grad(), evaluation_mode(self.model):
            prediction = self.model(Views.stack([example.context]))
            if prediction.gaussians is None:
                raise ParameterError(f"method {self.name}: the model predicts depth only, expected Gaussians to render")
            output = render_output(prediction.gaussians[0], example.target, prediction.settings, self.backend)
        context_depth = None if prediction.depth is None else prediction.depth[0]
        return MethodOutput(output.color, output.depth, context_depth, output.centers, output.gaussians)


class NearestInput(Method):
    """Control: the context image whose camera is nearest to the target's, copied. Any method must beat a copy."""

    name = "nearest-input"
    control = True

    def __call__(self, example: Example) -> MethodOutput:
        nearest = nearest_cameras(example.target.cameras, example.context.cameras)
        return MethodOutput(color=example.context.images[nearest])


class ExactDepth(Method):
    """Control: each context pixel unprojected from its exact depth. What is missing now was never seen by an input."""

    name = "exact-depth"
    control = True

    def __init__(self, backend: str = "auto") -> None:
        self.backend = backend

    def __call__(self, example: Example) -> MethodOutput:
        gaussians = unprojected_gaussians(example.context)
        output = render_output(gaussians, example.target, RenderingSettings(), self.backend)
        return MethodOutput(output.color, output.depth, example.context.depth, output.centers, gaussians)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; afterwards every part is in the mode it was in, frozen parts included."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@torch.no_grad()
def render_output(gaussians: Gaussians, target: Views, settings: RenderingSettings, backend: str) -> MethodOutput:
    """Colour and depth of one scene's Gaussians in the target cameras."""
    rendering = render_with_settings(
        gaussians, target.cameras, target.height, target.width, settings, near=target.near, backend=backend
    )
    return MethodOutput(rendering.color, surface_depth(rendering), None, gaussians.means, gaussians)


def surface_depth(rendering: Rendering) -> Float[Tensor, "*camera h w"]:
    """Mean z-depth of what a pixel shows: the weighted sum divided by its weights, 0 where nothing was drawn."""
    drawn = rendering.alpha >= NO_SURFACE_ALPHA
    return torch.where(drawn, rendering.depth / torch.where(drawn, rendering.alpha, 1.0), 0.0)


def nearest_cameras(cameras: Cameras, candidates: Cameras) -> Tensor:
    """For each camera the index of the nearest candidate: distance of the centres in units of the candidates' own span,
    plus one minus the cosine between the viewing directions."""
    distance = torch.cdist(cameras.centers, candidates.centers)
    span = torch.cdist(candidates.centers, candidates.centers).max()
    forward, candidate_forward = (c.world_from_camera[..., :3, 2] for c in (cameras, candidates))
    # Candidates at one place differ by direction only: a span of zero must not divide.
    relative = distance / span if span > 0 else torch.zeros_like(distance)
    return (relative + 1 - forward @ candidate_forward.mT).argmin(dim=-1)


def unprojected_gaussians(views: Views) -> Gaussians:
    """One round Gaussian of degree 0 for each pixel of one scene's views: at its exact depth, a pixel wide."""
    if views.depth is None:
        raise DataError("the data has no exact depth to unproject")
    means = views.cameras.unproject(views.depth).reshape(-1, 3)
    pixels = views.cameras.pixel_intrinsics(views.height, views.width)
    focal_px = (pixels[..., 0, 0] * pixels[..., 1, 1]).sqrt()
    footprint = PIXEL_FOOTPRINT * views.depth / focal_px[..., None, None]
    colors = views.images.movedim(-3, -1).reshape(-1, 1, 3)
    return Gaussians(
        means=means,
        scales=footprint.reshape(-1, 1).expand(-1, 3),
        quaternions=means.new_tensor([1.0, 0.0, 0.0, 0.0]).expand(len(means), 4),
        opacities=means.new_full((len(means),), CONTROL_OPACITY),
        harmonics=(colors - 0.5) / CONSTANT_HARMONIC,
    )
