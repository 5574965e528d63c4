"""The gradients of one step, over its micro-batches and all processes; or the fault that forbids the step."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from pmgs_lib.errors import ParameterError, PmgsError
from pmgs_lib.training.config import TrainingConfig
from pmgs_lib.training.faults import (
    Fault,
    FaultError,
    Readings,
    gradient_fault,
    input_fault,
    prediction_fault,
    term_fault,
    weight_fault,
)
from pmgs_lib.training.processes import Processes
from pmgs_lib.training.schedules import warmup_steps
from pmgs_lib.training.step import Batch, TrainingStep
from pmgs_lib.views import Example

Numbers = Mapping[tuple, list[float]]
WHOLE = -1  # in the place of a micro-batch's number: what belongs to the whole step


@dataclass(frozen=True)
class StepReport:
    """What a step says of itself, over all its scenes.

    terms: means. gradient_norm: before it is cut. excluded: scenes that PM-Loss left out, and why. replaced: scenes in
    whose place the data gave others, and why.
    """

    terms: dict[str, float]
    gradient_norm: float
    excluded: list[tuple[str, str]]
    replaced: dict[str, str]


class GradientPass:
    """Leaves the mean gradient of all scenes of a step in the weights' `grad`, and the whole norm in `norm`.

    Everything that can be wrong is looked for here, and every process ends a step for the fault of any: `FaultError`.
    The device is waited for once a step, apart from what a model's own checks ask.
    """

    def __init__(
        self, fabric: Fabric, model: nn.Module, step_module: TrainingStep, wrapped: Any, config: TrainingConfig
    ) -> None:
        self.fabric, self.model, self.step_module, self.wrapped, self.config = (
            fabric,
            model,
            step_module,
            wrapped,
            config,
        )
        self.processes = Processes(fabric)
        self.norm: Tensor | None = None
        self._trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self._weights = [value for value in (*model.parameters(), *model.buffers()) if value.is_floating_point()]

    def __call__(
        self, step: int, examples: Sequence[Example], refused: PmgsError | None, replaced: Mapping[str, str]
    ) -> StepReport:
        """The gradient at `step`, counted from 1; refused: why the data gave no examples."""
        self._agree(_first(map(input_fault, examples)) if refused is None else Fault.refusal(refused), refused)
        readings, excluded = Readings(), []
        for number, example in enumerate(examples):
            self._add(step, example, last=number == len(examples) - 1)
            self._note(readings, number)
            excluded += self.step_module.last.excluded
        self.norm = get_total_norm([value.grad for value in self._trained.values() if value.grad is not None])
        readings.add((WHOLE, "gradient"), self.norm)
        readings.add((WHOLE, "weights"), get_total_norm([value.detach() for value in self._weights]))
        numbers = readings.read()
        norm = numbers[WHOLE, "gradient"][0]
        forward = self._forward_fault(numbers, examples)
        own = StepReport(_mean_terms(numbers, len(examples)), norm, excluded, dict(replaced))
        # One exchange for all of it: devices wait meanwhile.
        told = self.processes.gather((forward, self._gradient_fault(step, norm, examples), own))
        forward_faults, gradient_faults, reports = zip(*told, strict=True)
        for faults in (forward_faults, gradient_faults):  # the former make the latter, in every process
            _raise_gravest(faults)
        return _joined(reports)

    def _agree(self, own: Fault | None, cause: PmgsError | None = None) -> None:
        """Raise `FaultError` in every process if any has a fault."""
        if self.processes.any(own is not None):
            _raise_gravest(self.processes.gather(own), cause)

    def _add(self, step: int, example: Example, last: bool) -> None:
        """Add the gradient of one micro-batch; processes exchange theirs with the last."""
        refused, cause, total = None, None, None
        with self.fabric.no_backward_sync(self.wrapped, enabled=not last):
            try:
                total = self.wrapped(Batch(example.to(self.fabric.device), step - 1))
            except PmgsError as error:
                refused, cause = Fault.refusal(error, example.key), error
            self._agree(refused, cause)
            self.fabric.backward(total / self.config.accumulate)
        if last and self.processes.count > 1:
            self._require_all_gradients()

    def _require_all_gradients(self) -> None:
        """Gradients are exchanged in groups, each when its last one is there: one that never comes stops others."""
        without = [name for name, value in self._trained.items() if value.grad is None]
        if without:
            raise ParameterError(
                f"training: {len(without)} weights got no gradient ({', '.join(without[:3])}); expected one for each "
                "in several processes: set requires_grad_(False) on them, or train in one process"
            )

    def _note(self, readings: Readings, number: int) -> None:
        loss = self.step_module.last
        for name, term in loss.terms.items():
            readings.add((number, "term", name), term)
        for name, value in loss.per_scene.items():
            readings.add((number, "scene", name), value)
        for name, flags in self.step_module.finite.items():
            readings.add((number, "finite", name), flags)

    def _forward_fault(self, numbers: Numbers, examples: Sequence[Example]) -> Fault | None:
        """The cause of what is not finite, as far back as it can be followed: weights, prediction, terms."""
        if not abs(numbers[WHOLE, "weights"][0]) < float("inf"):
            found = weight_fault(self.model)
            if found is not None:
                return found
        for number, example in enumerate(examples):
            finite = {key[2]: value for key, value in numbers.items() if key[:2] == (number, "finite")}
            terms = {key[2]: value[0] for key, value in numbers.items() if key[:2] == (number, "term")}
            by_scene = {name: numbers.get((number, "scene", name)) for name in terms}
            found = prediction_fault(finite, example.key) or _first(
                term_fault(name, value, by_scene[name], example.key) for name, value in terms.items()
            )
            if found is not None:
                return found
        return None

    def _gradient_fault(self, step: int, norm: float, examples: Sequence[Example]) -> Fault | None:
        scenes = tuple(scene for example in examples for scene in example.key)
        if not norm < float("inf"):
            return gradient_fault(self._trained, norm, scenes)
        largest = self.config.non_finite.largest_norm
        if largest is not None and step > warmup_steps(self.config) and norm > largest:
            return Fault(scenes, f"the gradient's norm is {norm:.5g} (expected at most largest_norm {largest:g})")
        return None


def _raise_gravest(faults: Iterable[Fault | None], cause: PmgsError | None = None) -> None:
    """Raise `FaultError` for the gravest fault of all processes, with all scenes it came from; nothing without one."""
    found = [fault for fault in faults if fault is not None]
    if found:
        gravest = min(found, key=lambda fault: fault.skippable)
        scenes = dict.fromkeys(scene for fault in found if fault.what == gravest.what for scene in fault.scenes)
        raise FaultError(replace(gravest, scenes=tuple(scenes))) from cause


def _first(found: Iterable[Fault | None]) -> Fault | None:
    return next((fault for fault in found if fault is not None), None)


def _mean_terms(numbers: Numbers, micro_batches: int) -> dict[str, float]:
    terms: dict[str, float] = {}
    for key, (value, *_) in numbers.items():
        if key[1] == "term":
            terms[key[2]] = terms.get(key[2], 0.0) + value / micro_batches
    return terms


def _joined(reports: Sequence[StepReport]) -> StepReport:
    """The report of all processes' scenes."""
    if len(reports) == 1:
        return reports[0]
    names = dict.fromkeys(name for report in reports for name in report.terms)
    terms = {name: sum(report.terms.get(name, 0.0) for report in reports) / len(reports) for name in names}
    excluded = [one for report in reports for one in report.excluded]
    replaced = {scene: reason for report in reports for scene, reason in report.replaced.items()}
    return StepReport(terms, reports[0].gradient_norm, excluded, replaced)
