"""Ending whatever a run has started: found by the run's folder in its environment, which children inherit."""

import os
import time
from pathlib import Path

import psutil

from pmgs_lib.suite.recorder import FOLDER_VARIABLE


def processes_of(folder: Path) -> list[psutil.Process]:
    """Processes of this user that carry the run's folder in their environment, this one excepted."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(FOLDER_VARIABLE) == str(folder):
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone by now, or of another user
    return found


def end_processes_of(folder: Path, patience_s: float = 5.0) -> None:
    """Kill them and wait until they are gone; repeated, since one may start another while it is being killed."""
    deadline = time.monotonic() + patience_s
    while (left := processes_of(folder)) and time.monotonic() < deadline:
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=1.0)
