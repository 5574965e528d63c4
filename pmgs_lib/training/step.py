"""One pass forward: a model and its objective as the one module that Fabric wraps."""

import torch
from torch import Tensor, nn

from pmgs_lib.models.base import Prediction
from pmgs_lib.training.faults import finite_parts
from pmgs_lib.training.objective import Objective, StepLoss
from pmgs_lib.training.preflight import check_prediction
from pmgs_lib.views import Example


class Batch:
    """Carries an example past Fabric, which walks into containers and dataclasses to convert their tensors.

    step: of the training, from 0.
    """

    def __init__(self, example: Example, step: int) -> None:
        self.example, self.step = example, step


class TrainingStep(nn.Module):
    """The loss of a micro-batch. Its terms stay in `last`, and in `finite` whether each part of the prediction was."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        self.last: StepLoss | None = None
        self.finite: dict[str, Tensor] = {}

    def forward(self, batch: Batch) -> Tensor:
        prediction = self._predict(batch.example)
        check_prediction(type(self.model).__name__, prediction, self.objective.config)
        self.finite = finite_parts(prediction)
        # Rendering and alignment lose what they are for in half precision.
        with torch.autocast(batch.example.target.images.device.type, enabled=False):
            self.last = self.objective(prediction, batch.example, batch.step)
            return self.last.total

    def _predict(self, example: Example) -> Prediction:
        if getattr(self.model, "needs_target_cameras", False):
            return self.model(example.context, target_cameras=example.target.cameras)
        return self.model(example.context)
