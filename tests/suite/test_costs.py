"""What a call would cost: from earlier runs, on what there is, unknown where nothing is known; nothing is changed."""

import os
import random
from collections.abc import Mapping

import pytest

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.costs import duration_text, size_text, time_left
from pmgs_lib.suite.executors import Resources
from pmgs_lib.suite.jobs import Job

SAVE = "from pmgs_lib.suite import current_run\nrun = current_run()"


def job(key: str, seconds: float | None = 1.0, needs: tuple[str, ...] = (), threads: int = 1, gpu: int = 0) -> Job:
    return Job(key, key, key, "notebook", "plan", needs, threads, gpu, 10, seconds)


CAPACITY = {"threads": 2, "gpu": 1}


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ([], 0.0),
        ([job("a", 3.0)], 3.0),
        ([job("a", 3.0), job("b", 4.0)], 4.0),
        ([job("a", 3.0), job("b", 4.0), job("c", 5.0)], 8.0),
        ([job("a", 3.0), job("b", 4.0, ("a",)), job("c", 5.0, ("b",))], 12.0),
        ([job("a", 3.0, threads=2), job("b", 4.0)], 7.0),
        ([job("a", 3.0, threads=9), job("b", 4.0)], 7.0),  # scaled down to what there is, as the engine does
        ([job("a", 3.0, gpu=1), job("b", 4.0, gpu=1)], 7.0),
        ([job("a", None), job("b", 4.0, ("a",))], 4.0),
    ],
)
def test_time_of_a_graph(jobs, expected):
    assert time_left(jobs, CAPACITY) == expected
    assert time_left(jobs, {}) <= expected


def test_running_jobs_count_with_what_they_have_left():
    jobs = [job("a", 10.0), job("b", 4.0, ("a",)), job("c", 4.0)]
    assert time_left(jobs, CAPACITY, {"a": 7.0}) == 7.0
    assert time_left(jobs, CAPACITY, {"a": 70.0}) == 5.0  # over its time: it cannot end before now
    assert time_left(jobs, CAPACITY, {"a": 1.0, "c": 1.0}) == 13.0


@pytest.mark.parametrize("seed", range(20))
def test_time_lies_between_work_shared_by_all_and_work_of_one(seed):
    draw = random.Random(seed)
    names = "abcdefgh"
    jobs = [
        job(name, draw.uniform(0.1, 5.0), tuple(draw.sample(names[:place], draw.randint(0, min(place, 2)))))
        for place, name in enumerate(names)
    ]
    draw.shuffle(jobs)
    work = sum(one.seconds for one in jobs)
    cores = draw.randint(1, 4)
    assert max(work / cores, longest_chain(jobs)) - 1e-9 <= time_left(jobs, {"threads": cores}) <= work + 1e-9
    assert time_left(jobs, {"threads": 1}) == pytest.approx(work)
    assert time_left(jobs, {}) == pytest.approx(longest_chain(jobs))


def longest_chain(jobs: list[Job]) -> float:
    by_key: Mapping[str, Job] = {one.key: one for one in jobs}

    def until(one: Job) -> float:
        return one.seconds + max((until(by_key[need]) for need in one.needs), default=0.0)

    return max(map(until, jobs))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (45.0, "45 s"),
        (59.7, "1 min"),
        (310.0, "5 min 10 s"),
        (12000.0, "3 h 20 min"),
        (187200.0, "2 d 4 h"),
    ],
)
def test_durations_are_told_in_two_units(seconds, text):
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (640, "640 B"), (2_400_000_000, "2.4 GB"), (31_000_000, "31 MB")]
)
def test_sizes(count, text):
    assert size_text(count) == text


def test_limits_are_checked_before_anything_starts(monkeypatch):
    for mistake in ({"cores": 0}, {"gpus": -1}, {"jobs": 3}, {"executor": "slurm", "jobs": 0}):
        with pytest.raises(ParameterError, match=r"^--"):
            Resources(**mistake)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 6")
    assert Resources().local_gpus() == ["4", "6"]
    assert Resources(gpus=1).local_gpus() == ["4"]
    assert Resources(executor="slurm").local_gpus() == []
    with pytest.raises(ParameterError, match=r"--gpus 3: this machine shows 2 GPUs"):
        Resources(gpus=3).local_gpus()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert Resources().local_gpus() == []


def snapshot(folder) -> dict[str, tuple[int, int]]:
    found = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            state = os.stat(os.path.join(place, name))
            found[os.path.join(place, name)] = (state.st_mtime_ns, state.st_size)
    return found


def test_a_dry_run_tells_what_would_run_why_and_for_how_long_and_changes_nothing(small):
    small.write_notebook("step", "name: str = ''\nextra: int = 0", SAVE, "run.artifact('x').write_bytes(b'0' * 5000)")
    runs = [
        {"id": "a", "notebook": "notebooks/step.ipynb", "parameters": {"name": "a"}},
        {"id": "b", "notebook": "notebooks/step.ipynb", "parameters": {"name": "b"}, "after": ["a"], "gpu": 1},
    ]
    small.write_experiment(runs)
    before = snapshot(small.root)
    first = small.pmgs("run", "toy", "--dry-run")
    assert (first.returncode, first.stderr) == (0, "")
    lines = first.stdout.splitlines()
    assert " ".join(lines[1].split()) == "a unknown - unknown never run here missing: not run yet"
    assert lines[-2].startswith("toy (smoke): 2 of 2 runs to do, of unknown length (local: 2 cores, ")
    assert lines[-2].endswith("0.0 GPU hours and 1 runs of unknown length; 0 B of disk and 2 runs of unknown size")
    assert lines[-1] == "nothing was run or changed"
    assert snapshot(small.root) == before  # not even the folder of runs

    assert small.pmgs("run", "toy").returncode == 0
    runs[0]["parameters"]["extra"] = 1
    runs.append({"id": "c", "notebook": "notebooks/step.ipynb", "parameters": {"name": "c"}})
    small.write_experiment(runs)
    before = snapshot(small.root)
    rows = [line.split() for line in small.pmgs("run", "toy", "--dry-run").stdout.splitlines()]
    told = {row[0]: " ".join(row[1:]) for row in rows}
    assert "stale: parameter `extra`: 0 -> 1" in told["a"]
    assert "its run of 20" in told["a"]
    assert "stale: needed run `a` changed" in told["b"]
    assert "2 runs of its notebook missing: not run yet" in told["c"]
    assert "unknown" not in " ".join(told.values())
    assert told["toy"].startswith("(smoke): 3 of 3 runs to do, about ")
    assert snapshot(small.root) == before

    assert small.pmgs("run", "toy").returncode == 0
    done = small.pmgs("run", "toy", "--dry-run").stdout.splitlines()
    assert done == ["toy (smoke): all 3 runs are up to date", "nothing was run or changed"]
