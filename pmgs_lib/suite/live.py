"""How a call goes while it goes: read from what the runs write into their folders, so the same on a cluster."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pmgs_lib.suite.costs import duration_text, estimate_text, time_left
from pmgs_lib.suite.jobs import JOBS_FILE, Call, Job, call_folder, read_call
from pmgs_lib.suite.locks import is_held
from pmgs_lib.suite.project import Project
from pmgs_lib.suite.records import FAILURE_FILE, RUN_FILE, STARTED_FILE, good_record, read_json

NAMED = 4  # runs that the line names


@dataclass
class Watcher:
    """The state of a call's jobs. `look` reads the folders; the texts tell what it saw."""

    project: Project
    call: Call
    running: dict[str, float] = field(default_factory=dict)  # key -> when it was first seen, by our clock
    ended: dict[str, str] = field(default_factory=dict)  # key -> "done" or "failed"

    def __post_init__(self) -> None:
        # The disk's clock, not ours: on a cluster other machines write the files that this is compared with.
        self._since = (call_folder(self.project) / JOBS_FILE).stat().st_mtime
        self._jobs = self.call.by_key

    @property
    def done(self) -> int:
        return sum(state == "done" for state in self.ended.values())

    @property
    def left(self) -> list[Job]:
        return [job for job in self.call.jobs if job.key not in self.ended]

    def look(self) -> Iterator[tuple[str, Job, dict[str, Any]]]:
        """What happened since the last look, each once: ("started" | "done" | "failed", job, what its file says)."""
        for job in self.left:
            folder = self.project.run_folder(job.key)
            if job.key not in self.running and self._is_new(folder / STARTED_FILE):
                self.running[job.key] = time.monotonic()
                yield "started", job, {}
            record = good_record(folder) if (folder / RUN_FILE).exists() else None
            if record is not None:
                self.ended[job.key] = "done"
                yield "done", job, dict(record.content)
            elif self._is_new(folder / FAILURE_FILE):
                self.ended[job.key] = "failed"
                yield "failed", job, read_json(folder / FAILURE_FILE) or {}

    def _is_new(self, path: Path) -> bool:
        try:
            return path.stat().st_mtime >= self._since
        except FileNotFoundError:
            return False

    def line(self) -> str:
        """What runs since when, what is next, how many are done, and the time left, in one line."""
        elapsed = self._elapsed()
        running = [f"{self._jobs[key].label} {duration_text(seconds)}" for key, seconds in elapsed.items()]
        waiting = [job.label for job in self.left if job.key not in elapsed]
        parts = [f"{self.done} of {len(self.call.jobs)} done", f"running {_some(running)}"]
        parts += [f"next {_some(waiting)}"] if waiting else []
        return "; ".join([*parts, self._time_left(elapsed)])

    def table(self) -> str:
        """The same at length: a line a job that runs or waits, and the line above them."""
        elapsed = self._elapsed()
        rows = [(self._jobs[key], f"running {duration_text(seconds)}") for key, seconds in elapsed.items()]
        rows += [(job, "waiting") for job in self.left if job.key not in elapsed]
        width = max((len(job.label) for job, _ in rows), default=0)
        told = [
            f"  {job.label.ljust(width)}  {state}"
            + ("" if job.seconds is None else f" of {duration_text(job.seconds)}")
            for job, state in rows
        ]
        return "\n".join([f"{self.call.name}, {self.call.executor}: {self.line()}", *told])

    def _elapsed(self) -> dict[str, float]:
        now = time.monotonic()
        return {key: now - since for key, since in self.running.items() if key not in self.ended}

    def _time_left(self, elapsed: dict[str, float]) -> str:
        if not self.left:
            return "nothing left"
        if all(job.seconds is None for job in self.left):
            return f"{len(self.left)} left {estimate_text(self.left, self.call.capacity)}"
        unknown = sum(job.seconds is None for job in self.left)
        about = f"about {duration_text(time_left(self.left, self.call.capacity, elapsed))} left"
        return f"{about}, and {unknown} of unknown length" if unknown else about


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (", ".join(names[:NAMED]) or "none") + more


def watch(project: Project, every_s: float = 1.0) -> Iterator[tuple[str, tuple[int, int]]]:
    """The table of the call that goes on here, and how many runs began and ended, again and again until it ends."""
    watcher = None
    while is_held(call_folder(project).parent):
        if watcher is None and (call := read_call(project)) is not None:
            watcher = Watcher(project, call)
        if watcher is not None:
            for state, job, _ in watcher.look():
                if state == "started":
                    watcher.running[job.key] -= _age(project, job)
            yield watcher.table(), (len(watcher.running), len(watcher.ended))
        time.sleep(every_s)


def _age(project: Project, job: Job) -> float:
    """How long a run has been going when it is first looked at."""
    try:
        began = (project.run_folder(job.key) / STARTED_FILE).stat().st_mtime
    except FileNotFoundError:
        return 0.0
    return max(0.0, time.time() - began)
