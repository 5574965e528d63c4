"""Numbers of a training as a CSV file with a row a step, which a kill at any moment leaves readable and continuable."""

import os
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path

from pmgs_lib.data.files import replaced_atomically


class AppendedFile:
    """A file that grows by whole pieces, handed to the operating system at once.

    A piece that does not fit on the disk is taken back, so that what stands in the file stays readable.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self.size = os.fstat(self.descriptor).st_size

    def append(self, piece: bytes, start: int | None = None) -> None:
        """Write at the end, or from byte `start` on in place of what stands there. Raises OSError."""
        self.size = self.size if start is None else start
        os.ftruncate(self.descriptor, self.size)  # takes away what an earlier failure may have left
        written = 0
        try:
            while written < len(piece):
                written += os.pwrite(self.descriptor, piece[written:], self.size + written)
        except OSError:
            os.ftruncate(self.descriptor, self.size)
            raise
        self.size += written

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class StepTable:
    """A CSV file whose first column is `step`, ascending.

    An existing file is continued behind `first_step`: later rows and a half-written last line are cut off, so that the
    file of a resumed training equals that of an uninterrupted one; 0 begins anew. Columns appear with their first
    value; cells without one are empty. Floats are written with all their digits.
    """

    def __init__(self, path: Path, first_step: int = 0) -> None:
        self.path = path
        self.columns: list[str] = []
        self._last: dict[str, str] = {}
        self._start = 0  # where the last row begins
        self._file = AppendedFile(path)
        try:
            self._continue_behind(first_step)
        except OSError:
            self._file.close()
            raise

    def _continue_behind(self, first_step: int) -> None:
        header, *lines = self.path.read_bytes().splitlines(keepends=True) or [b""]
        columns = header.decode(errors="replace").rstrip("\n").split(",")
        whole = first_step > 0 and columns[0] == "step" and header.endswith(b"\n")
        rows = _rows_up_to(lines, len(columns), first_step) if whole else []
        end = len(header) + sum(map(len, rows)) if rows else 0
        self._file.append(b"", end)
        if rows:
            self.columns, self._start = columns, end - len(rows[-1])
            self._last = dict(zip(columns, rows[-1].decode().rstrip("\n").split(","), strict=True))

    @property
    def last_step(self) -> int:
        """The step of the last row, 0 where there is none."""
        return int(self._last.get("step", 0))

    def write(self, step: int, values: Mapping[str, int | float]) -> None:
        """Append a row, or add `values` to the last one if that is of the same step. Raises OSError."""
        same = step == self.last_step and bool(self._last)
        cells = (self._last if same else {}) | {"step": str(step)} | {name: _text(v) for name, v in values.items()}
        start = self._start if same else self._file.size
        new = [name for name in cells if name not in self.columns]
        if new:
            start = self._widen(new, start)
        self._file.append(self._line(cells), start)
        self._last, self._start = cells, start

    def read(self, name: str) -> dict[int, float]:
        """A column by step, where it has a value. Raises OSError."""
        if name not in self.columns:
            return {}
        place = self.columns.index(name)
        rows = (line.split(",") for line in self.path.read_text(encoding="utf-8").splitlines()[1:])
        return {int(cells[0]): float(cells[place]) for cells in rows if cells[place]}

    def _line(self, cells: Mapping[str, str]) -> bytes:
        return (",".join(cells.get(name, "") for name in self.columns) + "\n").encode()

    def _widen(self, new: list[str], end: int) -> int:
        """Give the rows before byte `end` further columns; returns where they now end."""
        _header, *lines = self.path.read_bytes()[:end].splitlines() or [b""]
        columns = [*self.columns, *new]
        rows = [",".join(columns).encode(), *(line + b"," * len(new) for line in lines)]
        with replaced_atomically(self.path) as sibling:
            sibling.write_bytes(b"\n".join(rows) + b"\n")
        self._file.close()
        self._file, self.columns = AppendedFile(self.path), columns
        has_last = end > self._start  # the last row is among those before `end`, and moved with them
        self._start = self._file.size - (len(rows[-1]) + 1 if has_last else 0)
        return self._file.size

    def close(self) -> None:
        self._file.close()


def _rows_up_to(lines: list[bytes], width: int, last_step: int) -> list[bytes]:
    """The first lines that are whole rows of ascending steps, none behind `last_step`."""
    kept: list[bytes] = []
    before = -1
    for line in lines:
        cells = line.rstrip(b"\n").split(b",")
        whole = line.endswith(b"\n") and len(cells) == width and cells[0].isdigit()
        if not whole or not before < int(cells[0]) <= last_step:
            break
        before = int(cells[0])
        kept.append(line)
    return kept


def _text(value: int | float) -> str:
    return str(int(value)) if isinstance(value, Integral) else repr(float(value))
