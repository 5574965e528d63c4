"""Where the numbers and pictures of a training go while it runs; none of them can stop or change it."""

import importlib
import logging
import os
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from PIL import Image

from pmgs_lib.errors import ParameterError, first_line
from pmgs_lib.training.step_table import AppendedFile, StepTable

log = logging.getLogger(__name__)

CSV_FILE = "steps.csv"
TENSORBOARD_FOLDER = "tensorboard"
WANDB_ID_FILE = "wandb_id.txt"
WANDB_PROJECT = "pmgs"
WANDB_TIMEOUT_S = 20  # of its start; its own 90 s would be waited for at every new attempt


class Logger(ABC):
    """One place for rows and pictures. Whatever it raises is caught by `Loggers`."""

    package: ClassVar[str | None] = None  # what it imports when it is opened

    @abstractmethod
    def row(self, step: int, values: Mapping[str, int | float]) -> None: ...

    def pictures(self, step: int, images: Mapping[str, Path]) -> None:  # noqa: B027  a table has no pictures
        """Files by name."""

    @abstractmethod
    def close(self) -> None: ...


class CsvLogger(Logger):
    """`steps.csv`: a row a step, on disk as soon as it is there. It equals the history, and has times beside it."""

    def __init__(self, folder: Path, run_name: str, first_step: int) -> None:
        self.table = StepTable(folder / CSV_FILE, first_step)
        if self.table.last_step < first_step:
            log.warning(
                "%s: ends at step %d, training goes on behind step %d; the rows between are lost",
                CSV_FILE, self.table.last_step, first_step,
            )  # fmt: skip

    def row(self, step: int, values: Mapping[str, int | float]) -> None:
        self.table.write(step, values)

    def close(self) -> None:
        self.table.close()


