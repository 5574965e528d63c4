"""States on disk: what is written comes back to the bit, and what is damaged, half or too much is noticed."""

import logging
import math
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pmgs_lib.errors import CheckpointError
from pmgs_lib.training import state as module
from pmgs_lib.training.state import (
    list_states,
    load_newest_state,
    load_state,
    save_state,
    state_path,
    verify_state,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from Python 3.12 on


def nest(step: int, size: int = 200) -> dict:
    """A state like a trainer's, a function of the step."""
    generator = torch.Generator().manual_seed(step)
    weights = {f"layer{n}.weight": torch.randn(size, generator=generator) for n in range(3)}
    moments = {
        n: {"step": torch.tensor(float(step)), "exp_avg": torch.randn(size, generator=generator)} for n in (0, 1)
    }
    groups = [{"lr": 0.1 / (step + 1), "betas": (0.9, 0.999), "params": [0, 1], "foreach": None, "decay": True}]
    rows = [{"step": number, "loss": number / 3, "text": "ünï"} for number in range(step)]
    return {"model": weights, "optimizer": {"state": moments, "param_groups": groups}, "step": step, "history": rows}


def assert_same(first, second, where: str = "state") -> None:
    """Equal in type, structure and to the bit."""
    assert type(first) is type(second), where
    if isinstance(first, dict):
        assert list(first) == list(second), where
        for key in first:
            assert_same(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), where
        for place, pair in enumerate(zip(first, second, strict=True)):
            assert_same(*pair, f"{where}.{place}")
    elif isinstance(first, torch.Tensor):
        assert (first.dtype, first.shape) == (second.dtype, second.shape), where
        assert torch.equal(first, second), where
    else:
        assert first == second or (math.isnan(first) and math.isnan(second)), where


def test_what_is_written_comes_back_to_the_bit(tmp_path):
    save_state(tmp_path, 7, nest(7))
    step, state = load_newest_state(tmp_path)
    assert step == 7
    assert_same(state, nest(7))


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4)])
def test_every_kind_of_tensor(tmp_path, dtype, shape, rng):
    value = torch.randn(shape, generator=rng).mul(9).to(dtype)
    save_state(tmp_path, 1, {"value": value})
    assert_same(load_newest_state(tmp_path)[1], {"value": value})


def test_numbers_texts_and_nests_come_back_exactly(tmp_path):
    values = {
        "odd": [0.1 + 0.2, 1e-320, -0.0, float("nan"), float("inf"), 2**70, True, None, "", "a\0b\n"],
        3: ((), {}, []),
    }
    save_state(tmp_path, 1, values)
    found = load_newest_state(tmp_path)[1]
    assert_same(found, values)
    assert math.copysign(1, found["odd"][2]) == -1


def test_views_of_one_memory_come_back_and_one_tensor_in_two_places_stays_one(tmp_path):
    base = torch.arange(12.0)
    state = {"whole": base, "again": base, "part": base[2:5], "turned": base.view(3, 4).T, "wide": base[:1].expand(5)}
    save_state(tmp_path, 1, state)
    found = load_newest_state(tmp_path)[1]
    assert_same(found, state)
    assert found["whole"] is found["again"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_tensor_that_is_not_finite_is_refused_by_name_and_nothing_is_touched(tmp_path, value):
    save_state(tmp_path, 1, nest(1))
    before = sorted(path.name for path in tmp_path.iterdir())
    spoilt = nest(2)
    spoilt["optimizer"]["state"][1]["exp_avg"][5] = value
    with pytest.raises(CheckpointError, match=r"step-00000002.*state.optimizer.state.1.exp_avg is not finite"):
        save_state(tmp_path, 2, spoilt)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes", {(1, 2): 3}], ids=lambda value: type(value).__name__)
def test_what_cannot_be_kept_is_refused_by_name(tmp_path, value):
    with pytest.raises(CheckpointError, match=r"state.model.*(is a|has the key)"):
        save_state(tmp_path, 1, {"model": value})
    assert list_states(tmp_path) == []


def test_the_newest_are_kept_in_order_of_their_steps(tmp_path):
    for step in (5, 10, 100_000_000, 15):
        save_state(tmp_path, step, nest(1), keep=3)
    assert [step for step, _ in list_states(tmp_path)] == [100_000_000, 15, 10]
    assert list_states(tmp_path / "absent") == []
    assert load_newest_state(tmp_path / "absent") is None


# --- damage ---


def test_every_changed_byte_is_noticed(tmp_path):
    path = save_state(tmp_path, 1, nest(1, size=20))
    content = path.read_bytes()
    for place in [*range(0, 900), *range(900, len(content), 7)]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x41]) + content[place + 1 :])
        with pytest.raises(CheckpointError, match=r"step-00000001.safetensors: (is damaged|format is)"):
            load_state(path)
        with pytest.raises(CheckpointError):
            verify_state(path)


def test_every_cut_is_noticed(tmp_path):
    path = save_state(tmp_path, 1, nest(1, size=20))
    content = path.read_bytes()
    for length in [*range(0, len(content), 11), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="is damaged"):
            load_state(path)


def test_a_pickle_in_the_place_of_a_state_is_not_read(tmp_path):
    torch.save({"model": {}}, state_path(tmp_path, 1))
    with pytest.raises(CheckpointError, match="is damaged"):
        load_state(state_path(tmp_path, 1))


