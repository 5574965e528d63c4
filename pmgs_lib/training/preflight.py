"""Mistakes that can be found before the first step of a training, each told in one line."""

import math

from torch import nn

from pmgs_lib.errors import ParameterError
from pmgs_lib.models.base import Prediction
from pmgs_lib.training.config import ObjectiveConfig, OptimizerConfig, TrainingConfig
from pmgs_lib.training.schedules import schedule_length, warmup_steps
from pmgs_lib.views import Example

# A step of Adam moves each weight by up to its learning rate, and few weights of our models are larger than this.
LARGEST_LEARNING_RATE = 0.1


def check_configuration(config: TrainingConfig, model: nn.Module, processes: int = 1) -> None:
    """What a configuration, a model and the number of processes tell without data. Raises `ParameterError`."""
    _check_optimizer(config.optimizer)
    _check_schedule(config)
    _check_terms(config)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ParameterError(
            f"training: {type(model).__name__} has no weight to train; expected some parameter with requires_grad"
        )
    parts = processes * config.accumulate
    if config.batch_size % parts:
        raise ParameterError(
            f"training: batch_size {config.batch_size} does not divide into {processes} processes x accumulate "
            f"{config.accumulate}; expected a multiple of {parts}"
        )


def _check_optimizer(config: OptimizerConfig) -> None:
    for name in ("learning_rate", "pretrained_learning_rate"):
        rate = getattr(config, name)
        if rate is not None and not 0 < rate <= LARGEST_LEARNING_RATE:
            raise ParameterError(
                f"training: {name} {rate}; expected above 0 and at most {LARGEST_LEARNING_RATE}, since each step moves "
                "a weight by up to it"
            )
    if not all(0 <= beta < 1 for beta in config.betas):
        raise ParameterError(f"training: betas {config.betas}; expected two numbers from 0 to below 1")
    if not math.isfinite(config.weight_decay):
        raise ParameterError(f"training: weight_decay {config.weight_decay}; expected a finite number")


def _check_schedule(config: TrainingConfig) -> None:
    length, warmup = schedule_length(config), warmup_steps(config)
    if length < config.steps:
        raise ParameterError(
            f"training: a schedule of {length} steps under a training of {config.steps}; expected no fewer: "
            "correct schedule.length, or leave it out"
        )
    if warmup >= length:
        raise ParameterError(
            f"training: {warmup} steps of warm-up in a schedule of {length}; expected fewer, since the learning rate "
            "is never reached: lower schedule.warmup"
        )


def _check_terms(config: TrainingConfig) -> None:
    """Whether some term has a weight at every step: each pause begins with the training or where a term stops."""
    objective = config.objective
    if any(getattr(objective, f"{term}_weight") for term in ("photometric", "depth", "depth_gradient")):
        return
    moving = [(objective.perceptual_weight, objective.perceptual_schedule)]
    moving.append((objective.pointmap_weight, objective.pointmap_schedule))
    schedules = [schedule for weight, schedule in moving if weight > 0]
    for step in sorted({0, *(schedule.stop or 0 for schedule in schedules)}):
        if step < config.steps and not any(schedule.factor(step) for schedule in schedules):
            raise ParameterError(
                f"training: no term of the objective has a weight at step {step}; expected one: let a schedule start "
                "earlier or stop later"
            )


def check_first_batch(example: Example, model: nn.Module, config: TrainingConfig, scenes: int) -> None:
    """Whether a micro-batch can be trained on; scenes: how many it should hold. Raises `ParameterError`."""
    context, target = example.context, example.target
    sizes = {len(example.key), *context.batch_shape, *target.batch_shape}
    if isinstance(example.key, str) or sizes != {scenes}:
        raise ParameterError(
            f"training: a micro-batch of {tuple(context.batch_shape)} contexts and {tuple(target.batch_shape)} "
            f"targets; expected {scenes} of each (batch_size {config.batch_size} over processes x accumulate "
            f"{config.accumulate}): use training_loader, or Example.collate"
        )
    if target.count < 1 or not target.height or not target.width:
        raise ParameterError(
            f"training: {example.key[0]} has {target.count} targets of {target.height} x {target.width}; expected "
            "pictures to compare with: correct the sampler"
        )
    multiple = getattr(getattr(model, "config", None), "multiple", 1)
    if context.height % multiple or context.width % multiple:
        raise ParameterError(
            f"training: pictures of {context.height} x {context.width}; expected multiples of {multiple} for "
            f"{type(model).__name__}: choose another size"
        )
    objective = config.objective
    if (objective.depth_weight > 0 or objective.depth_gradient_weight > 0) and context.depth is None:
        raise ParameterError(
            f"training: depth_weight {objective.depth_weight}, depth_gradient_weight "
            f"{objective.depth_gradient_weight}, but {example.key[0]} has no known depth; "
            "expected scenes with depth, or weight 0"
        )


def check_prediction(name: str, prediction: Prediction, objective: ObjectiveConfig) -> None:
    """Whether a model predicts what its objective is about. Raises `ParameterError`."""
    weights = {term: getattr(objective, f"{term}_weight") for term in ("photometric", "perceptual", "pointmap")}
    asking = [f"{term}_weight {weight}" for term, weight in weights.items() if weight > 0]
    if prediction.gaussians is None and asking:
        raise ParameterError(
            f"{name} predicts depth only, no Gaussians, but the objective has {', '.join(asking)}; expected 0: train "
            "it with depth_weight, or take a model with Gaussians"
        )
    if prediction.depth is None and (objective.depth_weight > 0 or objective.depth_gradient_weight > 0):
        raise ParameterError(f"{name} predicts no depth, but the objective has a weight for it; expected 0")
