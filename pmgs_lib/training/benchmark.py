"""How fast training runs on a device: a transformer's trunk beside the device's own matrix products, whole steps."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import Literal

import torch
from torch import nn

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.scaling import Load, synthetic_context
from pmgs_lib.evaluation.timing import Timing, measure
from pmgs_lib.models import ModelConfig, build_model
from pmgs_lib.models.gslrm.config import GslrmConfig
from pmgs_lib.models.gslrm.transformer import Transformer
from pmgs_lib.pointmaps.base import Pointmap, PointmapSource
from pmgs_lib.training.config import ObjectiveConfig, TrainingConfig
from pmgs_lib.training.memory import MemoryLoad, predict_memory
from pmgs_lib.training.memory.networks import sized_perceptual
from pmgs_lib.training.recipes.base import Recipe, merged
from pmgs_lib.training.trainer import Trainer
from pmgs_lib.views import Example, Views

NOISE_SPREAD = 0.03  # of random weights: features stay finite
WALL_DEPTH = 5.0  # world units


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
    product_size: int = 8192,
) -> Utilisation:
    """Forward and backward of GS-LRM's transformer under autocast to `dtype`, nothing recomputed, on random tokens.

    product_size: of the square matrices it is compared with.
    """
    device = torch.device(device)
    trunk = Transformer(config.model_copy(update={"checkpoint_blocks": False})).to(device)
    if compile:
        for block in trunk.blocks:
            block.forward = torch.compile(block.forward, dynamic=False, fullgraph=True)
    tokens = views * (height // config.patch) * (width // config.patch)
    inputs = torch.randn(scenes, tokens, config.width, device=device, requires_grad=True)
    pull = torch.randn_like(inputs)
    timing = measure(_forward_and_backward(trunk, inputs, pull, dtype), device=device, repeats=repeats, warmup=5)
    return Utilisation(
        transformer_flop(config, scenes, tokens), timing, product_rate(device, size=product_size, dtype=dtype)
    )


def _forward_and_backward(
    trunk: nn.Module, inputs: torch.Tensor, pull: torch.Tensor, dtype: torch.dtype
) -> Callable[[], None]:
    def once() -> None:
        trunk.zero_grad(set_to_none=True)
        with torch.autocast(inputs.device.type, dtype=dtype):
            outputs = trunk(inputs)
        outputs.backward(pull)

    return once


def synthetic_example(scenes: int, views: int, targets: int, height: int, width: int, seed: int = 0) -> Example:
    """A batch of pictures of noise, seen from small arcs: what a step costs depends little on what there is to see."""
    parts = []
    for scene in range(scenes):
        context = synthetic_context(Load(views, height, width), seed=seed + 2 * scene)[0]
        target = synthetic_context(Load(targets, height, width), seed=seed + 2 * scene + 1)[0]
        parts.append(Example(context, target, f"noise {scene}"))
    return Example.collate(parts)


def time_steps(trainer: Trainer, example: Example, *, warmup: int = 5, repeats: int = 15) -> Timing:
    """Whole steps of a trainer on one micro-batch given again and again: loading is not in it, moving weights is.

    In several processes each gives its own share; the time is that of the slowest, since they wait for each other.
    """
    config: TrainingConfig = trainer.config
    if config.steps < warmup + repeats or warmup < 1:
        raise ParameterError(
            f"time_steps: {warmup} + {repeats} steps of {config.steps}; expected a training of so many steps or more, "
            "and one of them at least as warm-up"
        )
    ends: list[float] = []

    def note(step: int, _history: object) -> None:
        if trainer.fabric.device.type == "cuda":
            torch.cuda.synchronize(trainer.fabric.device)
            if step == warmup:
                torch.cuda.reset_peak_memory_stats(trainer.fabric.device)
        ends.append(time.perf_counter())

    trainer.fit(repeat(example), on_step=note, until=warmup + repeats)
    seconds = [end - begin for begin, end in zip(ends[warmup - 1 :], ends[warmup:], strict=False)]
    cuda = trainer.fabric.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated(trainer.fabric.device) if cuda else None
    return Timing(statistics.median(seconds), min(seconds), max(seconds), peak)


@dataclass(frozen=True)
class StepMeasurement:
    """One kind of training step: its time, its load, the peak that the planner predicted, processes side by side."""

    timing: Timing
    load: MemoryLoad
    predicted_bytes: int
    processes: int

    @property
    def scenes_per_second(self) -> float:
        """Scenes trained on, in all processes."""
        return self.load.config.batch_size / self.timing.median_s

    @property
    def images_per_second(self) -> float:
        """Target pictures drawn and compared, in all processes."""
        return self.scenes_per_second * self.load.targets

    def to_metrics(self) -> dict[str, float | int | None]:
        """For tables and reports."""
        rates = {"scenes_per_second": self.scenes_per_second, "images_per_second": self.images_per_second}
        return {**asdict(self.timing), "predicted_bytes": self.predicted_bytes, "processes": self.processes, **rates}


def measure_training(
    model: str | ModelConfig,
    load: MemoryLoad,
    *,
    device: str = "cpu",
    warmup: int = 5,
    repeats: int = 15,
    seed: int = 0,
) -> StepMeasurement:
    """Steps of `load.config` on noise, from fresh weights, in this process or in as many as torchrun started.

    load: `micro_batch` times `accumulate` times processes must be its configuration's batch_size. The network of a
    perceptual term has random weights and pointmaps lie ready, as from a cache: neither changes what a step costs.
    """
    predicted = predict_memory(model, load)
    torch.manual_seed(seed)
    pointmaps = _PointmapAtHand(seed) if load.config.objective.pointmap_weight > 0 else None
    perceptual = perceptual_of_noise(load.config.objective, device, seed)
    trainer = Trainer(build_model(model), load.config, pointmaps=pointmaps, perceptual=perceptual, accelerator=device)
    first = seed + 2 * load.micro_batch * trainer.fabric.global_rank
    example = synthetic_example(load.micro_batch, load.views, load.targets, load.height, load.width, first)
    timing = time_steps(trainer, example, warmup=warmup, repeats=repeats)
    return StepMeasurement(timing, load, predicted.bytes, trainer.fabric.world_size)


def step_of_recipe(
    recipe: Recipe,
    size: Literal["smoke", "full"],
    *,
    views: int,
    targets: int,
    height: int,
    width: int,
    scenes: int,
    steps: int,
    processes: int = 1,
    compiled: bool = False,
) -> tuple[ModelConfig, MemoryLoad]:
    """Network and load of a recipe's steps: rehearsed ("smoke") or its own ("full"), `scenes` at a time a process."""
    form = {"smoke": Recipe.smoke, "full": lambda recipe: recipe}[size](recipe)
    changes = {"batch_size": scenes * processes, "accumulate": 1, "steps": steps, "schedule": {"warmup": 1}}
    training = TrainingConfig.model_validate(merged(form.training.model_dump(), changes | {"compile": compiled}))
    return form.config(), MemoryLoad(views, targets, height, width, scenes, training, processes)


def perceptual_of_noise(objective: ObjectiveConfig, device: str, seed: int = 0) -> nn.Module | None:
    """The network of an objective's perceptual term with random weights, to be timed; None without such a term."""
    network = sized_perceptual(objective)
    if network is None:
        return None
    network = network.to_empty(device=device)
    draw = torch.Generator(device).manual_seed(seed)
    for tensor in [*network.parameters(), *network.buffers()]:
        tensor.data.normal_(0, NOISE_SPREAD, generator=draw)
    return network


class _PointmapAtHand(PointmapSource):
    """One pointmap for every question: a wall with noise of 5 %, which makes the search for neighbours a usual one."""

    def __init__(self, seed: int) -> None:
        self.seed, self.kept = seed, None

    def pointmap(self, context: Views, key: str | tuple[str, ...]) -> Pointmap:
        if self.kept is None:
            shape = (*context.images.shape[:2], context.height, context.width)
            noise = torch.randn(shape, generator=torch.Generator().manual_seed(self.seed)).to(context.images.device)
            depth = WALL_DEPTH * (1 + 0.05 * noise)
            self.kept = Pointmap(context.cameras.unproject(depth), torch.ones_like(depth))
        return self.kept
