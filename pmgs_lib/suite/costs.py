"""What a call would cost, from what earlier runs took: seconds, GPU hours, disk. What was never run here is unknown."""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from pmgs_lib.suite.jobs import Job
from pmgs_lib.suite.plan import Plan, PlannedRun
from pmgs_lib.suite.records import RunRecord

LEAST_LEFT_S = 1.0  # of a run that already takes longer than expected


@dataclass(frozen=True)
class Cost:
    """Expected cost of one run; None where nothing is known, and `source` says from what it is known."""

    seconds: float | None
    bytes: int | None
    source: str


UNKNOWN = Cost(None, None, "never run here")


def costs_of(runs: Mapping[str, tuple[Plan, PlannedRun]], records: Sequence[RunRecord]) -> dict[str, Cost]:
    """Expected cost of each run, by key: the last run of its id, else the median of its notebook; in its profile."""
    return {key: _cost(plan, run, records) for key, (plan, run) in runs.items()}


def _cost(plan: Plan, run: PlannedRun, records: Sequence[RunRecord]) -> Cost:
    alike = [
        record
        for record in records
        if record.content["notebook"] == run.notebook and record.content["profile"] == plan.profile
    ]
    same = [record for record in alike if record.id == run.id]
    if same:
        last = max(same, key=lambda record: record.content["finished"])
        return Cost(last.seconds, last.bytes_made, f"its run of {last.content['finished'][:10]}")
    if alike:
        seconds = median(record.seconds for record in alike)
        return Cost(seconds, int(median(record.bytes_made for record in alike)), f"{len(alike)} runs of its notebook")
    return UNKNOWN


def time_left(jobs: Sequence[Job], capacity: Mapping[str, int], elapsed: Mapping[str, float] | None = None) -> float:
    """Seconds until all jobs are done: each starts as soon as what it needs is done and `capacity` has room for it.

    `elapsed` names the jobs that run already, with the seconds they have been running. Jobs of unknown length count
    nothing, so this is a least time where there are any. A job that wants more than there is takes all there is.
    """
    elapsed = elapsed or {}
    free = {name: float(capacity.get(name) or math.inf) for name in ("threads", "gpu", "jobs")}
    most = dict(free)
    waiting = sorted(jobs, key=lambda job: job.key not in elapsed)  # those that run come first, else in order
    open_needs = {job.key: {need for need in job.needs if any(other.key == need for other in jobs)} for job in jobs}
    ends: list[tuple[float, str]] = []
    taken: dict[str, dict[str, float]] = {}
    now = 0.0
    while waiting or ends:
        for job in list(waiting):
            wanted = {"threads": min(job.threads, most["threads"]), "gpu": min(job.gpu, most["gpu"]), "jobs": 1.0}
            runs_already = job.key in elapsed
            if runs_already or (not open_needs[job.key] and all(free[name] >= wanted[name] for name in wanted)):
                waiting.remove(job)
                taken[job.key] = wanted
                free = {name: free[name] - wanted[name] for name in free}
                heapq.heappush(ends, (now + _left(job, elapsed.get(job.key)), job.key))
        if not ends:
            break  # needs that nobody fulfils: a plan has none
        now, done = heapq.heappop(ends)
        free = {name: free[name] + taken[done][name] for name in free}
        for needs in open_needs.values():
            needs.discard(done)
    return now


def _left(job: Job, elapsed: float | None) -> float:
    if elapsed is None:
        return job.seconds or 0.0
    return max((job.seconds or 0.0) - elapsed, LEAST_LEFT_S)


def duration_text(seconds: float) -> str:
    """A duration in the two largest units that it has: "45 s", "5 min 10 s", "3 h 20 min", "2 d 4 h"."""
    whole = round(seconds)
    for unit, length, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= length:
            rest = whole % length // part
            return f"{whole // length} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def size_text(count: int) -> str:
    """A number of bytes as people say it: "640 B", "31 MB", "2.4 GB"."""
    for unit, power in (("GB", 9), ("MB", 6), ("kB", 3)):
        if count >= 10**power:
            value = count / 10**power
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{count} B"


def estimate_text(jobs: Sequence[Job], capacity: Mapping[str, int]) -> str:
    """How long the jobs take together: "about 5 min 10 s", or what is known of it."""
    unknown = sum(job.seconds is None for job in jobs)
    if unknown == len(jobs):
        return "of unknown length" if jobs else "nothing left"
    about = f"about {duration_text(time_left(jobs, capacity))}"
    return f"{about}, and {unknown} of unknown length" if unknown else about
