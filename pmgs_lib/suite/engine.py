"""Bringing experiments up to date: skip what is done, let Snakemake walk the rest in one graph, tell how it goes."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pmgs_lib.errors import ParameterError, RunError
from pmgs_lib.suite.checkout import with_clean_checkout
from pmgs_lib.suite.costs import costs_of, estimate_text
from pmgs_lib.suite.executors import (
    LOCAL,
    SLURM,
    SNAKEMAKE_LOG,
    Resources,
    cancel_leftovers,
    end_engine,
    engine_arguments,
)
from pmgs_lib.suite.jobs import (
    GRAPH_FOLDER,
    Call,
    Job,
    call_folder,
    jobs_of,
    keep_plan,
    runs_to_do,
    unique_runs,
    write_call,
)
from pmgs_lib.suite.live import Watcher
from pmgs_lib.suite.locks import exclusive
from pmgs_lib.suite.pages import make_pages
from pmgs_lib.suite.plan import Plan
from pmgs_lib.suite.project import LIBRARY_FOLDER, Project
from pmgs_lib.suite.records import RUN_FILE, STOPPED, all_records
from pmgs_lib.suite.run import Stopped, stoppable

LOOK_EVERY_S = 0.2
TELL_EVERY_S = 30.0
WALKS = 3  # of one call on a cluster: a job may get lost there without a word from its run

Say = Callable[[str], None]


def run_experiments(
    project: Project,
    plans: Sequence[Plan],
    resources: Resources | None = None,
    say: Say = lambda line: None,
    allow_dirty: bool = False,
) -> None:
    """Bring every run of the plans to a good `run.json`, equal keys once, in one graph, and make their pages.

    `say` gets one line for each thing worth telling. Raises ParameterError before anything starts, RunError when runs
    failed or were stopped.
    """
    resources = resources or Resources()
    plans = with_clean_checkout(project, plans, allow_dirty)
    for plan in plans:
        for run_id, reason in plan.left_out.items():
            say(f"left out {_label(plans, plan, run_id)}: {reason}")
    if runs_to_do(project, plans):
        with exclusive(
            project.runs / GRAPH_FOLDER, lambda holder: say(f"waiting for another pmgs run ({holder})")
        ) as lock:
            _bring_up_to_date(project, plans, resources, say, lock)
    for plan in plans:
        keep_plan(project, plan)
        count = len(plan.runs)
        say(f"{plan.name}: {count} of {count} runs up to date, {len(plan.left_out)} left out")
    for page in make_pages(project, *plans):
        say(f"report: {project.shown(page)}")


def _label(plans: Sequence[Plan], plan: Plan, run_id: str) -> str:
    return run_id if len(plans) == 1 else f"{plan.experiment}/{run_id}"


def call_name(plans: Sequence[Plan]) -> str:
    """What a call is called: "smoke (smoke)", "smoke, recipes (smoke)"."""
    return f"{', '.join(plan.experiment for plan in plans)} ({plans[0].profile})"


def _bring_up_to_date(project: Project, plans: Sequence[Plan], resources: Resources, say: Say, lock: int) -> None:
    """Under the engine's lock: what is still to do, once more where a cluster lost jobs without a word."""
    cancelled = cancel_leftovers(call_folder(project) / SNAKEMAKE_LOG)
    if cancelled:
        say(f"cancelled Slurm jobs of a call that was killed: {', '.join(cancelled)}")
    for walk in range(1, WALKS + 1):
        call = make_call(project, plans, resources)
        if not call.jobs:
            return
        lost = _walk(project, plans, call, say, lock)
        if not lost:
            return
        if resources.executor == LOCAL or walk == WALKS:
            break
        names = ", ".join(job.label for job in lost)
        say(f"lost by {resources.executor}, without a word from the run: {names}; walk {walk + 1} of {WALKS}")
    raise RunError(
        f"Snakemake ended with runs left ({', '.join(job.label for job in lost)}); {_where(project, lost[0])}"
    )


def _where(project: Project, job: Job) -> str:
    """What the runner of a job said last, if it said anything, and where to look."""
    log = call_folder(project) / f"{job.key}.log"
    words = log.read_text(errors="replace").split("\n") if log.is_file() else []
    last = next((line.strip() for line in reversed(words) if line.strip()), None)
    said = f"`{job.label}` said last: {last}; " if last else ""
    return f"{said}see {project.shown(call_folder(project) / SNAKEMAKE_LOG)}, or run again"


def make_call(project: Project, plans: Sequence[Plan], resources: Resources) -> Call:
    """What there is to do for the plans now, with what it is expected to take. Changes nothing."""
    todo = runs_to_do(project, plans)
    costs = costs_of(todo, list(all_records(project)))
    gpus = resources.local_gpus() if any(run.gpu for _, run in todo.values()) else []
    for _, run in todo.values():
        if gpus and run.gpu > len(gpus):
            raise ParameterError(f"run `{run.id}` takes {run.gpu} GPUs, {len(gpus)} are there for it; use a cluster")
    return Call(
        name=call_name(plans),
        executor=resources.executor,
        jobs=jobs_of(project, todo, {key: cost.seconds for key, cost in costs.items()}),
        total=len(unique_runs(plans)),
        keep_going=any(plan.keep_going for plan in plans),
        capacity=resources.capacity(gpus),
        gpus=tuple(gpus),
    )


