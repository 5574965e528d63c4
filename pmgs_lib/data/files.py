"""Files written whole or not at all: a temporary sibling, flushed to disk, then renamed into place."""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pmgs_lib.errors import DataError


@contextmanager
def replaced_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; on success it is flushed and renamed onto `path`, on failure removed.

    Whoever reads `path` sees the old content or the new one, never a part. The parent folder is created.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    sibling = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield sibling
        _flush(sibling, os.O_RDWR)
        os.replace(sibling, target)
    finally:
        sibling.unlink(missing_ok=True)
    _flush(target.parent, os.O_RDONLY)  # the rename itself lives in the folder


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write `content` as indented JSON, atomically. NaN and infinity are refused, as JSON has no word for them."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with replaced_atomically(path) as sibling:
        sibling.write_text(text, encoding="utf-8")


def read_json(path: str | os.PathLike[str], *, what: str = "file") -> Any:
    """Parse a JSON file. `what` names its role in the error, e.g. "capture" or "index"."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{what} {path}: cannot be read ({error.strerror or error}); check the path") from error
    except ValueError as error:  # covers JSONDecodeError and UnicodeDecodeError
        raise DataError(f"{what} {path}: is not JSON ({error}); write the file again") from error
    except RecursionError:
        raise DataError(f"{what} {path}: is nested too deeply to be a {what}; write the file again") from None


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
