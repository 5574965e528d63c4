"""A real Slurm in one folder, a controller and two nodes: the same numbers as here, and a lost node costs nothing."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from getpass import getuser
from pathlib import Path

import psutil
import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
SEARCH = f"{os.environ['PATH']}:/usr/sbin"
pytestmark = [
    pytest.mark.prove,
    pytest.mark.skipif(
        any(shutil.which(program, path=SEARCH) is None for program in PROGRAMS),
        reason="Debian's Slurm is not installed (make system-slurm)",
    ),
]

CONFIGURATION = """
ClusterName=mini
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge/socket
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=5,bf_interval=5,sched_min_interval=0
SlurmdParameters=config_overrides
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=10
MessageTimeout=5
KillWait=3
MinJobAge=600
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=8000
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=8000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=60 State=UP
"""
SMALL_NODES = {"slurm_partition": "main", "mem_mb": 500}


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


class MiniSlurm:
    """Controller and nodes n1, n2 as processes of this user, everything they write below one short folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("bin", "state", "spool/n1", "spool/n2", "log", "munge"):
            (root / name).mkdir(parents=True)
        (root / "munge").chmod(0o711)
        key = root / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        values = {"host": socket.gethostname().split(".")[0], "ports": free_ports(3), "user": getuser(), "root": root}
        (root / "slurm.conf").write_text(CONFIGURATION.format(**values))
        wrapper = root / "bin" / "srun"  # inside a job SLURM_CONF is gone
        wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={root}/slurm.conf exec {shutil.which("srun")} "$@"\n')
        wrapper.chmod(0o755)
        self.environment = {"SLURM_CONF": f"{root}/slurm.conf", "PATH": f"{root}/bin:{SEARCH}"}
        self.daemons: dict[str, subprocess.Popen] = {}

    def start(self) -> None:
        files = [f"--{name.replace('_', '-')}={self.root}/munge/{name.split('_')[0]}" for name in
                 ("key_file", "socket", "pid_file", "log_file", "seed_file")]  # fmt: skip
        self._spawn("munged", "munged", "--foreground", "--num-threads=2", *files)
        wait_until((self.root / "munge" / "socket").exists, "munge", 20)
        self._spawn("slurmctld", "slurmctld", "-D", "-i")
        for node in ("n1", "n2"):
            self._spawn(node, "slurmd", "-D", "-N", node)
        wait_until(lambda: self.ask("sinfo", "-h", "-N", "-o", "%T").split() == ["idle", "idle"], "two idle nodes", 60)

    def _spawn(self, name: str, *command: str) -> None:
        with (self.root / "log" / f"{name}.out").open("wb") as log:
            self.daemons[name] = subprocess.Popen(
                command, env={**os.environ, **self.environment}, stdout=log, stderr=log, start_new_session=True
            )

    def ask(self, *command: str) -> str:
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60).stdout

    def kill_node(self, node: str) -> list[str]:
        """The whole node: its daemon, the daemons of its jobs, and all their processes. Returns the jobs it had."""
        jobs = sorted(
            {path.name.split("_")[1].split(".")[0] for path in (self.root / "spool" / node).glob(f"{node}_*")}
        )
        lost = [psutil.Process(self.daemons[node].pid)]
        for process in psutil.process_iter(["cmdline"]):
            line = " ".join(process.info["cmdline"] or [])
            if any(line.startswith(f"slurmstepd: [{job}.") for job in jobs):
                lost += [process, *process.children(recursive=True)]
        for process in lost:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.daemons[node].wait()
        return jobs

    def stop(self) -> None:
        self.ask("scancel", "-u", getuser())
        for name in ("n1", "n2", "slurmctld", "munged"):
            daemon = self.daemons.get(name)
            if daemon is not None and daemon.poll() is None:
                daemon.terminate()
                try:
                    daemon.wait(timeout=15)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()


def wait_until(condition, what: str, patience_s: float = 120.0) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: it never happened"
        time.sleep(0.2)


