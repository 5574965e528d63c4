"""Rows and pictures arrive, are read back by the readers of their kind, and no failing logger touches the training."""

import logging
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pmgs_lib.errors import ParameterError
from pmgs_lib.training import loggers as module
from pmgs_lib.training.history import TrainingHistory
from pmgs_lib.training.loggers import LOGGERS, Logger, Loggers, open_loggers

STEPS = 6


def history(steps: int = STEPS) -> TrainingHistory:
    """A term appears at step 4."""
    made = TrainingHistory()
    for step in range(1, steps + 1):
        late = {"pointmap": 2.0**-step} if step >= 4 else {}
        made.add(step, {"photometric": 1 / (3 * step), **late}, 7.0 / step, 0.1 / step)
    return made


def log_rows(opened: Loggers, rows, times: float = 8.0) -> None:
    for row in rows:
        opened.row(row["step"], row | {"total": row["photometric"], "images_per_second": times, "memory_gib": 0.5})


@pytest.fixture
def picture(tmp_path) -> Path:
    """Random pixels, told apart from any other picture."""
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)).save(path)
    return path


def events(folder: Path) -> EventAccumulator:
    reader = EventAccumulator(str(folder / module.TENSORBOARD_FOLDER), size_guidance={"scalars": 0, "images": 0})
    return reader.Reload()


def scalars(folder: Path, tag: str) -> dict[int, float]:
    return {event.step: event.value for event in events(folder).Scalars(tag)}


def test_the_table_equals_the_history_and_has_more(tmp_path):
    made = history()
    with open_loggers(["csv"], tmp_path, run_name="run") as opened:
        log_rows(opened, made.rows)
    frame = pd.read_csv(tmp_path / module.CSV_FILE)
    expected = made.to_frame()
    pd.testing.assert_frame_equal(frame[list(expected)], expected, check_exact=True)
    assert {"total", "images_per_second", "memory_gib"} <= set(frame)


def test_tensorboards_own_reader_finds_every_number_and_the_pictures(tmp_path, picture):
    made = history()
    with open_loggers(["tensorboard"], tmp_path, run_name="run") as opened:
        log_rows(opened, made.rows)
        opened.row(STEPS, {"validation/psnr": 21.5})
        opened.pictures(STEPS, {"validation/scene": picture})
    for name in ("photometric", "pointmap", "gradient_norm", "learning_rate"):
        expected = {row["step"]: row[name] for row in made.rows if name in row}
        found = scalars(tmp_path, f"training/{name}")
        assert found.keys() == expected.keys()
        np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=1e-7)
    assert scalars(tmp_path, "validation/psnr") == {STEPS: 21.5}
    (shown,) = events(tmp_path).Images("validation/scene")
    assert (shown.step, shown.width, shown.height) == (STEPS, 20, 12)
    assert shown.encoded_image_string == picture.read_bytes()


@pytest.mark.parametrize("killed_at", [3, 5])
def test_a_resumed_training_leaves_what_an_uninterrupted_one_leaves(tmp_path, killed_at):
    made = history()
    for folder, parts in ((tmp_path / "whole", [(0, STEPS)]), (tmp_path / "parts", [(0, killed_at), (2, STEPS)])):
        for first_step, last in parts:
            opened = open_loggers(["csv", "tensorboard"], folder, run_name="run", first_step=first_step)
            log_rows(opened, made.rows[first_step:last], times=8.0 + first_step)
            opened.close()
    tables = [pd.read_csv(tmp_path / name / module.CSV_FILE) for name in ("whole", "parts")]
    pd.testing.assert_frame_equal(*(table.drop(columns="images_per_second") for table in tables), check_exact=True)
    for tag in ("training/photometric", "training/pointmap"):
        assert scalars(tmp_path / "whole", tag) == scalars(tmp_path / "parts", tag)
    assert list(scalars(tmp_path / "parts", "training/images_per_second").values()) == [8, 8, 10, 10, 10, 10]


def test_a_fresh_training_in_an_old_folder_shows_nothing_of_the_old_one(tmp_path):
    for steps in (STEPS, 2):
        with open_loggers(["csv", "tensorboard"], tmp_path, run_name="run") as opened:
            log_rows(opened, history(steps).rows)
    assert list(pd.read_csv(tmp_path / module.CSV_FILE)["step"]) == [1, 2]
    assert list(scalars(tmp_path, "training/photometric")) == [1, 2]


