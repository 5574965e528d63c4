"""`pmgs run` with real Snakemake and real kernels: skip, rerun what changed, fail soon, survive kills."""

import json
import random
import re
import signal
import time
from datetime import UTC, datetime

import psutil
import pytest
import yaml

from pmgs_lib.suite import engine
from pmgs_lib.suite.executors import Resources
from pmgs_lib.suite.jobs import runs_to_do
from pmgs_lib.suite.records import all_records

SAVE = "from pmgs_lib.suite import current_run\nrun = current_run()"
COUNT = "open(f'counts-{name}', 'a').write('x')\nimport time\ntime.sleep(nap)"
USE = "text = [(run.resolve(folder) / 'artifacts' / 'name').read_text() for folder in needs]"
WRITE = "run.artifact('name').write_text(name)\nrun.save_metrics({'length': len(text)})"


def write_graph(small, names: str, nap: float = 0.0) -> None:
    """Runs `a`, `b`, ... of one notebook, where each but the first needs the one before it."""
    parameters = "name: str = ''\nneeds: list[str] = []\nnap: float = 0.0\nextra: int = 0"
    small.write_notebook("step", parameters, SAVE, COUNT, USE, WRITE)
    runs = []
    for need, name in zip(["", *names], names, strict=False):
        values = {"name": name, "nap": nap, "needs": [f"${{runs.{need}}}"] if need else []}
        runs.append({"id": name, "notebook": "notebooks/step.ipynb", "parameters": values})
    small.write_experiment(runs)


def counts(small, names: str) -> list[int]:
    paths = [small.root / f"counts-{name}" for name in names]
    return [len(path.read_text()) if path.exists() else 0 for path in paths]


