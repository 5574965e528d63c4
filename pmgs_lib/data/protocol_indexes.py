"""Index files of published evaluations: JSON from scene to context and target frames, null where there are none."""

import os
from pathlib import Path

from pmgs_lib.data.downloads import RemoteFile, fetch_file
from pmgs_lib.data.files import file_digest, read_json
from pmgs_lib.data.protocol_types import EvaluationViews
from pmgs_lib.errors import DataError

FOLDER_VARIABLE = "PMGS_INDEXES"
MOST_BYTES = 64 * 2**20  # the largest published one has 2 MB


def index_path(file: RemoteFile, folder: str | os.PathLike[str] | None = None) -> Path:
    """A verified copy of an index file: from `folder`, else from that of `PMGS_INDEXES`, else fetched once.

    Raises DataError for a copy that is absent, or whose SHA-256 is not the published one.
    """
    chosen = folder or os.environ.get(FOLDER_VARIABLE)
    if not chosen:
        return fetch_file(file, progress=False)
    path = Path(chosen) / file.name
    if not path.is_file():
        raise DataError(
            f"index file {path}: is not there; place {file.address} in that folder, or unset {FOLDER_VARIABLE} to have "
            "it fetched"
        )
    found = file_digest(path)
    if file.sha256 is not None and not found.startswith(file.sha256):
        raise DataError(
            f"index file {path}: SHA-256 is {found[:16]}..., the published one {file.sha256[:16]}...; fetch it again "
            f"from {file.address}"
        )
    return path


def read_index(path: str | os.PathLike[str]) -> tuple[dict[str, EvaluationViews], tuple[str, ...]]:
    """Frames of each scene in the order of the file, and the keys that it lists without frames.

    A target is inside, outside or at the context by its own number. Raises DataError naming the file and the scene.
    """
    where = f"index file {path}"
    try:
        size = Path(path).stat().st_size
    except (OSError, ValueError) as error:
        raise DataError(f"{where}: cannot be read ({error}); check the path") from None
    if size > MOST_BYTES:
        raise DataError(f"{where}: has {size:,} bytes, more than {MOST_BYTES:,}: it is no index file")
    content = read_json(path, what="index file")
    if not isinstance(content, dict):
        raise DataError(f"{where}: expected an object, found {type(content).__name__}; fetch it again")
    views = {key: _views(entry, f"{where}, scene {key!r}") for key, entry in content.items() if entry is not None}
    if not views:
        raise DataError(f"{where}: gives no scene any frames; fetch it again")
    return views, tuple(key for key, entry in content.items() if entry is None)


def _views(entry: object, where: str) -> EvaluationViews:
    if not isinstance(entry, dict) or not {"context", "target"} <= set(entry):
        raise DataError(f"{where}: expected context and target frames, found {str(entry)[:60]}; fetch it again")
    lists = [entry["context"], entry["target"]]
    if not all(isinstance(frames, list) and all(type(frame) is int for frame in frames) for frames in lists):
        raise DataError(f"{where}: context and target are not lists of frame numbers; fetch it again")
    context, target = (tuple(frames) for frames in lists)
    first, last = min(context, default=0), max(context, default=0)
    places = {
        "at_context": tuple(frame for frame in target if frame in context),
        "inside": tuple(frame for frame in target if first < frame < last and frame not in context),
        "outside": tuple(frame for frame in target if not first <= frame <= last),
    }
    return EvaluationViews.build({"context": context, **places}, where, DataError)
