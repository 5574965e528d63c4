"""Optimizer groups and learning-rate schedules."""

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from pmgs_lib.training.config import TrainingConfig

# DepthSplat's schedule is ten steps longer than its training, so that the last step still has a learning rate.
ONE_CYCLE_MARGIN = 10


def build_optimizer(model: nn.Module, config: TrainingConfig) -> Optimizer:
    """AdamW with the ViT's parameters in a group of their own when they have their own learning rate."""
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    own_rate = config.pretrained_learning_rate
    if own_rate is None:
        groups = [{"params": [p for _, p in trainable], "lr": config.learning_rate}]
    else:
        groups = [
            {"params": [p for name, p in trainable if "pretrained" in name], "lr": own_rate},
            {"params": [p for name, p in trainable if "pretrained" not in name], "lr": config.learning_rate},
        ]
    return AdamW([g for g in groups if g["params"]], weight_decay=config.weight_decay)


def build_schedule(optimizer: Optimizer, config: TrainingConfig) -> LRScheduler:
    """One cycle of cosine annealing over all steps, momentum left alone; stepped once a step."""
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=config.steps + ONE_CYCLE_MARGIN,
        pct_start=config.warmup_fraction,
        cycle_momentum=False,
        anneal_strategy="cos",
    )
