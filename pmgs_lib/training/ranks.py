"""What the processes of a launched training and the one that launched them tell each other: small files in a folder."""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from pmgs_lib import errors
from pmgs_lib.data.files import read_json, write_json
from pmgs_lib.errors import PmgsError, RunError, first_line
from pmgs_lib.training.history import TrainingHistory
from pmgs_lib.training.state import load_newest_state, save_state
from pmgs_lib.training.stopping import TrainingStoppedError

RUNNING, DONE, STOPPED, FAILED = "running", "done", "stopped", "failed"
ORPHANED = 70  # exit status of a rank whose launcher is gone


@contextmanager
def reported(folder: Path | None, rank: int) -> Iterator[None]:
    """Say in `folder` that this rank runs, and how that ended. Without a folder nothing is said."""
    if folder is None:
        yield
        return
    report = {"rank": rank, "pid": os.getpid(), "state": RUNNING}
    path = folder / f"rank-{rank}.json"
    write_json(path, report)
    try:
        yield
    except BaseException as error:
        state = STOPPED if isinstance(error, TrainingStoppedError) else FAILED
        told = str(error) if isinstance(error, PmgsError) else f"{type(error).__name__}: {first_line(error)}"
        write_json(path, report | {"state": state, "kind": type(error).__name__, "message": told, "time": time.time()})
        raise
    write_json(path, report | {"state": DONE})


def report_history(folder: Path | None, history: TrainingHistory) -> None:
    """Hand the history to the launcher, to the bit."""
    if folder is not None:
        save_state(folder, len(history.rows), history.state_dict())


def read_history(folder: Path) -> TrainingHistory | None:
    """The history that the first rank handed over, if it came so far."""
    found = load_newest_state(folder)
    return TrainingHistory.from_state_dict(found[1]) if found else None


def end_with_launcher() -> None:
    """End this process as soon as the one that launched it is gone, however that happened.

    The launcher holds the writing end of what is our standard input; the system closes it when the launcher dies.
    """

    def watch() -> None:
        while os.read(0, 1):
            pass
        os._exit(ORPHANED)

    threading.Thread(target=watch, name="launcher watch", daemon=True).start()


def read_reports(folder: Path) -> list[dict[str, Any]]:
    """The reports so far, by rank."""
    found = [read_json(path, what="report") for path in folder.glob("rank-*.json")]
    return sorted(found, key=lambda report: report["rank"])


def fallen(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ranks that failed, or are gone without a word."""
    return [
        report
        for report in reports
        if report["state"] == FAILED or (report["state"] == RUNNING and not _lives(report["pid"]))
    ]


def verdict(reports: list[dict[str, Any]], first: list[dict[str, Any]]) -> PmgsError | None:
    """The error that ended the training, as the rank that met it told it; None if none told one.

    first: what `fallen` gave when it first gave something. Ranks that die later are ended for the sake of those.
    """
    silent = [report for report in first if report["state"] == RUNNING]
    told = sorted((report for report in reports if "time" in report), key=lambda report: report["time"])
    failed = [report for report in told if report["state"] == FAILED]
    own = [report for report in failed if issubclass(_kind(report), PmgsError)]
    if own:
        return _kind(own[0])(own[0]["message"])
    if silent:  # what others say then is the echo of a lost connection
        ranks = ", ".join(str(report["rank"]) for report in silent)
        return RunError(f"training: process {ranks} of {len(reports)} was killed, or died without a word")
    if failed:
        return RunError(f"training: process {failed[0]['rank']} failed: {failed[0]['message']}")
    stopped = [report for report in told if report["state"] == STOPPED]
    return TrainingStoppedError(stopped[0]["message"]) if stopped else None


def _kind(report: Mapping[str, Any]) -> type:
    found = getattr(errors, report["kind"], None)
    return found if isinstance(found, type) else Exception


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
