"""One writer at a time in a folder of chunks, and a journal from which the next one cleans up after a kill.

A chunk belongs to a dataset once the index names it. Before a chunk is written its name goes into the journal; whoever
writes next removes what the journal names and the index does not: chunks that were being written when everything was
killed, or that were finished and never listed. Nothing else in the folder is touched.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pmgs_lib.data.files import read_json, write_json
from pmgs_lib.data.sidecars import sidecar_path
from pmgs_lib.errors import DataError

JOURNAL_NAME = ".unlisted.json"
log = logging.getLogger(__name__)


@contextmanager
def writer(folder: Path, listed: Callable[[], set[str]]) -> Iterator[Callable[[str], None]]:
    """Hold the folder against other writers, clean up after a killed one, and yield `announce(chunk name)`.

    listed: names of the chunks in the index. Raises DataError where the folder cannot be written, a full disk included;
    what an interrupted writer finished stays until the next one comes.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _held(folder):
            _clean_up(folder, listed())
            announced: list[str] = []

            def announce(chunk: str) -> None:
                announced.append(chunk)
                write_json(folder / JOURNAL_NAME, announced)

            yield announce
            (folder / JOURNAL_NAME).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"folder {folder}: cannot be written ({error.strerror or error}); make room or check its permissions, then "
            "call again: chunks in its index are valid"
        ) from error


def index_lock(folder: str | os.PathLike[str]) -> FileLock:
    """Held by whoever changes the index of `folder`."""
    return FileLock(Path(folder) / ".index.lock")


def remove_chunk(path: Path) -> None:
    """Remove a chunk file and its offsets, if they are there."""
    path.unlink(missing_ok=True)
    sidecar_path(path).unlink(missing_ok=True)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    lock = index_lock(folder)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.warning("folder %s: another process is writing there; waiting for it", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _clean_up(folder: Path, listed: set[str]) -> None:
    journal = folder / JOURNAL_NAME
    if not journal.is_file():
        return
    names = read_json(journal, what="journal")
    if not isinstance(names, list) or not all(isinstance(name, str) and _is_chunk(name) for name in names):
        raise DataError(f"journal {journal}: expected a list of chunk names; delete it and the chunks not in the index")
    for name in sorted(set(names) - listed):
        log.warning("folder %s: %s was left by a writer that was stopped, and is written anew", folder, name)
        remove_chunk(folder / name)
    for half in (half for name in names for half in folder.glob(f".{name}*.part")):
        half.unlink(missing_ok=True)
    journal.unlink()


def _is_chunk(name: str) -> bool:
    return name == Path(name).name and name.endswith(".torch")
