"""Interrupted or not, a training on the CPU comes to the same weights, optimizer, average and history, to the bit."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_training import differences, small_place, small_run

from pmgs_lib.data import make_scenes
from pmgs_lib.errors import CheckpointError, ParameterError, TrainingError
from pmgs_lib.models import load_checkpoint, read_card
from pmgs_lib.training import run as module
from pmgs_lib.training.run import run_training
from pmgs_lib.training.state import list_states, load_newest_state
from pmgs_lib.training.stopping import TrainingStoppedError

ROOT = Path(__file__).parents[2]
STEPS = 8
SKIPPING = {"non_finite": {"action": "skip", "largest_norm": 0.05, "most": 100}, "schedule": {"warmup": 1}}
CASES = {
    "plain": {},
    "average": {"average_decay": 0.9},
    "accumulate": {"batch_size": 2, "accumulate": 2},
    "skipped steps": SKIPPING,
    "all at once": {"batch_size": 2, "accumulate": 2, "average_decay": 0.9, "precision": "bf16-mixed", **SKIPPING},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Path]:
    with small_place(tmp_path_factory.mktemp("resume")) as place:
        yield place


@pytest.fixture(scope="module")
def whole(place, tmp_path_factory) -> Path:
    """What the plain training leaves that nothing interrupts."""
    output = tmp_path_factory.mktemp("whole")
    run_training(small_run(place), output, command="pmgs train a b")
    return output


class Batches:
    """Every micro-batch that a training was given: the scene and a digest of its pictures and cameras."""

    def __init__(self, monkeypatch) -> None:
        self.seen: list[tuple[str, str]] = []
        loader = module.training_loader

        def noted(*given, **options):
            for example in loader(*given, **options):
                digest = hashlib.sha256()
                for views in (example.context, example.target):
                    digest.update(views.images.numpy())
                    digest.update(views.cameras.world_from_camera.numpy())
                self.seen.append((" ".join(example.key), digest.hexdigest()))
                yield example

        monkeypatch.setattr(module, "training_loader", noted)

    def take(self) -> list[tuple[str, str]]:
        seen, self.seen = self.seen, []
        return seen


def interrupted(run, output: Path, *moments: int) -> None:
    """Train in parts of so many steps, and then to the end."""
    for steps in moments:
        with pytest.raises(TrainingStoppedError, match=r"stop_after\); its state is kept"):
            run_training(run, output, stop_after=steps)
    run_training(run, output)


def assert_equal_results(first: Path, second: Path) -> None:
    """Everything that a training leaves: state, weights, history."""
    assert differences(*(load_newest_state(output / "states")[1]["trainer"] for output in (first, second))) == []
    one, other = (load_checkpoint(output / "model.safetensors").state_dict() for output in (first, second))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (first / "history.csv").read_bytes() == (second / "history.csv").read_bytes()


@pytest.mark.parametrize("name", CASES)
def test_a_training_in_parts_is_the_training_at_once(place, tmp_path, monkeypatch, name):
    """Three scenes, so that parts begin within epochs and behind them."""
    batches = Batches(monkeypatch)
    run = small_run(place, CASES[name])
    history = run_training(run, tmp_path / "whole")
    whole = batches.take()
    interrupted(run, tmp_path / "parts", 3, 1)
    assert batches.take() == whole
    assert len(whole) == STEPS * run.training.accumulate
    assert len(set(whole)) > 3
    assert_equal_results(tmp_path / "whole", tmp_path / "parts")
    skipped = sum(row.get("skipped", 0) for row in history.rows)
    assert 0 < skipped < STEPS - 1 if "skip" in str(CASES[name]) else skipped == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_change_nothing(place, tmp_path, monkeypatch, workers):
    """One whole training without workers against parts with them, which number is none of the description."""
    batches = Batches(monkeypatch)
    run_training(small_run(place), tmp_path / "whole")
    whole = batches.take()
    with pytest.raises(TrainingStoppedError):
        run_training(small_run(place, workers=workers), tmp_path / "parts", stop_after=3)
    first = batches.take()[:3]  # workers read ahead
    run_training(small_run(place, workers=2 - workers), tmp_path / "parts")
    assert first + batches.take() == whole
    assert_equal_results(tmp_path / "whole", tmp_path / "parts")


def test_the_averaged_weights_are_what_is_written(place, tmp_path):
    run_training(small_run(place, {"average_decay": 0.9}), tmp_path)
    state = load_newest_state(tmp_path / "states")[1]["trainer"]
    weights = load_checkpoint(tmp_path / "model.safetensors").state_dict()
    moved = [not torch.equal(weights[name], value) for name, value in state["model"].items()]
    assert any(moved)


def test_the_card_tells_of_the_parts(place, whole, tmp_path):
    interrupted(small_run(place), tmp_path, 3, 2)
    card, parts = (read_card(folder / "model.safetensors") for folder in (whole, tmp_path))
    assert (card["resumed"], card["resumed_at"], card["command"]) == ("never", [], "pmgs train a b")
    assert (parts["resumed"], parts["resumed_at"]) == ("alike", [3, 5])
    assert [part["first_step"] for part in parts["parts"]] == [0, 3, 5]
    assert {part["processes"] for part in parts["parts"]} == {1}
    assert parts["duration_s"] == pytest.approx(sum(part["seconds"] for part in parts["parts"]), abs=0.06)
    assert card["training_loss"] == parts["training_loss"]


def test_a_finished_training_called_again_takes_no_step_and_leaves_the_same(place, tmp_path, monkeypatch):
    run = small_run(place)
    run_training(run, tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in ("model.safetensors", "history.csv")}
    batches = Batches(monkeypatch)
    run_training(run, tmp_path)
    assert batches.take() == []
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_no_state_is_kept_unless_asked_for(place, tmp_path):
    run = small_run(place, {"steps": 2}, save_every=None)
    run_training(run, tmp_path)
    assert list_states(tmp_path / "states") == []
    with pytest.raises(TrainingStoppedError, match="stopped after step 1 of 2"):
        run_training(run, tmp_path, stop_after=1)
    assert [step for step, _ in list_states(tmp_path / "states")] == [1]


def test_beginning_anew_removes_the_states_of_before(place, tmp_path):
    run_training(small_run(place), tmp_path)
    other = small_run(place, {"seed": 1})
    with pytest.raises(TrainingStoppedError):
        run_training(other, tmp_path, resume=False, stop_after=1)
    assert [step for step, _ in list_states(tmp_path / "states")] == [1]
    run_training(other, tmp_path)
    assert read_card(tmp_path / "model.safetensors")["seed"] == 1


@pytest.mark.parametrize(
    ("training", "changes", "told"),
    [
        ({"optimizer": {"learning_rate": 2e-3}}, {}, r"training.optimizer.learning_rate was 0.001, asked for is 0.002"),
        ({"steps": 9}, {}, "training.steps was 8, asked for is 9"),
        ({"average_decay": 0.9}, {}, "training.average_decay was None, asked for is 0.9"),
        ({}, {"model": "gslrm-tiny"}, "its model"),
        ({}, {"size": (32, 32)}, "size was None"),
        ({}, {"protocol": "embedded-smoke", "size": (32, 48)}, "protocol was small, content"),
    ],
)
def test_a_state_of_another_training_is_refused_by_the_first_field_that_differs(
    place, tmp_path, training, changes, told
):
    with pytest.raises(TrainingStoppedError):
        run_training(small_run(place), tmp_path, stop_after=1)
    with pytest.raises(CheckpointError, match=f"are of another training: its .*{told}|{told}"):
        run_training(small_run(place, training, **changes), tmp_path)
    assert [step for step, _ in list_states(tmp_path / "states")] == [1]


def test_other_scenes_are_another_training_and_moved_ones_are_not(place, tmp_path):
    with pytest.raises(TrainingStoppedError):
        run_training(small_run(place), tmp_path / "out", stop_after=1)
    moved = tmp_path / "moved"
    moved.symlink_to(place / "scenes")
    with pytest.raises(TrainingStoppedError, match="stopped after step 2"):
        run_training(small_run(place, scenes=str(moved)), tmp_path / "out", stop_after=1)
    make_scenes(9, count=3, folder=tmp_path / "other", split="train", frames=12, height=32, width=48)
    with pytest.raises(CheckpointError, match="its scenes was 3 scenes, keys"):
        run_training(small_run(place, scenes=str(tmp_path / "other")), tmp_path / "out")


@pytest.mark.parametrize("stop_after", [0, -1])
def test_no_step_is_no_training(place, tmp_path, stop_after):
    with pytest.raises(ParameterError, match=f"stop_after is {stop_after}; expected 1 step or more"):
        run_training(small_run(place), tmp_path, stop_after=stop_after)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_after_the_step_with_a_state_and_the_same_call_goes_on(place, whole, tmp_path, number):
    run = small_run(place, save_every=None)
    before = signal.getsignal(number)

    def on_step(step, history):
        if step == 3:
            os.kill(os.getpid(), number)

    with pytest.raises(TrainingStoppedError, match=rf"stopped after step 3 of 8 \({number.name} asked for it\)"):
        run_training(run, tmp_path / "parts", on_step=on_step)
    assert signal.getsignal(number) == before
    run_training(small_run(place), tmp_path / "parts")
    assert_equal_results(whole, tmp_path / "parts")


def test_an_error_within_a_part_leaves_the_last_state_to_go_on_from(place, whole, tmp_path):
    def on_step(step, history):
        if step == 5:
            raise TrainingError("a mistake of the fifth step")

    with pytest.raises(TrainingError, match="fifth"):
        run_training(small_run(place), tmp_path / "parts", on_step=on_step)
    assert [step for step, _ in list_states(tmp_path / "parts" / "states")] == [4, 2]
    run_training(small_run(place), tmp_path / "parts")
    assert_equal_results(whole, tmp_path / "parts")


def started(run, output: Path, *arguments: str) -> subprocess.Popen:
    """The same training in a process of its own, which can be killed."""
    output.mkdir(parents=True, exist_ok=True)
    file = output / "run.json"
    file.write_text(run.model_dump_json())
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "pmgs_lib.training.main", str(file), str(output), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def killed_after_a_state(run, output: Path, step: int, moment_s: float) -> None:
    process = started(run, output)
    limit = time.monotonic() + 120
    while not any(found >= step for found, _ in list_states(output / "states")):
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < limit
        time.sleep(0.01)
    time.sleep(moment_s)
    process.kill()
    process.communicate()


def test_killed_and_called_again_is_the_training_at_once(place, tmp_path):
    """kill -9 of a process that trains with workers and everything that remembers something."""
    run = small_run(place, {**CASES["all at once"], "steps": 16}, workers=2, save_every=3)
    run_training(run, tmp_path / "whole")
    killed_after_a_state(run, tmp_path / "parts", 6, 0.05)
    before = max(step for step, _ in list_states(tmp_path / "parts" / "states"))
    assert before < 16
    run_training(run, tmp_path / "parts")
    assert_equal_results(tmp_path / "whole", tmp_path / "parts")
    assert read_card(tmp_path / "parts" / "model.safetensors")["resumed_at"][0] >= 6


@pytest.mark.prove
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_again_and_again(place, tmp_path, name, workers):
    run = small_run(place, {**CASES[name], "steps": 60}, workers=workers, save_every=1)
    run_training(run, tmp_path / "whole")
    for kill in range(4):
        killed_after_a_state(run, tmp_path / "parts", 8 * kill + 1, 0.037 * kill)
    run_training(run, tmp_path / "parts")
    assert_equal_results(tmp_path / "whole", tmp_path / "parts")
