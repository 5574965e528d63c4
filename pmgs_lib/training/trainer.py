"""The training loop on Lightning Fabric: nothing non-finite reaches the optimizer."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import clip_grads_with_norm_

from pmgs_lib.errors import ParameterError, PmgsError, TrainingError
from pmgs_lib.models.acceleration import accelerate
from pmgs_lib.pointmaps.base import PointmapSource
from pmgs_lib.training.averaging import WeightAverage
from pmgs_lib.training.config import TrainingConfig
from pmgs_lib.training.faults import Fault, FaultError, weight_fault
from pmgs_lib.training.gradients import GradientPass
from pmgs_lib.training.history import TrainingHistory
from pmgs_lib.training.objective import Objective
from pmgs_lib.training.optimizer_state import load_named_state, named_state, nonfinite_state
from pmgs_lib.training.preflight import check_configuration, check_first_batch
from pmgs_lib.training.processes import start_fabric
from pmgs_lib.training.schedules import build_optimizer, learning_rate_factor
from pmgs_lib.training.snapshot import check_snapshot
from pmgs_lib.training.step import TrainingStep
from pmgs_lib.views import Example

OnStep = Callable[[int, TrainingHistory], None]


class Trainer:
    """Trains a model for `config.steps` steps, in this process or in as many as torchrun started.

    >>> trainer = Trainer(model, TrainingConfig(steps=20))          # doctest: +SKIP
    >>> history = trainer.fit(batches)                              # doctest: +SKIP

    perceptual: the network of the perceptual term, from pairs of images to a scalar. devices, nodes: see
    `start_fabric`. A loss or gradient that is not finite is met as `config.non_finite` says, always before the
    optimizer's step: after a `TrainingError` the weights in `model` are those of the last good step. `step` counts the
    steps taken or left out.

    A step is a function of weights, optimizer, its number and its examples: the random numbers of torch are seeded by
    (seed, step, process), learning rates and weights of terms follow from the number. So nothing else needs to be kept
    for a training to go on exactly.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainingConfig,
        *,
        pointmaps: PointmapSource | None = None,
        perceptual: nn.Module | None = None,
        accelerator: str = "auto",
        devices: int = 1,
        nodes: int = 1,
    ) -> None:
        self.config, self.model, self.step = config, model, 0
        self.fabric = start_fabric(accelerator, config.precision, devices, nodes)
        check_configuration(config, model, self.fabric.world_size)
        if perceptual is not None:
            perceptual = perceptual.to(self.fabric.device).eval().requires_grad_(False)
        self.step_module = TrainingStep(self._running(), Objective(config.objective, pointmaps, perceptual))
        self.optimizer = build_optimizer(model, config.optimizer)
        self._peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.wrapped, self._fabric_optimizer = self.fabric.setup(self.step_module, self.optimizer)
        self._gradients = GradientPass(self.fabric, model, self.step_module, self.wrapped, config)
        self.average = None if config.average_decay is None else WeightAverage(model, config.average_decay)
        self.history = TrainingHistory()

    def _running(self) -> nn.Module:
        """The model as it runs: itself, or a compiled twin on the same weights."""
        if not self.config.compile:
            return self.model
        half = self.config.precision == "bf16-mixed"
        return accelerate(
            self.model.to(self.fabric.device),
            precision="bfloat16" if half else "float32",
            graphs=self.config.graphs,
        )

    def fit(
        self,
        batches: Iterable[Example],
        *,
        on_step: OnStep | None = None,
        first_step: int = 0,
        until: int | None = None,
    ) -> TrainingHistory:
        """Take the steps after `first_step`, which must be the trainer's own `step`, up to `until` (None: all).

        batches: micro-batches of this process from there on, `config.accumulate` of them a step. `on_step` is told
        after each step, e.g. to draw progress. Mistakes in data and configuration are found before the first step.
        Torch's random generators and its precision of products are left as they were.
        """
        last = self.config.steps if until is None else until
        if not self.step == first_step <= last <= self.config.steps:
            raise ParameterError(
                f"training: steps after {first_step} up to {last} asked for, of {self.config.steps} with {self.step} "
                "done; expected to go on from there: load the state first, or make another Trainer"
            )
        with self._surroundings():
            micro_batches = self._checked(batches)
            for step in range(first_step + 1, last + 1):
                self._take_step(step, micro_batches, getattr(batches, "replaced", {}))
                if on_step is not None:
                    on_step(step, self.history)
            self._require_finite_weights()
        return self.history

    @contextmanager
    def _surroundings(self) -> Iterator[None]:
        device, products = self.fabric.device, torch.get_float32_matmul_precision()
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.set_float32_matmul_precision(self.config.matmul_precision)
            self._set_mode(training=True)
            try:
                yield
            finally:
                self._set_mode(training=False)
                torch.set_float32_matmul_precision(products)

    def _set_mode(self, training: bool) -> None:
        for module in (self.model, self.step_module.model):  # a compiled twin shares weights, not modes
            module.train(training)

    def _checked(self, batches: Iterable[Example]) -> Iterator[Example]:
        """The same batches, once the first of them and what the trainer stands on were looked at."""
        self._require_finite_weights()
        wrong = nonfinite_state(named_state(self.optimizer, self.model))
        if wrong is not None:
            raise TrainingError(f"training: {wrong} in the optimizer is not finite; go back to an earlier state")
        rest = iter(batches)
        first = list(islice(rest, 1))
        scenes = self.config.batch_size // (self.config.accumulate * self.fabric.world_size)
        for example in first:
            check_first_batch(example, self.model, self.config, scenes)
        return chain(first, rest)

    def _require_finite_weights(self) -> None:
        fault = weight_fault(self.model)
        if fault is not None:
            raise fault.error(self.step)

    def _take_step(self, step: int, micro_batches: Iterator[Example], replaced: Mapping[str, str]) -> None:
        examples, refused = self._draw(step, micro_batches)
        self._seed(step)
        learning_rate = self._set_learning_rates(step)
        try:
            new = {scene: reason for scene, reason in replaced.items() if scene not in self.history.replaced}
            report = self._gradients(step, examples, refused, new)
        except FaultError as found:
            self.optimizer.zero_grad(set_to_none=True)
            self._leave_out(step, found.fault, learning_rate)
        else:
            self._move_weights()
            for scene, reason in report.excluded:
                self.history.exclude(step, scene, reason)
            self.history.replaced.update(report.replaced)
            self.history.add(step, report.terms, report.gradient_norm, learning_rate)
            if self.config.non_finite.action == "skip":
                self.history.rows[-1]["skipped"] = 0
        self.step = step

    def _draw(self, step: int, micro_batches: Iterator[Example]) -> tuple[list[Example], PmgsError | None]:
        """The micro-batches of a step, or why there are none."""
        try:
            examples = list(islice(micro_batches, self.config.accumulate))
        except PmgsError as error:
            return [], error
        if len(examples) == self.config.accumulate:
            return examples, None
        return [], TrainingError(f"the data ended after {step - 1} of {self.config.steps} steps; repeat it")

    def _seed(self, step: int) -> None:
        parts = [self.config.seed % 2**64, step, self.fabric.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0]))

    def _set_learning_rates(self, step: int) -> float:
        """Set every group's rate; the last group's is returned."""
        factor = learning_rate_factor(step - 1, self.config)
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        return self.optimizer.param_groups[-1]["lr"]

    def _move_weights(self) -> None:
        largest = self.config.optimizer.clip_norm
        if largest is not None:
            clip_grads_with_norm_(self.model.parameters(), largest, self._gradients.norm)
        self._fabric_optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.model)

    def _leave_out(self, step: int, fault: Fault, learning_rate: float) -> None:
        """Count a step that is not taken, or end the training."""
        policy = self.config.non_finite
        if policy.action == "stop" or not fault.skippable:
            raise fault.error(step)
        if self.history.skipped_in_sequence == policy.most:
            raise TrainingError(f"{fault.error(step)}; {policy.most} steps before it were left out as well")
        self.history.skip(step, fault.scenes, fault.what, learning_rate)

    @property
    def trained_model(self) -> nn.Module:
        """A copy of the model for use, in evaluation mode: the averaged weights where there is an average."""
        model = self.model if self.average is None else self.average.model
        return copy.deepcopy(model).eval()

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, and the history. Tensors are the live ones: write or copy them at once."""
        return {
            "model": self.model.state_dict(),
            "optimizer": named_state(self.optimizer, self.model),
            "average": {} if self.average is None else self.average.state_dict(),
            "step": self.step,
            "history": self.history.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave. Raises `CheckpointError` for the state of another model or training."""
        trained = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
        check_snapshot(self.state_dict(), state, trained)
        self.model.load_state_dict(state["model"], strict=True)
        load_named_state(self.optimizer, self.model, state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.history = TrainingHistory.from_state_dict(state["history"])
        self.step = state["step"]