class TensorboardLogger(Logger):
    """Event files for TensorBoard, each event written at once and whole.

    TensorBoard's own writer works in a thread: it loses what waits there when the process is killed, and on a full disk
    leaves half a record, behind which nothing can be read. Records are therefore packed by its code and appended here.
    """

    package = "tensorboard"

    def __init__(self, folder: Path, run_name: str, first_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # 0.3 s, where it is wanted

        self.event = Event
        events = folder / TENSORBOARD_FOLDER
        if first_step == 0:
            for old in events.glob("events.out.tfevents.*"):
                old.unlink()
        self.file = AppendedFile(events / f"events.out.tfevents.{time.time_ns()}")
        # A start at a step tells the reader that what older files have from there on is superseded.
        self._write(Event(wall_time=time.time(), step=first_step + 1, file_version="brain.Event:2"))
        self._write(Event(wall_time=time.time(), step=first_step + 1, session_log=SessionLog(status=SessionLog.START)))

    def _write(self, event: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        record = BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        self.file.append(record.getvalue())

    def row(self, step: int, values: Mapping[str, int | float]) -> None:
        content = [{"tag": _tag(name), "simple_value": float(value)} for name, value in values.items()]
        self._write(self.event(wall_time=time.time(), step=step, summary={"value": content}))

    def pictures(self, step: int, images: Mapping[str, Path]) -> None:
        for name, path in images.items():
            with Image.open(path) as picture:
                size = {"width": picture.width, "height": picture.height, "colorspace": len(picture.getbands())}
            content = [{"tag": name, "image": {**size, "encoded_image_string": path.read_bytes()}}]
            self._write(self.event(wall_time=time.time(), step=step, summary={"value": content}))

    def close(self) -> None:
        self.file.close()


class WandbLogger(Logger):
    """Weights & Biases, offline where its own WANDB_MODE says so.

    A resumed training continues the same run; rows that wandb has already are equal, and it leaves them out.
    """

    package = "wandb"

    def __init__(self, folder: Path, run_name: str, first_step: int) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        note = folder / WANDB_ID_FILE
        if first_step == 0 or not note.is_file():
            note.write_text(uuid.uuid4().hex[:12], encoding="utf-8")
        self.image = wandb.Image
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", WANDB_PROJECT),
            name=run_name,
            id=note.read_text(encoding="utf-8"),
            dir=str(folder),
            resume="allow",
            settings=wandb.Settings(init_timeout=WANDB_TIMEOUT_S),
        )

    def row(self, step: int, values: Mapping[str, int | float]) -> None:
        self.run.log({_tag(name): value for name, value in values.items()}, step=step)

    def pictures(self, step: int, images: Mapping[str, Path]) -> None:
        self.run.log({name: self.image(str(path)) for name, path in images.items()}, step=step)

    def close(self) -> None:
        self.run.finish()


LOGGERS: dict[str, type[Logger]] = {"csv": CsvLogger, "tensorboard": TensorboardLogger, "wandb": WandbLogger}


@dataclass
class _Guarded:
    """A logger whose failures are counted. One that cannot be opened is tried again ever more seldom."""

    name: str
    open: Callable[[], Logger]
    logger: Logger | None = None
    lost: int = 0
    first_reason: str = ""
    next_attempt: int = 0  # so many losses are awaited before it is opened again

    def call(self, work: Callable[[Logger], None] | None = None) -> None:
        """Do `work` with the logger, or only open it."""
        if self.logger is None and self.lost < self.next_attempt:
            self.lost += 1
            return
        try:
            self.logger = self.logger or self.open()
            if work is not None:
                work(self.logger)
        except Exception as fault:  # noqa: BLE001  whatever it is, the training is worth more than its log
            self.lost += work is not None
            self.next_attempt = 2 * self.lost
            if not self.first_reason:
                self.first_reason = first_line(fault)
                log.warning("log %s: %s; training goes on, and losses are counted", self.name, self.first_reason)

    def close(self) -> None:
        if self.logger is not None:
            self.call(lambda logger: logger.close())
        if self.first_reason:
            log.warning("log %s: lost %d entries; the first reason: %s", self.name, self.lost, self.first_reason)


class Loggers:
    """Several loggers as one. A failure of one is warned of once, counted, told at the end, and harms nothing else.

    Rows with a "step" column are taken as they stand in the history. A second row of a step adds its values to the
    first one.
    """

    def __init__(self, openers: Mapping[str, Callable[[], Logger]]) -> None:
        self._guarded = [_Guarded(name, opener) for name, opener in openers.items()]
        self._closed = False
        for guarded in self._guarded:
            guarded.call()  # opened now, so that what is wrong is told before the first step

    def row(self, step: int, values: Mapping[str, int | float]) -> None:
        """Values of a step by name; a name without "/" is shown under "training" where names form groups."""
        told = {name: value for name, value in values.items() if name != "step"}
        self._each(lambda logger: logger.row(step, told))

    def pictures(self, step: int, images: Mapping[str, Path]) -> None:
        """PNG files of a step by name, e.g. those of `Validator.pictures`."""
        if images:
            self._each(lambda logger: logger.pictures(step, images))

    def close(self) -> None:
        """Close the files and say what was lost; more calls do nothing."""
        if not self._closed:
            self._closed = True
            for guarded in self._guarded:
                guarded.close()

    @property
    def lost(self) -> dict[str, dict[str, int | str]]:
        """For each logger that failed: how many entries (rows, sets of pictures) it lost, and the first reason."""
        return {
            each.name: {"lost": each.lost, "reason": each.first_reason} for each in self._guarded if each.first_reason
        }

    def _each(self, work: Callable[[Logger], None]) -> None:
        for guarded in self._guarded:
            guarded.call(work)

    def __enter__(self) -> "Loggers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_loggers(names: Sequence[str], folder: Path, *, run_name: str, first_step: int = 0) -> Loggers:
    """The named loggers of `LOGGERS`, writing under `folder`: "csv", "tensorboard", "wandb"; each once, none is fine.

    first_step: the last step that is done already; what older files have behind it is superseded, 0 begins anew.
    Raises ParameterError for an unknown name and for a package that is not installed. In a training of several
    processes only the first opens loggers.
    """
    for name in names:
        if name not in LOGGERS:
            raise ParameterError(f"loggers: {name!r} is unknown, expected some of {', '.join(LOGGERS)}")
        _require_package(LOGGERS[name].package)
    return Loggers({name: partial(LOGGERS[name], Path(folder), run_name, first_step) for name in names})


def _require_package(name: str | None) -> None:
    if name is None:
        return
    try:
        found = importlib.import_module(name)
    except ImportError as fault:
        raise ParameterError(f"loggers: {first_line(fault)}; pip install {name}, or leave the logger out") from fault
    if getattr(found, "__file__", None) is None:  # a mere folder of that name, such as wandb leaves beside its user
        raise ParameterError(
            f"loggers: the package {name} is not installed; pip install {name}, or leave the logger out"
        )


def _tag(name: str) -> str:
    return name if "/" in name else f"training/{name}"
