"""Optimizer groups and learning-rate schedules."""

import math

from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from pmgs_lib.training.config import OptimizerConfig, TrainingConfig

OPTIMIZERS = {"adamw": AdamW, "adam": Adam}
# DepthSplat's schedule is ten steps longer than its training, so that the last step still has a learning rate.
ONE_CYCLE_MARGIN = 10
# torch's OneCycleLR: the cycle begins at this share of its peak, and ends at that share of its beginning.
ONE_CYCLE_FIRST, ONE_CYCLE_LAST = 1 / 25, 1e-4


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizer:
    """The optimizer of all parameters that are trained, in groups by learning rate and by decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            pretrained = config.pretrained_learning_rate is not None and "pretrained" in name
            rate = config.pretrained_learning_rate if pretrained else config.learning_rate
            decays = config.decayed == "all" or parameter.ndim >= 2
            groups.setdefault((rate, config.weight_decay if decays else 0.0), []).append(parameter)
    described = [{"params": own, "lr": rate, "weight_decay": decay} for (rate, decay), own in groups.items()]
    return OPTIMIZERS[config.kind](described, lr=config.learning_rate, betas=config.betas)


def schedule_length(config: TrainingConfig) -> int:
    """Steps of the whole schedule."""
    return config.schedule.length or config.steps


def warmup_steps(config: TrainingConfig) -> int:
    """Steps until the peak of the learning rate."""
    warmup = config.schedule.warmup
    return warmup if isinstance(warmup, int) else round(warmup * schedule_length(config))


def learning_rate_factor(step: int, config: TrainingConfig) -> float:
    """By what every group's learning rate is multiplied at a step counted from 0: a function of nothing else."""
    length = schedule_length(config)
    if config.schedule.kind == "one-cycle":
        return _one_cycle_factor(step, config.schedule.warmup, length + ONE_CYCLE_MARGIN)
    falls = config.schedule.kind == "warmup-cosine"
    return _warmup_factor(step, warmup_steps(config), length if falls else None)


def build_schedule(optimizer: Optimizer, config: TrainingConfig) -> LRScheduler:
    """`learning_rate_factor` as a scheduler of torch, stepped once a step, for loops other than the trainer's."""
    return LambdaLR(optimizer, lambda step: learning_rate_factor(step, config))


def _one_cycle_factor(step: int, warmup: int | float, total: int) -> float:
    """torch's OneCycleLR with cosines and no momentum: up for `warmup` steps (or that share of all), then down."""
    peak = (warmup if isinstance(warmup, int) else warmup * total) - 1
    if step < peak:
        return _between(ONE_CYCLE_FIRST, 1.0, step / peak)
    return _between(1.0, ONE_CYCLE_FIRST * ONE_CYCLE_LAST, min(1.0, (step - peak) / (total - 1 - peak)))


def _between(first: float, last: float, share: float) -> float:
    """Half a cosine from `first` at 0 to `last` at 1."""
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


def _warmup_factor(step: int, warmup: int, length: int | None) -> float:
    """Linear from 0 at step 0 to 1 at `warmup`, then down half a cosine to 0 at `length`, or level without one.

    The smaller of both, as GS-LRM's unofficial training takes it (equal to the rule above but for rounding).
    """
    rising = step / warmup if warmup else 1.0
    if length is None:
        return min(rising, 1.0)
    falling = 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, length - warmup))))
    return min(rising, falling) if step >= warmup else rising