KILLED = """
import os, signal, sys
from pathlib import Path
from pmgs_lib.training.loggers import open_loggers
opened = open_loggers(["csv", "tensorboard"], Path(sys.argv[1]), run_name="run")
for step in range(1, 31):
    opened.row(step, {"loss": 1 / step})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_training_has_every_row_on_disk(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(pd.read_csv(tmp_path / module.CSV_FILE)) == 30
    assert len(scalars(tmp_path, "training/loss")) == 30


def test_a_full_disk_costs_the_rows_that_do_not_fit_and_no_other(tmp_path, caplog, full_disk):
    opened = open_loggers(["csv", "tensorboard"], tmp_path, run_name="run")
    opened.row(1, {"loss": 1.0})
    table, (written,) = tmp_path / module.CSV_FILE, (tmp_path / module.TENSORBOARD_FOLDER).iterdir()
    for step in range(2, 12):
        with full_disk(min(table.stat().st_size, written.stat().st_size) + step % 5):
            opened.row(step, {"loss": 1.0 / step})
    opened.row(12, {"loss": 0.25})
    assert len(caplog.records) == 2
    opened.close()
    assert list(pd.read_csv(table)["step"]) == [1, 12]
    assert scalars(tmp_path, "training/loss") == {1: 1.0, 12: 0.25}
    assert [opened.lost[name]["lost"] for name in ("csv", "tensorboard")] == [10, 10]
    assert "log csv: lost 10 entries; the first reason: [Errno 27] File too large" in caplog.text


class Failing(Logger):
    """Raises what it is told to, as often as it is told to."""

    def __init__(self, fault: Exception, from_row: int = 1) -> None:
        self.fault, self.from_row, self.rows = fault, from_row, 0

    def row(self, step, values):
        self.rows += 1
        if self.rows >= self.from_row:
            raise self.fault

    def close(self):
        raise self.fault


@pytest.mark.parametrize(
    "fault", [OSError("no space left"), RuntimeError("wandb is down"), KeyError("x"), MemoryError()]
)
def test_a_failing_logger_is_warned_of_once_counted_and_told_at_the_end(tmp_path, caplog, fault):
    kept = LOGGERS["csv"](tmp_path, "run", 0)
    opened = Loggers({"failing": lambda: Failing(fault, from_row=3), "csv": lambda: kept})
    log_rows(opened, history().rows)
    assert len(caplog.records) == 1
    opened.close()
    opened.close()
    assert len(caplog.records) == 2
    assert opened.lost["failing"]["lost"] == STEPS - 2 + 1  # the close, too
    assert "csv" not in opened.lost
    assert len(pd.read_csv(tmp_path / module.CSV_FILE)) == STEPS


def test_a_logger_that_cannot_be_opened_is_tried_again_ever_more_seldom(tmp_path, caplog):
    attempts = []

    def open_late() -> Logger:
        attempts.append(step)
        if step < 40:
            raise OSError("nobody answers")
        return LOGGERS["csv"](tmp_path, "run", 0)

    step = 0
    opened = Loggers({"late": open_late})
    for step in range(1, 101):
        opened.row(step, {"loss": 1.0})
    opened.close()
    assert attempts == [0, 1, 3, 7, 15, 31, 63]
    assert len(pd.read_csv(tmp_path / module.CSV_FILE)) + opened.lost["late"]["lost"] == 100
    assert len(caplog.records) == 2


def test_interrupts_are_no_failures_of_a_logger():
    opened = Loggers({"failing": lambda: Failing(KeyboardInterrupt())})
    with pytest.raises(KeyboardInterrupt):
        opened.row(1, {"loss": 1.0})


def test_rows_that_were_lost_between_a_state_and_its_log_are_told(tmp_path, caplog):
    with open_loggers(["csv"], tmp_path, run_name="run") as opened:
        log_rows(opened, history().rows[:2])
    caplog.set_level(logging.WARNING)
    open_loggers(["csv"], tmp_path, run_name="run", first_step=4).close()
    assert "ends at step 2, training goes on behind step 4" in caplog.text


def test_unknown_and_missing_loggers_are_refused_before_the_first_step(tmp_path, monkeypatch):
    with pytest.raises(ParameterError, match="'comet' is unknown, expected some of csv, tensorboard, wandb"):
        open_loggers(["csv", "comet"], tmp_path, run_name="run")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ParameterError, match="pip install wandb, or leave the logger out"):
        open_loggers(["wandb"], tmp_path, run_name="run")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_called_wandb_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ParameterError, match="wandb is not installed"):
        open_loggers(["wandb"], tmp_path, run_name="run")
    sys.modules.pop("wandb", None)


class RecordedWandb(types.ModuleType):
    """A module with wandb's interface as far as it is used, which records what it is asked."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__file__ = "wandb/__init__.py"
        self.inits, self.logged, self.finished = [], [], 0
        self.Settings = lambda **options: options
        self.Image = lambda path: ("image", path)
        self.init = self._init

    def _init(self, **options):
        self.inits.append(options | {"mode": os.environ.get("WANDB_MODE", "online")})
        return types.SimpleNamespace(log=self._log, finish=self._finish)

    def _log(self, values, step):
        self.logged.append((step, values))

    def _finish(self):
        self.finished += 1


def test_wandb_gets_rows_pictures_and_the_same_run_after_a_resume(tmp_path, monkeypatch, picture):
    wandb = RecordedWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for first_step in (0, 1):
        with open_loggers(["wandb"], tmp_path / "logs", run_name="tiny", first_step=first_step) as opened:
            opened.row(first_step + 1, {"step": first_step + 1, "loss": 0.5})
            opened.row(first_step + 1, {"validation/psnr": 20.0})
            opened.pictures(first_step + 1, {"validation/scene": picture})
        assert opened.lost == {}
    first, second = wandb.inits
    assert first["id"] == second["id"]
    assert (first["name"], first["resume"], first["mode"]) == ("tiny", "allow", "offline")
    assert first["dir"] == str(tmp_path / "logs")
    shown = {"validation/scene": ("image", str(picture))}
    assert wandb.logged[:3] == [(1, {"training/loss": 0.5}), (1, {"validation/psnr": 20.0}), (1, shown)]
    assert [step for step, _ in wandb.logged] == [1, 1, 1, 2, 2, 2]
    assert wandb.finished == 2
    open_loggers(["wandb"], tmp_path / "logs", run_name="tiny").close()
    assert wandb.inits[2]["id"] != first["id"]


def test_no_logger_is_a_choice(tmp_path):
    with open_loggers([], tmp_path, run_name="run") as opened:
        opened.row(1, {"loss": 1.0})
    assert list(tmp_path.iterdir()) == []
