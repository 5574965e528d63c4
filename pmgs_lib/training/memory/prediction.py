"""Peak device memory of a training step, or of inference, before a device is touched."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ParameterError, PmgsError, first_line
from pmgs_lib.models.base import ModelConfig
from pmgs_lib.pointmaps.base import PointmapSource
from pmgs_lib.rasterizers import render_with_settings
from pmgs_lib.training.config import TrainingConfig
from pmgs_lib.training.memory.counter import MemoryCounter
from pmgs_lib.training.memory.networks import (
    NETWORK_SOURCES,
    fake_twin,
    known_model,
    played_model,
    sized_perceptual,
    sized_pointmaps,
)
from pmgs_lib.training.memory.scratch import LIBRARY_WORKSPACE
from pmgs_lib.training.memory.stand_ins import backward, forward_pass, played_on_gpu
from pmgs_lib.training.objective import Objective
from pmgs_lib.training.schedules import build_optimizer
from pmgs_lib.training.step import Batch, TrainingStep
from pmgs_lib.views import Example, Views

GIB = 2**30
_Networks = tuple[PointmapSource | None, nn.Module | None]
# In the order of a table. "backward": gradients on their way through the network. "scratch": what kernels need while
# they run. "workspace": what cuBLAS keeps.
PARTS = (
    "weights", "gradients", "optimizer", "average", "inputs", "activations", "rendering", "perceptual", "pointmap",
    "backward", "scratch", "workspace", "buckets", "other",
)  # fmt: skip


@dataclass(frozen=True)
class MemoryLoad:
    """What one device has to hold.

    views, targets: of each scene. height, width: of their pictures. micro_batch: scenes at a time. config: of the
    training; None asks about inference, `targets` being drawn from the Gaussians (0: none). devices: with more than
    one, DDP keeps a second copy of the gradients. pointmap, pointmap_options: the source for PM-Loss.
    """

    views: int
    targets: int
    height: int
    width: int
    micro_batch: int = 1
    config: TrainingConfig | None = None
    devices: int = 1
    pointmap: str = "depth"
    pointmap_options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("views", "height", "width", "micro_batch", "devices")}
        wrong = [f"{name} {size}" for name, size in sizes.items() if size < 1]
        if wrong or self.targets < 0:
            raise ParameterError(
                f"memory: {', '.join([*wrong, f'targets {self.targets}'])}; expected 1 or more (targets: 0 or more)"
            )

    def with_objective(self, **fields: Any) -> "MemoryLoad":
        """The same load with other fields of its objective."""
        objective = self.config.objective.model_copy(update=fields)
        return replace(self, config=self.config.model_copy(update={"objective": objective}))

    def with_config(self, **fields: Any) -> "MemoryLoad":
        """The same load with other fields of its training configuration."""
        return replace(self, config=self.config.model_copy(update=fields))


@dataclass(frozen=True)
class MemoryPrediction:
    """Bytes at the moment when a device holds most, by what holds them (`PARTS`).

    It is what `torch.cuda.max_memory_allocated` reports, without the CUDA context and what the allocator keeps back.
    """

    parts: dict[str, int]

    @property
    def bytes(self) -> int:
        return sum(self.parts.values())

    @property
    def gib(self) -> float:
        return self.bytes / GIB

    def table(self) -> str:
        """A line for each part that holds anything, in GiB, and their sum."""
        lines = [f"{name:12}{size / GIB:9.3f}" for name, size in self.parts.items()]
        return "\n".join([*lines, f"{'together':12}{self.gib:9.3f}  GiB"])

    def card(self, measured_bytes: int | None = None) -> dict[str, Any]:
        """Predicted and measured beside each other, in GiB, for the card of a training."""
        return {
            "predicted_gib": round(self.gib, 4),
            "measured_gib": None if measured_bytes is None else round(measured_bytes / GIB, 4),
            "parts": {name: round(size / GIB, 4) for name, size in self.parts.items()},
        }


def predict_memory(model: nn.Module | ModelConfig | str, load: MemoryLoad) -> MemoryPrediction:
    """Peak memory of one device under a load, whatever machine this runs on; takes seconds and holds no numbers.

    One real step (or one real call) of the library's own code runs on fake tensors, which have shapes but no numbers,
    and what they would hold is counted. Stated instead of counted: intersections of Gaussians with tiles, cuDNN's and
    cuBLAS's workspaces, see `gsplat_shapes.py` and `scratch.py`. Compiled regions are taken as they are without the
    compiler, which needs less. While it runs, functions of this process are replaced: no other thread should train.

    model: a name of `MODELS`, a configuration, or a network, which is left as it is. Raises `ParameterError` for a load
    that the model does not take, and for an objective that cannot be built.

    >>> predict_memory("depthsplat-tiny", MemoryLoad(views=2, targets=1, height=32, width=48)).gib < 0.1
    True
    """
    counter = MemoryCounter()
    model, networks = known_model(model), _networks(load)
    try:
        with played_on_gpu(counter):
            if load.config is None:
                _inference(counter, model, load)
            else:
                _training(counter, model, load, networks)
    except PmgsError:
        raise
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        ImportError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise ParameterError(
            f"memory: this step cannot be played without its device ({type(error).__name__}: {first_line(error)}); "
            "leave out what is special about it, or measure it on the device"
        ) from error
    parts = dict(counter.at_peak) | {"workspace": LIBRARY_WORKSPACE}
    if load.config is not None and load.devices > 1:
        parts["buckets"] = parts.get("weights", 0)
    return MemoryPrediction({name: parts[name] for name in PARTS if parts.get(name)})


def _networks(load: MemoryLoad) -> _Networks:
    """Source of pointmaps and perceptual term: made before tensors are fake, since those cannot be converted."""
    if load.config is None:
        return None, None
    objective = load.config.objective
    source = sized_pointmaps(load.pointmap, load.pointmap_options or {}) if objective.pointmap_weight else None
    return source, sized_perceptual(objective)


def _inference(counter: MemoryCounter, model: nn.Module | ModelConfig, load: MemoryLoad) -> None:
    with counter.part("weights"):
        network = played_model(model).eval()
    with counter.part("inputs"):
        example = _example(load)
    counter.forget_peak()
    with torch.no_grad(), counter.part("activations"), forward_pass("32-true"):
        prediction, target = network(example.context), example.target
        if load.targets and prediction.gaussians is not None:
            options = {"near": target.near, "backend": "auto"}
            sizes = (target.height, target.width)
            render_with_settings(prediction.gaussians, target.cameras, *sizes, prediction.settings, **options)


def _training(counter: MemoryCounter, model: nn.Module | ModelConfig, load: MemoryLoad, networks: _Networks) -> None:
    config = load.config
    with counter.part("weights"):
        network = played_model(model).train()
    if config.average_decay is not None:
        with counter.part("average"):
            average = fake_twin(network)  # noqa: F841 (held, as in training)
    with counter.part("optimizer"):
        optimizer = _running_optimizer(network, config)
    objective = _objective(counter, load, networks)
    step = TrainingStep(network, objective)
    with counter.part("inputs"):
        example = _example(load)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.register_post_accumulate_grad_hook(lambda own: counter.hold(own.grad, "gradients"))
    counter.forget_peak()
    for _ in range(min(2, config.accumulate)):  # from the second part on, gradients are there already
        _micro_step(counter, step, Batch(example, _busiest_step(objective, config)), config.precision)
    with counter.part("optimizer"):
        torch.nn.utils.clip_grad_norm_(trained, config.optimizer.clip_norm or 1.0, foreach=True)
        optimizer.step()


def _micro_step(counter: MemoryCounter, step: TrainingStep, batch: Batch, precision: str) -> None:
    with counter.part("activations"), forward_pass(precision):
        total = step(batch)
    with counter.part("backward"):
        backward(total)


def _running_optimizer(network: nn.Module, config: TrainingConfig) -> Optimizer:
    """The optimizer with the state that it has from its first step on."""
    optimizer = build_optimizer(network, config.optimizer)
    for group in optimizer.param_groups:
        # What torch chooses by itself on a GPU: many tensors at a time, with results as large as all of them.
        group["foreach"] = not group.get("fused")
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return optimizer


def _objective(counter: MemoryCounter, load: MemoryLoad, networks: _Networks) -> Objective:
    source, perceptual = networks
    with counter.part("pointmap"):
        if source is not None and load.pointmap in NETWORK_SOURCES:
            source.model = fake_twin(source.model)
    with counter.part("perceptual"):
        perceptual = perceptual and fake_twin(perceptual)
    return Objective(load.config.objective, source, perceptual)


def _busiest_step(objective: Objective, config: TrainingConfig) -> int:
    """A step at which as many terms count as ever."""
    schedules = (config.objective.perceptual_schedule, config.objective.pointmap_schedule)
    steps = {0, config.steps - 1, *(schedule.start for schedule in schedules)}
    return max(sorted(steps), key=lambda step: sum(weight > 0 for weight in objective.weights(step).values()))


def _example(load: MemoryLoad) -> Example:
    context, target = (_views(load, count) for count in (load.views, load.targets))
    return Example(context, target, tuple(f"scene {number}" for number in range(load.micro_batch)))


def _views(load: MemoryLoad, count: int) -> Views:
    scenes, size = load.micro_batch, (load.height, load.width)
    cameras = Cameras(torch.empty(scenes, count, 4, 4), torch.empty(scenes, count, 3, 3))
    objective = load.config and load.config.objective
    knows_depth = objective and (objective.depth_weight or objective.depth_gradient_weight)
    depth = torch.ones(scenes, count, *size) if knows_depth else None
    return Views(torch.ones(scenes, count, 3, *size), cameras, torch.ones(scenes), torch.ones(scenes), depth)
