"""Where the runs of a graph are executed: on this machine, by Slurm, or by Kubernetes. Snakemake walks it for all."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pmgs_lib.errors import ParameterError, RunError
from pmgs_lib.suite.jobs import Call
from pmgs_lib.suite.project import Project
from pmgs_lib.suite.slots import visible_gpus

ExecutorName = Literal["local", "slurm", "kubernetes"]
LOCAL: ExecutorName = "local"
SLURM: ExecutorName = "slurm"
KUBERNETES: ExecutorName = "kubernetes"
PROFILE_FOLDER = "experiments/profiles"
SNAKEMAKE_LOG = "snakemake.log"
DEFAULT_JOBS = 8  # at a time on a cluster
SLURM_CALL = re.compile(r"SLURM run ID: (\S+)")
CANCEL_PATIENCE_S = 60.0
# Slurm's own plugin asks every 40 s at first; its jobs are cancelled by INT and only then let go.
END_PATIENCE_S = {"local": 8.0, "slurm": 30.0, "kubernetes": 30.0}
END_SIGNAL = {"local": signal.SIGTERM, "slurm": signal.SIGINT, "kubernetes": signal.SIGINT}


@dataclass(frozen=True)
class Resources:
    """What a call may use. `gpus` None: all that this machine shows; `jobs` None: the executor's own limit."""

    executor: ExecutorName = LOCAL
    cores: int = 2
    gpus: int | None = None
    jobs: int | None = None

    def __post_init__(self) -> None:
        for name in ("cores", "jobs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ParameterError(f"--{name} {value}: expected 1 or more; give another number")
        if self.jobs is not None and self.executor == LOCAL:
            raise ParameterError("--jobs: counts jobs on a cluster; give --cores, or an --executor besides local")
        if self.gpus is not None and self.gpus < 0:
            raise ParameterError(f"--gpus {self.gpus}: expected 0 or more; give another number")

    def local_gpus(self) -> list[str]:
        """Devices to hand out on this machine. ParameterError when more are asked for than there are."""
        if self.executor != LOCAL or self.gpus == 0:
            return []
        found = visible_gpus()
        if self.gpus is not None and self.gpus > len(found):
            raise ParameterError(f"--gpus {self.gpus}: this machine shows {len(found)} GPUs; give fewer")
        return found[: self.gpus]

    def capacity(self, gpus: Sequence[str]) -> dict[str, int]:
        """Threads, GPUs and jobs at a time; what is not named has no limit that we know of."""
        if self.executor == LOCAL:
            # Where there is no GPU, runs that would take one go one at a time, as they do on a machine with one.
            return {"threads": self.cores, "gpu": max(1, len(gpus))}
        return {"jobs": self.jobs or DEFAULT_JOBS} | ({"gpu": self.gpus} if self.gpus else {})


def engine_arguments(project: Project, call: Call, workspace: Path) -> list[str]:
    """Snakemake's arguments that depend on where runs are executed."""
    capacity = call.capacity
    resources = ["--resources", f"gpu={capacity['gpu']}"] if "gpu" in capacity else []
    if call.executor == LOCAL:
        return ["--cores", str(capacity["threads"]), *resources]
    profile = project.root / PROFILE_FOLDER / call.executor
    if not (profile / "config.yaml").is_file():
        raise ParameterError(
            f"{project.shown(profile)}/config.yaml: not found, expected how {call.executor} is used here; restore it"
        )
    given = [
        "--workflow-profile",
        str(profile),
        "--executor",
        call.executor,
        *resources,
        "--jobs",
        str(capacity["jobs"]),
    ]
    if call.executor == SLURM:
        # A log folder that no other call writes to; the name in front lets `squeue` tell whose jobs these are.
        given += ["--slurm-logdir", str(workspace / "slurm"), "--slurm-jobname-prefix", "pmgs"]
    if call.executor == KUBERNETES:
        given += ["--default-storage-prefix", str(workspace / "receipts")]  # private to this call, like the rest
    return given


def end_engine(engine: subprocess.Popen, executor: str) -> None:
    """End Snakemake and the runs it started: asked first, so that each run writes why it ended, then by force."""
    if engine.poll() is not None:
        return
    os.killpg(engine.pid, END_SIGNAL[executor])
    try:
        engine.wait(timeout=END_PATIENCE_S[executor])
    except subprocess.TimeoutExpired:
        os.killpg(engine.pid, signal.SIGKILL)
        engine.wait()


def cancel_leftovers(log: Path) -> list[str]:
    """Cancel the Slurm jobs that a call left behind whose Snakemake was killed; returns what was cancelled.

    Found by the name in that call's log: a new call would submit its runs a second time beside them. RunError when
    they do not go.
    """
    if not log.is_file():
        return []
    cancelled = []
    for name in dict.fromkeys(SLURM_CALL.findall(log.read_text(errors="replace"))):
        jobs = _slurm_jobs(name)
        if not jobs:
            continue
        subprocess.run(["scancel", f"--name={name}"], capture_output=True, timeout=60, check=False)
        deadline = time.monotonic() + CANCEL_PATIENCE_S
        while _slurm_jobs(name):
            if time.monotonic() > deadline:
                raise RunError(
                    f"Slurm jobs {', '.join(jobs)} of an earlier call do not end; try: scancel --name={name}"
                )
            time.sleep(0.5)
        cancelled += jobs
    return cancelled


def _slurm_jobs(name: str) -> list[str]:
    """Ids of the jobs of that name that wait, run or are just ending."""
    command = ["squeue", "--noheader", f"--name={name}", "--format=%i"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        return []  # this machine has no Slurm, so the call was another machine's
    if done.returncode != 0:
        raise RunError(f"squeue: {done.stderr.strip() or 'failed'}; is Slurm's controller up?")
    return done.stdout.split()