@pytest.fixture
def slurm():
    folder = Path(tempfile.mkdtemp(prefix="mini-slurm-"))  # short, since Unix sockets lie below
    folder.chmod(0o711)  # munge wants its socket within everybody's reach
    cluster = MiniSlurm(folder / "c")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder)


def suite_copy(folder: Path, experiment: dict) -> Path:
    """The library, notebooks and rule of this repository in a folder of its own, with one experiment."""
    for name in ("pmgs_lib", "notebooks", "experiments"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "constraints.txt", folder)
    (folder / "experiments" / "few.yaml").write_text(yaml.safe_dump(experiment))
    profile = folder / "experiments" / "profiles" / "slurm" / "config.yaml"
    settings = yaml.safe_load(profile.read_text())
    settings |= {"slurm-init-seconds-before-status-checks": 1, "default-resources": SMALL_NODES, "latency-wait": 20}
    profile.write_text(yaml.safe_dump(settings))
    return folder


def pmgs(folder: Path, *arguments: str, cluster: MiniSlurm | None = None) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_WAIT_POLICY": "passive"}
    environment |= cluster.environment if cluster else {}
    return subprocess.Popen(
        [sys.executable, "-m", "pmgs_lib.cli", *arguments], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def finished(process: subprocess.Popen, patience_s: float = 600.0) -> str:
    out, err = process.communicate(timeout=patience_s)
    assert (process.returncode, err) == (0, ""), f"{out}\n{err}"
    return out


def metrics_of(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in sorted(folder.glob("runs/*/metrics.json"))}


def records_of(folder: Path) -> dict[str, dict]:
    records = [json.loads(path.read_text()) for path in folder.glob("runs/*/run.json")]
    return {record["id"]: record for record in records}


LIMITS = {"smoke": {"cell_timeout_s": 600, "run_timeout_s": 900}}
REAL = {
    "profiles": LIMITS,
    "runs": [
        {"id": "scenes", "notebook": "notebooks/10_make_scenes.ipynb", "parameters": {"count": 6}},
        *(
            {
                "id": name,
                "notebook": "notebooks/40_evaluate.ipynb",
                "parameters": {"scenes": "${runs.scenes}/artifacts/scenes", "label": name},
            }
            for name in ("one", "two")
        ),
        {
            "id": "compare",
            "notebook": "notebooks/43_compare_pm_loss.ipynb",
            "parameters": {"plain": "${runs.one}", "pm_loss": "${runs.two}"},
        },
    ],
}


def test_slurm_gives_the_same_metrics_to_the_last_digit(slurm, tmp_path):
    there, here = suite_copy(tmp_path / "there", REAL), suite_copy(tmp_path / "here", REAL)
    out = finished(pmgs(there, "run", "few", "--executor", "slurm", "--jobs", "4", cluster=slurm), 900)
    assert out.splitlines()[-1] == "few (smoke): 4 of 4 runs up to date, 0 left out"
    finished(pmgs(here, "run", "few"), 900)
    assert metrics_of(there) == metrics_of(here)
    assert len(metrics_of(there)) >= 3
    assert all("slurm_job" in record for record in records_of(there).values())
    assert not any("slurm_job" in record for record in records_of(here).values())
    assert slurm.ask("squeue", "-h") == ""
    again = finished(pmgs(there, "run", "few", "--executor", "slurm", cluster=slurm))
    assert "runs to do" not in again


STEP = """
from pmgs_lib.suite import current_run
import time
run = current_run()
with open(run.resolve(f"begun-{name}"), "a") as file:
    file.write("x")
time.sleep(nap)
with open(run.resolve(f"ended-{name}"), "a") as file:
    file.write("x")
run.save_metrics({"length": len(name)})
"""


@pytest.fixture
def napping(tmp_path):
    """Three runs in two levels, each of which tells when it begins and ends."""
    runs = [
        {"id": name, "notebook": "notebooks/step.ipynb", "parameters": {"name": name, "nap": 15.0}, "after": after}
        for name, after in (("a", []), ("b", []), ("c", ["a", "b"]))
    ]
    folder = suite_copy(tmp_path / "suite", {"profiles": LIMITS, "runs": runs})
    import nbformat

    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    parameters = nbformat.v4.new_code_cell('name: str = ""\nnap: float = 0.0', metadata={"tags": ["parameters"]})
    notebook.cells = [parameters, nbformat.v4.new_code_cell(STEP)]
    nbformat.write(notebook, folder / "notebooks" / "step.ipynb")
    return folder


def counts(folder: Path, what: str) -> list[int]:
    paths = [folder / f"{what}-{name}" for name in "abc"]
    return [len(path.read_text()) if path.exists() else 0 for path in paths]


def release(cluster: MiniSlurm, until: threading.Event) -> None:
    """Slurm lets a job wait two minutes before it starts it again; a test need not."""
    while not until.wait(1.0):
        for line in cluster.ask("squeue", "-h", "-t", "PENDING", "-o", "%i %r").splitlines():
            job, reason = line.split(maxsplit=1)
            if reason == "BeginTime":
                cluster.ask("scontrol", "update", f"JobId={job}", "StartTime=now")


def test_a_node_killed_in_mid_run_costs_that_run_and_nothing_else(slurm, napping):
    driver = pmgs(napping, "run", "few", "--executor", "slurm", cluster=slurm)
    wait_until(lambda: counts(napping, "begun")[:2] == [1, 1], "two runs under way")
    nodes = slurm.ask("squeue", "-h", "-t", "RUNNING", "-o", "%N").split()
    lost = slurm.kill_node(nodes[0])
    assert lost
    done = threading.Event()
    releasing = threading.Thread(target=release, args=(slurm, done))
    releasing.start()
    try:
        out = finished(driver)
    finally:
        done.set()
        releasing.join()
    assert out.splitlines()[-1] == "few (smoke): 3 of 3 runs up to date, 0 left out"
    assert counts(napping, "ended") == [1, 1, 1]  # nothing twice
    records = records_of(napping)
    retried = {name: [entry["cause"] for entry in record["retried"]] for name, record in records.items()}
    repeated = [name for name, causes in retried.items() if causes]
    assert sum(counts(napping, "begun")) == 3 + len(repeated)
    assert [retried[name] for name in repeated] == [["node failure"]] * len(repeated)
    assert set(repeated) <= {"a", "b"}
    assert repeated
    assert "attempt 2 after node failure" in out


def test_a_killed_driver_leaves_jobs_that_the_next_call_cancels_first(slurm, napping):
    driver = pmgs(napping, "run", "few", "--executor", "slurm", cluster=slurm)
    wait_until(lambda: counts(napping, "begun")[:2] == [1, 1], "two runs under way")
    for process in [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]:
        process.send_signal(signal.SIGKILL)
    driver.communicate()
    assert len(slurm.ask("squeue", "-h", "-t", "RUNNING").splitlines()) == 2
    out = finished(pmgs(napping, "run", "few", "--executor", "slurm", cluster=slurm))
    assert "cancelled Slurm jobs of a call that was killed: " in out
    assert counts(napping, "ended") == [1, 1, 1]
    assert slurm.ask("squeue", "-h") == ""


def test_an_interrupted_call_cancels_its_jobs(slurm, napping):
    driver = pmgs(napping, "run", "few", "--executor", "slurm", cluster=slurm)
    wait_until(lambda: counts(napping, "begun")[:2] == [1, 1], "two runs under way")
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=60)
    assert (driver.returncode, err) == (1, "pmgs run: stopped by SIGINT; the same command goes on where it was\n")
    wait_until(lambda: slurm.ask("squeue", "-h") == "", "no job left", 20)
    assert counts(napping, "ended") == [0, 0, 0]
