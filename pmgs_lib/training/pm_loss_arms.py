"""Arms of an ablation of PM-Loss: one training each, the same but for one thing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pmgs_lib.errors import ParameterError
from pmgs_lib.training.config import ObjectiveConfig, TrainingConfig
from pmgs_lib.training.run import TrainingRun

WITHOUT, RELEASED = "without PM-Loss", "released PM-Loss"


@dataclass(frozen=True)
class Arm:
    """question: what it asks. weight: factor on the weight of PM-Loss. options: of the loss. source: other options of
    the pointmap source.
    """

    question: str
    weight: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)


# What the paper ablates (project page and text; its numbers could not be read), and the noise of a known pointmap.
PM_LOSS_ARMS: dict[str, Arm] = {
    WITHOUT: Arm("the loss itself", weight=0.0),
    RELEASED: Arm("the loss itself"),
    "not aligned": Arm("alignment", options={"alignment": "none"}),
    "alignment without gradient": Arm("alignment", options={"detach_alignment": True}),
    "aligned view by view": Arm("alignment", options={"per_view": True}),
    "both directions": Arm("direction", options={"two_sided": True}),
    "2D: along depth, pixel by pixel": Arm("2D or 3D", options={"compare": "depth"}),
    "a tenth of the weight": Arm("weight", weight=0.1),
    "ten times the weight": Arm("weight", weight=10.0),
    "exact pointmap": Arm("source", source={"noise": 0.0}),
    "pointmap five times as noisy": Arm("source", source={"noise": 0.1}),
}


def chosen_arms(names: list[str]) -> dict[str, Arm]:
    """Arms by name, all of them for no name; `ParameterError` for one that does not exist."""
    unknown = [name for name in names if name not in PM_LOSS_ARMS]
    if unknown:
        known = ", ".join(PM_LOSS_ARMS)
        raise ParameterError(f"ablation of PM-Loss: no arm {', '.join(unknown)}; expected some of {known}")
    return {name: PM_LOSS_ARMS[name] for name in names} or dict(PM_LOSS_ARMS)


def run_of(arm: Arm, run: TrainingRun) -> TrainingRun:
    """`run` with this arm's loss and pointmaps; everything else, its seed too, as it was."""
    options = {**run.pointmap_options, **arm.source}
    return run.model_copy(update={"training": with_arm(run.training, arm), "pointmap_options": options})


def with_arm(training: TrainingConfig, arm: Arm) -> TrainingConfig:
    """The training with this arm's loss."""
    objective = training.objective
    settings = objective.pointmap_loss.changed(dict(arm.options))
    changed = {"pointmap_weight": arm.weight * objective.pointmap_weight, "pointmap_loss": settings}
    fields = {name: getattr(objective, name) for name in ObjectiveConfig.model_fields}
    return training.model_copy(update={"objective": ObjectiveConfig(**fields | changed)})
