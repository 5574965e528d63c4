"""Training states on disk: one file a state, whole or absent, and never trusted before its content was verified.

A state is a nest of dicts, lists and tuples with tensors, numbers, texts and None at its ends. It is written as
safetensors: the tensors, the nest as JSON among them, and a SHA-256 of all in the header. So reading one executes
nothing, and a changed byte is noticed. Numbers come back exactly, tensors to the bit, and what was one tensor in two
places is one again.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pmgs_lib.data.files import replaced_atomically
from pmgs_lib.errors import CheckpointError, first_line

logger = logging.getLogger(__name__)

FORMAT = "pmgs-training-state-1"
STATE_NAME = re.compile(r"step-(\d{8,})\.safetensors")
NEST = "nest"  # the JSON among the tensors; their names begin with "state."
LEFTOVERS = ".step-*.part"  # of writers that were killed


def state_path(folder: Path, step: int) -> Path:
    """Where the state after `step` steps lies."""
    return folder / f"step-{step:08d}.safetensors"


def list_states(folder: Path) -> list[tuple[int, Path]]:
    """Steps and files of the states in a folder, newest first; unverified. Empty if there is no such folder."""
    if not folder.is_dir():
        return []
    found = [(STATE_NAME.fullmatch(path.name), path) for path in folder.iterdir()]
    return sorted(((int(match[1]), path) for match, path in found if match), reverse=True)


def save_state(folder: Path, step: int, state: dict[str, Any], *, keep: int = 2) -> Path:
    """Write the state after `step` steps, read it back, and only then remove all but the newest `keep`.

    Raises `CheckpointError` for a tensor that is not finite, for a kind of value that cannot be kept, and where the
    file cannot be written (a full disk) or does not come back as it was; the states before it stay then.
    """
    path = state_path(folder, step)
    where = f"training state {path}"
    packing = _Packing(where)
    nest = json.dumps(packing.packed(state, "state")).encode()
    tensors = packing.tensors | {NEST: torch.frombuffer(bytearray(nest), dtype=torch.uint8)}
    digest = _digest(sorted(tensors.items()))
    remove_leftovers(folder)
    try:
        with replaced_atomically(path) as sibling:
            save_file(tensors, sibling, metadata={"format": FORMAT, "sha256": digest})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{where}: cannot be written ({getattr(error, 'strerror', None) or first_line(error)}); make room or check "
            "the folder's permissions, then start the same command again: the states before it are kept"
        ) from error
    try:
        verify_state(path)
    except CheckpointError:
        path.unlink(missing_ok=True)
        raise
    for _, old in list_states(folder)[keep:]:
        old.unlink(missing_ok=True)
    return path


def load_state(path: Path) -> dict[str, Any]:
    """One state, its tensors on the CPU. `CheckpointError` if the file is not exactly what was written."""
    with _opened(path) as file:
        expected = _expected_digest(file, path)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (the file is no mapping)
        _compare(_digest(sorted(tensors.items())), expected, path)
    return _unpacked(json.loads(tensors[NEST].numpy().tobytes()), tensors)


def verify_state(path: Path) -> None:
    """Read a state once through, a tensor at a time; `CheckpointError` if it is not exactly what was written."""
    with _opened(path) as file:
        expected = _expected_digest(file, path)
        _compare(_digest((name, file.get_tensor(name)) for name in sorted(file.keys())), expected, path)


def load_newest_state(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """The newest state that is whole, with its step; None where none was ever kept.

    A damaged file is told in the log and the one before it is taken. `CheckpointError` when all there are are damaged:
    to begin again without a word would hide it.
    """
    remove_leftovers(folder)
    states = list_states(folder)
    for step, path in states:
        try:
            return step, load_state(path)
        except CheckpointError as damage:
            logger.warning("%s; the state before it is taken instead", damage)
    if states:
        raise CheckpointError(
            f"training states {folder}: all {len(states)} are damaged; remove them to begin anew, or look at the disk"
        )
    return None


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files of killed writers; call it only as the one writer there is."""
    for path in folder.glob(LEFTOVERS):
        path.unlink(missing_ok=True)


