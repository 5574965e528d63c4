"""Running an experiment: plan it, skip what is done, let Snakemake walk the rest, and tell how it goes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pmgs_lib.errors import ParameterError, RunError
from pmgs_lib.suite.experiment import read_experiment
from pmgs_lib.suite.locks import exclusive
from pmgs_lib.suite.pages import make_pages
from pmgs_lib.suite.plan import Plan, PlannedRun, make_plan
from pmgs_lib.suite.project import LIBRARY_FOLDER, Project
from pmgs_lib.suite.records import FAILURE_FILE, RUN_FILE, STARTED_FILE, STOPPED, good_record, read_json
from pmgs_lib.suite.run import Stopped, stoppable

GRAPH_FOLDER = ".graph"
PATIENCE_S = 8.0  # how long runs may take to end after they were asked to
LOOK_EVERY_S = 0.2

Say = Callable[[str], None]


def run_experiment(
    project: Project,
    name: str,
    profile: str,
    cores: int = 2,
    given: Mapping[str, Any] | None = None,
    say: Say = lambda line: None,
) -> Plan:
    """Bring every run of an experiment to a good `run.json` and make its pages. Returns the plan.

    `given` sets the experiment's arguments; `say` gets one line for each thing worth telling. Raises ParameterError or
    DataError before anything starts, RunError when runs failed or were stopped.
    """
    plan = make_plan(project, read_experiment(project.experiment_file(name), given), profile)
    for run_id, reason in plan.left_out.items():
        say(f"left out {run_id}: {reason}")
    if runs_to_do(project, plan):
        with exclusive(
            project.runs / GRAPH_FOLDER, lambda holder: say(f"waiting for another pmgs run ({holder})")
        ) as lock:
            todo = runs_to_do(project, plan)
            if todo:
                _walk(project, plan, todo, cores, say, lock)
    keep_plan(project, plan)
    count = len(plan.runs)
    say(f"{plan.experiment} ({plan.profile}): {count} of {count} runs up to date, {len(plan.left_out)} left out")
    for page in make_pages(project, plan):
        say(f"report: {project.shown(page)}")
    return plan


def runs_to_do(project: Project, plan: Plan) -> list[PlannedRun]:
    """The runs without a good `run.json`, each key once."""
    missing = {run.key: run for run in plan.runs if good_record(project.run_folder(run.key)) is None}
    return list(missing.values())


def keep_plan(project: Project, plan: Plan) -> Path:
    """Write the plan where `why`, `status` and the Snakefile find it; the newest file is the last call's."""
    path = project.runs / GRAPH_FOLDER / f"{plan.experiment}.{plan.profile}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(plan.to_json(), encoding="utf-8")
    temporary.replace(path)
    return path


@dataclass
class _Progress:
    """Tells starts, ends and failures of runs from what they write into their folders: the same on a cluster."""

    project: Project
    say: Say
    left: dict[str, PlannedRun]
    total: int
    done: int = 0
    since: float = field(default_factory=time.time)
    begun: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def look(self) -> None:
        for key, run in list(self.left.items()):
            folder = self.project.run_folder(key)
            if key not in self.begun and self._is_new(folder / STARTED_FILE):
                self.begun[key] = time.monotonic()
                self.say(f"started {run.id}  {self.project.shown(folder)}")
            if (folder / RUN_FILE).exists() and good_record(folder):
                del self.left[key]
                self.done += 1
                self.say(f"done {self.done}/{self.total} {run.id}{self._seconds(key)}")
            elif self._is_new(folder / FAILURE_FILE):
                del self.left[key]
                self._note_failure(run, folder)

    def _is_new(self, path: Path) -> bool:
        try:
            return path.stat().st_mtime >= self.since
        except FileNotFoundError:
            return False

    def _seconds(self, key: str) -> str:
        return f" in {time.monotonic() - self.begun[key]:.1f} s" if key in self.begun else ""

    def _note_failure(self, run: PlannedRun, folder: Path) -> None:
        content = read_json(folder / FAILURE_FILE) or {}
        if content.get("kind") == STOPPED and self.failures:  # ended because another one failed
            self.say(f"stopped {run.id}")
            return
        place = "" if content.get("cell") is None else f" in cell {content['cell']}"
        where = self.project.shown(folder / "executed.ipynb")
        line = f"run `{run.id}` ({run.notebook}): {content.get('kind')}{place}: {content.get('message')}; see {where}"
        self.failures.append(line)
        self.say(f"FAILED {line}")


