"""The run contract: one notebook, one key, one folder, and `run.json` last and only on success.

    python -m pmgs_lib.suite.run PLAN.json KEY --receipt FILE --gpus 0,1

The runner holds the folder's lock, starts papermill in a process of its own, watches it, believes only evidence, and
ends every process that the run has started before it says how the run ended.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pmgs_lib.errors import PmgsError, RunError
from pmgs_lib.suite.environment import job_environment, versions
from pmgs_lib.suite.evidence import changed_code, changed_input, find_fault, first_uncounted
from pmgs_lib.suite.locks import LOCK_FILE, exclusive
from pmgs_lib.suite.plan import Plan, PlannedRun
from pmgs_lib.suite.processes import end_processes_of
from pmgs_lib.suite.project import Project
from pmgs_lib.suite.recorder import END_FILE, FOLDER_VARIABLE
from pmgs_lib.suite.records import (
    EXECUTED_FILE,
    FAILURE_FILE,
    JOB_FILE,
    MESSAGES,
    OUTCOME_FILE,
    RUN_FILE,
    STARTED_FILE,
    STOPPED,
    Failure,
    RunRecord,
    describe_made,
    good_record,
    read_json,
    write_json,
)  # fmt: skip
from pmgs_lib.suite.slots import gpu_slots
from pmgs_lib.suite.transient import PAUSE_S, cluster_job, earlier_attempts, retries_left, transient_cause

GPU_FOLDER = ".graph/gpus"
RUNNER_LOG = "runner.log"
TRACEBACK_LINES = 30


class Stopped(BaseException):
    """A signal asked this run to end."""


def perform(project: Project, plan: Plan, run: PlannedRun, gpus: Sequence[str] = ()) -> RunRecord:
    """Execute a run unless a good `run.json` of its key exists. RunError, in one line, when it did not succeed.

    `gpus` names the devices of this machine that runs share; without any, a run sees what its shell sees.
    """
    folder = project.run_folder(run.key)
    with exclusive(folder):
        record = good_record(folder)
        if record is not None:
            return record
        end_processes_of(folder)  # leftovers of a runner that was killed
        header, failure = _attempts(project, run, _header(plan, run), gpus)
        if failure is not None:
            write_json(folder / FAILURE_FILE, {**header, **asdict(failure)})
            raise RunError(failure_line(project, run, failure))
        content = {**header, **_results(project, run, folder)}
        for name in MESSAGES:
            (folder / name).unlink(missing_ok=True)
        write_json(folder / RUN_FILE, content)
        (folder / STARTED_FILE).unlink()
        return RunRecord(folder, content)


def _header(plan: Plan, run: PlannedRun) -> dict[str, Any]:
    header = {"key": run.key, "id": run.id, "notebook": run.notebook, "host": platform.node()}
    header |= {"experiment": plan.experiment, "profile": plan.profile} | cluster_job()
    return header | ({"uncommitted": list(plan.changed_files)} if plan.changed_files else {})


def _attempts(
    project: Project, run: PlannedRun, header: dict[str, Any], gpus: Sequence[str]
) -> tuple[dict[str, Any], Failure | None]:
    """Try, and again only for a listed cause, each time from an empty folder. Returns the last attempt's times."""
    folder = project.run_folder(run.key)
    retried, pause_s = earlier_attempts(folder), 0.0
    while True:
        _clean(folder)
        began = time.time()
        header |= {"started": _clock(began), "retried": retried}
        write_json(folder / STARTED_FILE, {**header, "pid": os.getpid()})
        failure = _attempt(project, run, gpus, pause_s)
        header |= {"finished": _clock(time.time()), "seconds": round(time.time() - began - pause_s, 3)}
        cause = failure and transient_cause(failure)
        if cause is None or not retries_left(retried):
            return header, failure
        retried = [*retried, {"cause": cause, "message": failure.message}]
        pause_s = PAUSE_S * len(retried)


def failure_line(project: Project, run: PlannedRun, failure: Failure) -> str:
    """One line that says which run failed, where, why, and where to look."""
    folder = project.run_folder(run.key)
    look = folder / EXECUTED_FILE if (folder / EXECUTED_FILE).exists() else folder / FAILURE_FILE
    return f"run `{run.id}` ({run.notebook}): {failure.line()}; see {project.shown(look)}"


