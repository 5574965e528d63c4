"""The largest micro-batch that fits into a budget of memory, and what to switch if none does."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from pmgs_lib.errors import ParameterError
from pmgs_lib.models import named_config
from pmgs_lib.models.base import ModelConfig
from pmgs_lib.training.memory.prediction import GIB, MemoryLoad, MemoryPrediction, predict_memory

# Kept free of the budget: the CUDA context with its compiled kernels, and what the allocator loses between blocks.
CONTEXT_BYTES = int(0.6 * GIB)
FREE_SHARE = 0.1

Model = nn.Module | ModelConfig | str


@dataclass(frozen=True)
class Switch:
    """One change that needs less memory, with the prediction of one scene at a time after it."""

    name: str
    prediction: MemoryPrediction


@dataclass(frozen=True)
class MemoryPlan:
    """How a device takes its share of a step: `micro_batch` scenes at a time, `accumulate` times.

    fits: whether the prediction is within what may be used of the budget; if not, `micro_batch` is 1 and `switches`
    says what would help. reason: all of it in words.
    """

    micro_batch: int
    accumulate: int
    fits: bool
    prediction: MemoryPrediction
    reason: str
    switches: tuple[Switch, ...] = ()

    def __str__(self) -> str:
        lines = [f"  {switch.name}: {switch.prediction.gib:.2f} GiB" for switch in self.switches]
        return "\n".join([self.prediction.table(), "", self.reason, *lines])


def usable_bytes(budget_bytes: int) -> int:
    """What tensors may take of a budget: without the CUDA context, and a tenth kept free."""
    return int((budget_bytes - CONTEXT_BYTES) * (1 - FREE_SHARE))


def plan_memory(model: Model, load: MemoryLoad, budget_bytes: int, batch_size: int) -> MemoryPlan:
    """How to take `batch_size` scenes a step, over all devices of the load, within a budget for each device.

    The micro-batch of `load` is ignored: the largest one that divides a device's share and fits is taken, since more
    scenes at a time are faster. It must divide so that every step has the same scenes. If not even one scene fits, the
    switches that the configuration leaves open are tried each for itself: rendering deferred, blocks recomputed, bf16,
    one target. Raises `ParameterError` for inference, and for a batch that does not divide over the devices.
    """
    if load.config is None:
        raise ParameterError("plan_memory: a plan is for training; give the load a config, or use predict_memory")
    if batch_size < 1 or batch_size % load.devices:
        raise ParameterError(
            f"plan_memory: {batch_size} scenes do not divide over {load.devices} devices; choose a multiple of them"
        )
    limit, share = usable_bytes(budget_bytes), batch_size // load.devices
    fitting = _largest_fitting(model, load, share, limit)
    if fitting is None:
        return _refusal(model, _with_micro_batch(load, 1, share), limit, budget_bytes)
    micro_batch, prediction = fitting
    reason = (
        f"{micro_batch} of {share} scenes at a time, {share // micro_batch} times a step: {prediction.gib:.2f} GiB of "
        f"the {limit / GIB:.2f} GiB that a budget of {budget_bytes / GIB:.2f} GiB leaves to tensors"
    )
    return MemoryPlan(micro_batch, share // micro_batch, True, prediction, reason)


def _largest_fitting(model: Model, load: MemoryLoad, share: int, limit: int) -> tuple[int, MemoryPrediction] | None:
    """By bisection over the divisors of the share: more scenes never need less."""
    divisors = [count for count in range(1, share + 1) if share % count == 0]
    fitting, low, high = None, 0, len(divisors)
    while low < high:
        # The whole share first: it is what most budgets are bought for.
        middle = high - 1 if fitting is None and high == len(divisors) else (low + high) // 2
        prediction = predict_memory(model, _with_micro_batch(load, divisors[middle], share))
        if prediction.bytes <= limit:
            fitting, low = (divisors[middle], prediction), middle + 1
        else:
            high = middle
    return fitting


def _with_micro_batch(load: MemoryLoad, micro_batch: int, share: int) -> MemoryLoad:
    parts = share // micro_batch
    config = load.config.model_copy(update={"batch_size": share * load.devices, "accumulate": parts})
    return replace(load, micro_batch=micro_batch, config=config)


def _refusal(model: Model, load: MemoryLoad, limit: int, budget_bytes: int) -> MemoryPlan:
    prediction = predict_memory(model, load)
    switches = tuple(Switch(name, predict_memory(*change())) for name, change in _open_switches(model, load))
    enough = [switch.name for switch in switches if switch.prediction.bytes <= limit]
    told = f"enough each for itself: {', '.join(enough)}" if enough else "no single switch is enough"
    reason = (
        f"not even one scene at a time fits: {prediction.gib:.2f} GiB, but a budget of {budget_bytes / GIB:.2f} GiB "
        f"leaves {limit / GIB:.2f} GiB to tensors; {told if switches else 'no switch is left'}"
    )
    return MemoryPlan(1, load.config.accumulate, False, prediction, reason, switches)


def _open_switches(model: Model, load: MemoryLoad) -> list[tuple[str, Callable[[], tuple[Model, MemoryLoad]]]]:
    """Changes that are not made yet, the cheapest in time and quality first."""
    switches = []
    if load.config.objective.rendering == "kept":
        switches.append(("rendering: deferred", lambda: (model, load.with_objective(rendering="deferred"))))
    config = _config_of(model)
    for field in ("checkpoint_blocks", "checkpoint_attention"):
        if getattr(config, field, None) is False:
            recomputing = config.model_copy(update={field: True})
            switches.append((f"{field}: true", lambda recomputing=recomputing: (recomputing, load)))
    if load.config.precision == "32-true":
        switches.append(("precision: bf16-mixed", lambda: (model, load.with_config(precision="bf16-mixed"))))
    if load.targets > 1:
        switches.append(("targets: 1", lambda: (model, replace(load, targets=1))))
    return switches


def _config_of(model: Model) -> ModelConfig | None:
    if isinstance(model, str):
        return named_config(model)
    return model if isinstance(model, ModelConfig) else getattr(model, "config", None)
