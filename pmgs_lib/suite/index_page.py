"""The index of a checkout: every experiment with its state, its page and its runs, and what is missing here."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path

from pmgs_lib.errors import PmgsError
from pmgs_lib.suite.experiment import Experiment, argument_names, read_experiment
from pmgs_lib.suite.jobs import GRAPH_FOLDER
from pmgs_lib.suite.page_frame import Link, document, has_stamp, head_of, renew_navigation, write_whole
from pmgs_lib.suite.plan import Plan
from pmgs_lib.suite.project import Project
from pmgs_lib.suite.provenance import canonical_json, digest_text
from pmgs_lib.suite.records import EXECUTED_PAGE, FAILURE_FILE, RunRecord, good_record, read_json

INDEX_FILE = "index.html"
INDEX_NAME = "All experiments"
TITLE = "Reports of this checkout"
HEADINGS = ("experiment", "state", "profile", "finished", "commit", "page")
INTRODUCTION = (
    "Every experiment of this checkout, as its last <code>pmgs run</code> left it; <code>pmgs status EXPERIMENT</code> "
    "says what has become stale since. On each page a number links to the executed notebook that it is from, and its "
    "tool tip names it for <code>pmgs why</code>."
)


@dataclass(frozen=True)
class ExperimentState:
    """An experiment file, and its last plan here with the runs of it that succeeded. plan None: never run here."""

    project: Project
    experiment: Experiment
    plan: Plan | None
    records: dict[str, RunRecord] = field(default_factory=dict)  # id -> its run

    @property
    def name(self) -> str:
        return self.experiment.name

    @property
    def finished(self) -> str:
        """When its newest run ended; empty where there is none."""
        return max((record.content["finished"] for record in self.records.values()), default="")[:16].replace("T", " ")

    @property
    def commits(self) -> str:
        found = {str(record.content["versions"].get("commit") or "not known") for record in self.records.values()}
        return ", ".join(sorted(commit[:7] + ("+" if commit.endswith("+") else "") for commit in found))

    @property
    def pages(self) -> list[Link]:
        """Those that are there."""
        short = re.split("[:,]", self.experiment.title or self.name)[0]
        pages = [self.project.root / run.page for run in self.experiment.runs if run.page is not None]
        return [Link(short, page) for page in dict.fromkeys(pages) if head_of(page)]

    @property
    def verdict(self) -> str:
        """In HTML: how many runs are there of how many."""
        if self.plan is None:
            return f"<span class=quiet>not run here</span><br><code>pmgs run {self.name}</code>"
        done, planned = len(self.records), len(self.plan.runs)
        look = "good" if done == planned else "bad"
        out = f", {len(self.plan.left_out)} left out" if self.plan.left_out else ""
        return f'<span class="{look}">{done} of {planned} runs done</span>{out}'

    @cached_property
    def lacks(self) -> dict[str, str]:
        """What data and weights its profiles want and this machine has not: name -> what, how large, how to get it."""
        sources = {name: source.named for name, source in self.experiment.data.items() if source.named is not None}
        found = {}
        for name, source in sources.items():
            try:
                lack = source.lack(self.project.root)
            except PmgsError as fault:
                lack = fault
            if lack is not None:
                found[name] = str(lack)
        return found

    def troubles(self) -> Iterator[tuple[str, str]]:
        """(run, why it has no result) of the last plan."""
        for run in self.plan.runs if self.plan else ():
            if run.id not in self.records:
                failure = read_json(self.project.run_folder(run.key) / FAILURE_FILE)
                yield run.id, f"{failure['kind']}: {failure['message']}" if failure else "not run"
        yield from (self.plan.left_out if self.plan else {}).items()


def write_index(project: Project, plans: Sequence[Plan] = ()) -> tuple[Path, list[Link]]:
    """`runs/index.html` of the last plans kept in `runs/` and of `plans`, which are newer; and the links of all pages
    that are there. It is written only where something changed.
    """
    page = project.runs / INDEX_FILE
    states = list(_states(project, {plan.experiment: plan for plan in plans}))
    links = [Link(INDEX_NAME, page), *(link for state in states for link in state.pages)]
    shown = [_overview(states, page), *(_runs(state, page) for state in states)]
    stamp = _stamp(states, shown)
    if not has_stamp(page, stamp):
        heading = "<h2>All runs</h2><p>Each links to its executed notebook.</p>"
        parts = [f"<h1>{TITLE}</h1><p>{INTRODUCTION}</p>", shown[0], _missing(states), heading, *shown[1:]]
        write_whole(page, document(TITLE, stamp, "".join(parts)))
    renew_navigation(page, links)
    return page, links


def _stamp(states: Sequence[ExperimentState], shown: Sequence[str]) -> str:
    """What the index is made of. What data is missing is looked up with it and not before: that loads the zoo."""
    experiments = [state.experiment.model_dump_json() for state in states]
    settings = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("PMGS_")]
    troubles = [str(list(state.troubles())) for state in states]
    return (
        f"index {digest_text(canonical_json([*experiments, *settings, *troubles, *shown, document('', '', '')]))[:16]}"
    )


def _states(project: Project, plans: dict[str, Plan]) -> Iterator[ExperimentState]:
    """Experiments with a page first, then the others, each by name. A file that cannot be read is no experiment yet."""
    experiments = []
    for path in sorted((project.root / "experiments").glob("*.yaml")):
        try:
            experiments.append(read_experiment(path, dict.fromkeys(argument_names(path), "")))
        except PmgsError:
            continue  # `pmgs run` says what is wrong with it; the others still have an index
    experiments.sort(key=lambda e: (all(run.page is None for run in e.runs), e.name))
    for experiment in experiments:
        plan = plans.get(experiment.name) or _last_plan(project, experiment.name)
        found = {run.id: good_record(project.run_folder(run.key)) for run in (plan.runs if plan else ())}
        yield ExperimentState(project, experiment, plan, {name: r for name, r in found.items() if r is not None})


def _last_plan(project: Project, name: str) -> Plan | None:
    files = sorted((project.runs / GRAPH_FOLDER).glob(f"{name}.*.json"), key=lambda path: path.stat().st_mtime)
    plans = (Plan.from_json(path.read_text(encoding="utf-8")) for path in reversed(files))
    return next((plan for plan in plans if plan.experiment == name), None)


def _overview(states: Sequence[ExperimentState], page: Path) -> str:
    rows = []
    for state in states:
        links = [f'<a href="{_relative(link.page, page)}">{escape(link.page.name)}</a>' for link in state.pages]
        name = f'<th scope="row">{escape(state.name)}<br><span class=quiet>{escape(state.experiment.title)}</span></th>'
        cells = [state.verdict, state.plan.profile if state.plan else "", state.finished, state.commits]
        rows.append([name, *cells, "<br>".join(links) or "<span class=quiet>none</span>"])
    head = "".join(f'<th scope="col">{heading}</th>' for heading in HEADINGS)
    body = "".join(f"<tr>{row[0]}{''.join(f'<td>{cell}</td>' for cell in row[1:])}</tr>" for row in rows)
    return _scrolling("Experiments", f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>")


def _scrolling(name: str, rows: str) -> str:
    table = f'<table class="plain"><caption class="visually-hidden">{name}</caption>{rows}</table>'
    return f'<div class="scroll" role="region" aria-label="{name}" tabindex="0">{table}</div>'


def _missing(states: Sequence[ExperimentState]) -> str:
    """What has no result and what the larger profiles lack, an experiment each, collapsed."""
    parts = []
    for state in states:
        troubles, lacks = dict(state.troubles()), state.lacks
        if troubles or lacks:
            counts = [f"{len(troubles)} runs without a result"] if troubles else []
            counts += [f"{len(lacks)} data sets, indexes or weights"] if lacks else []
            told = _definitions({**troubles, **lacks})
            parts.append(f"<details><summary>{escape(state.name)}: {', '.join(counts)}</summary>{told}</details>")
    told = "".join(parts) or "<p>Nothing: every run is there, and all data and weights that any profile names.</p>"
    return (
        "<h2>What is missing on this machine</h2><p>Runs without a result, and what the profiles quick and full want "
        f"of real data and released weights, with size and source, when this page was made.</p>{told}"
    )


def _definitions(entries: dict[str, str]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(n)}</dt><dd>{escape(text)}</dd>' for n, text in entries.items())}</dl>"


def _runs(state: ExperimentState, page: Path) -> str:
    if not state.records:
        return ""
    rows = "".join(_run_row(record, page) for record in state.records.values())
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("run", "notebook", "finished", "seconds", "device", "key")
    )
    table = _scrolling(f"Runs of {escape(state.name)}", f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>")
    return f"<details><summary>{escape(state.name)}: {len(state.records)} runs</summary>{table}</details>"


def _run_row(record: RunRecord, page: Path) -> str:
    content, executed = record.content, record.folder / EXECUTED_PAGE
    name = escape(record.id)
    shown = f'<a href="{_relative(executed, page)}">{name}</a>' if executed.is_file() else name
    cells = [content["notebook"], content["finished"][:16].replace("T", " "), f"{record.seconds:.1f}",
             str(content.get("device")), record.key]  # fmt: skip
    return f'<tr><th scope="row">{shown}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'


def _relative(target: Path, page: Path) -> str:
    return escape(Path(os.path.relpath(target, page.parent)).as_posix())
