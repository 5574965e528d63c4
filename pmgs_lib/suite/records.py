"""What runs leave behind: `run.json` after success, `failure.json` otherwise, and how far they can be believed."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pmgs_lib.errors import RunError
from pmgs_lib.suite.project import Project
from pmgs_lib.suite.provenance import Parts, digest_file
from pmgs_lib.suite.recorder import END_FILE

RUN_FILE = "run.json"
FAILURE_FILE = "failure.json"
STARTED_FILE = "started.json"
EXECUTED_FILE = "executed.ipynb"
EXECUTED_PAGE = "executed.html"
STOPPED = "stopped"  # the kind of failure that is no fault of the run
OUT_OF_MEMORY = "out of memory"
METRICS_FILE = "metrics.json"
# Files of a run's folder that are no result of it.
BOOKKEEPING = {RUN_FILE, FAILURE_FILE, STARTED_FILE, EXECUTED_PAGE}
# What runner, papermill's process and kernel tell each other while a run goes.
JOB_FILE = ".job.json"
INPUT_FILE = ".input.ipynb"
WITNESS_FILE = ".witness"
OUTCOME_FILE = ".outcome.json"
MESSAGES = (JOB_FILE, INPUT_FILE, WITNESS_FILE, OUTCOME_FILE, END_FILE)


@dataclass(frozen=True)
class RunRecord:
    """A run that succeeded: its folder and the content of its `run.json`."""

    folder: Path
    content: Mapping[str, Any]

    @property
    def key(self) -> str:
        return self.content["key"]

    @property
    def id(self) -> str:
        return self.content["id"]

    @property
    def parameters(self) -> dict[str, Any]:
        """What the notebook was given, references to other runs resolved."""
        return self.content["parameters"]

    @property
    def parts(self) -> Parts:
        return self.content["parts"]

    @property
    def seconds(self) -> float:
        return self.content["seconds"]

    @property
    def retried(self) -> list[dict[str, str]]:
        """Cause and message of each attempt before the one that succeeded."""
        return self.content.get("retried", [])

    @property
    def bytes_made(self) -> int:
        """Size of all result files."""
        return sum(entry["bytes"] for entry in self.content["made"].values())

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The metrics that its notebook saved; empty if it saved none."""
        path = self.folder / METRICS_FILE
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def artifact(self, name: str) -> Path:
        """The path of a result file, which must exist."""
        path = self.folder / "artifacts" / name
        if not path.exists():
            raise RunError(f"run `{self.id}` ({self.key}): no artifact {name!r} in its folder; look at executed.ipynb")
        return path


@dataclass(frozen=True)
class Failure:
    """Why a run did not succeed. `cell` counts in the executed notebook, from 0."""

    kind: str
    message: str
    cell: int | None = None
    traceback: str = ""

    def line(self) -> str:
        place = "" if self.cell is None else f" in cell {self.cell}"
        return f"{self.kind}{place}: {self.message}"


def read_record(folder: Path) -> RunRecord:
    """The record of a run's folder; RunError if the run did not succeed or its files are not what it made."""
    record = good_record(folder)
    if record is None:
        failure = read_json(folder / FAILURE_FILE)
        why = f"it failed ({failure['kind']}: {failure['message']})" if failure else f"no good {RUN_FILE}"
        raise RunError(f"{folder}: {why}, expected a run that succeeded; run its experiment again")
    return record


def good_record(folder: Path) -> RunRecord | None:
    """The record if `run.json` is whole, belongs here and all it made is there with the right size."""
    content = read_json(folder / RUN_FILE)
    if content is None or content.get("key") != folder.name:
        return None
    made = content.get("made", {})
    whole = all(_size(folder / name) == entry["bytes"] for name, entry in made.items())
    return RunRecord(folder, content) if whole else None


def damaged_files(record: RunRecord) -> list[str]:
    """Names of the files whose content is no longer what the run made, by full digest."""
    made = record.content["made"]
    return [name for name, entry in made.items() if digest_file(record.folder / name) != entry["sha256"]]


def all_records(project: Project) -> Iterator[RunRecord]:
    """Every good run, in no order."""
    for path in project.runs.glob(f"*/{RUN_FILE}"):
        record = good_record(path.parent)
        if record is not None:
            yield record


def describe_made(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and digest of everything that a run made; hidden files and bookkeeping are not results."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in files}
    return {
        name: {"bytes": path.stat().st_size, "sha256": digest_file(path)}
        for name, path in named.items()
        if not name.startswith(".") and name not in BOOKKEEPING
    }


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON map, or None for a file that is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Written whole or not at all: a temporary sibling, flushed to disk, renamed into place."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
