"""Faults on purpose that need an engine, a checkout or a second run: each ends red, clear, and before it costs much."""

import json
import subprocess
import threading
import time

import pytest

from pmgs_lib.errors import ParameterError, RunError
from pmgs_lib.suite import run as runner
from pmgs_lib.suite.checkout import changed_files, with_clean_checkout
from pmgs_lib.suite.execute import OUT_OF_MEMORY
from pmgs_lib.suite.records import Failure, good_record
from pmgs_lib.suite.run import perform
from pmgs_lib.suite.slots import gpu_slots
from pmgs_lib.suite.transient import CAUSES, transient_cause

SAVE = "from pmgs_lib.suite import current_run\nrun = current_run()"
LITTLE_MEMORY = """
import resource
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
"""


def failure_of(small, name: str = "bad") -> dict:
    plan = small.plan()
    with pytest.raises(RunError) as fault:
        perform(small, plan, plan.run(name))
    assert "\n" not in str(fault.value)
    failure = small.failure(name)
    assert failure["message"] in str(fault.value)
    assert not (small.run_folder(plan.run(name).key) / "run.json").exists()
    return failure


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("import numpy as np\nmuch = np.ones(2**30)", "Unable to allocate 8.00 GiB"),
        ("much = bytearray(2**33)", "MemoryError"),
        ("import torch\nmuch = torch.ones(2**30)", "can't allocate memory"),
    ],
)
def test_out_of_memory_is_called_so(small, cell, message):
    first = "import torch" if "torch" in cell else "1"
    small.write_notebook("bad", "a: int = 1", first, LITTLE_MEMORY, cell)
    small.write_experiment([{"id": "bad"}])
    failure = failure_of(small)
    assert (failure["kind"], failure["cell"]) == ("out of memory", 5)
    assert message in failure["message"]
    assert failure["retried"] == []  # too large is too large the second time, too


def test_missing_data_starts_nothing(small):
    small.write_notebook("read", "scenes: str = ''", "open('started', 'w')")
    data = {"capture": {"path": "captures/fox", "hint": "download it"}}
    small.write_experiment([{"id": "read", "parameters": {"scenes": "${data.capture}"}}], data=data)
    done = small.pmgs("run", "toy")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "data `capture` not found at " in done.stderr
    assert "captures/fox; download it" in done.stderr
    assert not small.runs.exists()


def test_every_experiment_says_what_it_misses(small):
    small.write_notebook("read", "scenes: str = ''", "1")
    for name in ("first", "second"):
        run = {"id": "read", "parameters": {"scenes": "${data.d}"}}
        small.write_experiment([run], name, data={"d": {"path": f"nowhere/{name}"}})
    done = small.pmgs("run", "first", "second")
    assert done.returncode == 2
    assert "nowhere/first" in done.stderr
    assert "nowhere/second" in done.stderr


def test_a_result_that_is_not_what_its_run_made_is_not_read(small):
    small.write_notebook("make", "a: int = 1", SAVE, "run.artifact('x').write_text('good')")
    small.write_notebook("bad", "made: str = ''", SAVE, "print((run.resolve(made) / 'artifacts/x').read_text())")
    small.write_experiment([{"id": "make"}, {"id": "bad", "parameters": {"made": "${runs.make}"}}])
    plan = small.plan()
    made = perform(small, plan, plan.run("make"))
    (made.folder / "artifacts" / "x").write_text("evil")  # as long as before
    failure = failure_of(small)
    assert failure["kind"] == "wrong hash"
    assert failure["message"].startswith(
        f"needed run `make`: artifacts/x in runs/{made.key} is not what that run made;"
    )
    assert "delete the folder" in failure["message"]
    (made.folder / "artifacts" / "x").unlink()
    assert "no good run.json in" in failure_of(small)["message"]


def test_data_that_changed_since_the_plan_is_not_read(small):
    small.write_module("captures/fox.txt", "planned")
    small.write_notebook("bad", "scenes: str = ''", "print(open(scenes).read())")
    run = {"id": "bad", "parameters": {"scenes": "${data.fox}"}}
    small.write_experiment([run], data={"fox": {"path": "captures/fox.txt"}})
    plan = small.plan()
    small.write_module("captures/fox.txt", "another")
    with pytest.raises(RunError, match=r"wrong hash: data `fox` at captures/fox\.txt is "):
        perform(small, plan, plan.run("bad"))
    assert perform(small, small.plan(), small.plan().run("bad")).id == "bad"  # another plan, another key


def git(small, *arguments: str) -> None:
    names = ["-c", "user.name=n", "-c", "user.email=e@x"]
    subprocess.run(["git", *names, *arguments], cwd=small.root, check=True, capture_output=True)