def processes_in(root) -> list[psutil.Process]:
    """Live processes whose working folder is the project."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(str(root)) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def test_from_nothing_to_done_to_one_change(small):
    write_graph(small, "ab")
    small.write_notebook("report", "runs: dict[str, str] = {}", SAVE, "print(sorted(runs))")
    report = {"id": "report", "parameters": {"runs": {"b": "${runs.b}"}}, "page": "runs/reports/toy.html"}
    runs = [*written_runs(small), report]
    small.write_experiment(runs)

    first = small.pmgs("run", "experiments/toy.yaml", "--profile", "smoke", "--cores", "2")
    assert (first.returncode, first.stderr) == (0, "")
    lines = first.stdout.splitlines()
    assert lines[0] == "toy (smoke): 3 of 3 runs to do"
    assert [line.split()[0] for line in lines[1:7]] == ["started", "done"] * 3
    assert "done 2/3 b in " in first.stdout
    pages = ["report: runs/reports/toy.html", "report: runs/index.html"]
    assert lines[-3:] == ["toy (smoke): 3 of 3 runs up to date, 0 left out", *pages]
    page = (small.root / "runs/reports/toy.html").read_text()
    assert "['b']" in page
    assert "finish_run" not in page
    assert "sorted" not in page
    assert all("current_run" in path.read_text() for path in small.runs.glob("*/executed.html"))
    assert len(list(small.runs.glob("*/executed.html"))) == 3
    assert re.findall(r"(?:src|href)=.https?:", page) == []

    began = time.monotonic()
    second = small.pmgs("run", "toy")
    assert time.monotonic() - began < 5
    assert second.stdout.splitlines() == lines[-3:]
    assert counts(small, "ab") == [1, 1]

    runs[1]["parameters"]["extra"] = 1
    small.write_experiment(runs)
    assert states(small) == {"a": "done", "b": "stale", "report": "stale"}
    because = "needed run `b` changed (parameter `extra`: 0 -> 1)"
    assert small.pmgs("why", "report").stdout.startswith(f"report: stale, {because}\nbecause {because}  (since runs/")
    third = small.pmgs("run", "toy")
    assert re.match(r"toy \(smoke\): 2 of 3 runs to do, about \d+ s\n", third.stdout)
    assert counts(small, "ab") == [1, 2]
    assert "because parameter `extra`: 0 -> 1  (since runs/" in small.pmgs("why", "b").stdout
    keys = [record.key for record in all_records(small) if record.id == "b"]
    assert "parameter `extra`: " in small.pmgs("why", *keys).stdout


def written_runs(small) -> list[dict]:
    return yaml.safe_load((small.root / "experiments" / "toy.yaml").read_text())["runs"]


def states(small) -> dict[str, str]:
    return {line.split()[0]: line.split()[1] for line in small.pmgs("status", "toy").stdout.splitlines()[2:]}


def test_a_refused_parameter_starts_nothing(small):
    write_graph(small, "a")
    runs = written_runs(small)
    runs[0]["parameters"]["nape"] = 1
    small.write_experiment(runs)
    done = small.pmgs("run", "toy")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "pmgs run: toy: run `a`: no parameter `nape` in the notebook; did you mean `nap`?\n"
    assert not small.runs.exists()


def test_a_failure_ends_the_others_and_the_next_call_goes_on(small):
    small.write_notebook("bad", "a: int = 1", "import pathlib\nassert pathlib.Path('good').exists(), 'not yet'")
    small.write_notebook(
        "slow", "a: int = 1", "import pathlib, time\ntime.sleep(0 if pathlib.Path('good').exists() else 600)"
    )
    small.write_notebook("after", "a: int = 1", "1")
    small.write_experiment([{"id": "bad"}, {"id": "slow"}, {"id": "after", "after": ["bad"]}])
    done = small.pmgs("run", "toy", "--cores", "2")
    failed = datetime.fromisoformat(small.failure("bad")["finished"])
    assert (datetime.now(UTC) - failed).total_seconds() < 10  # the slow one was not waited for
    assert done.returncode == 1
    assert done.stderr.startswith(
        "pmgs run: run `bad` (notebooks/bad.ipynb): cell error in cell 3: AssertionError: not yet; see runs/"
    )
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("/executed.ipynb\n")  # the stopped one is not counted as a second failure
    assert "\nstopped slow\n" in done.stdout
    assert states(small) == {"bad": "failed", "slow": "stopped", "after": "missing"}
    assert small.failure("slow")["kind"] == "stopped"
    assert processes_in(small.root) == []
    (small.root / "good").touch()
    assert small.pmgs("run", "toy").returncode == 0


def test_several_experiments_are_one_graph_and_equal_runs_run_once(small):
    write_graph(small, "ab")
    runs = written_runs(small)
    extra = {**runs[1], "id": "c", "parameters": {"name": "c", "needs": ["${runs.same}"]}}
    small.write_experiment([{**runs[0], "id": "same"}, extra, {**extra, "id": "b"}], "other")
    done = small.pmgs("run", "toy", "other", "--cores", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "toy, other (smoke): 3 of 3 runs to do"
    assert counts(small, "abc") == [1, 1, 1]  # `a` of both experiments once, and `c` stands there twice
    assert done.stdout.splitlines()[-2:] == [
        "toy (smoke): 2 of 2 runs up to date, 0 left out",
        "other (smoke): 3 of 3 runs up to date, 0 left out",
    ]
    assert small.pmgs("run", "other", "toy").stdout.count("up to date") == 2
    refused = small.pmgs("run", "toy", "other", "--set", "x=1")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "argument `x` is not known" in refused.stderr
    assert small.pmgs("run").returncode == 2


def test_while_it_runs_a_second_terminal_and_the_call_itself_tell_how_it_goes(small, monkeypatch):
    write_graph(small, "abc", nap=3.0)
    assert "nothing runs here" in small.pmgs("status", "toy", "--watch").stdout
    driver = small.start("run", "toy", "--cores", "1")
    wait_until(lambda: counts(small, "a") == [1])
    watching = small.pmgs("status", "toy", "--watch").stdout
    driver.communicate(timeout=120)
    assert "; running a " in watching
    assert "; next b, c; 3 left of unknown length" in watching
    assert "1 of 3 done; " in watching
    assert watching.count("  done  ") == 3  # at its end, the states of all
    monkeypatch.setattr(engine, "TELL_EVERY_S", 0.5)
    runs = written_runs(small)
    runs[0]["parameters"]["extra"] = 1
    small.write_experiment(runs)
    said = []
    engine.run_experiments(small, [small.plan()], Resources(cores=1), said.append)
    assert any(re.search(r"^0 of 3 done; running a \d+ s; next b, c; about \d+ s left$", line) for line in said), said


def wait_until(condition, patience_s: float = 60.0):
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def test_a_signal_ends_all_and_an_orphaned_snakemake_is_waited_for(small):
    write_graph(small, "ab", nap=2.0)
    driver = small.start("run", "toy")
    wait_until(lambda: counts(small, "a") == [1])
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=15)
    assert driver.returncode == 1
    assert err == "pmgs run: stopped by SIGINT; the same command goes on where it was\n"
    assert processes_in(small.root) == []

    driver = small.start("run", "toy")
    wait_until(lambda: counts(small, "a") == [2])
    driver.kill()  # as `kill -9` of make's whole line would: Snakemake and the run live on
    driver.communicate()
    done = small.pmgs("run", "toy")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"waiting for another pmgs run (process {driver.pid})" in done.stdout
    assert counts(small, "ab") == [2, 1]


DRIVER, SNAKEMAKE, RUNNER = "pmgs_lib.cli", "snakemake", "pmgs_lib.suite.run"
PAPERMILL, KERNEL = "pmgs_lib.suite.execute", "ipykernel_launcher"
VICTIMS = [[DRIVER], [SNAKEMAKE], [RUNNER], [PAPERMILL], [KERNEL], [DRIVER, SNAKEMAKE], [SNAKEMAKE, RUNNER], [""]]


def kill_at_random(small, seed: int, count: int) -> None:
    """Start, kill -9 one kind of process at a random moment, and again until the suite is done; then prove it is."""
    draw = random.Random(seed)
    for victims in draw.sample(VICTIMS, count):
        driver = small.start("run", "toy")
        time.sleep(draw.uniform(1.0, 8.0))
        for process in processes_in(small.root):
            try:
                line = " ".join(process.cmdline())
                if any(victim in line for victim in victims):
                    process.kill()
            except psutil.Error:
                continue
        driver.communicate(timeout=90)
    done = small.pmgs("run", "toy")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert runs_to_do(small, [small.plan()]) == {}
    for run in small.plan().runs:
        folder = small.run_folder(run.key)
        assert json.loads((folder / "metrics.json").read_text()) == {"length": len(run.needs)}
        assert not (folder / "failure.json").exists()
    assert processes_in(small.root) == []


def test_kills_at_random_moments_leave_nothing_that_the_next_call_cannot_mend(small):
    write_graph(small, "ab", nap=0.5)
    kill_at_random(small, seed=3, count=2)


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(20))
def test_kills_at_random_moments_long(small, seed):
    write_graph(small, "abcd", nap=0.5)
    kill_at_random(small, seed, count=4)
