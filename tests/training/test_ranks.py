"""What the processes of a training say of themselves, and what they are told by their environment."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from pmgs_lib.data.files import write_json
from pmgs_lib.errors import CheckpointError, DataError, RunError, TrainingError
from pmgs_lib.training import launch
from pmgs_lib.training.main import slurm_task
from pmgs_lib.training.ranks import fallen, read_reports, reported, verdict
from pmgs_lib.training.stopping import TrainingStoppedError

ROOT = Path(__file__).parents[2]


def report(rank: int, state: str, kind: str = "", message: str = "", at: float = 0.0) -> dict:
    told = {"kind": kind, "message": message, "time": at} if kind else {}
    return {"rank": rank, "pid": os.getpid(), "state": state, **told}


LOST = report(0, "failed", "RuntimeError", "Connection closed by peer", 2.0)


@pytest.mark.parametrize(
    ("reports", "first", "kind", "told"),
    [
        ([report(0, "done"), report(1, "done")], [], type(None), ""),
        ([LOST, report(1, "failed", "TrainingError", "step 3", 2.5)], [LOST], TrainingError, "step 3"),
        ([LOST, report(1, "running")], [report(1, "running")], RunError, "process 1 of 2 was killed"),
        ([LOST, report(1, "failed", "KeyError", "'x'", 1.0)], [], RunError, "process 1 failed: 'x'"),
        ([LOST, report(1, "running")], [LOST], RunError, "process 0 failed: Connection closed"),
        ([report(0, "stopped", "TrainingStoppedError", "after step 3", 1.0)], [], TrainingStoppedError, "after step 3"),
        (
            [report(0, "failed", "CheckpointError", "full", 5.0), report(1, "failed", "DataError", "gone", 4.0)],
            [],
            DataError,
            "gone",
        ),
    ],
)
def test_the_first_cause_is_told(reports, first, kind, told):
    found = verdict(reports, first)
    assert type(found) is kind
    assert told in str(found)


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (None, "done", None),
        (CheckpointError("damaged"), "failed", "damaged"),
        (ValueError("a\nb"), "failed", "ValueError: a"),
        (TrainingStoppedError("after 3"), "stopped", "after 3"),
        (KeyboardInterrupt(), "failed", "KeyboardInterrupt: KeyboardInterrupt"),
    ],
)
def test_a_process_reports_its_end(tmp_path, error, state, message):
    with nullcontext() if error is None else pytest.raises(type(error)), reported(tmp_path, 3):
        assert read_reports(tmp_path)[0]["state"] == "running"
        assert fallen(read_reports(tmp_path)) == []
        if error is not None:
            raise error
    (found,) = read_reports(tmp_path)
    assert (found["rank"], found["state"], found.get("message")) == (3, state, message)


def test_a_process_that_is_gone_without_a_word_has_fallen(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write_json(tmp_path / "rank-0.json", {"rank": 0, "pid": gone.pid, "state": "running"})
    write_json(tmp_path / "rank-1.json", {"rank": 1, "pid": gone.pid, "state": "done"})
    assert [each["rank"] for each in fallen(read_reports(tmp_path))] == [0]


# --- environments ---

STEP = {
    "SLURM_JOB_ID": "1234567",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}


def test_a_task_of_slurm_knows_its_place():
    assert slurm_task(STEP) == {
        "RANK": "5",
        "LOCAL_RANK": "1",
        "GROUP_RANK": "1",
        "WORLD_SIZE": "8",
        "LOCAL_WORLD_SIZE": "4",
        "MASTER_ADDR": "gpu07",
        "MASTER_PORT": "19567",
    }
    assert slurm_task({**STEP, "MASTER_ADDR": "here", "MASTER_PORT": "1"})["MASTER_ADDR"] == "here"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"},  # a batch script: no step, one process
        {**STEP, "SLURM_STEP_NUM_TASKS": "1"},  # a notebook in a job of one task
        {**STEP, "WORLD_SIZE": "2"},  # torchrun within a task
    ],
)
def test_elsewhere_slurm_says_nothing(environment):
    assert slurm_task(environment) == {}


def test_a_launch_sees_nothing_of_a_cluster_or_another_launch():
    given = {**STEP, "SRUN_DEBUG": "3", "RANK": "1", "WORLD_SIZE": "2", "HOME": "h", "PYTHONPATH": "mine"}
    environment = launch._environment(given, 2)
    assert not [name for name in environment if name.startswith(("SLURM", "SRUN")) or name in ("RANK", "WORLD_SIZE")]
    assert environment["HOME"] == "h"
    assert environment["PYTHONPATH"] == f"{ROOT}{os.pathsep}mine"
