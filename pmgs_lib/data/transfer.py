"""Bytes over HTTP into a partial file that survives drops, kills and restarts, and is only ever continued safely.

A partial file is continued when the server still offers the same content: it is asked for the rest with `Range` and
`If-Range`, and what it answers (status, `Content-Range`, validator) is compared with what is kept. Everything that may
pass by itself is tried again, and said; everything else ends at once.
"""

import json
import logging
import re
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import requests
from tqdm.auto import tqdm

from pmgs_lib.errors import first_line

ATTEMPTS = 5
WAIT_S = 1.0  # before the second attempt; doubled before each further one
TIMEOUT_S = (10.0, 30.0)  # to connect, and between two packets
CHUNK_BYTES = 1 << 18  # lost at a drop at most
SPARE_BYTES = 256 << 20  # left free on the disk beside the file
TRANSIENT_STATUS = {408, 429, 500, 502, 503, 504}
REASONS = {
    401: "the server asks for a login (HTTP 401)",
    403: "the server refuses access (HTTP 403): a licence to accept, a login, or a limit on downloads",
    404: "there is no such file on the server (HTTP 404): moved or withdrawn",
    410: "the file was withdrawn (HTTP 410)",
}
log = logging.getLogger(__name__)


class TransferError(Exception):
    """Why a file could not be had. Callers add the file's name and what to do instead."""


class Transient(Exception):  # noqa: N818 (a cause, not yet an error)
    """A cause that may be gone at the next attempt."""


@dataclass(frozen=True)
class Source:
    """Which content a partial file is the beginning of. validator: its strong ETag, or when it was last modified."""

    address: str
    validator: str | None
    total: int | None


def transfer(address: str, partial: Path, *, expected_bytes: int | None = None, progress: bool = True) -> None:
    """Complete `partial` with the content of `address`; raises `TransferError` and keeps what has arrived."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _attempt(address, partial, expected_bytes, progress)
        except Transient as cause:
            if attempt == ATTEMPTS:
                raise TransferError(f"{cause}, also at attempt {attempt} of {ATTEMPTS}") from cause
            log.warning("%s: %s; attempt %d of %d follows", address, cause, attempt + 1, ATTEMPTS)
            time.sleep(WAIT_S * 2 ** (attempt - 1))


def forget(partial: Path) -> None:
    """Remove a partial file with its notes."""
    partial.unlink(missing_ok=True)
    _notes(partial).unlink(missing_ok=True)


def _attempt(address: str, partial: Path, expected_bytes: int | None, progress: bool) -> None:
    try:
        with requests.get(address, headers=_headers(address, partial), stream=True, timeout=TIMEOUT_S) as response:
            start = _accepted_start(response, partial)
            source = Source(address, _validator(response), _total(response, start))
            _check_size(source, start, expected_bytes, partial)
            _notes(partial).write_text(json.dumps(asdict(source)), encoding="utf-8")
            _write(response, partial, start, source.total, progress)
    except requests.exceptions.SSLError as error:
        raise TransferError(f"its server cannot be trusted ({first_line(error)})") from error
    except (requests.exceptions.MissingSchema, requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema):
        raise TransferError("its address is no http address") from None
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        at = f"after {partial.stat().st_size:,} bytes" if partial.exists() else "before the first byte (offline?)"
        raise Transient(f"the connection failed {at}: {type(error).__name__}") from error
    except requests.RequestException as error:
        raise TransferError(f"the request failed ({first_line(error)})") from error


def _headers(address: str, partial: Path) -> dict[str, str]:
    """What to ask for: the rest, if there is a beginning that can be told to belong to the same content."""
    headers = {"Accept-Encoding": "identity"}  # offsets count bytes of the file itself
    kept = _kept(partial)
    if kept is None or kept.address != address or kept.validator is None or not partial.stat().st_size:
        forget(partial)
        return headers
    return headers | {"Range": f"bytes={partial.stat().st_size}-", "If-Range": kept.validator}


def _accepted_start(response: requests.Response, partial: Path) -> int:
    """Offset at which the answer begins, once it is an answer that can be used."""
    status = response.status_code
    if status in TRANSIENT_STATUS:
        raise Transient(f"the server is busy or failing (HTTP {status})")
    if status == 416:
        forget(partial)
        raise Transient("the server has less than the partial file holds (HTTP 416), which starts over")
    if status not in (200, 206):
        raise TransferError(REASONS.get(status, f"the server answers HTTP {status}"))
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise TransferError("the server sends a web page instead of the file: a consent or login page, or a moved file")
    if status == 200:
        return 0
    kept, start = _kept(partial), partial.stat().st_size if partial.exists() else 0
    told = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if told is None or int(told[1]) != start or kept is None or _validator(response) not in (None, kept.validator):
        forget(partial)
        raise Transient("the server continues another content than the partial file's, which starts over")
    return start


def _check_size(source: Source, start: int, expected_bytes: int | None, partial: Path) -> None:
    if source.total is None:
        return
    if expected_bytes not in (None, source.total):
        raise TransferError(f"the server offers {source.total:,} bytes, expected {expected_bytes:,}: another file")
    free, needed = shutil.disk_usage(partial.parent).free, source.total - start + SPARE_BYTES
    if free < needed:
        raise TransferError(f"{partial.parent} has {free:,} bytes free, {needed:,} are needed: free some")


def _write(response: requests.Response, partial: Path, start: int, total: int | None, progress: bool) -> None:
    bar = tqdm(
        total=total, initial=start, unit="B", unit_scale=True, desc=partial.stem.lstrip("."), disable=not progress
    )
    with partial.open("r+b" if start else "wb") as file, bar:
        file.seek(start)
        for chunk in response.iter_content(CHUNK_BYTES):
            if not start and not file.tell() and _is_page(chunk):
                raise TransferError("the server sends a web page instead of the file, without saying so")
            file.write(chunk)
            bar.update(len(chunk))
        file.truncate()
        arrived = file.tell()
    if total is not None and arrived != total:
        raise Transient(f"the connection ended after {arrived:,} of {total:,} bytes")


def _total(response: requests.Response, start: int) -> int | None:
    whole = response.headers.get("Content-Range", "").rpartition("/")[2]
    if start and whole.isdigit():
        return int(whole)
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdigit() else None


def _validator(response: requests.Response) -> str | None:
    """A strong ETag, else the time of the last change: what `If-Range` may be asked with."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _kept(partial: Path) -> Source | None:
    try:
        return Source(**json.loads(_notes(partial).read_text(encoding="utf-8"))) if partial.is_file() else None
    except (OSError, ValueError, TypeError):  # no notes, or not ours: the partial file cannot be continued
        return None


def _notes(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _is_page(beginning: bytes) -> bool:
    return beginning[:64].lstrip().lower().startswith((b"<!doctype html", b"<html"))
