"""The suite's verbs as the command line calls them; arguments and options are read off the signatures."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.suite.diff import MOST_ROWS, diff_text
from pmgs_lib.suite.dry_run import dry_run_text
from pmgs_lib.suite.engine import run_experiments
from pmgs_lib.suite.executors import LOCAL, ExecutorName, Resources
from pmgs_lib.suite.experiment import argument_names, read_experiment, require_known
from pmgs_lib.suite.jobs import GRAPH_FOLDER
from pmgs_lib.suite.live import watch as watch_call
from pmgs_lib.suite.pages import make_pages
from pmgs_lib.suite.plan import Plan, make_plan
from pmgs_lib.suite.project import Project, find_project
from pmgs_lib.suite.records import read_record
from pmgs_lib.suite.status import status_table, whole_key, why_cell, why_different, why_run

CLEAR_SCREEN = "\x1b[H\x1b[2J"


def run(
    *experiments: str,
    profile: str = "smoke",
    cores: int = 2,
    executor: ExecutorName = LOCAL,
    gpus: int | None = None,
    jobs: int | None = None,
    set_: Sequence[str] = (),
    dry_run: bool = False,
    allow_dirty: bool = False,
) -> str | None:
    """Bring all runs of one or more experiments up to date in one graph: only what changed is executed, equal runs
    once; then the report pages are made. --dry-run says what would run, why, and what it would cost, and does nothing.

    On this machine --cores and --gpus limit what goes on at a time (all GPUs by default); on a cluster --jobs does, and
    `experiments/profiles/EXECUTOR/config.yaml` says how the cluster is used. The profile `full` wants a checkout
    without changes; --allow-dirty goes on without and notes the changed files in every run.
    """
    project = find_project()
    plans = make_plans(project, experiments, profile, _given(set_))
    resources = Resources(executor, cores, gpus, jobs)
    if dry_run:
        return dry_run_text(project, plans, resources)
    run_experiments(project, plans, resources, _say, allow_dirty)
    return None


def make_plans(project: Project, names: Sequence[str], profile: str, given: Mapping[str, Any]) -> list[Plan]:
    """A plan for each experiment. An argument of `given` goes to the experiments that have it, and one must.

    Raises ParameterError, or DataError that names what is missing for any of them.
    """
    files = list(dict.fromkeys(project.experiment_file(name) for name in names))
    known = {file: argument_names(file) for file in files}
    for name in given:
        require_known(name, sorted(set().union(*known.values())), "argument")
    plans, missing = [], []
    for file in files:
        experiment = read_experiment(file, {name: value for name, value in given.items() if name in known[file]})
        try:
            plans.append(make_plan(project, experiment, profile))
        except DataError as fault:
            missing.append(str(fault))
    if missing:
        raise DataError("\n".join(missing))
    return plans


def status(
    experiment: str | None = None,
    /,
    *,
    profile: str | None = None,
    set_: Sequence[str] = (),
    verify: bool = False,
    watch: bool = False,
) -> str:
    """State of each run of an experiment, the last one by default: done, stale, failed, running or missing.

    --watch tells what runs since when, what is next and the time left while `pmgs run` goes on here, then the states;
    --verify compares every result file with its digest.
    """
    project = find_project()
    if watch:
        _watch(project)
    plan = _plan(project, experiment, profile, set_)
    return f"{plan.name}\n{status_table(project, plan, verify)}"


def _watch(project: Project) -> None:
    """On a terminal the table in place, elsewhere its first line whenever a run begins or ends."""
    shown = None
    for table, state in watch_call(project):
        if sys.stdout.isatty():
            _say(f"{CLEAR_SCREEN}{table}")
        elif state != shown:
            _say(table.splitlines()[0])
        shown = state
    if shown is None:
        _say("nothing runs here now")


def why(
    run: str,
    other: str | None = None,
    /,
    *,
    experiment: str | None = None,
    profile: str | None = None,
    set_: Sequence[str] = (),
) -> str:
    """Why a run (id or key) was executed or would be, with the chain behind it; of two keys, what tells them apart.

    RUN:METRIC, as in evaluate_tiny:psnr, is a number of a report: its value and the chain that made it.
    """
    project = find_project()
    if other is not None:
        return why_different(project, None, run, other)
    plan = _plan(project, experiment, profile, set_, holding=run.partition(":")[0])
    return why_cell(project, plan, run) if ":" in run else why_run(project, plan, run)


def diff(
    first: str,
    second: str,
    /,
    *,
    experiment: str | None = None,
    profile: str | None = None,
    set_: Sequence[str] = (),
    all_: bool = False,
) -> str:
    """Two runs (ids, keys or beginnings of keys) side by side: parameters, code, data, environment, metrics.

    --all lists every metric that differs, not the first ones only.
    """
    project = find_project()
    records, plan = [], None
    for name in (first, second):
        if len(list(project.runs.glob(f"{name}*/run.json"))) == 1:
            key = whole_key(project, name)
        else:
            plan = _plan(project, experiment, profile, set_, holding=name)
            key = plan.run(name).key
        records.append(read_record(project.run_folder(key)))
    return diff_text(project, plan, *records, most=None if all_ else MOST_ROWS)


def report(experiment: str | None = None, /, *, profile: str | None = None, set_: Sequence[str] = ()) -> str:
    """Make the HTML pages of an experiment whose runs are done, and say where they are."""
    project = find_project()
    pages = make_pages(project, _plan(project, experiment, profile, set_))
    return "\n".join(project.shown(page) for page in pages) or "no run of this experiment has a page"


def _plan(
    project: Project,
    experiment: str | None,
    profile: str | None,
    assignments: Sequence[str],
    holding: str | None = None,
) -> Plan:
    """The plan as it would be now; what is not given is as in the last `pmgs run`, of this experiment if named.

    `holding` is a run's id or key: the last experiment that has it is meant, where one does.
    """
    file = None if experiment is None else project.experiment_file(experiment)
    files = sorted((project.runs / GRAPH_FOLDER).glob("*.json"), key=lambda path: path.stat().st_mtime)
    plans = [Plan.from_json(path.read_text(encoding="utf-8")) for path in reversed(files)]
    plans = [plan for plan in plans if file is None or plan.experiment == file.stem]
    holders = [plan for plan in plans if any(holding in (run.id, run.key) for run in plan.runs)]
    last = next(iter(holders or plans), None)
    if file is None and last is None:
        raise ParameterError("no experiment given and none was run here yet; name one")
    given = {**(last.given if last else {}), **_given(assignments)}
    wanted = read_experiment(file or project.experiment_file(last.experiment), given)
    return make_plan(project, wanted, profile or (last.profile if last else "smoke"))


def _given(assignments: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` texts as a map; values are read as YAML."""
    given = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ParameterError(f"--set {assignment}: expected NAME=VALUE; write the value behind a =")
        try:
            given[name] = yaml.safe_load(text)
        except yaml.YAMLError:
            given[name] = text
    return given


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
