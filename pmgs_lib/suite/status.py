"""What runs there are and why: the texts of `pmgs status` and `pmgs why`."""

from collections.abc import Callable, Sequence
from typing import Any

from pmgs_lib.errors import ParameterError, RunError
from pmgs_lib.suite.locks import is_held
from pmgs_lib.suite.metric_paths import find_metric
from pmgs_lib.suite.plan import Plan, PlannedRun
from pmgs_lib.suite.project import Project
from pmgs_lib.suite.provenance import Parts, canonical_json, differences
from pmgs_lib.suite.records import (
    FAILURE_FILE,
    STARTED_FILE,
    STOPPED,
    RunRecord,
    all_records,
    damaged_files,
    good_record,
    read_json,
)

PartsLookup = Callable[[str], Parts | None]


def state_of(
    project: Project, plan: Plan, run: PlannedRun, records: Sequence[RunRecord] | None = None
) -> tuple[str, str]:
    """One word for a run, and what there is to say about it. `records`: all good runs, where they are read already."""
    folder = project.run_folder(run.key)
    record = good_record(folder)
    if record is not None:
        return "done", f"{record.seconds:.1f} s, {record.content['finished'][:19]}{_retries(record)}"
    if is_held(folder):
        return "running", f"since {(read_json(folder / STARTED_FILE) or {}).get('started', 'now')[:19]}"
    failure = read_json(folder / FAILURE_FILE)
    if failure is not None:
        return ("stopped" if failure["kind"] == STOPPED else "failed"), f"{failure['kind']}: {failure['message']}"
    if (folder / STARTED_FILE).exists():
        return "interrupted", "its runner was killed; the next call cleans up"
    old = earlier_record(project, plan, run, records)
    if old is not None:
        return "stale", _in_short(differences(old.parts, run.parts, parts_lookup(project, plan)), run.id)
    return "missing", "not run yet"


def _retries(record: RunRecord) -> str:
    causes = ", ".join(entry["cause"] for entry in record.retried)
    return f", attempt {len(record.retried) + 1} after {causes}" if causes else ""


def _in_short(changes: Sequence[str], run_id: str) -> str:
    """One change in full, of several the first without what lies behind it; `why_run` tells all."""
    if len(changes) < 2:
        return "".join(changes)
    return f"{changes[0].split(' (')[0]} and {len(changes) - 1} more, see pmgs why {run_id}"


def status_table(project: Project, plan: Plan, verify: bool = False) -> str:
    """A line a run: id, state, key, notebook, remark. `verify` compares every result file with its digest."""
    rows = [("run", "state", "key", "notebook", "remark")]
    records = list(all_records(project))
    for run in plan.runs:
        state, remark = state_of(project, plan, run, records)
        if verify and state == "done":
            damaged = damaged_files(good_record(project.run_folder(run.key)))
            state, remark = ("damaged", ", ".join(damaged)) if damaged else (state, f"{remark}, verified")
        rows.append((run.id, state, run.key, run.notebook, remark))
    rows += [(name, "left out", "", "", reason) for name, reason in plan.left_out.items()]
    return aligned(rows)


def why_run(project: Project, plan: Plan, name: str) -> str:
    """Why a run is (or would be) executed, and the chain that its numbers come from, needed runs included."""
    run = plan.run(name)
    state, remark = state_of(project, plan, run)
    old = earlier_record(project, plan, run)
    if old is None:
        cause = [f"first run of `{run.id}`: no earlier one to compare with"]
    else:
        changes = differences(old.parts, run.parts, parts_lookup(project, plan))
        cause = [f"{change}  (since {project.shown(old.folder)})" for change in changes]
    return "\n".join(
        [
            f"{run.id}: {state}, {remark}",
            *(f"because {line}" for line in cause),
            "",
            *_chain(project, run.id, run.key, parts_lookup(project, plan)),
        ]
    )


