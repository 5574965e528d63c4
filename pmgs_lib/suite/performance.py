"""Measured times and memory beside what they must be: read from files of real measurements, never from a guess."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal

from pmgs_lib.errors import DataError
from pmgs_lib.suite.tables import CELL, HEAD, LEFT, QUIET, SCROLLING, TABLE

Verdict = Literal["MET", "MISSED", "NOT MEASURED"]
COLORS: Mapping[Verdict, str] = {"MET": "#14632b", "MISSED": "#a11717", "NOT MEASURED": "#595959"}
HEADINGS = ("ours, median", "range", "must be", "released code", "ratio", "verdict", "measured")
DIGITS = {"ms": 1, "GiB": 2, "dB": 1, "%": 1, "times": 2}


@dataclass(frozen=True)
class Target:
    """A figure to beat. path: where a file of measurements has ours. One of at_most and at_least is given, in `unit`.

    released: the same work by the released code on the same kind of device, where it was measured.
    """

    work: str
    path: tuple[str, ...]
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    released: float | None = None

    @property
    def limit_text(self) -> str:
        return f"≤ {self.at_most:g}" if self.at_least is None else f"≥ {self.at_least:g}"


@dataclass(frozen=True)
class Comparison:
    """A target and what was measured for it: repeats in its unit, empty where nobody has measured."""

    target: Target
    values: tuple[float, ...] = ()
    commit: str = ""
    source: str = ""

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values else None

    @property
    def verdict(self) -> Verdict:
        """By the median; the range beside it says how far single values lie."""
        if self.median is None:
            return "NOT MEASURED"
        if self.target.at_least is not None:
            return "MET" if self.median >= self.target.at_least else "MISSED"
        return "MET" if self.target.at_most is not None and self.median <= self.target.at_most else "MISSED"

    @property
    def origin(self) -> str:
        """Which file says so, and at which commit."""
        return f"{self.source}{f', commit {self.commit}' if self.commit else ''}"

    @property
    def ratio(self) -> float | None:
        """How many times less than the released code's."""
        return self.target.released / self.median if self.target.released and self.median else None


def read_targets(file: Path) -> list[Target]:
    """Targets of a JSON list; DataError names the entry that is not one."""
    targets = []
    for place, entry in enumerate(_json(file, list)):
        try:
            numbers = {name: float(entry[name]) for name in ("at_most", "at_least", "released") if name in entry}
            target = Target(**{**entry, **numbers, "path": tuple(entry["path"])})
        except (TypeError, KeyError, ValueError) as fault:
            raise DataError(f"{file.name}: entry {place}: {fault}; expected work, path, unit and a limit") from None
        if (target.at_most is None) == (target.at_least is None):
            raise DataError(f"{file.name}: {target.work}: expected one of at_most and at_least; give one limit")
        targets.append(target)
    return targets


def compare_performance(targets: Sequence[Target], measured: Mapping[str, Mapping[str, Any]]) -> list[Comparison]:
    """Each target with what the files of measurements say; where several do, the one of the latest date counts.

    measured: name of a file -> its content, see `read_measurements`.
    """
    latest = sorted(measured.items(), key=lambda item: str(item[1].get("date", "")))
    found = {target: Comparison(target) for target in targets}
    for name, content in latest:
        for target in targets:
            values = _values(_at(content, target.path), f"{name}: {', '.join(target.path)}")
            if values:
                found[target] = Comparison(target, values, _commit(content, target.path), name)
    return list(found.values())


def read_measurements(file: Path) -> dict[str, Any]:
    """A file of measurements: what was measured, on which device and when; DataError where one of these is not said."""
    content = _json(file, dict)
    for name in ("title", "device", "date"):
        if not isinstance(content.get(name), str):
            raise DataError(f"{file.name}: {name} is {content.get(name)!r}, expected a text; say it in the file")
    return content


def _json(file: Path, kind: type) -> Any:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise DataError(f"{file.name}: not readable as JSON ({fault}); measure again or correct the path") from None
    if not isinstance(content, kind):
        raise DataError(f"{file.name}: a {type(content).__name__}, expected a {kind.__name__}; correct the file")
    return content


def _at(content: Any, path: Sequence[str]) -> Any:
    for step in path:
        content = content.get(step) if isinstance(content, Mapping) else None
    return content


def _values(found: Any, where: str) -> tuple[float, ...]:
    values = [] if found is None else found if isinstance(found, list) else [found]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise DataError(f"{where}: {found!r}, expected a number or a list of numbers; correct the file")
    return tuple(map(float, values))


def _commit(content: Mapping[str, Any], path: Sequence[str]) -> str:
    """The commit said nearest to the numbers."""
    steps = [_at(content, path[:depth]) for depth in range(len(path))]
    return next((str(step["commit"]) for step in reversed(steps) if isinstance(step, Mapping) and "commit" in step), "")


@dataclass(frozen=True)
class PerformanceTable:
    """Comparisons as HTML and as text."""

    comparisons: Sequence[Comparison]
    caption: str

    def __repr__(self) -> str:
        lines = ([c.target.work, *(text for text in _cells(c) if text)] for c in self.comparisons)
        return "\n".join([self.caption, *map("  ".join, lines)])

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col" style="{HEAD}">{name}</th>' for name in HEADINGS[:-1])
        head += f'<th scope="col" style="{HEAD}{LEFT}">{HEADINGS[-1]}</th>'
        name = escape(self.caption)
        return (
            f'<div role="region" aria-label="{name}" tabindex="0" style="{SCROLLING}"><table style="{TABLE}">'
            f'<caption style="text-align:left;padding-bottom:6px">{name}</caption><thead><tr>'
            f'<th scope="col" style="{HEAD}{LEFT}">work</th>{head}</tr></thead>'
            f"<tbody>{''.join(map(_row, self.comparisons))}</tbody></table></div>"
            f'<p style="{QUIET}">ratio: the released code divided by ours; the verdict is of the median</p>'
        )


def _cells(comparison: Comparison) -> list[str]:
    target, values = comparison.target, comparison.values
    digits = DIGITS.get(target.unit, 2)
    median = "" if comparison.median is None else f"{comparison.median:.{digits}f} {target.unit}"
    spread = f"{min(values):.{digits}f} to {max(values):.{digits}f}" if len(values) > 1 else ""
    released = "" if target.released is None else f"{target.released:g} {target.unit}"
    ratio = "" if comparison.ratio is None else f"{comparison.ratio:.1f}"
    limit = f"{target.limit_text} {target.unit}"
    return [median, spread, limit, released, ratio, comparison.verdict, comparison.origin]


def _row(comparison: Comparison) -> str:
    cells = [escape(text) for text in _cells(comparison)]
    cells[5] = f'<b style="color:{COLORS[comparison.verdict]}">{cells[5]}</b>'
    work = f'<th scope="row" style="{CELL};white-space:normal;min-width:14em{LEFT};font-weight:400">'
    shown = "".join(f'<td style="{CELL}">{text}</td>' for text in cells[:-1])
    shown += f'<td style="{CELL};white-space:normal;min-width:12em{LEFT};{QUIET}">{cells[-1]}</td>'
    return f"<tr>{work}{escape(comparison.target.work)}</th>{shown}</tr>"
