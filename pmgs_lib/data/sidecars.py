"""Offsets of a chunk kept in a small file, so that the chunk's pickle is read once and not by every process.

`write_chunk` puts the file beside the chunk: `000000.torch.offsets.json`. Who only reads a chunk never changes its
folder, which may be read-only, shared, or digested as the input of a run: offsets found at a first opening go to
`offsets` in the cache folder (`PMGS_CACHE`), named by the chunk's content. Neither is trusted: what is damaged or
belongs to another chunk is found again, and said.
"""

import hashlib
import json
import logging
import os
from pathlib import Path

from pydantic import ValidationError

from pmgs_lib.data.downloads import cache_folder
from pmgs_lib.data.files import replaced_atomically
from pmgs_lib.data.offsets import NoOffsets, Offsets, find_offsets
from pmgs_lib.data.pieces import OpenFile

SUFFIX = ".offsets.json"
MOST_BYTES = 64 << 20  # one takes about 20 bytes a picture
log = logging.getLogger(__name__)


def sidecar_path(chunk: str | os.PathLike[str]) -> Path:
    """Where the offsets of a chunk that this library wrote stand."""
    path = Path(chunk)
    return path.with_name(path.name + SUFFIX)


def write_sidecar(chunk: str | os.PathLike[str]) -> None:
    """Find the offsets of a chunk and put them beside it. Raises OSError when they cannot be written."""
    try:
        offsets = find_offsets(OpenFile(chunk))
    except NoOffsets as reason:  # a scene that is written from odd tensors; reading says it again
        log.warning("chunk %s: will be read as a whole, since %s", chunk, reason)
        sidecar_path(chunk).unlink(missing_ok=True)
        return
    _write(sidecar_path(chunk), offsets)


def known_offsets(file: OpenFile) -> tuple[Offsets, str]:
    """The offsets of an open chunk, and where they come from.

    That is "beside" or "cache" for a file that fits, "found" where there was none, "found again" where there was one
    that does not fit. Raises NoOffsets for a chunk that has none.
    """
    beside, fault = _read(sidecar_path(file.path), file)
    if beside is not None:
        return beside, "beside"
    found = _cached_or_found(file)
    if fault is None:
        return found
    log.warning("chunk %s: its file of offsets is not used (%s); found again", file.path, fault)
    return found[0], "found again"


def _cached_or_found(file: OpenFile) -> tuple[Offsets, str]:
    kept = cache_folder() / "offsets" / f"{_name(file)}.json"
    cached, fault = _read(kept, file)
    if cached is not None:
        return cached, "cache"
    offsets = find_offsets(file)
    log.info("chunk %s: offsets found and kept as %s", file.path, kept)
    try:
        _write(kept, offsets)
    except OSError as error:
        log.info("chunk %s: offsets are kept in memory only (%s: %s)", file.path, kept, error.strerror or error)
    if fault is not None:
        log.warning("%s: is not used (%s); found again", kept, fault)
    return offsets, "found" if fault is None else "found again"


def _name(file: OpenFile) -> str:
    """A name by size and the last part of the directory; what is read under it is checked in full."""
    return hashlib.sha256(f"{file.size} {file.digest_from(max(0, file.size - 65536))}".encode()).hexdigest()[:32]


def _write(path: Path, offsets: Offsets) -> None:
    text = offsets.model_dump_json()
    with replaced_atomically(path) as sibling:
        sibling.write_text(f'{{"sha256": "{_digest(text)}", "offsets": {text}}}\n', encoding="utf-8")


def _read(path: Path, file: OpenFile) -> tuple[Offsets | None, str | None]:
    """Offsets kept in a file that fit the chunk, or None with the reason; no reason where there is no file."""
    try:
        if not path.is_file():
            return None, None
        if path.stat().st_size > MOST_BYTES:
            return None, "it is too long"
        content = json.loads(path.read_text(encoding="utf-8"))
        offsets = Offsets.model_validate(content["offsets"])
        if _digest(offsets.model_dump_json()) != content["sha256"]:
            return None, "it is damaged"
    except (OSError, ValueError, ValidationError, KeyError, TypeError, RecursionError) as error:
        return None, f"it cannot be read: {type(error).__name__}"
    fault = offsets.fault(file)
    return (offsets, None) if fault is None else (None, fault)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
