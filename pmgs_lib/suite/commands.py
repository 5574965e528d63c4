"""The suite's verbs as the command line calls them; arguments and options are read off the signatures."""

import sys
from collections.abc import Sequence
from typing import Any

import yaml

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.engine import GRAPH_FOLDER, run_experiment
from pmgs_lib.suite.experiment import read_experiment
from pmgs_lib.suite.pages import make_pages
from pmgs_lib.suite.plan import Plan, make_plan
from pmgs_lib.suite.project import Project, find_project
from pmgs_lib.suite.status import status_table, why_different, why_run


def run(experiment: str, *, profile: str = "smoke", cores: int = 2, set_: Sequence[str] = ()) -> None:
    """Bring all runs of an experiment up to date: only what changed is executed, then the report pages are made."""
    run_experiment(find_project(), experiment, profile, cores, _given(set_), _say)


def status(
    experiment: str | None = None, /, *, profile: str | None = None, set_: Sequence[str] = (), verify: bool = False
) -> str:
    """State of each run of an experiment, the last one by default: done, stale, failed, running or missing."""
    project = find_project()
    plan = _plan(project, experiment, profile, set_)
    return f"{plan.experiment} ({plan.profile})\n{status_table(project, plan, verify)}"


def why(
    run: str,
    other: str | None = None,
    /,
    *,
    experiment: str | None = None,
    profile: str | None = None,
    set_: Sequence[str] = (),
) -> str:
    """Why a run (id or key) was executed or would be, with the chain behind it; of two keys, what tells them apart."""
    project = find_project()
    if other is not None:
        return why_different(project, None, run, other)
    return why_run(project, _plan(project, experiment, profile, set_, holding=run), run)


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
