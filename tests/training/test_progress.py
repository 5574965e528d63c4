"""What is told while it trains: honest rates, the time that a person waits for, and quiet notebooks in runs."""

import io
import logging
import math
import sys

import nbformat
import psutil
import pytest
from nbclient import NotebookClient

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.execute import OwnKernel
from pmgs_lib.training import progress as module
from pmgs_lib.training.history import TrainingHistory
from pmgs_lib.training.progress import Progress, duration, memory_gib, total_loss


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def train(progress, clock, steps, seconds=0.5, loss=0.25, history=None) -> TrainingHistory:
    history = history or TrainingHistory()
    for step in steps:
        clock.now += seconds
        history.add(step, {"photometric": loss, "pointmap": loss}, 3.0, 1e-4)
        progress(step, history)
    return history


def test_rates_count_scenes_and_rendered_targets_of_each_step(clock):
    progress = Progress(10, scenes=2, targets=8, sink=lambda line: None)
    train(progress, clock, [1], seconds=60.0)
    assert progress.measured["images_per_second"] == pytest.approx(8 / 60)
    train(progress, clock, [2], seconds=0.5)
    assert progress.measured["scenes_per_second"] == pytest.approx(4)
    assert progress.measured["images_per_second"] == pytest.approx(16)
    assert progress.measured["total"] == 0.5


def test_without_a_number_of_targets_no_images_are_claimed(clock):
    lines = []
    progress = Progress(2, sink=lines.append)
    train(progress, clock, [1, 2])
    assert "images_per_second" not in progress.measured
    assert "2 scenes/s" in lines[-1]
    assert "images" not in lines[-1]


def test_the_first_step_and_pauses_are_in_no_rate_but_pauses_are_in_the_time_left(clock):
    lines = []
    progress = Progress(101, scenes=1, targets=4, sink=lines.append, every_s=0)
    history = train(progress, clock, [1], seconds=90.0)
    for step in range(2, 52):
        train(progress, clock, [step], seconds=1.0, history=history)
        with progress.paused():
            clock.now += 1.0
    train(progress, clock, [52], seconds=1.0, history=history)
    assert progress.measured["images_per_second"] == pytest.approx(4)
    # 49 steps are left; 51 steps have taken 51 s and their 50 pauses 50 s.
    assert lines[-1].startswith(f"step 52/101, {duration(49 * 101 / 51)} left, loss 0.5, 4 images/s, ")
    assert lines[-1].endswith(" GiB, 1 scenes/s")


def test_a_pause_ends_with_a_fault_too(clock):
    progress = Progress(3, sink=lambda line: None)
    train(progress, clock, [1])

    def fail():
        clock.now += 100
        raise OSError("validation failed")

    with pytest.raises(OSError, match="validation failed"), progress.paused():
        fail()
    train(progress, clock, [2], seconds=0.5)
    assert progress.measured["scenes_per_second"] == pytest.approx(2)


def test_the_loss_is_smoothed_and_skipped_steps_are_not_in_it(clock):
    lines = []
    progress = Progress(200, sink=lines.append, every_s=0)
    history = train(progress, clock, range(1, 100), loss=0.25)
    history.rows.append({"step": 100, "learning_rate": 1e-4, "skipped": 1})
    progress(100, history)
    assert math.isnan(progress.measured["total"])
    assert ", loss 0.5, " in lines[-1]
    train(progress, clock, [101], loss=0.75, history=history)
    assert ", loss 0.5503, " in lines[-1]  # 1/20 of the way from 0.5 to 1.5


def test_the_total_is_the_sum_of_the_terms():
    assert (
        total_loss({"step": 7, "photometric": 0.25, "depth": 0.5, "gradient_norm": 9.0, "learning_rate": 1.0}) == 0.75
    )


