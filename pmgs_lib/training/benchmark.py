"""How fast training runs on a device: the trunk of a transformer against the device's own matrix products, whole steps."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import nn

from pmgs_lib.evaluation.timing import Timing, measure
from pmgs_lib.models.gslrm.config import GslrmConfig
from pmgs_lib.models.gslrm.transformer import Transformer


@dataclass(frozen=True)
class Utilisation:
    """What a piece of work reaches of the rate of large matrix products, both measured in one process.

    work_flop: multiplications and additions that the formulas ask for, recomputation not counted. product_rate: FLOP a
    second of one large product in the same number type.
    """

    work_flop: float
    timing: Timing
    product_rate: float

    @property
    def fraction(self) -> float:
        return self.work_flop / self.timing.median_s / self.product_rate

    def to_metrics(self) -> dict[str, float]:
        """For `metrics.json` and reports."""
        return {
            "work_tflop": self.work_flop / 1e12,
            "product_tflop_a_second": self.product_rate / 1e12,
            "fraction": self.fraction,
            **asdict(self.timing),
        }


def product_rate(device: str | torch.device, *, size: int = 8192, dtype: torch.dtype = torch.bfloat16) -> float:
    """FLOP a second of a square matrix product of random numbers on a device."""
    first, second = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / measure(lambda: first @ second, device=device, repeats=20, warmup=5).median_s


def transformer_flop(config: GslrmConfig, scenes: int, tokens: int) -> float:
    """FLOP of the linear maps and of attention of GS-LRM's blocks, forward and backward, for `tokens` a scene.

    A linear map costs 2 a weight and token forwards and twice that backwards; so do the two products of attention.
    """
    linear = 2 * (4 + 2 * config.feed_forward_factor) * config.width**2
    attention = 4 * tokens * config.width
    return 3.0 * config.layers * scenes * tokens * (linear + attention)


def time_trunk(
    config: GslrmConfig,
    *,
    scenes: int,
    views: int,
    height: int,
    width: int,
    device: str | torch.device,
    dtype: torch.dtype = torch.bfloat16,
    compile: bool = False,
    repeats: int = 20,
) -> Utilisation:
    """Forward and backward of GS-LRM's transformer under autocast to `dtype`, nothing recomputed, on random tokens."""
    device = torch.device(device)
    trunk = Transformer(config.model_copy(update={"checkpoint_blocks": False})).to(device)
    if compile:
        for block in trunk.blocks:
            block.forward = torch.compile(block.forward, dynamic=False, fullgraph=True)
    tokens = views * (height // config.patch) * (width // config.patch)
    inputs = torch.randn(scenes, tokens, config.width, device=device, requires_grad=True)
    pull = torch.randn_like(inputs)
    timing = measure(_forward_and_backward(trunk, inputs, pull, dtype), device=device, repeats=repeats, warmup=5)
    return Utilisation(transformer_flop(config, scenes, tokens), timing, product_rate(device, dtype=dtype))


def _forward_and_backward(
    trunk: nn.Module, inputs: torch.Tensor, pull: torch.Tensor, dtype: torch.dtype
) -> Callable[[], None]:
    def once() -> None:
        trunk.zero_grad(set_to_none=True)
        with torch.autocast(inputs.device.type, dtype=dtype):
            outputs = trunk(inputs)
        outputs.backward(pull)

    return once
