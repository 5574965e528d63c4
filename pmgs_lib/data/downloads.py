"""Files from the web: fetched once, verified before they get their name, and never changed unnoticed afterwards.

`requests` carries the bytes and `filelock` keeps a second process waiting. pooch, made for this job, was looked at:
it deletes a partial file at every failure and knows whole digests only, so resuming, prefixes and recorded digests
would all stand outside it.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from filelock import FileLock, Timeout
from pydantic import Field, StringConstraints

from pmgs_lib.data.config import Config
from pmgs_lib.data.files import file_digest, read_json, write_json
from pmgs_lib.errors import DataError

PLAIN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
Hexadecimal = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8,64}$")]
log = logging.getLogger(__name__)


class RemoteFile(Config):
    """A file on the web, and what is known of its content.

    name: under which it is kept. address: where it is fetched, or with `by_hand` the page where a person fetches it.
    sha256: its digest, whole or its first eight or more digits, where its authors publish one; None: the digest of
    the first download is recorded beside the file and a later change refused.
    """

    name: Annotated[str, StringConstraints(pattern=f"^{PLAIN_NAME}$")]
    address: Annotated[str, StringConstraints(pattern=r"^https?://")]
    by_hand: bool = False
    size: Annotated[int, Field(gt=0)] | None = None
    sha256: Hexadecimal | None = None

    @property
    def digest_rule(self) -> str:
        """How the content is verified, in words."""
        if self.sha256 is None:
            return "SHA-256 of the first download, recorded; a later change is refused"
        kind = (
            "published SHA-256" if len(self.sha256) == 64 else f"published first {len(self.sha256)} digits of SHA-256"
        )
        return f"{kind}: {self.sha256}"


def cache_folder() -> Path:
    """Where fetched and converted files are kept: `PMGS_CACHE`, else `pmgs` in the user's cache folder."""
    chosen = os.environ.get("PMGS_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen) if chosen else Path(home) / "pmgs"


def fetch_file(file: RemoteFile, folder: str | os.PathLike[str] | None = None, *, progress: bool = True) -> Path:
    """Path of a verified copy of `file` in `folder` (default: `downloads` in the cache), fetched if it is not there.

    A dropped download is continued, also by a later call. `DataError` names the address, the reason, and where to
    place a copy by hand; a copy placed there is verified like a fetched one.
    """
    folder = Path(folder) if folder is not None else downloads_folder()
    path = folder / file.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            if not path.is_file():
                _download(file, path, progress)
            verified_digest(file, path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be kept ({error.strerror or error}); make room, or set PMGS_CACHE to another folder"
        ) from error
    return path


def downloads_folder() -> Path:
    """Where `fetch_file` keeps files unless told otherwise."""
    return cache_folder() / "downloads"


def verified_digest(file: RemoteFile, path: Path) -> str:
    """SHA-256 of a copy of `file`, which must agree with the published one and with the one recorded beside it.

    A copy without a record gets one; `DataError` says which of the two disagrees.
    """
    found = file_digest(path)
    _check_digest(file, path, found)
    if not record_path(path).is_file():
        _record(file, path, found)
    return found


def record_path(path: Path) -> Path:
    """The JSON record beside a fetched file: its digest, size and address."""
    return path.with_name(f"{path.name}.record.json")


def recorded_digest(path: Path) -> str | None:
    """The digest recorded for a fetched file, also if the file itself is gone; None without a record."""
    record = record_path(path)
    if not record.is_file():
        return None
    content: Any = read_json(record, what="record of a download")
    digest = content.get("sha256") if isinstance(content, dict) else None
    if not isinstance(digest, str) or len(digest) != 64:
        raise DataError(f"record of a download {record}: holds no SHA-256; delete it and the file beside it")
    return digest


def _download(file: RemoteFile, path: Path, progress: bool) -> None:
    from pmgs_lib.data.transfer import TransferError, forget, transfer  # requests and tqdm: only where bytes move

    if file.by_hand:
        raise DataError(f"{file.name}: must be fetched by hand from {file.address}; place it as {path}")
    partial = path.with_name(f".{path.name}.part")
    try:
        transfer(file.address, partial, expected_bytes=file.size, progress=progress)
    except TransferError as reason:
        kept = "; what has arrived is kept, call again to continue" if partial.exists() else ""
        raise DataError(
            f"{file.name}: cannot be fetched from {file.address}: {reason}{kept}, or place the file as {path} yourself"
        ) from reason
    found = file_digest(partial)
    try:
        _check_digest(file, path, found, what="what was fetched")
    except DataError:
        forget(partial)
        raise
    _record(file, path, found, size=partial.stat().st_size)
    with partial.open("rb") as content:
        os.fsync(content.fileno())
    os.replace(partial, path)
    forget(partial)


def _check_digest(file: RemoteFile, path: Path, found: str, what: str = "the file") -> None:
    if file.sha256 is not None and not found.startswith(file.sha256):
        raise DataError(
            f"{path}: SHA-256 of {what} is {found[:16]}..., its authors publish {file.sha256[:16]} ({file.address}); "
            "it is damaged or another file: delete it if it is there and fetch it again"
        )
    recorded = recorded_digest(path)
    if recorded not in (None, found):
        raise DataError(
            f"{path}: SHA-256 of {what} is {found[:16]}..., {recorded[:16]}... was recorded at the first download from "
            f"{file.address}; if the change is meant, delete {record_path(path).name} and call again"
        )


def _record(file: RemoteFile, path: Path, found: str, size: int | None = None) -> None:
    size = path.stat().st_size if size is None else size
    write_json(record_path(path), {"address": file.address, "bytes": size, "sha256": found})


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file against other processes; says so once where it has to wait."""
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.warning("%s: another process is fetching it; waiting for that", path.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
