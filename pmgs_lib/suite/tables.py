"""Tables of results: methods as rows, metrics as columns, controls apart, each number a link to the run it is from."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import urlsplit

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.metrics import METRICS
from pmgs_lib.suite.result_rows import ARROWS, COLUMNS, NOT_COMPARABLE, Column, ResultRow, label_of

__all__ = ["ARROWS", "COLUMNS", "NOT_COMPARABLE", "Column", "ResultRow", "ResultsTable", "label_of", "results_table"]
MISSING = "n/a"
SPREAD_NOTE = "±: half of the 95 % interval of a mean over seeds (Student's t)"

# Styles stand in the cells: a rendered report needs no style sheet, and a cautious notebook viewer strips those.
SCROLLING = "overflow-x:auto"  # of the box around a table: a narrow window scrolls the table, not the page
TABLE = "border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums;margin:0.5em 0"
HEAD = "text-align:right;padding:4px 7px;border-bottom:1.5px solid #222;font-weight:600;white-space:nowrap"
CELL = "text-align:right;padding:4px 7px;border:none;white-space:nowrap"
LEFT = ";text-align:left"
RULE = ";border-top:1.5px solid #b5b5b5"
QUIET = "color:#5f5f5f;font-size:12px;font-weight:400"


@dataclass(frozen=True)
class ResultsTable:
    """A finished table: `html` for people (no network, no scripts), `text` for terminals and for comparisons."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def results_table(rows: Sequence[ResultRow], columns: Sequence[Column] = COLUMNS, caption: str = "") -> ResultsTable:
    """The table of these rows: contenders first, then the controls under a rule, then why something is missing.

    The best contender of a column is bold when there are at least two. Raises `ParameterError` for no rows or columns,
    a doubled method, or a link that leaves the machine.
    """
    names = [row.method for row in rows]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if not rows or not columns or doubled:
        raise ParameterError(
            f"results_table: {len(rows)} rows, {len(columns)} columns, doubled methods {doubled}; "
            "expected some of each, every method once"
        )
    for row in rows:
        _require_local(row)
    ordered = sorted(rows, key=lambda row: row.control)  # stable: the given order within both groups
    footnotes = _footnotes(ordered, columns)
    return ResultsTable(_html(ordered, columns, footnotes, caption), _text(ordered, columns, footnotes, caption))


def _require_local(row: ResultRow) -> None:
    if row.href is not None and (urlsplit(row.href).scheme or urlsplit(row.href).netloc or row.href.startswith("/")):
        raise ParameterError(
            f"results_table: {row.method} links to {row.href}, expected a path relative to the page; "
            "link to the executed notebook in its run's folder"
        )


def _footnotes(rows: Sequence[ResultRow], columns: Sequence[Column]) -> list[str]:
    """Each reason once, in the order in which a reader meets it; its place in the list is its number."""
    reasons: dict[str, None] = {}
    for row in rows:
        reasons |= {f"{row.method}: {note}": None for note in row.notes}
        reasons |= {_reason(row, column): None for column in columns if row.value(column) is None}
    return list(reasons)


def _reason(row: ResultRow, column: Column) -> str:
    if column.metric in row.missing:
        return row.missing[column.metric]
    return f"no value: the protocol gives {row.method} no such target" if column.split != "overall" else "not measured"


def _best(rows: Sequence[ResultRow], column: Column) -> float | None:
    values = [value for row in rows if _competes(row) and (value := row.value(column)) is not None]
    if len(values) < 2:
        return None
    return max(values) if METRICS[column.metric].better == "higher" else min(values)


def _competes(row: ResultRow) -> bool:
    return not row.control and row.not_comparable is None


def _number(row: ResultRow, column: Column) -> str:
    value = row.value(column)
    return MISSING if value is None else f"{value:.{METRICS[column.metric].digits}f}"


def _spread(row: ResultRow, column: Column) -> str:
    half = row.spread(column)
    return "" if half is None else f"±{half:.{METRICS[column.metric].digits}f}"


def _spread_note(rows: Sequence[ResultRow]) -> list[str]:
    return [SPREAD_NOTE] if any(row.intervals for row in rows) else []


def _marks(row: ResultRow, column: Column, footnotes: Sequence[str]) -> str:
    return str(footnotes.index(_reason(row, column)) + 1) if row.value(column) is None else ""


