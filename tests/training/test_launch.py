"""Several processes: their result, their resume, their errors, and that none is ever left."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch
from small_training import differences, small_place, small_run

from pmgs_lib.errors import DataError, ParameterError, RunError
from pmgs_lib.models import read_card
from pmgs_lib.training.launch import launch_training
from pmgs_lib.training.run import run_training
from pmgs_lib.training.state import list_states, load_newest_state
from pmgs_lib.training.stopping import TrainingStoppedError

ROOT = Path(__file__).parents[2]
BATCH = {"batch_size": 2, "average_decay": 0.9}
LONG = {"batch_size": 2, "steps": 100_000}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Path]:
    with small_place(tmp_path_factory.mktemp("launch")) as place:
        yield place


@pytest.fixture(autouse=True)
def one_thread(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def ranks_of(output: Path) -> dict[int, psutil.Process]:
    """Living processes of the training that writes to `output`, torchrun itself as -1."""
    found = {}
    for process in psutil.process_iter():
        try:
            if str(output) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                is_rank = "torch.distributed.run" not in process.cmdline()
                found[int(process.environ()["RANK"]) if is_rank else -1] = process
        except (psutil.Error, KeyError):
            continue
    return found


def assert_nothing_is_left(output: Path, within_s: float = 10.0) -> None:
    limit = time.monotonic() + within_s
    while ranks_of(output):
        assert time.monotonic() < limit, ranks_of(output)
        time.sleep(0.1)


def once_it_trains(output: Path, act: Callable[[], None], within_s: float = 300.0) -> threading.Thread:
    """Act from aside as soon as the training in `output` has kept a state."""

    def wait() -> None:
        limit = time.monotonic() + within_s
        while not list_states(output / "states") and time.monotonic() < limit:
            time.sleep(0.05)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_two_processes_in_parts_are_two_processes_at_once(place, tmp_path):
    run = small_run(place, BATCH)
    history = launch_training(run, tmp_path / "whole", devices=2, timeout_s=500, command="pmgs train a b")
    with pytest.raises(TrainingStoppedError, match=r"stopped after step 3 of 8 \(stop_after\)"):
        launch_training(run, tmp_path / "parts", devices=2, timeout_s=500, stop_after=3)
    shutil.copytree(tmp_path / "parts", tmp_path / "alone")
    launch_training(run, tmp_path / "parts", devices=2, timeout_s=500)
    states = [load_newest_state(tmp_path / name / "states")[1]["trainer"] for name in ("whole", "parts")]
    assert differences(*states) == []
    assert differences(history.state_dict(), states[0]["history"]) == []
    assert (tmp_path / "whole" / "history.csv").read_bytes() == (tmp_path / "parts" / "history.csv").read_bytes()
    cards = {name: read_card(tmp_path / name / "model.safetensors") for name in ("whole", "parts")}
    assert [part["processes"] for part in cards["parts"]["parts"]] == [2, 2]
    assert (cards["whole"]["command"], cards["parts"]["resumed"]) == ("pmgs train a b", "alike")
    # Alone it goes on with the same batches, and says that the result is equal but for rounding.
    run_training(run, tmp_path / "alone")
    alone = load_newest_state(tmp_path / "alone" / "states")[1]["trainer"]
    losses = [[row["photometric"] for row in state["history"]["rows"]] for state in (alone, states[0])]
    assert losses[0][3] == pytest.approx(losses[1][3], rel=1e-3)  # the first step in another number
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)
    weights = [torch.cat([value.flatten() for value in state["model"].values()]) for state in (alone, states[0])]
    assert (weights[0] - weights[1]).norm() < 1e-3 * weights[1].norm()
    card = read_card(tmp_path / "alone" / "model.safetensors")
    assert card["resumed"].startswith("in another number of processes")
    assert [part["processes"] for part in card["parts"]] == [2, 1]
    assert_nothing_is_left(tmp_path)


def test_a_killed_process_is_named_at_once_and_nothing_is_left(place, tmp_path):
    killed_at = []

    def kill() -> None:
        killed_at.append(time.monotonic())
        ranks_of(tmp_path)[1].kill()

    thread = once_it_trains(tmp_path, kill)
    with pytest.raises(RunError, match="process 1 of 2 was killed, or died without a word"):
        launch_training(small_run(place, LONG), tmp_path, devices=2, timeout_s=500)
    assert time.monotonic() - killed_at[0] < 30
    thread.join()
    assert_nothing_is_left(tmp_path)
    assert load_newest_state(tmp_path / "states")[0] >= 2


def test_an_error_in_the_processes_is_raised_as_what_it_is(place, tmp_path):
    said = []
    with pytest.raises(DataError, match=r"dataset .*nowhere: there is no such folder"):
        launch_training(
            small_run(place, BATCH, scenes=str(tmp_path / "nowhere")),
            tmp_path,
            devices=1,
            timeout_s=300,
            on_output=said.append,
        )
    assert "training, process 0: dataset" in "".join(said)
    assert "training, process 0: dataset" in (tmp_path / "logs" / "processes.log").read_text()
    assert_nothing_is_left(tmp_path)


def test_too_long_is_an_error_and_nothing_is_left(place, tmp_path):
    with pytest.raises(RunError, match="took longer than 3 s and was ended"):
        launch_training(small_run(place, LONG), tmp_path, devices=2, timeout_s=3)
    assert_nothing_is_left(tmp_path)


def test_no_devices_and_unknown_options_are_refused(place, tmp_path):
    with pytest.raises(ParameterError, match="0 devices; expected 1 or more"):
        launch_training(small_run(place), tmp_path, devices=0)
    with pytest.raises(ParameterError, match="option 'stop'; expected some of command, dtype, resume, stop_after"):
        launch_training(small_run(place), tmp_path, devices=2, stop=3)


# --- the launcher itself is ended ---

LAUNCHER = """
import sys
from pathlib import Path
from pmgs_lib.training import launch_training, read_training_file
launch_training(read_training_file(sys.argv[1]), Path(sys.argv[1]).parent / "out", devices=2, timeout_s=500)
"""


def launcher(place: Path, folder: Path) -> subprocess.Popen:
    file = folder / "run.json"
    file.write_text(small_run(place, LONG).model_dump_json())
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", LAUNCHER, str(file)], env=environment, stderr=subprocess.PIPE)


@pytest.mark.prove
def test_nothing_is_left_of_a_launcher_that_was_killed(place, tmp_path):
    process = launcher(place, tmp_path)
    once_it_trains(tmp_path / "out", process.kill).join()
    process.communicate()
    assert_nothing_is_left(tmp_path / "out")
    assert load_newest_state(tmp_path / "out" / "states")[0] >= 2


@pytest.mark.prove
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_launcher_that_is_asked_to_end_keeps_a_state(place, tmp_path, number):
    process = launcher(place, tmp_path)
    once_it_trains(tmp_path / "out", lambda: process.send_signal(number)).join()
    said = process.communicate()[1].decode()
    assert "TrainingStoppedError" in said, said
    assert "SIGTERM asked for it); its state is kept, and the same command goes on" in said
    assert_nothing_is_left(tmp_path / "out")
    told = int(said.split("stopped after step ")[1].split()[0])
    assert load_newest_state(tmp_path / "out" / "states")[0] == told
