"""Tensors out of the files of released projects, whatever else those hold. Nothing in a file is executed.

Training checkpoints carry pickled objects of classes that are not installed here, and need not be. torch's restricted
unpickler runs with stand-ins for them: each swallows what its class would have been built from. Python's own unpickler,
which calls what a file names, is never used.
"""

import logging
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, serialization

from pmgs_lib.errors import CheckpointError, first_line

SHOWN_KEYS = 6  # so many of each sort are written out in an error; the others are counted
# What acts when it is called. A stand-in would make it harmless, but a file that asks for it is none of weights.
ACTING_MODULES = {"os", "posix", "nt", "sys", "subprocess", "shutil", "socket", "ctypes", "importlib", "runpy", "pty"}
ACTING_MODULES |= {"io", "_io", "pickle", "_pickle", "marshal", "multiprocessing", "webbrowser", "timeit", "commands"}
ACTING_BUILTINS = {
    "eval",
    "exec",
    "execfile",
    "compile",
    "open",
    "input",
    "breakpoint",
    "__import__",
    "globals",
    "setattr",
}
log = logging.getLogger(__name__)


def read_released(path: Path) -> dict[str, Tensor]:
    """Tensors of a released `.pth` or `.ckpt` file under the names of our modules, whatever it wraps them in.

    Known wrappings: none; `state_dict` (also of a whole training checkpoint); `model`; names with or without the prefix
    `encoder.`; names relative to the depth network. `CheckpointError` for anything else, and for a file that asks for
    functions that act.
    """
    return our_names(read_tensors(path))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a `.pth` or `.ckpt` file, out of their wrapping, under the names they have there."""
    content = _unpickled(path)
    for wrapping in ("state_dict", "model"):
        if isinstance(content, Mapping) and wrapping in content:
            content = content[wrapping]
            break
    if not isinstance(content, Mapping):
        raise CheckpointError(f"checkpoint {path}: holds a {type(content).__name__}; expected a dictionary of tensors")
    foreign = [str(key) for key, value in content.items() if not (isinstance(key, str) and _is_plain(value))]
    if foreign:
        raise CheckpointError(f"checkpoint {path}: {listed(foreign)} no tensors; expected weights only")
    return dict(content)


def our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of our modules: without `encoder.`, and from the whole model's root."""
    if any(key.startswith("encoder.") for key in state):
        return {key.removeprefix("encoder."): value for key, value in state.items()}
    inside = any(key.startswith("depth_predictor.") for key in state)
    relative = not inside and any(key.startswith(("backbone.", "pretrained.")) for key in state)
    return {f"depth_predictor.{key}" if relative else key: value for key, value in state.items()}


def listed(keys: list[str]) -> str:
    """The first of them, and how many more."""
    rest = len(keys) - SHOWN_KEYS
    return ", ".join(keys[:SHOWN_KEYS]) + (f" and {rest} more" if rest > 0 else "")


class StandIn:
    """In place of a class or function that a file names: takes any arguments and any state, and does nothing."""

    def __new__(cls, *_: Any) -> Any:
        return object.__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class MappingStandIn(StandIn):
    """In place of a kind of dictionary: a plain one, as the unpickler fills no other."""

    def __new__(cls, *_: Any) -> Any:
        return OrderedDict()


class SequenceStandIn(StandIn):
    """In place of a kind of list."""

    def __new__(cls, *_: Any) -> Any:
        return []


STAND_INS = (StandIn, MappingStandIn, SequenceStandIn)


def _unpickled(path: Path) -> Any:
    """What a file holds, objects of unknown classes replaced by stand-ins."""
    zipped = zipfile.is_zipfile(path)
    try:
        with _no_other_classes():
            unknown = sorted(serialization.get_unsafe_globals_in_checkpoint(path)) if zipped else []
            acting = [name for name in unknown if _acts(name)]
            if acting:
                raise CheckpointError(
                    f"checkpoint {path}: asks for {listed(acting)}, which no file of weights needs; nothing of it was "
                    "executed; do not trust it, and fetch the file from its authors"
                )
            if unknown:
                log.info("%s: objects of %s are left unread", path, listed(unknown))
            return _load_with_stand_ins(path, unknown, zipped)
    except CheckpointError:
        raise
    except Exception as error:  # damaged bytes make the unpickler raise almost anything
        raise CheckpointError(
            f"checkpoint {path}: holds no plain tensors or is damaged ({_reason(error)}); fetch it again"
        ) from error


def _load_with_stand_ins(path: Path, unknown: list[str], zipped: bool) -> Any:
    """`torch.load`, with for each unknown name the first stand-in that the file's instructions can be applied to."""
    kinds, unfit = dict.fromkeys(unknown, 0), None
    while True:
        stand_ins = [(type(f"<{name}>", (STAND_INS[kind],), {}), name) for name, kind in kinds.items()]
        try:
            with serialization.safe_globals(stand_ins):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        except UnpicklingError as error:
            # A stand-in is named by the error; one that is a plain dictionary is not, but was the last to be changed.
            unfit = next((name for name in unknown if f"<{name}>" in str(error)), unfit)
            if unfit is None or kinds[unfit] + 1 == len(STAND_INS):
                raise
            kinds[unfit] += 1


@contextmanager
def _no_other_classes() -> Iterator[None]:
    """Whatever this process has declared safe to unpickle is not, for this file."""
    declared = serialization.get_safe_globals()
    serialization.clear_safe_globals()
    try:
        yield
    finally:
        serialization.clear_safe_globals()
        serialization.add_safe_globals(declared)


def _acts(name: str) -> bool:
    module, _, rest = name.partition(".")
    return module in ACTING_MODULES or (module in ("builtins", "__builtin__") and rest in ACTING_BUILTINS)


def _is_plain(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided and value.device.type == "cpu"


def _reason(error: Exception) -> str:
    asked = re.search(r"(Unsupported global: GLOBAL \S+|Trying to \w+ [^.\n]+)", str(error))
    return asked[1] if asked else first_line(error)
