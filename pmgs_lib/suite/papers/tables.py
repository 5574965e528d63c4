"""Tables of the papers, filled with our runs: each cell the paper's number, ours where one fits, and the verdict."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.metrics import METRICS
from pmgs_lib.suite.papers.evidence import Evidence, Requirement, objection
from pmgs_lib.suite.papers.values import PaperValue, paper_value
from pmgs_lib.suite.papers.verdicts import LIMITS, OURS, Cell, Verdict, judge, limits_note
from pmgs_lib.suite.tables import ARROWS, CELL, HEAD, LEFT, QUIET, TABLE

PARENTHESIS = re.compile(r"\(.*\)")  # stays on one line: what the paper says
WRAPPED = f"{CELL};white-space:normal"  # texts, not bare numbers: they would push the table off the page
COLORS: Mapping[Verdict, str] = {  # on white at least 4.5 : 1; the word says the same
    "MATCH": "#14632b",
    "CLOSE": "#735100",
    "MISS": "#a11717",
    "NOT RUN": "#595959",
    "NOT COMPARABLE": "#595959",
}


@dataclass(frozen=True)
class TableRow:
    """One row. id: under which an experiment's page is given the run. values: what finds the paper's numbers, beside
    table and metric; None: the paper has no such row. required: what a run must have been. impossible: why nobody can
    run it, where that is so. note: what a reader should know of the row in any case.
    """

    id: str
    label: str
    values: Mapping[str, str] | None
    required: Requirement | None = None
    impossible: str = ""
    note: str = ""


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper. source: fields that find its values, `paper` and `table` among them. experiment: its file."""

    title: str
    source: Mapping[str, str]
    rows: tuple[TableRow, ...]
    experiment: str
    metrics: tuple[str, ...] = tuple(LIMITS)

    def value(self, row: TableRow, metric: str) -> PaperValue | None:
        """The paper's number of a row; None where it has no such row."""
        return None if row.values is None else paper_value(**{**self.source, **row.values}, metric=metric)