@dataclass
class _Progress:
    """Tells starts, ends and failures of runs, and from time to time how it stands."""

    project: Project
    say: Say
    watcher: Watcher
    failures: list[str] = field(default_factory=list)
    told: float = field(default_factory=time.monotonic)

    def look(self) -> None:
        for state, job, content in self.watcher.look():
            if state == "started":
                self.say(f"started {job.label}  {self.project.shown(self.project.run_folder(job.key))}")
            elif state == "done":
                self.say(f"done {self.watcher.done}/{len(self.watcher.call.jobs)} {job.label}{self._how(job, content)}")
            else:
                self._note_failure(job, content)
        if time.monotonic() - self.told > TELL_EVERY_S:
            self.told = time.monotonic()
            self.say(self.watcher.line())

    def _how(self, job: Job, content: dict[str, Any]) -> str:
        seconds = (
            f" in {time.monotonic() - self.watcher.running[job.key]:.1f} s" if job.key in self.watcher.running else ""
        )
        causes = [entry["cause"] for entry in content.get("retried", [])]
        return seconds + (f", attempt {len(causes) + 1} after {', '.join(causes)}" if causes else "")

    def _note_failure(self, job: Job, content: dict[str, Any]) -> None:
        if content.get("kind") == STOPPED and self.failures:  # ended because another one failed
            self.say(f"stopped {job.label}")
            return
        place = "" if content.get("cell") is None else f" in cell {content['cell']}"
        tries = len(content.get("retried", []))
        again = f" (after {tries} retries)" if tries else ""
        where = self.project.shown(self.project.run_folder(job.key) / "executed.ipynb")
        what = f"{content.get('kind')}{place}{again}: {content.get('message')}"
        self.failures.append(f"run `{job.label}` ({job.notebook}): {what}; see {where}")
        self.say(f"FAILED {self.failures[-1]}")


def _walk(project: Project, plans: Sequence[Plan], call: Call, say: Say, lock: int) -> list[Job]:
    """Snakemake over the jobs; returns those it left undone. It shares the engine's lock, so that a killed call's
    Snakemake is waited for. RunError when runs failed or a signal came.
    """
    workspace = call_folder(project)
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir(parents=True)
    for plan in plans:
        keep_plan(project, plan)
    for job in call.jobs:
        (project.run_folder(job.key) / RUN_FILE).unlink(missing_ok=True)  # present but not good
    say(f"{call.name}: {len(call.jobs)} of {call.total} runs to do{_estimate(call)}")
    without = sum(job.gpu > 0 for job in call.jobs) if call.executor == LOCAL and not call.gpus else 0
    if without:
        say(f"no GPU to use here: {without} runs that ask for one run without, one at a time")
    file = write_call(project, call)
    progress = _Progress(project, say, Watcher(project, call))
    with _engine(project, call, file, lock) as engine:
        while engine.poll() is None:
            progress.look()
            if progress.failures and not call.keep_going:
                break
            time.sleep(LOOK_EVERY_S)
    progress.look()
    if progress.failures:
        others = f" (and {len(progress.failures) - 1} more)" if len(progress.failures) > 1 else ""
        raise RunError(progress.failures[0] + others)
    return progress.watcher.left


def _estimate(call: Call) -> str:
    known = any(job.seconds is not None for job in call.jobs)
    return f", {estimate_text(call.jobs, call.capacity)}" if known else ""


@contextmanager
def _engine(project: Project, call: Call, file: Path, lock: int) -> Iterator[subprocess.Popen]:
    """Snakemake over a call's jobs; ended, with all it started, when the block is left or a signal comes."""
    environment = {**os.environ, "PYTHONPATH": _python_path(project)}
    log = file.with_name(SNAKEMAKE_LOG)
    with stoppable(), log.open("wb") as output:
        engine = subprocess.Popen(
            _command(project, call, file), cwd=project.root, env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=output, start_new_session=True, pass_fds=(lock,),
        )  # fmt: skip
        try:
            yield engine
        except Stopped as signalled:
            raise RunError(f"stopped by {signalled}; the same command goes on where it was") from None
        finally:
            end_engine(engine, call.executor)
            if call.executor == SLURM:
                cancel_leftovers(log)


def _command(project: Project, call: Call, file: Path) -> list[str]:
    snakefile = project.root / "experiments" / "Snakefile"
    if not snakefile.is_file():
        raise ParameterError(
            f"{project.shown(snakefile)}: not found, expected the rule that runs a notebook; restore it"
        )
    return [
        sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--directory", str(file.parent),
        *engine_arguments(project, call, file.parent), "--rerun-triggers", "mtime",
        "--nolock", "--nocolor", "--quiet", "host", *(["--keep-going"] if call.keep_going else []),
        "--config", f"call={file}", f"root={project.root}",
    ]  # fmt: skip


def _python_path(project: Project) -> str:
    paths = [str(project.root), str(LIBRARY_FOLDER.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return os.pathsep.join(path for path in dict.fromkeys(paths) if path)
