"""The training loop on Lightning Fabric: nothing non-finite reaches the optimizer."""

import math
from collections.abc import Callable, Iterable

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from pmgs_lib.errors import TrainingError
from pmgs_lib.pointmaps.base import PointmapSource
from pmgs_lib.training.config import TrainingConfig
from pmgs_lib.training.history import TrainingHistory
from pmgs_lib.training.objective import Objective, StepLoss
from pmgs_lib.training.schedules import build_optimizer, build_schedule
from pmgs_lib.views import Example


class _Batch:
    """Carries an example past Fabric, which walks into containers and dataclasses to convert their tensors.

    step: of the training, from 0.
    """

    def __init__(self, example: Example, step: int) -> None:
        self.example, self.step = example, step


class _TrainingStep(nn.Module):
    """Model and objective as the one module that Fabric wraps, so that its forward is a whole step."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        self.last: StepLoss | None = None

    def forward(self, batch: _Batch) -> Tensor:
        prediction = self.model(batch.example.context)
        # Rendering and alignment lose what they are for in half precision.
        with torch.autocast(batch.example.target.images.device.type, enabled=False):
            self.last = self.objective(prediction, batch.example, batch.step)
            return self.last.total


class Trainer:
    """Trains a model for `config.steps` steps.

    >>> trainer = Trainer(model, TrainingConfig(steps=20))          # doctest: +SKIP
    >>> history = trainer.fit(batches)                              # doctest: +SKIP

    A loss or gradient that is not finite raises `TrainingError` before the optimizer's step, so the weights in `model`
    are then those of the last good step.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainingConfig,
        *,
        pointmaps: PointmapSource | None = None,
        accelerator: str = "auto",
    ) -> None:
        self.config, self.model = config, model
        self.fabric = Fabric(accelerator=accelerator, devices=1, precision=config.precision)
        self.fabric.seed_everything(config.seed, verbose=False)
        torch.set_float32_matmul_precision(config.matmul_precision)
        self.step_module = _TrainingStep(model, Objective(config.objective, pointmaps))
        self.wrapped, self.optimizer = self.fabric.setup(self.step_module, build_optimizer(model, config.optimizer))
        self.schedule = build_schedule(self.optimizer, config)
        self.history = TrainingHistory()

    def fit(
        self, batches: Iterable[Example], *, on_step: Callable[[int, TrainingHistory], None] | None = None
    ) -> TrainingHistory:
        """Take `config.steps` batches, one a step; `on_step` is told after each, e.g. to draw progress."""
        self.model.train()
        step = 0
        for step, example in zip(range(1, self.config.steps + 1), batches, strict=False):
            self._step(step, example.to(self.fabric.device))
            if on_step is not None:
                on_step(step, self.history)
        if step < self.config.steps:
            raise TrainingError(f"training: the data ended after {step} of {self.config.steps} steps; repeat it")
        self.model.eval()
        return self.history

    def _step(self, step: int, example: Example) -> None:
        total = self.wrapped(_Batch(example, step - 1))
        loss = self.step_module.last
        values = {name: term.item() for name, term in loss.terms.items()}
        where = f"training: step {step}, scenes {', '.join(example.key)}"
        for name, value in values.items():
            if not math.isfinite(value):
                raise TrainingError(f"{where}: the {name} term is {value} (expected finite): look at these scenes")
        self.fabric.backward(total)
        norm = self._clip(where)
        learning_rate = self.optimizer.param_groups[-1]["lr"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        for scene, reason in loss.excluded:
            self.history.exclude(step, scene, reason)
        self.history.add(step, values, norm, learning_rate)

    def _clip(self, where: str) -> float:
        norm = self.fabric.clip_gradients(
            self.wrapped, self.optimizer, max_norm=self.config.optimizer.clip_norm, error_if_nonfinite=False
        ).item()
        if not math.isfinite(norm):
            names = [n for n, p in self.model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
            self.optimizer.zero_grad(set_to_none=True)
            raise TrainingError(
                f"{where}: the gradient of {len(names)} parameters is not finite ({', '.join(names[:3])}); "
                "lower the learning rate or look at these scenes"
            )
        return norm