def test_a_damaged_newest_is_told_and_the_one_before_it_is_used(tmp_path, caplog):
    save_state(tmp_path, 1, nest(1))
    newest = save_state(tmp_path, 2, nest(2))
    newest.write_bytes(newest.read_bytes()[:-3])
    with caplog.at_level(logging.WARNING):
        step, state = load_newest_state(tmp_path)
    assert step == 1
    assert_same(state, nest(1))
    assert "step-00000002.safetensors: is damaged" in caplog.text
    state_path(tmp_path, 1).write_bytes(b"")
    with pytest.raises(CheckpointError, match="all 2 are damaged"):
        load_newest_state(tmp_path)


def test_a_file_that_does_not_come_back_is_removed_and_the_one_before_it_stays(tmp_path, monkeypatch):
    save_state(tmp_path, 1, nest(1))
    right = module.save_file

    def wrong(tensors, path, metadata):
        changed = {name: value + 1 if name.startswith("state.model") else value for name, value in tensors.items()}
        right(changed, path, metadata=metadata)

    monkeypatch.setattr(module, "save_file", wrong)
    with pytest.raises(CheckpointError, match=r"step-00000002.*is damaged"):
        save_state(tmp_path, 2, nest(2), keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.safetensors"]
    assert load_newest_state(tmp_path)[0] == 1


# --- a full disk ---


class Child:
    """A forked process that does `work(say)`; `say` sends a line back."""

    def __init__(self, work: Callable[[Callable[[str], None]], None]) -> None:
        reading, writing = os.pipe()
        self.number = os.fork()
        if self.number == 0:
            status = 1
            torch.set_num_threads(1)  # threads of the parent's pool are not here
            try:
                work(lambda text: os.write(writing, f"{text}\n".encode()))
                status = 0
            finally:
                os._exit(status)
        os.close(writing)
        self.lines = os.fdopen(reading)

    def end(self, *, kill: bool = False) -> int:
        """Its exit status, or less than zero for a signal. What it said stays to be read."""
        if kill:
            os.kill(self.number, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(self.number, 0)[1])


@pytest.mark.parametrize("limit", [0, 1, 100, 3000, 20_000])
def test_a_file_that_may_not_grow_is_one_error_and_the_state_before_stays(tmp_path, limit):
    save_state(tmp_path, 1, nest(1))

    def work(say):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            save_state(tmp_path, 2, nest(2, size=2000), keep=1)
            say("written")
        except CheckpointError as error:
            say(str(error))

    child = Child(work)
    assert child.end() == 0
    with child.lines as said:
        assert "cannot be written" in said.read()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.safetensors"]
    assert_same(load_newest_state(tmp_path)[1], nest(1))


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 300 KB; needs the right to mount."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system is not allowed here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_fills_up_keeps_the_state_before(small_disk):
    save_state(small_disk, 1, nest(1, size=10_000))
    with pytest.raises(CheckpointError, match=r"cannot be written \(.*No space left on device.*\); make room"):
        save_state(small_disk, 2, nest(2, size=20_000))
    assert [path.name for path in small_disk.iterdir()] == ["step-00000001.safetensors"]
    assert_same(load_newest_state(small_disk)[1], nest(1, size=10_000))
    save_state(small_disk, 3, nest(3, size=100))
    assert load_newest_state(small_disk)[0] == 3


# --- kills ---


def killed_while_saving(folder: Path, moment_s: float, first: int) -> int:
    """A process that saves one state after another is killed so long after its begin; the last step it confirmed."""

    def work(say):
        say(str(first - 1))
        for step in range(first, first + 10_000):
            save_state(folder, step, nest(step % 17, size=20_000))
            say(str(step))

    child = Child(work)
    with child.lines as said:
        confirmed = [said.readline()]
        time.sleep(moment_s)
        assert child.end(kill=True) == -signal.SIGKILL
        confirmed += said.read().split()
    return int(confirmed[-1])


def kill_many(folder: Path, times: int) -> int:
    """After each kill there is a whole state, the last confirmed one or newer. Returns how many left half a file."""
    moments = random.Random(0)
    confirmed, unfinished = 0, 0
    for _ in range(times):
        confirmed = killed_while_saving(folder, moments.uniform(0.005, 0.12), confirmed + 1)
        unfinished += bool(list(folder.glob(module.LEFTOVERS)))
        found = load_newest_state(folder)
        step = found[0] if found else 0
        assert confirmed <= step <= confirmed + 1
        if found:
            assert_same(found[1], nest(step % 17, size=20_000))
        assert not list(folder.glob(module.LEFTOVERS))
        confirmed = step
    save_state(folder, confirmed + 1, nest(0))
    assert len(list_states(folder)) == 2  # and what the killed could not remove any more is gone
    return unfinished


def test_a_kill_at_any_moment_of_a_save_leaves_a_state_to_go_on_from(tmp_path):
    kill_many(tmp_path, 12)
    assert list_states(tmp_path)


@pytest.mark.prove
def test_200_kills_at_random_moments_of_saves(tmp_path):
    assert kill_many(tmp_path, 200) > 20  # else the moments were not within the writing
