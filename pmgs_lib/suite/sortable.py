"""A table whose columns sort by a click or a key, in a notebook and in a page from disk, without a network."""

import hashlib
from functools import cached_property
from html import escape
from numbers import Number
from typing import TYPE_CHECKING, Any

from pmgs_lib.suite.tables import CELL, HEAD, LEFT, TABLE, label_of

if TYPE_CHECKING:
    import pandas

# A click on a heading sorts by that column, a second one the other way round. Nothing is fetched, and without scripts
# the table stands there in its first order.
SCRIPT = """(() => {
  const table = document.getElementById("%s"), body = table.tBodies[0];
  table.querySelectorAll("th button").forEach((button, column) => button.addEventListener("click", () => {
    const head = button.parentElement, up = head.getAttribute("aria-sort") !== "ascending";
    const read = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const order = (a, b) => isNaN(a) || isNaN(b) ? String(a).localeCompare(String(b)) : a - b;
    const rows = [...body.rows].sort((a, b) => order(read(a), read(b)) * (up ? 1 : -1));
    table.querySelectorAll("th[aria-sort]").forEach(other => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...rows);
  }));
})();"""
BUTTON = "all:unset;cursor:pointer;font-weight:600;outline-offset:2px;text-decoration:underline dotted"
FRAME = "max-height:420px;overflow:auto;margin:0.5em 0"


class SortableTable:
    """A table of numbers as HTML whose columns sort by a click, metrics headed by label and unit; text elsewhere."""

    def __init__(self, frame: "pandas.DataFrame", caption: str, digits: int = 3) -> None:
        self.frame, self.caption, self.digits = frame, caption, digits

    def __repr__(self) -> str:
        return f"{self.caption}\n{self.frame.round(self.digits).to_string()}"

    def _repr_html_(self) -> str:
        names = [self.frame.index.name or "name", *(label_of(str(name)) for name in self.frame.columns)]
        head = "".join(
            f'<th scope="col" aria-sort="none" style="{HEAD}{LEFT if i == 0 else ""};white-space:normal;'
            f'position:sticky;top:0;background:#fff">'
            f'<button type="button" style="{BUTTON}">{escape(name)}</button></th>'
            for i, name in enumerate(names)
        )
        body = "".join(self._row(label, values) for label, values in self.frame.iterrows())
        mark = f"sort-{hashlib.sha256((self.caption + body).encode()).hexdigest()[:12]}"
        caption = escape(self.caption)
        region = f'<div role="region" aria-label="{caption}" tabindex="0" style="{FRAME}">'
        shown = f'<caption style="text-align:left">{caption}</caption><thead><tr>{head}</tr></thead>'
        table = f'<table id="{mark}" style="{TABLE}">{shown}<tbody>{body}</tbody></table>'
        return f"{region}{table}</div><script>{SCRIPT % mark}</script>"

    def _row(self, label: object, values: Any) -> str:
        cells = "".join(self._cell(value, whole) for value, whole in zip(values, self._whole, strict=True))
        return f'<tr><th scope="row" style="{CELL}{LEFT};font-weight:400">{escape(str(label))}</th>{cells}</tr>'

    @cached_property
    def _whole(self) -> list[bool]:
        """Columns of whole numbers: they need no decimals, and all others have the same number of them."""
        columns = (self.frame.iloc[:, place].dropna() for place in range(self.frame.shape[1]))
        return [all(isinstance(value, Number) and value == int(value) for value in column) for column in columns]

    def _cell(self, value: Any, whole: bool) -> str:
        if value != value:  # NaN: no value; sorts below every number
            return f'<td style="{CELL}" data-value="-1e99">n/a</td>'
        if isinstance(value, float):
            text = f"{value:.0f}" if whole else f"{value:.{self.digits}f}"
            return f'<td style="{CELL}" data-value="{value!r}">{text}</td>'
        return f'<td style="{CELL}" data-value="{escape(str(value))}">{escape(str(value))}</td>'


def sortable(frame: "pandas.DataFrame", caption: str, digits: int = 3) -> SortableTable:
    """A frame of numbers, indexed by name, as a table that sorts."""
    return SortableTable(frame, caption, digits)