def _html(rows: Sequence[ResultRow], columns: Sequence[Column], footnotes: Sequence[str], caption: str) -> str:
    best = {column: _best(rows, column) for column in columns}
    head = "".join(_heading(column) for column in columns)
    name = escape(caption or "Results")
    lines = [f'<div role="region" aria-label="{name}" tabindex="0" style="{SCROLLING}">', f'<table style="{TABLE}">']
    lines += [f'<caption style="text-align:left;padding-bottom:6px">{escape(caption)}</caption>'] if caption else []
    lines += [f'<thead><tr><th scope="col" style="{HEAD}{LEFT}">method</th>{head}</tr></thead>', "<tbody>"]
    for previous, row in zip([None, *rows], rows, strict=False):
        first_control = row.control and previous is not None and not previous.control
        rule = RULE if first_control else ""
        cells = "".join(_cell(row, column, best[column], footnotes, rule) for column in columns)
        lines.append(f"<tr>{_method_cell(row, footnotes, rule)}{cells}</tr>")
    lines += ["</tbody></table></div>", *_html_footnotes(footnotes, _spread_note(rows))]
    return "\n".join(lines)


def _heading(column: Column) -> str:
    name, detail = (escape(part) for part in column.heading)
    return f'<th scope="col" style="{HEAD}">{name}<br><span style="{QUIET}">{detail or "&nbsp;"}</span></th>'


def _method_cell(row: ResultRow, footnotes: Sequence[str], rule: str) -> str:
    numbers = ",".join(str(footnotes.index(f"{row.method}: {note}") + 1) for note in row.notes)
    marks = f"<sup>{numbers}</sup>" if numbers else ""
    detail = f'<br><span style="{QUIET}">{escape(row.remark)}</span>' if row.remark else ""
    return f'<th scope="row" style="{CELL}{LEFT}{rule};font-weight:400">{escape(row.method)}{marks}{detail}</th>'


def _cell(row: ResultRow, column: Column, best: float | None, footnotes: Sequence[str], rule: str) -> str:
    number, marks = _number(row, column), _marks(row, column, footnotes)
    is_best = best is not None and _competes(row) and row.value(column) == best
    shown = f"<b>{number}</b>" if is_best else number
    if row.href is not None and not marks:
        shown = f'<a href="{escape(row.href)}" style="color:inherit">{shown}</a>'
    below = _spread(row, column)
    spread = f'<br><span style="{QUIET}">{below}</span>' if below else ""
    return f'<td{_why(row, column)} style="{CELL}{rule}">{shown}{f"<sup>{marks}</sup>" if marks else ""}{spread}</td>'


def _why(row: ResultRow, column: Column) -> str:
    """Attributes that name a number for `pmgs why`."""
    if row.cell is None or row.value(column) is None:
        return ""
    name = escape(f"{row.cell}.{column.split}.{column.metric}")
    return f' data-cell="{name}" title="pmgs why &quot;{name}&quot;"'


def _html_footnotes(footnotes: Sequence[str], general: Sequence[str]) -> list[str]:
    notes = [*map(escape, general), *(f"<sup>{i}</sup> {escape(note)}" for i, note in enumerate(footnotes, start=1))]
    return [f'<p style="{QUIET}">{"<br>".join(notes)}</p>'] if notes else []


def _text(rows: Sequence[ResultRow], columns: Sequence[Column], footnotes: Sequence[str], caption: str) -> str:
    names, details = zip(*(column.heading for column in columns), strict=True)
    grid = [["method", *names], ["", *details]]
    for row in rows:
        marked = [
            (f"{_number(row, column)}{_spread(row, column)}", _marks(row, column, footnotes)) for column in columns
        ]
        label = f"{row.method} ({row.remark})" if row.remark else row.method
        grid.append([label, *(f"{number} [{mark}]" if mark else number for number, mark in marked)])
    lines = _aligned(grid)
    rule = "-" * len(lines[0])
    head, body = lines[:2], lines[2:]
    contenders = sum(not row.control for row in rows)
    if 0 < contenders < len(rows):
        body.insert(contenders, rule)
    notes = [*_spread_note(rows), *(f"[{i}] {note}" for i, note in enumerate(footnotes, start=1))]
    return "\n".join([*([caption] if caption else []), *head, rule, *body, *notes])


def _aligned(grid: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a grid of text: first column to the left, the others to the right."""
    widths = [max(len(line[i]) for line in grid) for i in range(len(grid[0]))]
    padded = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in grid]
    return ["  ".join(line) for line in padded]