@dataclass(frozen=True)
class FilledTable:
    """A table with its cells, for a page (`_repr_html_`), a terminal (`repr`) and `metrics.json`."""

    table: PaperTable
    cells: Mapping[str, Mapping[str, Cell]]  # row id -> metric -> cell
    evidence: Mapping[str, Evidence]

    @property
    def counts(self) -> dict[str, int]:
        """How many cells have which verdict."""
        return dict(Counter(cell.verdict for row in self.cells.values() for cell in row.values()))

    def to_json(self) -> dict[str, Any]:
        rows = {row: {metric: cell.to_json() for metric, cell in cells.items()} for row, cells in self.cells.items()}
        return {"title": self.table.title, "rows": rows, "counts": self.counts}

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Each note once, in the order in which a reader meets it; its place is its number."""
        found: dict[str, None] = {}
        for row in self.table.rows:
            found |= dict.fromkeys(_notes_of(row, self.cells[row.id]))
        return tuple(found)

    def marks(self, notes: Sequence[str]) -> str:
        return ",".join(str(self.notes.index(note) + 1) for note in notes)

    def __repr__(self) -> str:
        lines = [self.table.title]
        for row in self.table.rows:
            cells = "   ".join(f"{metric} {cell.text}" for metric, cell in self.cells[row.id].items())
            marks = self.marks(_notes_of(row, self.cells[row.id]))
            lines.append(f"  {row.label}{f' [{marks}]' if marks else ''}: {cells}")
        return "\n".join([*lines, *(f"  [{i}] {note}" for i, note in enumerate(self.notes, 1)), limits_note()])

    def _repr_html_(self) -> str:
        head = "".join(_heading(metric) for metric in self.table.metrics)
        body = "".join(self._html_row(row) for row in self.table.rows)
        notes = [limits_note(), *(f"<sup>{i}</sup> {escape(note)}" for i, note in enumerate(self.notes, 1))]
        title = escape(self.table.title)
        return (
            f'<div role="region" aria-label="{title}" tabindex="0" style="overflow-x:auto"><table style="{TABLE}">'
            f'<caption style="text-align:left;padding-bottom:6px;font-weight:600">{title}</caption>'
            f'<thead><tr><th scope="col" style="{HEAD}{LEFT}">method</th>{head}</tr></thead>'
            f'<tbody>{body}</tbody></table></div><p style="{QUIET}">{"<br>".join(notes)}</p>'
        )

    def _html_row(self, row: TableRow) -> str:
        marks = self.marks([row.note] if row.note else [])
        found, link = self.evidence.get(row.id), ""
        cells = "".join(self._html_cell(cell) for cell in self.cells[row.id].values())
        if found is not None:
            link = f' <a href="{escape(found.href)}" style="{QUIET}">run</a>'
        label = f"{escape(row.label)}{_raised(marks)}{link}"
        return f'<tr><th scope="row" style="{WRAPPED}{LEFT};font-weight:400">{label}</th>{cells}</tr>'

    def _html_cell(self, cell: Cell) -> str:
        text = PARENTHESIS.sub(r'<span style="white-space:nowrap">\g<0></span>', escape(cell.text))
        text = text.replace(cell.verdict, f'<b style="color:{COLORS[cell.verdict]}">{cell.verdict}</b>')
        return f'<td style="{WRAPPED}">{text}{_raised(self.marks(cell.notes))}</td>'


def fill_table(table: PaperTable, evidence: Mapping[str, Evidence]) -> FilledTable:
    """The table with what these runs show, by row id; what no run shows says NOT RUN and what it would need.

    A run that measured something else leaves no number: smoke runs never stand in a paper's table.
    """
    known = {row.id for row in table.rows}
    return FilledTable(
        table,
        {row.id: {metric: _cell(table, row, metric, evidence.get(row.id)) for metric in table.metrics}
         for row in table.rows},
        {name: found for name, found in evidence.items() if name in known},
    )  # fmt: skip


def require_rows(tables: Sequence[PaperTable], given: Sequence[str]) -> None:
    """ParameterError for a run that is given under an id that no row has: it would be lost without a word."""
    known = [row.id for table in tables for row in table.rows]
    lost = [name for name in given if name not in known]
    if lost:
        raise ParameterError(f"paper tables: no row is called {', '.join(lost)}; expected some of {', '.join(known)}")


def _cell(table: PaperTable, row: TableRow, metric: str, evidence: Evidence | None) -> Cell:
    paper = table.value(row, metric)
    if row.required is None:
        return Cell(metric, paper, "NOT RUN", reason=row.impossible)
    if evidence is None:
        command = f"pmgs run experiments/{table.experiment}.yaml --profile full"
        return Cell(
            metric, paper, "NOT RUN", reason=f"needs {row.required.needs}; {command} says what of it is missing"
        )
    doubt = objection(evidence, row.required)
    if doubt is not None and doubt.hidden:
        return Cell(metric, paper, "NOT COMPARABLE", reason=doubt.reason)
    ours = evidence.result["means"]["overall"].get(OURS[metric])
    if ours is None:
        reasons = evidence.result.get("missing", {}).get(OURS[metric], {})
        return Cell(metric, paper, "NOT RUN", reason="; ".join(reasons) or "the run has no value of it")
    if doubt is not None:
        return Cell(metric, paper, "NOT COMPARABLE", ours, reason=doubt.reason)
    return judge(metric, paper, ours)


def _notes_of(row: TableRow, cells: Mapping[str, Cell]) -> list[str]:
    own = [row.note] if row.note else []
    return list(dict.fromkeys([*own, *(note for cell in cells.values() for note in cell.notes)]))


def _heading(metric: str) -> str:
    info = METRICS[OURS[metric]]
    unit = f" [{info.unit}]" if info.unit else ""
    return f'<th scope="col" style="{HEAD}">{info.label} {ARROWS[info.better]}{unit}</th>'


def _raised(marks: str) -> str:
    return f"<sup>{marks}</sup>" if marks else ""
