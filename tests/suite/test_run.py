"""The run contract with real kernels: what a good run leaves, and that every fault ends red, clear and soon."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pmgs_lib.errors import RunError
from pmgs_lib.suite.evidence import find_fault
from pmgs_lib.suite.locks import exclusive, is_held
from pmgs_lib.suite.processes import processes_of
from pmgs_lib.suite.records import damaged_files, good_record, read_record
from pmgs_lib.suite.run import perform

SAVE = "from pmgs_lib.suite import current_run\nrun = current_run()"
SOON_S = 10.0
# Leaves a process of its own session behind, says that it is there, and hangs.
HANG = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
run.artifact("pids").write_text(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""


def wait_for(path: Path, patience_s: float = 90.0) -> str:
    deadline = time.monotonic() + patience_s
    while not (path.is_file() and path.read_text()):
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.05)
    return path.read_text()


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def ended(process, since: float) -> tuple[int, list[str]]:
    """Exit status and lines on stderr of a runner that must end soon after an event."""
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - since < SOON_S
    return process.returncode, err.strip().splitlines()


@pytest.fixture
def hanging(small):
    """A run that hangs in its third cell, and the pids of its kernel and of a detached child."""
    small.write_notebook("hang", "a: int = 1", SAVE, HANG)
    small.write_experiment([{"id": "hang"}])
    folder = small.run_folder(small.plan().run("hang").key)
    process = small.start_run("hang")
    pids = [int(pid) for pid in wait_for(folder / "artifacts" / "pids").split()]
    yield small, folder, process, pids
    process.kill()
    process.wait()
    process.stderr.close()


def test_a_good_run_leaves_its_record(small):
    source = "from toy.add import add\nimport matplotlib.pyplot as plt\nfigure = plt.figure()\nplt.plot([1, 2])"
    save = "run.save_metrics({'sum': add(a, lr)})\nrun.save_figure(figure, 'line')"
    save += "\nrun.artifact('sub/x.txt').write_text('hi')"
    small.write_notebook(
        "good", "a: int = 1\nlr: float = 0.5\nthreads: int = 2", SAVE, source, save, "print(run.resolve('x'))"
    )
    small.write_experiment([{"id": "good", "parameters": {"lr": "1e-1"}}])
    plan = small.plan()
    record = perform(small, plan, plan.run("good"))
    assert record.metrics == {"sum": 1.1}
    assert record.parameters == {"a": 1, "lr": 0.1, "threads": 2}
    made = record.content["made"]
    assert set(made) == {"executed.ipynb", "metrics.json", "figures/line.png", "artifacts/sub/x.txt"}
    assert {path.name for path in record.folder.iterdir()} == {
        ".lock",
        "run.json",
        "artifacts",
        "figures",
        "executed.ipynb",
        "metrics.json",
    }
    assert record.artifact("sub/x.txt").read_text() == "hi"
    content = json.loads((record.folder / "run.json").read_text())
    assert content["parts"] == plan.run("good").parts
    assert content["device"] == "cpu"
    assert content["versions"]["papermill"]
    executed = json.loads((record.folder / "executed.ipynb").read_text())
    assert executed["metadata"]["papermill"]["input_path"] == "notebooks/good.ipynb"
    assert executed["cells"][-2]["outputs"][0]["text"] == [f"{small.root / 'x'}\n"]

    began = time.monotonic()
    assert perform(small, plan, plan.run("good")).content == content  # skipped
    assert time.monotonic() - began < 0.5
    assert damaged_files(record) == []
    (record.folder / "artifacts/sub/x.txt").write_text("ho")
    assert good_record(record.folder) is not None  # same size: seen by full digests only
    assert damaged_files(record) == ["artifacts/sub/x.txt"]
    (record.folder / "artifacts/sub/x.txt").unlink()
    assert good_record(record.folder) is None
    with pytest.raises(RunError, match=r"no good run\.json"):
        read_record(record.folder)


def test_a_killed_kernel_is_a_failure_and_takes_its_children_along(hanging):
    small, folder, process, pids = hanging
    os.kill(pids[0], signal.SIGKILL)
    code, lines = ended(process, time.monotonic())
    assert code == 1
    assert lines == [lines[0]]
    assert lines[0].startswith("run `hang` (notebooks/hang.ipynb): kernel died in cell 4: ")
    assert lines[0].endswith("/executed.ipynb")
    failure = small.failure("hang")
    assert (failure["kind"], failure["cell"], failure["id"]) == ("kernel died", 4, "hang")
    assert not (folder / "run.json").exists()
    assert all(map(is_gone, pids))


def test_a_stopped_runner_says_so_and_leaves_no_process(hanging):
    small, folder, process, pids = hanging
    process.send_signal(signal.SIGTERM)
    code, lines = ended(process, time.monotonic())
    assert code == 1
    assert "stopped in cell 4: SIGTERM asked" in lines[0]
    assert small.failure("hang")["kind"] == "stopped"
    assert not (folder / "run.json").exists()
    assert all(map(is_gone, pids))


def test_after_a_killed_runner_the_next_one_cleans_up(hanging):
    small, folder, process, pids = hanging
    process.kill()
    process.wait()
    assert not (folder / "failure.json").exists()
    small.write_notebook("hang", "a: int = 1", SAVE, HANG)  # the same key
    (folder / "artifacts" / "pids").unlink()
    second = small.start_run("hang")
    fresh = [int(pid) for pid in wait_for(folder / "artifacts" / "pids").split()]
    assert all(map(is_gone, pids))
    assert {process.pid for process in processes_of(folder)} >= set(fresh)
    second.send_signal(signal.SIGTERM)
    assert ended(second, time.monotonic())[0] == 1
    assert processes_of(folder) == []


@pytest.mark.parametrize(
    ("cell", "timeouts", "kind", "cell_index", "message"),
    [
        ("import time\ntime.sleep(60)", {"cell_timeout_s": 1}, "cell time-out", 3, "longer than 1 s"),
        ("raise ValueError('no\\nluck')", {}, "cell error", 3, "ValueError: no"),
        ("1", {"run_timeout_s": 0.05}, "run time-out", None, "longer than 0.05 s"),
        ("import os\nos._exit(0)", {}, "kernel died", 3, "ended without a reply"),
        (
            "import importlib\nimportlib.import_module('toy.' + 'other')",
            {}, "outside the closure", None, "toy, toy.other: loaded",
        ),
        (
            "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import toy' + '.other'], check=True)",
            {}, "outside the closure", None, "toy, toy.other: loaded",
        ),
        ("from toy.add import add\nopen('toy/add.py', 'a').write('#')", {}, "stale", None, "toy/add.py changed"),
    ],
)  # fmt: skip
def test_faults_on_purpose(small, cell, timeouts, kind, cell_index, message):
    small.write_notebook("bad", "a: int = 1", cell)
    small.write_experiment([{"id": "bad", "parameters": {"a": 2}}], profiles={"smoke": timeouts})
    plan = small.plan()
    folder = small.run_folder(plan.run("bad").key)
    with pytest.raises(RunError) as fault:
        perform(small, plan, plan.run("bad"))
    failure = json.loads((folder / "failure.json").read_text())
    assert (failure["kind"], failure["cell"]) == (kind, cell_index)
    assert message in failure["message"]
    assert failure["message"] in str(fault.value)
    assert "\n" not in str(fault.value)
    assert not (folder / "run.json").exists()
    assert processes_of(folder) == []


def test_a_second_copy_waits_and_finds_the_first_ones_result(small):
    small.write_notebook("slow", "a: int = 1", "import time\ntime.sleep(1)", "open('count', 'a').write('x')")
    small.write_experiment([{"id": "slow"}])
    copies = [small.start_run("slow") for _ in range(2)]
    assert [copy.communicate()[1] for copy in copies] == ["", ""]
    assert [copy.returncode for copy in copies] == [0, 0]
    assert (small.root / "count").read_text() == "x"


def test_a_lock_is_waited_for_and_ends_with_its_holder(tmp_path):
    code = "import sys, pathlib\nfrom pmgs_lib.suite.locks import exclusive\nwith exclusive(pathlib.Path(sys.argv[1])):"
    command = [sys.executable, "-c", code + "\n    print('held', flush=True); input()", str(tmp_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    assert is_held(tmp_path)
    told = []

    def end_holder(who):
        told.append(who)
        holder.kill()

    with exclusive(tmp_path, end_holder):
        assert told == [f"process {holder.pid}"]
    holder.communicate()
    assert not is_held(tmp_path)


def executed(folder, count=1, exception=False, replies=("shell.execute_reply",)):
    marks = {"papermill": {"exception": exception}, "execution": dict.fromkeys(replies, "now")}
    cell = {
        "cell_type": "code",
        "source": "1",
        "execution_count": count,
        "metadata": marks,
    }
    (folder / "executed.ipynb").write_text(json.dumps({"cells": [cell]}))


def test_evidence_is_believed_not_the_absence_of_errors(small):
    """Each piece of evidence taken away in turn, as a damaged papermill or kernel would leave it."""
    small.write_notebook("n", "a: int = 1", "from toy.add import add")
    small.write_experiment([{"id": "n"}])
    run = small.plan().run("n")
    folder = small.run_folder(run.key)
    folder.mkdir(parents=True)

    def kind():
        fault = find_fault(small, run, folder)
        return fault and (fault.kind, fault.cell)

    assert kind() == ("incomplete", None)  # nothing at all
    executed(folder, count=None)
    assert kind() == ("incomplete", 0)
    executed(folder, exception=None)
    assert kind() == ("incomplete", 0)
    executed(folder, replies=())
    assert kind() == ("incomplete", 0)
    executed(folder)
    assert kind() == ("incomplete", None)  # no end marker
    (folder / ".end.json").write_text('{"modules": ["json", "toy.add"]}')
    assert kind() == ("unwatched", None)
    (folder / ".witness").write_text("toy\ntoy.add\ntoy.absent\n")
    assert kind() is None
    (folder / ".witness").write_text("toy\ntoy.other\n")
    assert kind() == ("outside the closure", None)
    (folder / ".witness").write_text("toy\n")
    small.write_notebook("n", "a: int = 1", "from toy.add import add\n2")
    assert kind() == ("stale", None)
