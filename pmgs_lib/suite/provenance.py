"""What decides a run's result, as parts with digests: their hash is its key, their differences say why it reran."""

import hashlib
import json
import platform
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pmgs_lib.errors import DataError
from pmgs_lib.suite.cells import PARAMETERS_TAG, code_cells, source_of, tags_of
from pmgs_lib.suite.project import ENVIRONMENT_LOCK, Project

FORMAT = 1  # counts up when the parts change their meaning, so that no old run passes for a new one
KEY_LENGTH = 16
MANIFEST = "manifest.json"
LARGEST_UNLISTED_BYTES = 256 * 2**20

Parts = Mapping[str, Any]


def digest_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """The one text of a JSON value; NaN and infinity have none and raise ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def key_of(parts: Parts) -> str:
    return digest_text(canonical_json(parts))[:KEY_LENGTH]


def digest_code(notebook: Mapping[str, Any]) -> str:
    """Digest of the code cells in order; the parameters cell counts by its schema and values, text cells not at all."""
    sources = [source_of(cell).strip() for _, cell in code_cells(dict(notebook)) if PARAMETERS_TAG not in tags_of(cell)]
    return digest_text(canonical_json(sources))


def environment_parts(project: Project) -> dict[str, str]:
    """The environment lock and the Python version; installed versions and the device are recorded, not keyed."""
    return {
        ENVIRONMENT_LOCK: digest_file(project.environment_lock),
        "python": ".".join(platform.python_version_tuple()[:2]),
    }


def digest_data(path: Path, name: str) -> str:
    """Digest of external data: a file's bytes, a folder's `manifest.json`, or all files of a small folder.

    Raises DataError for a folder above 256 MiB without a manifest: reading it at every call would take minutes.
    """
    if path.is_file():
        return digest_file(path)
    if (path / MANIFEST).is_file():
        return digest_file(path / MANIFEST)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    total = sum(file.stat().st_size for file in files)
    if total > LARGEST_UNLISTED_BYTES:
        raise DataError(
            f"data `{name}`: {path} holds {total / 2**20:.0f} MiB and no {MANIFEST}, expected a list of its files with "
            "digests; write one when importing"
        )
    return digest_text(canonical_json([[file.relative_to(path).as_posix(), digest_file(file)] for file in files]))


def differences(old: Parts, new: Parts, parts_of_key: Callable[[str], Parts | None]) -> list[str]:
    """What changed from `old` to `new`, a sentence each; needed runs are followed down to the cause by their keys."""
    return list(_differences(old, new, parts_of_key))


def _differences(old: Parts, new: Parts, parts_of_key: Callable[[str], Parts | None]) -> Iterator[str]:
    if old["notebook"]["path"] != new["notebook"]["path"]:
        yield f"notebook: {old['notebook']['path']} -> {new['notebook']['path']}"
    elif old["notebook"]["code"] != new["notebook"]["code"]:
        yield f"code cells of {new['notebook']['path']} changed"
    for name, before, after in _changes(old["parameters"], new["parameters"]):
        yield f"parameter `{name}`: {_shown(before)} -> {_shown(after)}"
    for name, before, after in _changes(old["notebook"]["schema"], new["notebook"]["schema"]):
        yield f"kind of parameter `{name}`: {_shown(before)} -> {_shown(after)}"
    for label, before, after in _changes(old["library"], new["library"]):
        yield f"library file {label} {_event(before, after)}"
    for name, before, after in _changes(old["environment"], new["environment"]):
        yield f"environment: {name} {_event(before, after)}"
    for name, before, after in _changes(old["data"], new["data"]):
        yield f"data `{name}` {_event(before, after)}"
    for name, before, after in _changes(old["needs"], new["needs"]):
        inner = [parts_of_key(key) if key else None for key in (before, after)]
        causes = differences(inner[0], inner[1], parts_of_key) if inner[0] and inner[1] else []
        yield f"needed run `{name}` {_event(before, after)}" + (f" ({'; '.join(causes)})" if causes else "")
    if old["format"] != new["format"]:
        yield f"format of runs: {old['format']} -> {new['format']}"


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name, _ABSENT), new.get(name, _ABSENT)
        if before != after or type(before) is not type(after):
            yield name, before, after


class _Absent:
    def __bool__(self) -> bool:
        return False


_ABSENT = _Absent()


def _shown(value: Any) -> str:
    return "absent" if value is _ABSENT else canonical_json(value)


def _event(before: Any, after: Any) -> str:
    if before is _ABSENT:
        return "is new"
    return "is gone" if after is _ABSENT else "changed"
