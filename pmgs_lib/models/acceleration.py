"""A fast setting of a model: half precision where it does no harm, compiled regions, few views at a time.

A model's modules name what makes a good region to compile in a class attribute `regions`, a tuple of their methods, and
what may work on a few frames at a time has an attribute `views_at_once`. Both are left alone by a model's own calls.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from pmgs_lib.errors import ParameterError
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.models.base import ModelConfig, Prediction
from pmgs_lib.views import Views

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
# Each size of input, grad mode and training mode is compiled once; torch's own limit of 8 is one evaluation's worth.
COMPILED_VARIANTS = 256


@dataclass(frozen=True)
class Acceleration:
    """How an accelerated model runs; see `accelerate`."""

    precision: str = "mixed"
    compile: bool = True
    graphs: bool = False
    views_at_once: int | None = None

    def __post_init__(self) -> None:
        if self.precision not in ("mixed", "float32", *DTYPES):
            raise ParameterError(
                f"accelerate: precision {self.precision!r}; expected 'mixed', 'float16', 'bfloat16' or 'float32'"
            )
        if self.graphs and not self.compile:
            raise ParameterError(
                "accelerate: graphs=True with compile=False; expected compile=True: regions make graphs"
            )
        if self.views_at_once is not None and self.views_at_once < 1:
            raise ParameterError(
                f"accelerate: views_at_once {self.views_at_once}; expected at least 1, or None for all"
            )

    def dtype(self, device: torch.device, training: bool) -> torch.dtype | None:
        """Type of matrix products and convolutions; None: that of the weights."""
        if self.precision == "mixed":
            return torch.bfloat16 if training or device.type != "cuda" else torch.float16
        return DTYPES.get(self.precision)


def accelerate(
    model: nn.Module,
    *,
    precision: str = "mixed",
    compile: bool = True,
    graphs: bool = False,
    views_at_once: int | None = None,
) -> "Accelerated":
    """`model` in a fast setting, to be called as the model is; the model itself stays exact.

    Both share their parameters, so training one trains the other, and `state_dict` is the model's. Put the model on its
    device first.

    precision: of matrix products and convolutions. "mixed" is float16 in evaluation, whose rounding is that of TF32,
    and bfloat16 in training or on a CPU. Geometry, norms, softmax and what makes depth and Gaussians stay in float32.
    A value beyond float16's range raises `ParameterError` at the end of the call.

    compile: with `torch.compile`, once for each size of input (a minute or two on a GPU, then kept in torch's cache on
    disk); CPUs need a C++ compiler for it.

    graphs: each region's work is recorded as a CUDA graph and replayed. Faster where launching takes longer than
    computing, that is for few or small views and for training on them; inputs and results are copied.

    views_at_once: on how many views the parts work together that see each view for itself: less memory.

    >>> from pmgs_lib.models import build_model
    >>> accelerate(build_model("depthsplat-tiny"), compile=False).config.scales
    1
    """
    settings = Acceleration(precision, compile, graphs, views_at_once)
    if compile:
        allow_variants()
    # Tensor cores read channels last; by itself torch weighs that up, and keeps channels first in training.
    options = {"force_layout_optimization": True, "triton.cudagraphs": graphs}
    twin = copy.deepcopy(model, {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())})
    for module in twin.modules():
        if hasattr(module, "views_at_once"):
            module.views_at_once = views_at_once
        for name in getattr(module, "regions", ()) if compile else ():
            setattr(module, name, torch.compile(getattr(module, name), dynamic=False, fullgraph=True, options=options))
    return Accelerated(twin, settings)


def allow_variants() -> None:
    """Raise torch's limits, which hold for the whole process, to what many sizes of input need."""
    import torch._dynamo  # loads compilers, which nothing else here needs

    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, COMPILED_VARIANTS)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, 8 * COMPILED_VARIANTS)


class Accelerated(nn.Module):
    """A model in a fast setting; see `accelerate`, which makes it."""

    def __init__(self, model: nn.Module, settings: Acceleration) -> None:
        super().__init__()
        self.model, self.settings = model, settings
        self.train(model.training)

    @property
    def config(self) -> ModelConfig:
        return self.model.config

    @property
    def needs_target_cameras(self) -> bool:
        """What the model says of itself, if anything."""
        return getattr(self.model, "needs_target_cameras", False)

    def forward(self, context: Views, **further: Any) -> Prediction:
        device = context.images.device
        dtype = self.settings.dtype(device, self.training)
        if self.settings.graphs:
            torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            prediction = self.model(replace(context, images=channels_last(context.images)), **further)
        if self.settings.graphs:
            prediction = independent(prediction)
        if dtype == torch.float16 and not torch.is_grad_enabled():
            require_finite(prediction)
        return prediction

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        return self.model.state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        return self.model.load_state_dict(state_dict, *args, **kwargs)


def channels_last(images: Tensor) -> Tensor:
    """The same images (batch, view, channel, row, column) with the channels of a pixel side by side in memory."""
    batch = images.shape[:2]
    return images.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, batch)


def independent(prediction: Prediction) -> Prediction:
    """The same prediction in memory of its own: what a CUDA graph writes is overwritten when it is replayed."""
    gaussians = prediction.gaussians and Gaussians(*(part.clone() for part in vars(prediction.gaussians).values()))
    return replace(prediction, gaussians=gaussians, intermediates=tuple(map(independent, prediction.intermediates)))


def require_finite(prediction: Prediction) -> None:
    """Raise `ParameterError` if half precision overflowed on the way: a sum shows it in one pass."""
    parts = {} if prediction.gaussians is None else vars(prediction.gaussians)
    sums = {name: value.sum() for name, value in {"depth": prediction.depth, **parts}.items() if value is not None}
    finite = torch.stack(list(sums.values())).isfinite()
    if not finite.all():
        worst = ", ".join(name for name, good in zip(sums, finite.tolist(), strict=True) if not good)
        raise ParameterError(
            f"accelerated model: {worst} not finite, expected numbers: a value left the range of float16; "
            "use precision='bfloat16', or the model itself"
        )
