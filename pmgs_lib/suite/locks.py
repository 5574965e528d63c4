"""Exclusive locks on folders. The kernel drops them when their holder ends, however it ends."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_FILE = ".lock"


@contextmanager
def exclusive(folder: Path, on_wait: Callable[[str], None] | None = None) -> Iterator[int]:
    """Hold the lock of a folder, made if missing; yields the open file, which a child process may inherit to share it.

    While somebody else holds it, `on_wait` is told once who (the text that holder left in the file), then waits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _try(file, fcntl.LOCK_EX):
            if on_wait is not None:
                on_wait(os.pread(file, 200, 0).decode(errors="replace").strip())
            fcntl.flock(file, fcntl.LOCK_EX)
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()}\n".encode(), 0)
        yield file
    finally:
        os.close(file)


def try_lock(folder: Path) -> int | None:
    """The open file that holds a folder's lock until it is closed, or None while somebody else holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    if _try(file, fcntl.LOCK_EX):
        return file
    os.close(file)
    return None


def is_held(folder: Path) -> bool:
    """Whether somebody holds the lock of a folder at this moment."""
    try:
        file = os.open(folder / LOCK_FILE, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _try(file, fcntl.LOCK_SH)
    finally:
        os.close(file)


def _try(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
