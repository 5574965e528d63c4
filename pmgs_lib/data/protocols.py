"""Protocols: which scenes and frames a number was measured on, fixed before anything is trained.

A protocol file is JSON. Those of this package stand in `protocol_files` and are opened by name; so are the published
evaluations of `published_protocols`, whose frames are in index files that their authors publish.
"""

import os
from pathlib import Path

from pmgs_lib.data.files import read_json, write_json
from pmgs_lib.data.protocol_types import (
    EmbeddedScenes,
    EvaluationViews,
    Expected,
    MetricSettings,
    Protocol,
    ScheduledViews,
    Split,
    TrainingViews,
)
from pmgs_lib.data.published_protocols import PUBLISHED, open_published
from pmgs_lib.errors import DataError, ParameterError

__all__ = [
    "EmbeddedScenes",
    "EvaluationViews",
    "Expected",
    "MetricSettings",
    "Protocol",
    "ScheduledViews",
    "Split",
    "TrainingViews",
    "load_protocol",
    "protocol_names",
    "published_names",
    "save_protocol",
]

PACKAGE_FILES = Path(__file__).parent / "protocol_files"


def protocol_names() -> list[str]:
    """Names of the protocols that come with the package, on scenes that it makes."""
    return sorted(path.stem for path in PACKAGE_FILES.glob("*.json"))


def published_names() -> list[str]:
    """Names of published evaluations; opening one fetches its index file, or takes it from `PMGS_INDEXES`."""
    return list(PUBLISHED)


def load_protocol(
    name_or_path: str | os.PathLike[str], *, every: int = 1, indexes: str | os.PathLike[str] | None = None
) -> Protocol:
    """A protocol by name, embedded or published, or one from a `.json` file, validated.

    every: only each n-th scene, for a quick look; the numbers are marked NOT COMPARABLE. indexes: a folder with the
    published index files; None takes the folder that `PMGS_INDEXES` names, else fetches the file once.

    >>> load_protocol("embedded-smoke").evaluation_views("indoor_20001000000")
    ((7, 13), (9, 10, 11), (4, 6, 14, 16))
    """
    name = str(name_or_path)
    if name in PUBLISHED:
        return open_published(name, indexes).every(every)
    named = name in protocol_names()
    path = PACKAGE_FILES / f"{name_or_path}.json" if named else Path(name_or_path)
    if not named and path.suffix != ".json":
        known = ", ".join((*protocol_names(), *PUBLISHED))
        raise ParameterError(f"protocol {name!r} is unknown; expected one of {known}, or a .json file")
    content = read_json(path, what="protocol")
    if not isinstance(content, dict):
        raise DataError(f"protocol {path}: expected an object, found {type(content).__name__}; write it again")
    return Protocol.build(content, f"protocol {path}", DataError).every(every)


def save_protocol(protocol: Protocol, path: str | os.PathLike[str]) -> None:
    """Write a protocol file that `load_protocol` opens."""
    write_json(path, protocol.model_dump(mode="json", exclude_defaults=True))
