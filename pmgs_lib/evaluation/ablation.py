"""What a behaviour of released weights is worth: switched one at a time on the same weights, and both results compared.

Released DepthSplat and MVSplat do a few things that are mistakes but that their weights have learnt to live with. Each
is a field of the configuration; no parameter of the network depends on it, so any weights run with and without it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.methods import evaluation_mode, render_output
from pmgs_lib.evaluation.metrics import psnr
from pmgs_lib.models.base import ModelConfig, Prediction
from pmgs_lib.models.zoo import build_model
from pmgs_lib.views import Example, Views

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Behaviour:
    """A field of the configuration with the value of released weights and the mended one, and what it is about."""

    name: str
    field: str
    released: bool | float | None
    mended: bool | float | None
    meaning: str


BEHAVIOURS = (
    Behaviour(
        "scrambled window mask",
        "scrambled_window_mask",
        True,
        False,
        "With two or more neighbours the mask of the shifted attention windows separates the wrong pairs of tokens.",
    ),
    Behaviour(
        "reference intrinsics",
        "reference_intrinsics",
        True,
        False,
        "The plane sweep projects into every view with the intrinsics of the view it starts from.",
    ),
    Behaviour(
        "unit rays", "unit_rays", True, False, "Matched z-depth is taken for the length of the ray to the Gaussian."
    ),
    Behaviour(
        "metric depth input",
        "metric_depth_input",
        True,
        False,
        "The colour branch is told depth in world units, not its place in the depth range.",
    ),
    Behaviour(
        "released harmonics",
        "released_harmonics",
        True,
        False,
        "Harmonics are turned to the world in another sign convention than they are rendered in.",
    ),
    Behaviour(
        "symmetric frustum",
        "centered_principal_point",
        True,
        False,
        "Pictures are rendered about the middle, wherever the camera's principal point is.",
    ),
    Behaviour(
        "near plane by scene",
        "near_plane_factor",
        0.2,
        None,
        "Gaussians nearer than 0.2 of the scene's near distance are left out, not those nearer than a fixed distance.",
    ),
)


@dataclass(frozen=True)
class Change:
    """What switching one behaviour does to one example.

    depth_change: median over the context views' pixels of |switched - before| / before. psnr_before, psnr_after: mean
    over the targets, in dB against the truth. mean_square: between the renders before and after, clipped to [0, 1].
    """

    scene: str
    situation: str
    behaviour: str
    depth_change: float
    psnr_before: float
    psnr_after: float
    mean_square: float


def applicable(config: ModelConfig) -> tuple[Behaviour, ...]:
    """Behaviours that a configuration knows."""
    return tuple(behaviour for behaviour in BEHAVIOURS if _path(config, behaviour.field))


def is_released(config: ModelConfig, behaviour: Behaviour) -> bool:
    """Whether a configuration behaves as released weights expect."""
    return _value(config, _required_path(config, behaviour)) == behaviour.released


def switched_config(config: ModelConfig, behaviour: Behaviour) -> ModelConfig:
    """The configuration with one behaviour the other way round. Raises `ParameterError` where there is no such field.

    >>> from pmgs_lib.models import named_config
    >>> switched_config(named_config("depthsplat-tiny"), BEHAVIOURS[0]).scrambled_window_mask
    True
    """
    path = _required_path(config, behaviour)
    value = behaviour.mended if is_released(config, behaviour) else behaviour.released
    return _with_value(config, path, value)


def switched(model: nn.Module, behaviour: Behaviour) -> nn.Module:
    """A model with the same weights and one behaviour the other way round; the model given stays as it is."""
    with torch.random.fork_rng(devices=[]):  # weights that are replaced at once must not move the caller's draws
        sibling = build_model(switched_config(model.config, behaviour))
    sibling.load_state_dict(model.state_dict())
    device = next(model.parameters()).device
    return sibling.to(device).train(model.training)


def ablate(
    model: nn.Module,
    situations: Mapping[str, Example],
    behaviours: Sequence[Behaviour] | None = None,
    backend: str = "auto",
) -> list[Change]:
    """Switch behaviours one at a time and compare pictures and depth in every situation of one scene.

    `situations` maps names to examples without batch axis. Examples that share their context object share the
    prediction, and a behaviour of the rendering alone reuses the one before. All that `applicable` knows by default.
    """
    if getattr(model.config, "color", True) is None:
        raise ParameterError("ablate: the model predicts depth only, expected one with Gaussians to render")
    behaviours = applicable(model.config) if behaviours is None else behaviours
    before = _predictions(model, situations)
    shown = _pictures(before, situations, backend)
    changes = []
    for behaviour in behaviours:
        if behaviour.field in type(model.config.rendering).model_fields:
            settings = switched_config(model.config, behaviour).rendering
            after = {name: replace(prediction, settings=settings) for name, prediction in before.items()}
        else:
            after = _predictions(switched(model, behaviour), situations)
        pictures = _pictures(after, situations, backend)
        for name, example in situations.items():
            depth_change = _relative_change(before[name].depth, after[name].depth)
            changes.append(
                Change(
                    str(example.key),
                    name,
                    behaviour.name,
                    depth_change,
                    *(psnr(color[name], example.target.images).mean().item() for color in (shown, pictures)),
                    _mean_square(shown[name], pictures[name]),
                )
            )
    return changes


def summarise(changes: Sequence[Change]) -> "pandas.DataFrame":
    """One row a behaviour and situation, means over scenes.

    depth_change: relative. psnr_change: in dB against the truth, negative is worse. psnr_between: in dB between the
    renders, from their mean squared difference over all scenes; infinite where they are equal.
    """
    import pandas as pd

    frame = pd.DataFrame([asdict(change) for change in changes])
    frame["psnr_change"] = frame["psnr_after"] - frame["psnr_before"]
    columns = ["depth_change", "psnr_change", "mean_square"]
    means = frame.groupby(["behaviour", "situation"], sort=False)[columns].mean().reset_index()
    between = -10 * torch.from_numpy(means.pop("mean_square").to_numpy(copy=True)).log10()
    return means.assign(psnr_between=between.numpy())


def _predictions(model: nn.Module, situations: Mapping[str, Example]) -> dict[str, Prediction]:
    by_context: dict[int, Prediction] = {}
    with torch.no_grad(), evaluation_mode(model):
        for example in situations.values():
            if id(example.context) not in by_context:
                by_context[id(example.context)] = model(Views.stack([example.context]))
    return {name: by_context[id(example.context)] for name, example in situations.items()}


def _pictures(
    predictions: Mapping[str, Prediction], situations: Mapping[str, Example], backend: str
) -> dict[str, Tensor]:
    return {
        name: render_output(p.gaussians[0], situations[name].target, p.settings, backend).color
        for name, p in predictions.items()
    }


def _mean_square(before: Tensor, after: Tensor) -> float:
    return (after.clamp(0, 1) - before.clamp(0, 1)).double().square().mean().item()


def _relative_change(before: Tensor | None, after: Tensor | None) -> float:
    if before is None or after is None:
        return 0.0
    return ((after - before).abs() / before).median().item()


def _path(config: BaseModel, field: str) -> tuple[str, ...]:
    """Where a field stands in a nested configuration, outermost name first; empty if it does not."""
    if field in type(config).model_fields:
        return (field,)
    for name in type(config).model_fields:
        part = getattr(config, name)
        inner = _path(part, field) if hasattr(type(part), "model_fields") else ()
        if inner:
            return (name, *inner)
    return ()


def _required_path(config: ModelConfig, behaviour: Behaviour) -> tuple[str, ...]:
    path = _path(config, behaviour.field)
    if not path:
        known = ", ".join(repr(b.name) for b in applicable(config)) or "none"
        raise ParameterError(
            f"behaviour {behaviour.name!r}: {type(config).__name__} has no field {behaviour.field!r}; it knows {known}"
        )
    return path


def _value(config: BaseModel, path: tuple[str, ...]) -> Any:
    for name in path:
        config = getattr(config, name)
    return config


def _with_value(config: BaseModel, path: tuple[str, ...], value: Any) -> Any:
    """A validated copy; parts are taken as they are, since a part may be one of several classes."""
    name, *rest = path
    inner = _with_value(getattr(config, name), tuple(rest), value) if rest else value
    return type(config).model_validate(dict(config) | {name: inner})
