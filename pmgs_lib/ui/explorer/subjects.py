"""What an explorer can show of a scene: Gaussians, how they are meant to be drawn, and how sure their model was."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.methods import MethodOutput, evaluation_mode
from pmgs_lib.export.reconstruction import Reconstruction
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.models.base import Prediction
from pmgs_lib.rasterizers.base import RenderingSettings
from pmgs_lib.views import Example, Views


@dataclass(frozen=True)
class Subject:
    """Gaussians of one scene (no batch axis), with the settings of `RenderingSettings` that their model asks for.

    certainty: how sure the model was of each Gaussian, in [0, 1], where it says so. certainty_label: what that is.
    """

    gaussians: Gaussians
    settings: RenderingSettings = field(default_factory=RenderingSettings)
    certainty: Float[Tensor, " gaussian"] | None = None
    certainty_label: str = "match probability"

    def to(self, device: torch.device) -> "Subject":
        """The same on another device."""
        certainty = None if self.certainty is None else self.certainty.to(device)
        return Subject(self.gaussians.to(device), self.settings, certainty, self.certainty_label)


def as_subject(name: str, source: Any) -> Subject:
    """A subject of what a user hands over: Gaussians, a `MethodOutput`, a `Prediction` or a `Reconstruction`.

    The first two do not say how they are meant to be drawn: wrap them in a `Subject` with settings where the usual ones
    are not meant. Raises `ParameterError` for anything else and for what holds no Gaussians of one scene.
    """
    if isinstance(source, Subject):
        subject = source
    elif isinstance(source, Gaussians):
        subject = Subject(source)
    elif isinstance(source, MethodOutput | Reconstruction | Prediction):
        if source.gaussians is None:
            raise ParameterError(f"explore: {name} has no Gaussians, expected some to draw; take a splatting model")
        gaussians = source.gaussians[0] if source.gaussians.batch_shape == (1,) else source.gaussians
        subject = Subject(gaussians, getattr(source, "settings", RenderingSettings()))
    else:
        raise ParameterError(
            f"explore: {name} is a {type(source).__name__}, expected Gaussians, a MethodOutput, a Prediction, a "
            "Reconstruction or a Subject; models go into `models`"
        )
    if subject.gaussians.batch_shape != () or subject.gaussians.count == 0:
        raise ParameterError(
            f"explore: {name} holds {subject.gaussians.count} Gaussians of batch shape "
            f"{tuple(subject.gaussians.batch_shape)}, expected some of one scene; select it, as in gaussians[0]"
        )
    return subject


@torch.no_grad()
def predicted_subject(name: str, model: nn.Module, example: Example) -> Subject:
    """What `model` makes of the context views, with its match probability or confidence where it gives one a pixel."""
    context = Views.stack([example.context])
    first = next(model.parameters(), context.images)
    with evaluation_mode(model), _MatchProbability(model) as match:
        prediction = model(context.to(first.device))
    subject = as_subject(name, prediction)
    shape = example.context.images.shape[:1] + example.context.images.shape[-2:]
    for values, label in ((match.per_pixel(shape), "match probability"), (prediction.confidence, "confidence")):
        if values is not None and values.numel() == subject.gaussians.count:
            flat = values.detach().flatten().float()
            # A confidence may have any range from 0 up; its largest value is the end of the scale.
            flat = flat / flat.max().clamp(min=1.0)
            return Subject(subject.gaussians, subject.settings, flat, label)
    return subject


class _MatchProbability:
    """While this is open, remembers the `match_probability` that a part of the model returns beside its depth.

    A prediction does not carry it: training would keep it for nothing. Any part may give it, frames first.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.value, self.hooks = model, None, []

    def __enter__(self) -> "_MatchProbability":
        self.hooks = [module.register_forward_hook(self._look) for module in self.model.modules()]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _look(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        value = getattr(output, "match_probability", None)
        self.value = value if isinstance(value, Tensor) else self.value

    def per_pixel(self, shape: tuple[int, ...]) -> Float[Tensor, "view h w"] | None:
        """Of the likeliest candidate at each pixel of the context views, `shape` = (view, h, w)."""
        if self.value is None or self.value.ndim != 4 or len(self.value) != shape[0]:
            return None
        likeliest = self.value.float().amax(dim=1, keepdim=True)
        return nn.functional.interpolate(likeliest, size=tuple(shape[1:]))[:, 0]