def why_cell(project: Project, plan: Plan, cell: str) -> str:
    """A number of a report, RUN:METRIC, and the chain it comes from: notebook, parameters, data, code, environment.

    METRIC is a path in the run's metrics; steps may be left out (see `find_metric`). Of a run that is stale, the number
    of its last execution, and that it is stale. RunError when there is none.
    """
    name, _, metric = cell.partition(":")
    run = plan.run(name)
    state, remark = state_of(project, plan, run)
    record = good_record(project.run_folder(run.key)) or earlier_record(project, plan, run)
    if record is None:
        raise RunError(f"{plan.name}: run `{run.id}` is {state} ({remark}), expected one that succeeded; run it first")
    path, value = find_metric(record.metrics, metric, f"{plan.experiment}: run `{run.id}`")
    content = record.content
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items() if version)
    made = f"made {content['finished'][:19]} in {record.seconds:.1f} s on {content['device']}{_retries(record)}"
    lines = [f"{run.id}:{path} = {canonical_json(value)}", f"{made}; {versions}"]
    if record.key != run.key:
        lines.append(f"{state} by now, this number is of an earlier execution: {remark}")
    if content.get("uncommitted"):
        lines.append(f"from a checkout with changes, allowed: {', '.join(content['uncommitted'])}")
    return "\n".join([*lines, "", *_chain(project, run.id, record.key, parts_lookup(project, plan))])


def why_different(project: Project, plan: Plan | None, first: str, second: str) -> str:
    """What distinguishes two runs, given by key or by the beginning of it."""
    lookup = parts_lookup(project, plan)
    parts = [lookup(whole_key(project, key)) for key in (first, second)]
    return "\n".join(differences(parts[0], parts[1], lookup)) or f"{first} and {second} are the same run"


def parts_lookup(project: Project, plan: Plan | None) -> PartsLookup:
    """Parts of a key from the plan or from what ran."""
    planned = {run.key: run.parts for run in plan.runs} if plan else {}

    def parts_of(key: str) -> Parts | None:
        record = None if key in planned else good_record(project.run_folder(key))
        return record.parts if record else planned.get(key)

    return parts_of


def earlier_record(
    project: Project, plan: Plan, run: PlannedRun, records: Sequence[RunRecord] | None = None
) -> RunRecord | None:
    """The last good run of that notebook and id with another key, from the same experiment and profile if any."""
    others = [
        record
        for record in (all_records(project) if records is None else records)
        if record.id == run.id and record.key != run.key and record.content["notebook"] == run.notebook
    ]
    same = (plan.experiment, plan.profile)
    return max(
        others,
        key=lambda record: (
            (record.content["experiment"], record.content["profile"]) == same,
            record.content["finished"],
        ),
        default=None,
    )


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text as columns of equal width; the last one as it is."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = [[*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]] for row in rows]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _chain(project: Project, name: str, key: str, lookup: PartsLookup, indent: str = "") -> list[str]:
    parts = lookup(key)
    if parts is None:
        return [f"{indent}{name}  {project.shown(project.run_folder(key))}  its files are gone"]
    data = ", ".join(f"{name} {digest[:12]}" for name, digest in parts["data"].items()) or "none outside the project"
    lines = [
        f"{name}  {project.shown(project.run_folder(key))}",
        f"  notebook     {parts['notebook']['path']}  code {parts['notebook']['code'][:12]}",
        f"  parameters   {_parameters(parts['parameters'])}",
        f"  library      {len(parts['library'])} files: {', '.join(parts['library'])}",
        f"  data         {data}",
        f"  environment  {', '.join(f'{name} {value[:12]}' for name, value in parts['environment'].items())}",
    ]
    chain = [indent + line for line in lines]
    for needed, needed_key in parts["needs"].items():
        chain += _chain(project, needed, needed_key, lookup, indent + "    ")
    return chain


def _parameters(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={canonical_json(value)}" for name, value in values.items()) or "none"


def whole_key(project: Project, beginning: str) -> str:
    """The key of the one good run whose key begins so."""
    found = sorted(path.name for path in project.runs.glob(f"{beginning}*") if good_record(path))
    if len(found) != 1:
        raise ParameterError(f"key {beginning!r}: {len(found)} good runs begin so, expected one; give more of the key")
    return found[0]
