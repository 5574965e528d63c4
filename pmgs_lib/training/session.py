"""What happens beside the steps of a training: logs, progress, validation, states, and requests to end."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmgs_lib.data import load_protocol
from pmgs_lib.errors import CheckpointError
from pmgs_lib.training.history import TrainingHistory
from pmgs_lib.training.loggers import open_loggers
from pmgs_lib.training.processes import Processes
from pmgs_lib.training.progress import Progress
from pmgs_lib.training.resume import Beginning, Part
from pmgs_lib.training.state import save_state
from pmgs_lib.training.stopping import TrainingStoppedError, stop_requests
from pmgs_lib.training.threads import settle_threads
from pmgs_lib.training.trainer import Trainer
from pmgs_lib.training.validation import Validator

STATES_FOLDER, LOGS_FOLDER, VALIDATION_FOLDER = "states", "logs", "validation"


@dataclass(frozen=True)
class Place:
    """Who trains where: the folder, the trainer and its processes, and what a state must say of the training."""

    output: Path
    trainer: Trainer
    processes: Processes
    description: Mapping[str, Any]
    commit: str
    device: str

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.processes.rank == 0


class Session:
    """One part of a training, from where it begins to where it ends; `on_step` of its trainer.

    After each step, in this order: the caller's own `on_step`, progress, logs, validation, and a state where one is due
    or the end was asked for. Every process calls it, the first one alone writes and shows.
    """

    def __init__(
        self,
        run: Any,
        place: Place,
        beginning: Beginning,
        *,
        stop_after: int | None,
        on_step: Callable[[int, TrainingHistory], None] | None,
    ) -> None:
        self.run, self.place, self.beginning, self.on_step = run, place, beginning, on_step
        self.steps = run.training.steps
        first = beginning.first_step
        self.last_step = self.steps if stop_after is None else min(self.steps, first + stop_after)
        self.started = time.monotonic()
        self._open = ExitStack()

    def __enter__(self) -> "Session":
        run, first = self.run, self.beginning.first_step
        self.request = self._open.enter_context(stop_requests())
        self.threads = settle_threads() if self.place.trainer.fabric.device.type == "cpu" else 0
        if self.place.is_first:
            logs = self.place.output / LOGS_FOLDER
            self.loggers = self._open.enter_context(
                open_loggers(run.loggers, logs, run_name=self.place.output.name, first_step=first)
            )
            device = self.place.trainer.fabric.device
            scenes = run.training.batch_size
            targets = scenes * (run.views or load_protocol(run.protocol).training_views).targets
            self.progress = self._open.enter_context(
                Progress(self.steps, first, scenes=scenes, targets=targets, device=device)
            )
            self.validator = self._validator()
        return self

    def _validator(self) -> Validator | None:
        if self.run.validate_every is None:
            return None
        validator = Validator(
            self.run.validation_scenes,
            load_protocol(self.run.validation_protocol or self.run.protocol),
            self.place.output / VALIDATION_FOLDER,
            first_step=self.beginning.first_step,
        )
        self._open.callback(validator.close)
        return validator

    def __exit__(self, *fault: object) -> None:
        self._open.close()

    def __call__(self, step: int, history: TrainingHistory) -> None:
        """Raises `TrainingStoppedError` where the training ends before its last step, its state being kept."""
        if self.place.is_first:
            self._show(step, history)
        reason = self._reason_to_stop(step)
        every = self.run.save_every
        if reason or (every is not None and (step % every == 0 or step == self.steps)):
            self._save(step)
        if reason:
            raise TrainingStoppedError(
                f"training {self.place.output}: stopped after step {step} of {self.steps} ({reason}); its state is "
                "kept, and the same command goes on from there"
            )

    def _show(self, step: int, history: TrainingHistory) -> None:
        if self.on_step is not None:
            self.on_step(step, history)
        self.progress(step, history)
        self.loggers.row(step, {**history.rows[-1], **self.progress.measured})
        if self.validator is not None and (step % self.run.validate_every == 0 or step == self.steps):
            with self.progress.paused():
                means = self.validator(step, self.place.trainer.trained_model)
            self.loggers.row(step, {f"validation/{name}": value for name, value in means.items()})
            self.loggers.pictures(step, self.validator.last_pictures)

    def _reason_to_stop(self, step: int) -> str:
        """Why all processes end here, though the last step is not done; empty where they go on."""
        if step == self.steps:
            return ""
        if self.place.processes.any(self.request.reason is not None):  # a signal may have reached some of them only
            reasons = self.place.processes.gather(self.request.reason)
            return f"{next(reason for reason in reasons if reason)} asked for it"
        return "stop_after" if step == self.last_step else ""

    def _save(self, step: int) -> None:
        """Every process learns whether it succeeded: none may go on, or wait for one that does not."""
        fault = None
        state = {
            "description": dict(self.place.description),
            "trainer": self.place.trainer.state_dict(),
            "parts": self.beginning.state(self.part()),
        }
        if self.place.is_first:
            try:
                save_state(self.place.output / STATES_FOLDER, step, state, keep=self.run.keep_states)
            except CheckpointError as error:
                fault = error
        told = self.place.processes.gather(str(fault) if fault else "")[0]
        if told:
            raise fault or CheckpointError(told)

    def part(self) -> Part:
        """This part so far."""
        return Part(
            first_step=self.beginning.first_step,
            processes=self.place.processes.count,
            threads=self.threads,
            commit=self.place.commit,
            device=self.place.device,
            seconds=round(time.monotonic() - self.started, 1),
        )
