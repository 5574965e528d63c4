"""The causes that a run may be tried again for, all of them. Whatever is not listed fails at once.

A run is a function of its key: trying again helps only where the machine, not the run, was at fault. Each retry is
counted in `run.json` (`retried`) and told.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pmgs_lib.suite.records import FAILURE_FILE, OUT_OF_MEMORY, STARTED_FILE, Failure, read_json

RETRIES = 2
PAUSE_S = 5.0  # times the attempts so far: the neighbour on the GPU, or the crowd at the start, may be gone by then
NODE_FAILURE = "node failure"
JOB = "slurm_job"
SLURM_JOB = "SLURM_JOB_ID"


@dataclass(frozen=True)
class Cause:
    """A fault of the machine: the kind of failure it shows as, and what its message must say."""

    name: str
    kind: str
    message: re.Pattern[str]


CAUSES = (
    # Many kernels starting together on few cores; a kernel that cannot start says something else.
    Cause("kernel start time-out", "kernel did not start", re.compile(r"respond in \d+ seconds")),
    # torch names the other process on the GPU beside "this process": without one it is the run that is too large.
    Cause(
        "GPU memory held by another process",
        OUT_OF_MEMORY,
        re.compile(r"Process \d+ has [\d.]+ \w+ memory in use.*this process has"),
    ),
    Cause("GPU busy", "cell error", re.compile(r"CUDA(?:-capable| error).*busy or unavailable")),
)


def transient_cause(failure: Failure) -> str | None:
    """Name of the listed cause that a failure shows, or None: then it is the run's own."""
    found = (cause.name for cause in CAUSES if cause.kind == failure.kind and cause.message.search(failure.message))
    return next(found, None)


def retries_left(retried: Sequence[Mapping[str, str]]) -> bool:
    """Whether a run may be tried again; restarts by the cluster are its own affair and do not use up retries."""
    return sum(entry["cause"] != NODE_FAILURE for entry in retried) < RETRIES


def cluster_job() -> dict[str, str]:
    """The Slurm job that this process is in, for `started.json`; nothing outside Slurm."""
    return {JOB: os.environ[SLURM_JOB]} if os.environ.get(SLURM_JOB) else {}


def earlier_attempts(folder: Path) -> list[dict[str, str]]:
    """Retries before this process: Slurm starts a job again under the same number where its node died, and then the
    run's folder still tells of the first start, and of no end.
    """
    started = read_json(folder / STARTED_FILE)
    if started is None or (folder / FAILURE_FILE).exists() or not cluster_job():
        return []
    if started.get(JOB) != cluster_job()[JOB]:
        return []
    message = f"begun on {started.get('host')} at {started.get('started')}, started again by Slurm"
    return [*started.get("retried", []), {"cause": NODE_FAILURE, "message": message}]