@pytest.fixture
def committed(small):
    small.write_notebook("score", "a: int = 1", SAVE, "run.save_metrics({'psnr': 20.0})")
    small.write_experiment([{"id": "score"}], profiles={"smoke": {}, "full": {}})
    (small.root / ".gitignore").write_text("runs\n__pycache__\n.cache\n")
    git(small, "init", "-q")
    git(small, "add", ".")
    git(small, "commit", "-q", "-m", "all")
    return small


def test_a_full_report_wants_code_that_a_commit_names(committed):
    assert changed_files(committed) == []
    committed.write_module("toy/add.py", "def add(a, b):\n    return b + a\n")
    committed.write_module("new.txt", "new")
    assert changed_files(committed) == ["new.txt", "toy/add.py"]
    refused = committed.pmgs("run", "toy", "--profile", "full")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == (
        "pmgs run: toy (full): the checkout is not clean (2 uncommitted: new.txt, toy/add.py), expected code that a "
        "commit names; commit, or give --allow-dirty and have it noted in every run\n"
    )
    assert not committed.runs.exists()
    done = committed.pmgs("run", "toy", "--profile", "full", "--allow-dirty")
    assert (done.returncode, done.stderr) == (0, "")
    key = committed.plan(profile="full").run("score").key
    record = good_record(committed.run_folder(key))
    assert record.content["uncommitted"] == ["new.txt", "toy/add.py"]
    assert record.content["versions"]["commit"].endswith("+")
    why = committed.pmgs("why", "score:psnr", "--profile", "full").stdout
    assert "from a checkout with changes, allowed: new.txt, toy/add.py" in why


def test_other_profiles_and_clean_checkouts_run_as_they_are(committed, tmp_path):
    full, smoke = committed.plan(profile="full"), committed.plan()
    assert with_clean_checkout(committed, [full, smoke], False) == [full, smoke]
    (committed.root / "new.txt").write_text("new")
    assert with_clean_checkout(committed, [smoke], False) == [smoke]
    noted, as_it_was = with_clean_checkout(committed, [full, smoke], True)
    assert noted.changed_files == ("new.txt",)
    assert as_it_was is smoke
    subprocess.run(["rm", "-rf", committed.root / ".git"], check=True)
    if changed_files(committed) is None:  # unless the temporary folder itself lies in a repository
        with pytest.raises(ParameterError, match="no git history"):
            with_clean_checkout(committed, [full], False)


def test_a_report_of_a_stale_run_is_refused(small):
    small.write_notebook("report", "a: int = 1", "print(a)")
    small.write_experiment([{"id": "report", "page": "runs/report.html"}])
    assert small.pmgs("run", "toy").returncode == 0
    small.write_notebook("report", "a: int = 1", "print(a + 1)")
    refused = small.pmgs("report", "toy")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "run `report` has not succeeded; run the experiment first" in refused.stderr


def test_two_engines_on_one_folder_run_everything_once(small):
    count = "open(run.resolve(f'count-{name}'), 'a').write('x')\nimport time\ntime.sleep(1)"
    small.write_notebook("step", "name: str = ''", SAVE, count)
    runs = [{"id": name, "notebook": "notebooks/step.ipynb", "parameters": {"name": name}} for name in "ab"]
    small.write_experiment(runs)
    small.write_experiment(runs[:1], "other")
    engines = [small.start("run", name) for name in ("toy", "other")]
    told = [engine.communicate(timeout=120) for engine in engines]
    assert [engine.returncode for engine in engines] == [0, 0], told
    assert [(small.root / f"count-{name}").read_text() for name in "ab"] == ["x", "x"]
    assert sum("waiting for another pmgs run (process " in out for out, _ in told) <= 1


