"""Mutated files: edits drawn by hypothesis, applied to the bytes or JSON of a sound file, and what they may cost."""

import contextlib
import copy
import json
import logging
import math
import resource
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from pmgs_lib.errors import PmgsError

MOST_SECONDS, MOST_BYTES = 2.0, 512 << 20
LIFELINE_BYTES = 4 << 30  # beyond what the test has: a case that asks for more gets a MemoryError, not the machine
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
ODD = (
    None, True, False, -1, 0, 1, 7, 2**31, 2**63, 10**40, 0.5, -0.5, 1e-320, 1e308, -1e308, math.nan, math.inf, "", "a",
    "../a", "/etc/hostname", "a/../../b", "a\0b", "\ud800", "x" * 5000, "é" * 200, "0001.jpg", [], {}, [[]], [None],
    [0] * 300, {"a": 1}, {"frames": []}, [[[[[[]]]]]],
)  # fmt: skip

Edit = tuple[str, int, int]
PLACES = st.integers(0, 2**32 - 1)
byte_edits = st.lists(
    st.tuples(st.sampled_from(("set", "number", "cut", "double", "swap", "end", "head", "tail")), PLACES, PLACES),
    min_size=1,
    max_size=5,
)
json_edits = st.lists(
    st.tuples(st.sampled_from(("odd", "odd", "nudge", "nudge", "drop", "double", "copy")), PLACES, PLACES),
    min_size=1,
    max_size=4,
)


def edited_bytes(content: bytes, edits: list[Edit]) -> bytes:
    """Single bytes and little-endian numbers overwritten, pieces cut out, doubled or swapped, an end cut off.

    "head" and "tail" overwrite bytes of the first and last thousand: there stand headers, and a zip's directory.
    """
    result = bytearray(content)
    for kind, place, value in edits:
        size = max(len(result), 1)
        at, length = place % size, (1, 2, 16, 1000)[value % 4]
        if kind in ("head", "tail"):
            at = at % 1000 if kind == "head" else max(0, size - 1 - at % 1000)
        if kind in ("set", "head", "tail"):
            result[at : at + 1] = bytes([value % 256])
        elif kind == "number":
            width = (2, 4, 8)[value % 3]
            result[at : at + width] = struct.pack("<Q", NUMBERS[value // 3 % len(NUMBERS)])[:width]
        elif kind == "cut":
            del result[at : at + length]
        elif kind == "double":
            result[at:at] = result[at : at + length]
        elif kind == "swap":
            other = (at + value) % size
            result[at : at + 8], result[other : other + 8] = result[other : other + 8], result[at : at + 8]
        else:
            del result[at:]
    return bytes(result)


def edited_json(content: Any, edits: list[Edit]) -> str:
    """JSON with values put in the place of others, removed, repeated, or copied from elsewhere in it."""
    root = [copy.deepcopy(content)]
    for kind, place, value in edits:
        spots = list(_spots(root))
        parent, name = spots[place % len(spots)]
        if kind == "odd":
            parent[name] = copy.deepcopy(ODD[value % len(ODD)])
        elif kind == "nudge":
            if isinstance(parent[name], int | float):
                parent[name] += (value % 4001 - 2000) * (1 if isinstance(parent[name], int) else 1e-3)
        elif kind == "copy":
            source, other = spots[value % len(spots)]
            parent[name] = copy.deepcopy(source[other])
        elif parent is not root and isinstance(parent, list) and kind == "double":
            parent.insert(name, copy.deepcopy(parent[name]))
        elif parent is not root:
            del parent[name]
    return json.dumps(root[0])


def _spots(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in nested lists and dicts that holds a value, as the container and the key in it."""
    for name in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, name
        if isinstance(node[name], dict | list):
            yield from _spots(node[name])


@dataclass
class Door:
    """Sound files, and a call that reads them. One edited file at a time goes through it."""

    files: tuple[Path, ...]
    read: Callable[[], object]
    as_json: bool = False
    sign: Callable[[str], str] = str
    cases: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    most_bytes: int = 0
    sound: dict[Path, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sound = {path: path.read_bytes() for path in self.files}
        self.read()

    def try_edits(self, edits: list[Edit]) -> None:
        """Read one edited file: only a PmgsError may come out, soon and without much memory."""
        path = self.files[edits[0][1] % len(self.files)]
        content = self.sound[path]
        if self.as_json:
            text = edited_json(json.loads(content), edits)
            path.write_text(self.sign(text), encoding="utf-8", errors="surrogatepass")
        else:
            path.unlink()  # the sound file may still be mapped
            path.write_bytes(edited_bytes(content, edits))
        began, before = time.process_time(), _reset_peak()
        try:
            self.read()
        except PmgsError:
            self.refused += 1
        seconds, grown = time.process_time() - began, _peak() - before
        path.unlink()
        path.write_bytes(content)
        self.cases += 1
        self.slowest_s, self.most_bytes = max(self.slowest_s, seconds), max(self.most_bytes, grown)
        assert seconds < MOST_SECONDS, f"{seconds:.1f} s of processor time"
        assert grown < MOST_BYTES, f"{grown >> 20} MB"


def _memory(name: str) -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(f"{name}:"))


def _reset_peak() -> int:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return _memory("VmRSS")


def _peak() -> int:
    return _memory("VmHWM")


@contextlib.contextmanager
def lifeline() -> Iterator[None]:
    """No case may take the machine down, whatever it asks for."""
    old = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_memory("VmData") + LIFELINE_BYTES, old[1]))
    logging.disable()  # pytest keeps every record
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        resource.setrlimit(resource.RLIMIT_DATA, old)
