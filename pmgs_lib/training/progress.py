"""What a person sees while it trains: loss, pictures a second, memory and time left, as a bar or as lines of text."""

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import psutil
import torch

from pmgs_lib.errors import ParameterError
from pmgs_lib.training.history import LAST_COLUMNS, TrainingHistory

log = logging.getLogger(__name__)

SMOOTHED_STEPS = 20  # the shown loss and rate are exponential means over about so many steps
LINE_EVERY_S = 30.0
BAR_EVERY_S = 0.5
BAR_FORMAT = "{percentage:3.0f}%|{bar}| {desc}"
GIB = 2**30
# Kernels that a person looks at have one of these set; kernels that a run or a test executes have one of the others.
WATCHED = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")
UNWATCHED = ("PMGS_RUN_FOLDER", "PYTEST_CURRENT_TEST")


def total_loss(row: Mapping[str, int | float]) -> float:
    """The sum of the loss terms of a history's row, NaN where it has none because the step was skipped."""
    terms = [value for name, value in row.items() if name not in ("step", *LAST_COLUMNS)]
    return sum(terms) if terms else math.nan


def memory_gib(device: torch.device | str = "cpu") -> float:
    """Memory in GiB: on CUDA the most that torch has had allocated since the counter was reset, else what the process
    holds resident now."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    return psutil.Process().memory_info().rss / GIB


class Progress:
    """Shows how a training goes; call it after each step, as `on_step` of `Trainer.fit`.

    >>> with Progress(2000, scenes=2, targets=8) as progress:            # doctest: +SKIP
    ...     trainer.fit(batches, on_step=progress)

    total: the number of the last step. first_step: steps that were done before. scenes, targets: of one step, over all
    devices; a rate in images a second counts rendered target views, context views are not in it. device: whose memory
    is told; on CUDA torch's counter of the peak begins anew here. The loss is a running mean over 20 steps, without
    those that are not finite.

    A bar in a terminal and in a notebook that somebody looks at; otherwise a line every `every_s` seconds (default 30)
    to `sink`, by default this module's log, so that the output of an executed notebook stays as it is. A given `sink`
    always gets lines. After each step `measured` has what the loggers' row has beyond the history's.
    """

    def __init__(
        self,
        total: int,
        first_step: int = 0,
        *,
        every_s: int | float | None = None,
        sink: Callable[[str], None] | None = None,
        scenes: int = 1,
        targets: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if not 0 <= first_step <= total or scenes < 1:
            raise ParameterError(
                f"progress: step {first_step} of {total}, {scenes} scenes a step; expected 0 <= first_step <= total, "
                "and 1 scene or more"
            )
        self.total, self.first_step, self.device = total, first_step, device
        self.scenes, self.targets = scenes, targets
        self.measured: dict[str, int | float] = {}
        if torch.device(device).type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self._face: _Lines | _Bar = (
            _Lines(sink, every_s) if sink or not _is_watched() else _Bar(total, first_step, every_s)
        )
        self._loss, self._step_s = _RunningMean(), _RunningMean()
        self._started = self._last = self._steady = time.monotonic()
        self._paused_s = 0.0

    def __call__(self, step: int, history: TrainingHistory) -> None:
        """Show the state after `step`, whose row is the history's last one."""
        now = time.monotonic()
        seconds = max(now - self._last - self._paused_s, 1e-9)
        self._last, self._paused_s = now, 0.0
        if step == self.first_step + 1:  # it compiles and warms up, so it says little about the others
            self._steady = now
        else:
            self._step_s.add(seconds)
        loss = total_loss(history.rows[-1])
        self._loss.add(loss)
        self.measured = {"total": loss, **self._rates(seconds), "memory_gib": memory_gib(self.device)}
        self._face.show(step, lambda: self._told(step, seconds, now), final=step >= self.total)
        if step >= self.total:
            self.close()

    def _rates(self, seconds: float) -> dict[str, int | float]:
        rates = {"scenes_per_second": self.scenes / seconds}
        return rates if self.targets is None else {"images_per_second": self.targets / seconds, **rates}

    def _told(self, step: int, seconds: float, now: float) -> str:
        rates = self._rates(seconds if math.isnan(self._step_s.value) else self._step_s.value)
        steady_steps = step - self.first_step - 1
        # With pauses: what a person waits for is the clock on the wall.
        wall_s = (now - self._steady) / steady_steps if steady_steps else seconds
        time_told = f"{duration((self.total - step) * wall_s)} left"
        told = [f"{rate:.3g} {name.removesuffix('_per_second')}/s" for name, rate in rates.items()]
        peak = "peak " if torch.device(self.device).type == "cuda" else ""
        parts = [
            f"step {step}/{self.total}",
            time_told if step < self.total else f"took {duration(now - self._started)}",
            f"loss {self._loss.value:.4g}",
            told[0],
            f"{peak}{self.measured['memory_gib']:.2f} GiB",
            *told[1:],  # last, as a terminal of 80 columns ends before it
        ]
        return ", ".join(parts)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time spent in here, e.g. validating, is not counted as time of a step."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._paused_s += time.monotonic() - started

    def close(self) -> None:
        """Leave the bar as it stands; more calls do nothing."""
        self._face.close()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()


class _Lines:
    """A line of text now and then, and one at the end."""

    def __init__(self, sink: Callable[[str], None] | None, every_s: int | float | None) -> None:
        self.sink = sink or (lambda line: log.info("%s", line))
        self.every_s = LINE_EVERY_S if every_s is None else every_s
        self.last = -math.inf

    def show(self, step: int, told: Callable[[], str], *, final: bool) -> None:
        now = time.monotonic()
        if final or now - self.last >= self.every_s:
            self.last = now
            self.sink(told())

    def close(self) -> None:
        """Nothing is left open."""


class _Bar:
    """A bar of tqdm, which knows terminals and notebooks; its own rate and time left are replaced by ours."""

    def __init__(self, total: int, first_step: int, every_s: int | float | None) -> None:
        from tqdm.auto import tqdm  # heavy with widgets, and lines do without

        self.every_s = BAR_EVERY_S if every_s is None else every_s
        self.last = -math.inf
        self.bar = tqdm(total=total, initial=first_step, bar_format=BAR_FORMAT, dynamic_ncols=True)

    def show(self, step: int, told: Callable[[], str], *, final: bool) -> None:
        now = time.monotonic()
        if final or now - self.last >= self.every_s:
            self.last = now
            self.bar.n = step
            self.bar.set_description_str(told(), refresh=True)

    def close(self) -> None:
        self.bar.close()


class _RunningMean:
    """Exponential mean of finite values, without the pull towards a first value (as Adam corrects its moments)."""

    def __init__(self) -> None:
        self.sum = self.weight = 0.0

    def add(self, value: float) -> None:
        if math.isfinite(value):
            kept = 1 - 1 / SMOOTHED_STEPS
            self.sum, self.weight = kept * self.sum + value, kept * self.weight + 1

    @property
    def value(self) -> float:
        return self.sum / self.weight if self.weight else math.nan


def duration(seconds: int | float) -> str:
    """Hours, minutes and seconds as on a clock: "1:02:03", "2:03"."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _is_watched() -> bool:
    """Whether somebody looks: at a terminal, or at a notebook that no run and no test executes."""
    ipython = sys.modules.get("IPython")  # not imported here: outside a notebook nobody needs it
    shell = None if ipython is None else ipython.get_ipython()
    if getattr(shell, "kernel", None) is not None:
        return any(name in os.environ for name in WATCHED) and not any(name in os.environ for name in UNWATCHED)
    return sys.stderr is not None and sys.stderr.isatty()