class TestRetries:
    """Only listed causes are tried again, a counted number of times, and the record tells."""

    @pytest.fixture
    def failing(self, small, monkeypatch):
        """Makes the first attempts of a run fail as told; the rest is real."""
        small.write_notebook("bad", "a: int = 1", "1")
        small.write_experiment([{"id": "bad"}])
        monkeypatch.setattr(runner, "PAUSE_S", 0.01)
        execute = runner._execute

        def fail(failures: list[Failure]):
            told = iter(failures)
            attempts = []

            def attempt(*arguments):
                attempts.append(
                    json.loads((small.run_folder(small.plan().run("bad").key) / "started.json").read_text())
                )
                return next(told, None) or execute(*arguments)

            monkeypatch.setattr(runner, "_execute", attempt)
            return attempts

        return small, fail

    LATE = Failure("kernel did not start", "Kernel didn't respond in 60 seconds")
    SHARED = Failure(
        OUT_OF_MEMORY,
        "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of "
        "which 1.00 GiB is free. Process 4242 has 60.00 GiB memory in use. Including non-PyTorch memory, this process "
        "has 18.00 GiB memory in use.",
    )
    ALONE = Failure(OUT_OF_MEMORY, SHARED.message.replace("Process 4242 has 60.00 GiB memory in use. ", ""))

    def test_a_listed_cause_is_tried_again_and_counted(self, failing):
        small, fail = failing
        attempts = fail([self.LATE, self.SHARED])
        plan = small.plan()
        record = perform(small, plan, plan.run("bad"))
        causes = ["kernel start time-out", "GPU memory held by another process"]
        assert [entry["cause"] for entry in record.retried] == causes
        assert record.retried[1]["message"] == self.SHARED.message
        assert [len(attempt["retried"]) for attempt in attempts] == [0, 1, 2]
        status = small.pmgs("status", "toy").stdout
        assert f"attempt 3 after {', '.join(causes)}" in status

    def test_there_is_an_end_to_it(self, failing):
        small, fail = failing
        attempts = fail([self.LATE] * 9)
        failure = failure_of(small)
        assert len(attempts) == 3
        assert failure["kind"] == "kernel did not start"
        assert len(failure["retried"]) == 2

    @pytest.mark.parametrize(
        "failure",
        [
            ALONE,
            Failure("cell error", "ValueError: no luck", 1),
            Failure("kernel died", "the kernel ended without a reply"),
            Failure("kernel did not start", "Kernel died before replying to kernel_info"),
            Failure("cell time-out", "a cell ran longer than 1 s"),
        ],
        ids=lambda failure: failure.kind,
    )
    def test_everything_else_fails_at_once(self, failing, failure):
        small, fail = failing
        assert transient_cause(failure) is None
        attempts = fail([failure])
        assert failure_of(small)["retried"] == []
        assert len(attempts) == 1

    def test_a_busy_gpu_is_a_cause_and_names_are_unique(self):
        busy = "RuntimeError: CUDA error: all CUDA-capable devices are busy or unavailable"
        assert transient_cause(Failure("cell error", busy)) == "GPU busy"
        assert len({cause.name for cause in CAUSES}) == len(CAUSES)


def test_gpus_are_handed_out_one_run_each(tmp_path):
    """More takers than slots, from threads: no slot is ever held twice, and all get one."""
    held, seen, clashes = set(), [], []
    guard = threading.Lock()

    def take(count: int) -> None:
        with gpu_slots(tmp_path, ["3", "5"], count) as shown:
            names = set(shown["CUDA_VISIBLE_DEVICES"].split(","))
            with guard:
                clashes.extend(held & names)
                held.update(names)
                seen.append(len(names))
            time.sleep(0.05)
            with guard:
                held.difference_update(names)

    threads = [threading.Thread(target=take, args=(1,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    take(2)
    assert clashes == []
    assert seen == [1, 1, 1, 1, 2]
    with gpu_slots(tmp_path, [], 1) as shown:
        assert shown == {}
    with gpu_slots(tmp_path, ["3"], 0) as shown:
        assert shown == {}


def test_runs_that_ask_for_a_gpu_see_one_each(small, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")
    look = "import os, time\ntime.sleep(2)\nrun.save_metrics({'seen': os.environ['CUDA_VISIBLE_DEVICES']})"
    small.write_notebook("look", "name: str = ''", SAVE, look)
    asked = {"a": 1, "b": 1, "both": 2, "none": 0}
    runs = [
        {"id": name, "notebook": "notebooks/look.ipynb", "parameters": {"name": name}, "gpu": count}
        for name, count in asked.items()
    ]
    small.write_experiment(runs)
    done = small.pmgs("run", "toy", "--cores", "4")
    assert (done.returncode, done.stderr) == (0, "")
    plan = small.plan()
    seen = {name: good_record(small.run_folder(plan.run(name).key)).metrics["seen"] for name in asked}
    assert {seen["a"], seen["b"]} <= {"6", "7"}
    assert sorted(seen["both"].split(",")) == ["6", "7"]
    assert seen["none"] == "6,7"  # what its shell sees
    runs[0]["gpu"] = 3
    runs[0]["parameters"]["name"] = "more"
    small.write_experiment(runs)
    refused = small.pmgs("run", "toy")
    assert (refused.returncode, refused.stderr) == (
        2,
        "pmgs run: run `a` takes 3 GPUs, 2 are there for it; use a cluster\n",
    )
