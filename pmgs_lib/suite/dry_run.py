"""What `pmgs run` would do: which runs and why, how long they would take, on how many GPUs, how much disk."""

from collections.abc import Sequence

from pmgs_lib.suite.costs import Cost, costs_of, duration_text, estimate_text, size_text
from pmgs_lib.suite.engine import make_call
from pmgs_lib.suite.executors import LOCAL, Resources
from pmgs_lib.suite.jobs import Call, runs_to_do
from pmgs_lib.suite.plan import Plan
from pmgs_lib.suite.project import Project
from pmgs_lib.suite.records import all_records
from pmgs_lib.suite.status import aligned, state_of

HOUR_S = 3600.0
NAMES = {"threads": "cores", "gpu": "GPUs", "jobs": "jobs at a time"}
HEADINGS = ("run", "time", "GPUs", "disk", "known from", "why")


def dry_run_text(project: Project, plans: Sequence[Plan], resources: Resources) -> str:
    """A line a run that would be executed, and what they take together. Reads only: no file is written or removed."""
    call = make_call(project, plans, resources)
    todo = runs_to_do(project, plans)
    records = list(all_records(project))
    costs = costs_of(todo, records)
    rows = [HEADINGS]
    for job in call.jobs:
        plan, run = todo[job.key]
        state, remark = state_of(project, plan, run, records)
        rows.append((job.label, *_cost_cells(costs[job.key], run.gpu), f"{state}: {remark}"))
    left_out = [
        f"left out {plan.experiment}/{name}: {reason}" for plan in plans for name, reason in plan.left_out.items()
    ]
    table = [aligned(rows)] if call.jobs else []
    return "\n".join([*table, *left_out, _sum(call, list(costs.values())), "nothing was run or changed"])


def _cost_cells(cost: Cost, gpu: int) -> tuple[str, str, str, str]:
    seconds = "unknown" if cost.seconds is None else duration_text(cost.seconds)
    disk = "unknown" if cost.bytes is None else size_text(cost.bytes)
    return seconds, str(gpu) if gpu else "-", disk, cost.source


def _sum(call: Call, costs: Sequence[Cost]) -> str:
    """One line for all: wall time on what there is, GPU hours, disk, each with what is not known."""
    if not call.jobs:
        return f"{call.name}: all {call.total} runs are up to date"
    unknown = sum(cost.seconds is None for cost in costs)
    gpu_hours = sum(job.gpu * (job.seconds or 0.0) for job in call.jobs) / HOUR_S
    open_gpus = sum(job.gpu > 0 and job.seconds is None for job in call.jobs)
    disk = size_text(sum(cost.bytes or 0 for cost in costs))
    limits = {**call.capacity, "gpu": len(call.gpus)} if call.executor == LOCAL else call.capacity
    within = ", ".join(f"{count} {NAMES[name]}" for name, count in limits.items())
    parts = [
        f"{len(call.jobs)} of {call.total} runs to do, {estimate_text(call.jobs, call.capacity)}",
        f"({call.executor}: {within});",
        f"{gpu_hours:.1f} GPU hours{_and(open_gpus, 'length')};",
        f"{disk} of disk{_and(unknown, 'size')}",
    ]
    return f"{call.name}: {' '.join(parts)}"


def _and(count: int, what: str) -> str:
    return f" and {count} runs of unknown {what}" if count else ""