def _attempt(project: Project, run: PlannedRun, gpus: Sequence[str], pause_s: float) -> Failure | None:
    """Everything between the lock and the verdict. Whatever happens, no process of the run outlives it."""
    folder = project.run_folder(run.key)
    scratch = Path(tempfile.mkdtemp(prefix="pmgs-"))
    try:
        with stoppable():
            time.sleep(pause_s)
            with gpu_slots(project.runs / GPU_FOLDER, gpus, run.gpu) as devices:
                return (
                    changed_code(project, run)
                    or changed_input(project, run)
                    or _execute(project, run, scratch, devices)
                    or find_fault(project, run, folder)
                )
    except Stopped as signalled:
        return Failure(STOPPED, f"{signalled} asked this run to end", first_uncounted(folder))
    except PmgsError as fault:
        return Failure("not runnable", str(fault))
    finally:
        end_processes_of(folder)
        shutil.rmtree(scratch, ignore_errors=True)


def _execute(project: Project, run: PlannedRun, scratch: Path, devices: Mapping[str, str]) -> Failure | None:
    folder = project.run_folder(run.key)
    job = {
        "notebook": run.notebook,
        "parameters": run.parameters,
        "cell_timeout_s": run.cell_timeout_s,
        "environment": job_environment(project, run, folder, scratch) | devices,
    }
    write_json(folder / JOB_FILE, job)
    command = [sys.executable, "-m", "pmgs_lib.suite.execute", project.shown(folder)]
    environment = {**os.environ, "PYTHONPATH": job["environment"]["PYTHONPATH"], FOLDER_VARIABLE: str(folder)}
    with (folder / RUNNER_LOG).open("wb") as log:
        child = subprocess.Popen(
            command,
            cwd=project.root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        code = child.wait(timeout=run.run_timeout_s)
    except subprocess.TimeoutExpired:
        message = f"the run took longer than {run.run_timeout_s:g} s, the limit of this profile"
        return Failure("run time-out", message, first_uncounted(folder))
    finally:
        child.kill()
        child.wait()
        if child.stdin is not None:
            child.stdin.close()
    return _outcome(folder, code)


def _outcome(folder: Path, code: int) -> Failure | None:
    """What the process that ran papermill says, or why it says nothing."""
    outcome = read_json(folder / OUTCOME_FILE)
    if outcome is not None:
        failure = outcome["failure"] and Failure(**outcome["failure"])
        return failure and replace(failure, cell=first_uncounted(folder) if failure.cell is None else failure.cell)
    log = (folder / RUNNER_LOG).read_text(errors="replace").strip().splitlines()
    how = f"signal {-code}" if code < 0 else f"exit {code}"
    message = f"the process around the kernel ended by {how}: {log[-1] if log else 'no message'}"
    return Failure("runner died", message, first_uncounted(folder), "\n".join(log[-TRACEBACK_LINES:]))


def _results(project: Project, run: PlannedRun, folder: Path) -> dict[str, Any]:
    """What `run.json` says beyond times: parameters, parts of the key, versions, device, digests of what was made."""
    executed = folder / EXECUTED_FILE
    notebook = json.loads(executed.read_text(encoding="utf-8"))
    notebook["metadata"]["papermill"] |= {"input_path": run.notebook, "output_path": project.shown(executed)}
    executed.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if not (folder / RUNNER_LOG).stat().st_size:
        (folder / RUNNER_LOG).unlink()
    end = read_json(folder / END_FILE) or {}
    return {
        "parameters": run.parameters,
        "parts": run.parts,
        "needs": run.needs,
        "versions": versions(project) | {"torch": end.get("torch")},
        "device": end.get("device"),
        "threads": run.threads,
        "made": describe_made(folder),
    }


def _clean(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != LOCK_FILE:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


@contextmanager
def stoppable() -> Iterator[None]:
    """TERM, INT and HUP raise Stopped within; what was set before holds again after."""

    def stop(number: int, frame: object) -> None:
        raise Stopped(signal.Signals(number).name)

    before: Mapping[int, Any] = {
        number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Execute one planned run.")
    parser.add_argument("plan", type=Path)
    parser.add_argument("key")
    parser.add_argument("--receipt", type=Path, help="file to write when the run is there: what an engine waits for")
    parser.add_argument("--gpus", default="", help="devices that the runs of this machine share, with commas between")
    given = parser.parse_args(arguments)
    project = Project(Path.cwd())
    try:
        plan = Plan.from_json(given.plan.read_text(encoding="utf-8"))
        record = perform(project, plan, plan.run(given.key), [name for name in given.gpus.split(",") if name])
    except PmgsError as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    if given.receipt is not None:
        write_json(given.receipt, {"key": record.key, "finished": record.content["finished"]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
