"""What one call of the engine has to do: runs of one or several plans as jobs, each key once, in one file."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pmgs_lib.suite.plan import Plan, PlannedRun
from pmgs_lib.suite.project import Project
from pmgs_lib.suite.records import good_record, read_json, write_json

GRAPH_FOLDER = ".graph"
CALL_FOLDER = "call"  # private to the engine's call that holds the lock; on a cluster it must be on the shared disk
JOBS_FILE = "jobs.json"
MARGIN_MINUTES = 10  # beyond a run's own limit, before a cluster ends its job: starts, retries, the last words


@dataclass(frozen=True)
class Job:
    """One run to do. `label` is its id, after its experiment's name where two of a call share the id."""

    key: str
    label: str
    id: str
    notebook: str
    plan: str  # file of the plan that holds it
    needs: tuple[str, ...]  # keys among the call's jobs
    threads: int
    gpu: int
    minutes: int
    seconds: float | None = None  # expected, from earlier runs; None: unknown


@dataclass(frozen=True)
class Call:
    """The jobs of one call, what it may use at once, and for whom. `capacity`: threads, gpu, jobs; none: unlimited."""

    name: str
    executor: str
    jobs: tuple[Job, ...]
    total: int  # runs of all plans, those that are done included
    keep_going: bool = False
    capacity: Mapping[str, int] = field(default_factory=dict)
    gpus: tuple[str, ...] = ()

    @property
    def by_key(self) -> dict[str, Job]:
        return {job.key: job for job in self.jobs}


def unique_runs(plans: Sequence[Plan]) -> dict[str, tuple[Plan, PlannedRun]]:
    """All runs of the plans by key, each once, in the order of the plans."""
    found: dict[str, tuple[Plan, PlannedRun]] = {}
    for plan in plans:
        for run in plan.runs:
            found.setdefault(run.key, (plan, run))
    return found


def runs_to_do(project: Project, plans: Sequence[Plan]) -> dict[str, tuple[Plan, PlannedRun]]:
    """Those of the plans' runs that have no good `run.json`, by key."""
    runs = unique_runs(plans)
    return {key: found for key, found in runs.items() if good_record(project.run_folder(key)) is None}


def jobs_of(
    project: Project, todo: Mapping[str, tuple[Plan, PlannedRun]], seconds: Mapping[str, float | None]
) -> tuple[Job, ...]:
    """The runs to do as jobs; `seconds` is what each is expected to take."""
    ids = [run.id for _, run in todo.values()]
    return tuple(
        Job(
            key=key,
            label=run.id if ids.count(run.id) == 1 else f"{plan.experiment}/{run.id}",
            id=run.id,
            notebook=run.notebook,
            plan=str(plan_file(project, plan)),
            needs=tuple(needed for needed in run.needs.values() if needed in todo),
            threads=run.threads,
            gpu=run.gpu,
            minutes=math.ceil(run.run_timeout_s / 60) + MARGIN_MINUTES,
            seconds=seconds.get(key),
        )
        for key, (plan, run) in todo.items()
    )


def plan_file(project: Project, plan: Plan) -> Path:
    """Where `why`, `status` and the runners find a plan; the newest of these files is the last call's."""
    return project.runs / GRAPH_FOLDER / f"{plan.experiment}.{plan.profile}.json"


def call_folder(project: Project) -> Path:
    return project.runs / GRAPH_FOLDER / CALL_FOLDER


def write_call(project: Project, call: Call) -> Path:
    """Write the call where the Snakefile and `pmgs status --watch` read it; its time stamp is when the call began."""
    path = call_folder(project) / JOBS_FILE
    write_json(path, asdict(call))
    return path


def read_call(project: Project) -> Call | None:
    """The last call, or None where there was none."""
    content = read_json(call_folder(project) / JOBS_FILE)
    if content is None:
        return None
    jobs = tuple(Job(**{**job, "needs": tuple(job["needs"])}) for job in content["jobs"])
    return Call(**{**content, "jobs": jobs, "gpus": tuple(content["gpus"])})


def keep_plan(project: Project, plan: Plan) -> Path:
    """Write a plan to its file, whole or not at all."""
    path = plan_file(project, plan)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, json.loads(plan.to_json()))
    return path