def _walk(project: Project, plan: Plan, todo: list[PlannedRun], cores: int, say: Say, lock: int) -> None:
    """Snakemake over the runs to do. It shares the engine's lock, so that a killed call's Snakemake is waited for."""
    workspace = project.runs / GRAPH_FOLDER / f"{plan.experiment}.{plan.profile}"
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir(parents=True)
    for run in todo:
        (project.run_folder(run.key) / RUN_FILE).unlink(missing_ok=True)  # present but not good
    say(f"{plan.experiment} ({plan.profile}): {len(todo)} of {len(plan.runs)} runs to do")
    progress = _Progress(project, say, {run.key: run for run in todo}, len(todo))
    log = workspace / "snakemake.log"
    with stoppable(), log.open("wb") as output:
        command = _command(project, keep_plan(project, plan), plan, todo, cores, workspace)
        environment = {**os.environ, "PYTHONPATH": _python_path(project)}
        engine = subprocess.Popen(
            command, cwd=project.root, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, pass_fds=(lock,),
        )  # fmt: skip
        try:
            while engine.poll() is None:
                progress.look()
                if progress.failures and not plan.keep_going:
                    break
                time.sleep(LOOK_EVERY_S)
        except Stopped as signalled:
            raise RunError(f"stopped by {signalled}; the same command goes on where it was") from None
        finally:
            _end(engine)
    progress.look()
    _judge(project, progress, engine.returncode, log)


def _command(
    project: Project, plan_file: Path, plan: Plan, todo: list[PlannedRun], cores: int, workspace: Path
) -> list[str]:
    snakefile = project.root / "experiments" / "Snakefile"
    if not snakefile.is_file():
        raise ParameterError(
            f"{project.shown(snakefile)}: not found, expected the rule that runs a notebook; restore it"
        )
    keys = ",".join(run.key for run in todo)
    return [
        sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--directory", str(workspace),
        "--cores", str(cores), "--resources", "gpu=1", "--rerun-triggers", "mtime",
        "--nolock", "--nocolor", "--quiet", "host",
        *(["--keep-going"] if plan.keep_going else []),
        "--config", f"plan={plan_file}", f"root={project.root}", f"todo={keys}",
    ]  # fmt: skip


def _python_path(project: Project) -> str:
    paths = [str(project.root), str(LIBRARY_FOLDER.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return os.pathsep.join(path for path in dict.fromkeys(paths) if path)


def _end(engine: subprocess.Popen) -> None:
    """End Snakemake and the runs it started: asked first, so that each run writes why it ended, then by force."""
    if engine.poll() is not None:
        return
    os.killpg(engine.pid, signal.SIGTERM)
    try:
        engine.wait(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(engine.pid, signal.SIGKILL)
        engine.wait()


def _judge(project: Project, progress: _Progress, code: int, log: Path) -> None:
    if progress.failures:
        others = f" (and {len(progress.failures) - 1} more)" if len(progress.failures) > 1 else ""
        raise RunError(progress.failures[0] + others)
    if code != 0 or progress.left:
        waiting = ", ".join(run.id for run in progress.left.values())
        ended = f"signal {-code}" if code < 0 else f"exit {code}"
        raise RunError(f"Snakemake ended by {ended} with runs left ({waiting}); see {project.shown(log)}, or run again")