# --- a file, read with suspicion ---


class _opened:  # noqa: N801 (used like a function)
    """`safe_open` with our errors."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Any:
        try:
            self.file = safe_open(self.path, framework="pt")
        except (SafetensorError, OSError, ValueError) as error:
            raise self._damaged(error) from error
        return self.file.__enter__()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.file.__exit__(kind, error, trace)
        if isinstance(error, SafetensorError | OSError | ValueError | KeyError):
            raise self._damaged(error) from error

    def _damaged(self, error: BaseException) -> CheckpointError:
        return CheckpointError(f"training state {self.path}: is damaged ({first_line(error)}); use one before it")


def _expected_digest(file: Any, path: Path) -> str:
    header = file.metadata() or {}
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"training state {path}: format is {header.get('format')!r}, expected {FORMAT!r}; it is no training state, "
            "or one of another version: use the version that began this training"
        )
    return header["sha256"]


def _compare(digest: str, expected: str, path: Path) -> None:
    if digest != expected:
        raise CheckpointError(
            f"training state {path}: is damaged (SHA-256 is {digest[:12]}..., written was {expected[:12]}...); use one "
            "before it"
        )


def _digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 over each tensor's name, type, shape and bytes; callers give them in the order of the names."""
    parts = hashlib.sha256()
    for name, value in tensors:
        parts.update(f"\0{name} {value.dtype} {tuple(value.shape)}\0".encode())
        parts.update(value.reshape(-1).view(torch.uint8).numpy())
    return parts.hexdigest()


# --- nests as JSON ---


class _Packing:
    """A nest as JSON, what JSON has no word for as `{kind: content}`, and its tensors aside, by name."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.tensors: dict[str, Tensor] = {}
        self._names: dict[tuple[Any, ...], str] = {}
        self._memory: set[int] = set()

    def packed(self, value: Any, name: str) -> Any:
        if isinstance(value, Tensor):
            return {"tensor": self._kept(value.detach(), name)}
        if isinstance(value, dict):
            faulty = [key for key in value if not isinstance(key, str | int)]
            if faulty:
                raise CheckpointError(f"{self.where}: {name} has the key {faulty[0]!r}; expected texts, whole numbers")
            return {"dict": [[key, self.packed(item, f"{name}.{key}")] for key, item in value.items()]}
        if isinstance(value, list | tuple):
            items = [self.packed(item, f"{name}.{place}") for place, item in enumerate(value)]
            return {"tuple": items} if isinstance(value, tuple) else items
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise CheckpointError(
            f"{self.where}: {name} is a {type(value).__name__}; expected tensors, numbers, texts, None, dicts, lists "
            "or tuples"
        )

    def _kept(self, value: Tensor, name: str) -> str:
        """The name under which a tensor is stored; one that stands in two places is stored once."""
        same = (value.device, value.data_ptr(), value.dtype, tuple(value.shape), value.stride())
        if value.numel() and same in self._names:
            return self._names[same]
        if value.is_floating_point() and not value.isfinite().all():
            raise CheckpointError(f"{self.where}: not written, {name} is not finite; begin again from the state before")
        copy = value.cpu().contiguous()
        memory = copy.untyped_storage().data_ptr()
        if memory in self._memory or copy.untyped_storage().nbytes() != copy.nbytes:
            copy = copy.clone()  # a view of more than itself, or two views of one memory: safetensors refuses those
        self._memory.add(memory)
        self._names[same] = name
        self.tensors[name] = copy
        return name


def _unpacked(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, tensors) for item in value]
    if isinstance(value, dict):
        ((kind, content),) = value.items()
        if kind == "tensor":
            return tensors[content]
        if kind == "tuple":
            return tuple(_unpacked(item, tensors) for item in content)
        return {key: _unpacked(item, tensors) for key, item in content}
    return value
