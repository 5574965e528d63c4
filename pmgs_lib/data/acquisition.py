"""Fetching what the catalogue lists: resumed, verified, unpacked whole; missing licences and tokens are named."""

import os
import shutil
import zipfile
from pathlib import Path

from pmgs_lib.data.catalogue import ENTRIES, DataEntry, data_entry
from pmgs_lib.data.downloads import fetch_file
from pmgs_lib.data.folders import INDEX_NAME
from pmgs_lib.data.roots import data_root, dataset_folder, sources_folder
from pmgs_lib.errors import DataError, ParameterError

TOKEN_VARIABLE = "HF_TOKEN"
TOKEN_PAGE = "https://huggingface.co/settings/tokens"
SPARE_BYTES = 1 << 30  # left free on the disk beside what is unpacked


def fetch_data(name: str, *, part: str | None = None, progress: bool = True) -> Path:
    """Fetch an entry of the catalogue into `<data root>/sources/<name>` and unpack it; returns that folder.

    part: one of the entry's parts (`1K` ... of DL3DV). Call again to go on after an interruption. Raises DataError that
    names what is missing: the network, a token, a licence to accept, or the page where a person must fetch it.
    """
    entry = data_entry(name)
    if (part is not None and part not in entry.parts) or (part is None and entry.parts):
        expected = ", ".join(entry.parts) or "none: it has no parts"
        raise ParameterError(f"data set {name}: part {part!r}; expected one of {expected}")
    folder = sources_folder() / name
    if entry.repository is not None:
        archives = _fetch_repository(entry, folder, part)
    else:
        archives = [fetch_file(file, folder, progress=progress) for file in entry.files]
    for archive in archives:
        if archive.suffix == ".zip":
            unpack(archive, archive.with_suffix(""))
    return folder


def catalogue_table() -> list[dict[str, str]]:
    """A row for each entry: name, what, size, licence, where from, how it is fetched, and what of it is here."""
    return [
        {
            "name": entry.name,
            "what": entry.what,
            "size": entry.size or "not stated",
            "licence": entry.licence,
            "from": entry.source,
            "how": _how(entry),
            "here": _here(entry),
        }
        for entry in ENTRIES
    ]


def _how(entry: DataEntry) -> str:
    if entry.by_hand:
        return f"by hand from {entry.files[0].address}"
    parts = f" --part {entry.parts[0]} ... {entry.parts[-1]}" if entry.parts else ""
    gate = f"; licence to accept on its page, token in {TOKEN_VARIABLE}" if entry.gated else ""
    return f"pmgs data {entry.name}{parts}{gate}"


def _here(entry: DataEntry) -> str:
    chunks = [s for s in ("train", "test") if (dataset_folder(entry.dataset) / s / INDEX_NAME).is_file()]
    fetched = sources_folder() / entry.name
    found = [f"imported: {' and '.join(chunks)} in {dataset_folder(entry.dataset)}"] if chunks else []
    if fetched.is_dir() and any(path for path in fetched.iterdir() if not path.name.startswith(".")):
        found.append(f"fetched, whole or in part: {fetched}")
    return "; ".join(found) or f"not under {data_root()}"


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a zip file into `folder`, which appears whole or not at all; one that is there is left as it is.

    Raises DataError for a damaged archive, one with names that lead out of the folder, and a disk without room.
    """
    if folder.is_dir():
        return folder
    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as content:
            _check_names(archive, content)
            _check_room(archive, sum(entry.file_size for entry in content.infolist()))
            content.extractall(partial)
        os.replace(partial, folder)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as fault:
        raise DataError(f"archive {archive}: cannot be unpacked ({fault}); delete it and fetch it again") from fault
    except OSError as fault:
        raise DataError(
            f"archive {archive}: cannot be unpacked into {folder} ({fault.strerror or fault}); make room and call again"
        ) from fault
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _check_names(archive: Path, content: zipfile.ZipFile) -> None:
    for name in content.namelist():
        if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or ":" in name[:2]:
            raise DataError(f"archive {archive}: {name!r} leads out of its folder; do not use this file")


def _check_room(archive: Path, needed: int) -> None:
    free = shutil.disk_usage(archive.parent).free
    if free < needed + SPARE_BYTES:
        raise DataError(
            f"archive {archive}: {needed:,} bytes to unpack and {SPARE_BYTES:,} to spare, {free:,} free; make room"
        )


def _fetch_repository(entry: DataEntry, folder: Path, part: str | None) -> list[Path]:
    """Files of a repository on Hugging Face; its client resumes and compares sizes and digests itself."""
    import huggingface_hub
    from huggingface_hub import errors

    if entry.gated and huggingface_hub.get_token() is None:
        raise DataError(
            f"data set {entry.name}: no token; accept the licence on {entry.source}, make a token on {TOKEN_PAGE} and "
            f"set {TOKEN_VARIABLE} to it"
        )
    patterns = [pattern.format(part=part) for pattern in entry.patterns]
    try:
        huggingface_hub.snapshot_download(
            entry.repository, repo_type="dataset", local_dir=folder, allow_patterns=patterns
        )
    except (errors.GatedRepoError, errors.RepositoryNotFoundError) as fault:
        raise DataError(
            f"data set {entry.name}: access is refused; accept the licence on {entry.source} with the account that the "
            f"token in {TOKEN_VARIABLE} belongs to ({type(fault).__name__})"
        ) from fault
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as fault:
        reason = next(iter(str(fault).strip().splitlines()), type(fault).__name__)
        raise DataError(
            f"data set {entry.name}: cannot be fetched from {entry.source}: {reason}; what has arrived is kept, call "
            "again to go on"
        ) from fault
    return [path for pattern in patterns for path in sorted(folder.glob(pattern))]
