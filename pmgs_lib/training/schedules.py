"""Optimizer groups and learning-rate schedules."""

import math

from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from pmgs_lib.training.config import OptimizerConfig, TrainingConfig

OPTIMIZERS = {"adamw": AdamW, "adam": Adam}
# DepthSplat's schedule is ten steps longer than its training, so that the last step still has a learning rate.
ONE_CYCLE_MARGIN = 10


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


def warmup_steps(config: TrainingConfig) -> int:
    """Steps until the peak of the learning rate."""
    warmup = config.schedule.warmup
    length = config.schedule.length or config.steps
    return warmup if isinstance(warmup, int) else round(warmup * length)


def build_schedule(optimizer: Optimizer, config: TrainingConfig) -> LRScheduler:
    """The learning rate of every group, momentum left alone; stepped once a step."""
    length = config.schedule.length or config.steps
    if config.schedule.kind == "one-cycle":
        warmup, total = config.schedule.warmup, length + ONE_CYCLE_MARGIN
        return OneCycleLR(
            optimizer,
            max_lr=[group["lr"] for group in optimizer.param_groups],
            total_steps=total,
            pct_start=warmup / total if isinstance(warmup, int) else warmup,
            cycle_momentum=False,
            anneal_strategy="cos",
        )
    warmup = warmup_steps(config)
    falls = config.schedule.kind == "warmup-cosine"
    return LambdaLR(optimizer, lambda step: _warmup_factor(step, warmup, length if falls else None))


def _warmup_factor(step: int, warmup: int, length: int | None) -> float:
    """Linear from 0 at step 0 to 1 at `warmup`, then down half a cosine to 0 at `length`, or level without one.

    The smaller of both, as GS-LRM's unofficial training takes it (equal to the rule above but for rounding).
    """
    rising = step / warmup if warmup else 1.0
    if length is None:
        return min(rising, 1.0)
    falling = 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, length - warmup))))
    return min(rising, falling) if step >= warmup else rising
