"""Two processes under torchrun: one training, one end, and for a fault of either the same words in both."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from two_processes import STEPS, cases, micro_batches
from wall_training import config, same, tiny_model

from pmgs_lib.training import Trainer
from pmgs_lib.training.processes import start_fabric

PATIENCE_S = 240  # far below the time that processes wait for each other: an end by waiting would show


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """case -> what each process found."""
    folder = tmp_path_factory.mktemp("processes")
    script = Path(__file__).with_name("two_processes.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    ended = subprocess.run(
        [*command, str(folder)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=os.environ | {"OMP_NUM_THREADS": "1", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "other"},
    )
    told = {name: [folder / f"{name}-{rank}.pt" for rank in (0, 1)] for name in cases()}
    missing = [str(path) for paths in told.values() for path in paths if not path.is_file()]
    assert not missing, ended.stderr[-4000:]
    read = {name: [torch.load(path, weights_only=True) for path in paths] for name, paths in told.items()}
    return read | {"ended": read["ended"], "process": ended}


def test_an_error_in_one_process_ends_all(found):
    assert found["process"].returncode != 0
    assert "an error that nobody foresaw" in found["process"].stderr


@pytest.mark.parametrize("case", ["plain", "accumulated"])
def test_two_processes_are_one_training(found, case):
    one, other = found[case]
    assert one["told"] is None
    assert same(one["weights"], other["weights"])
    assert same(one["average"], other["average"])
    assert one["rows"] == other["rows"]
    accumulate = 2 if case == "plain" else 4
    described = config(STEPS, batch_size=4, average_decay=0.5, accumulate=accumulate)
    alone = Trainer(tiny_model(), described, accelerator="cpu")
    alone.fit(micro_batches(described, 0, ranks=1))
    for name, value in alone.model.state_dict().items():
        torch.testing.assert_close(one["weights"][name], value, rtol=1e-3, atol=2e-5, msg=name)
    for row, expected in zip(one["rows"], alone.history.rows, strict=True):
        assert row == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("term", "TrainingError: training: step 2, scenes wall 2, wall 3: the photometric term is nan"),
        ("picture", "TrainingError: training: step 2, scenes wall 2: target images of view 0 hold nan"),
        ("refused", "ParameterError: training: step 2, scenes wall 2, wall 3: Gslrm: depth ranges"),
        ("damaged", "DataError: training: step 2, scene 'x': its file is cut short"),
        ("ended", "TrainingError: training: step 2, the data ended after 1 of 3 steps"),
        ("unused", "ParameterError: training: 2 weights got no gradient (spare.weight, spare.bias)"),
    ],
)
def test_a_fault_of_the_second_process_ends_both_with_the_same_words(found, case, words):
    one, other = found[case]
    assert one["told"].startswith(words)
    assert other["told"] == one["told"]
    if "weights" in one:
        assert same(one["weights"], other["weights"])
        assert len(one["rows"]) == 1


def test_a_skipped_step_is_skipped_by_both(found):
    one, other = found["skipped"]
    assert one["told"] is other["told"] is None
    assert [row["skipped"] for row in one["rows"]] == [0, 1, 0]
    assert one["rows"] == other["rows"]
    assert one["skips"] == other["skips"]
    assert [scene for _, scene, _ in one["skips"]] == ["wall 2"]
    assert same(one["weights"], other["weights"])
    assert same(one["average"], other["average"])


def test_a_slurm_job_without_tasks_is_left_alone(monkeypatch):
    """Fabric by itself would take the job's variables for processes that somebody started."""
    for name, value in {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "notebook", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    fabric = start_fabric("cpu", "32-true")
    assert (fabric.world_size, fabric.global_rank) == (1, 0)