def test_a_resumed_training_counts_from_where_it_goes_on(clock):
    lines = []
    progress = Progress(10, first_step=5, sink=lines.append, every_s=0)
    train(progress, clock, [6], seconds=50.0)
    assert lines[0].startswith("step 6/10, 3:20 left")
    train(progress, clock, [7, 8], seconds=2.0)
    assert lines[2].startswith("step 8/10, 0:04 left")


def test_lines_come_now_and_then_and_at_the_end(clock):
    lines = []
    train(Progress(100, sink=lines.append, every_s=10), clock, range(1, 101), seconds=1.0)
    assert [line.split("/")[0] for line in lines] == [f"step {step}" for step in (*range(1, 101, 10), 100)]
    assert "took 1:40, loss" in lines[-1]


def test_where_nobody_looks_lines_go_to_the_log_alone(clock, caplog, capfd):
    caplog.set_level(logging.INFO, logger="pmgs_lib")
    with Progress(100) as progress:
        train(progress, clock, range(1, 101), seconds=1.0)
    assert [record.name for record in caplog.records] == ["pmgs_lib.training.progress"] * 5
    assert caplog.messages[0].startswith("step 1/100, ")
    assert capfd.readouterr() == ("", "")


def test_a_terminal_gets_a_bar(clock, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "160")
    with Progress(20, targets=4, scenes=1, first_step=4) as progress:
        train(progress, clock, range(5, 21), seconds=1.0)
    shown = sys.stderr.getvalue().split("\r")
    assert any(line.startswith(" 50%|") and "step 10/20, 0:10 left, loss 0.5, 4 images/s" in line for line in shown)
    assert "step 20/20, took 0:16" in shown[-1]
    assert shown[-1].endswith("\n")


def test_memory_of_a_processor_is_what_the_process_holds():
    assert memory_gib("cpu") == pytest.approx(psutil.Process().memory_info().rss / 2**30, rel=0.05)


def test_times_read_like_a_clock():
    assert [duration(s) for s in (-1, 0, 59.6, 61, 3599, 3661)] == ["0:00", "0:00", "1:00", "1:01", "59:59", "1:01:01"]


@pytest.mark.parametrize("wrong", [{"first_step": 11}, {"first_step": -1}, {"scenes": 0}])
def test_impossible_counts_are_refused(wrong):
    with pytest.raises(ParameterError, match="expected 0 <= first_step <= total"):
        Progress(10, **wrong)


CELL = """
from pmgs_lib.training.history import TrainingHistory
from pmgs_lib.training.progress import Progress
history = TrainingHistory()
with Progress(50, targets=4) as progress:
    for step in range(1, 51):
        history.add(step, {"photometric": 1 / step}, 1.0, 1e-4)
        progress(step, history)
"""


def test_a_notebook_that_somebody_looks_at_gets_a_widget_and_an_executed_one_nothing(monkeypatch):
    for name in (*module.WATCHED, *module.UNWATCHED):
        monkeypatch.delenv(name, raising=False)
    watched = 'import os; os.environ["JPY_SESSION_NAME"] = "open.ipynb"' + CELL
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (CELL, watched)])
    NotebookClient(notebook, kernel_manager_class=OwnKernel, timeout=120).execute()
    executed, looked_at = (cell.outputs for cell in notebook.cells)
    assert executed == []
    assert [output.output_type for output in looked_at] == ["display_data"]
    assert "application/vnd.jupyter.widget-view+json" in looked_at[0].data


@pytest.mark.parametrize("name", module.UNWATCHED)
def test_a_run_inside_a_watched_session_is_not_watched(name, monkeypatch):
    class Shell:
        kernel = object()

    import IPython

    monkeypatch.setattr(IPython, "get_ipython", Shell)
    for variable in (*module.WATCHED, *module.UNWATCHED):
        monkeypatch.delenv(variable, raising=False)
    assert not module._is_watched()
    monkeypatch.setenv("JPY_SESSION_NAME", "open.ipynb")
    assert module._is_watched()
    monkeypatch.setenv(name, "something")
    assert not module._is_watched()
