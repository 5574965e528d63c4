"""Published numbers: each with the table it stands in, where it was seen, and how far that can be trusted.

`published_results.csv` holds what could be read, `unread_results.csv` the cells that are known to exist and could not
be retrieved anywhere: they stay empty and say so. Nothing is filled in from memory but what is marked so.
"""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pmgs_lib.errors import DataError, ParameterError

Trust = Literal["verified", "transcribed", "memory", "unread"]
TRUST = {
    "verified": "",
    "transcribed": "paper's value seen in one third-party transcription, not checked against the paper",
    "memory": "paper's value from memory only, not checked",
    "unread": "the paper's value could not be retrieved from any source",
}
FILES = ("published_results.csv", "unread_results.csv")
HEADER = (
    "paper", "arxiv", "version", "table", "caption_short", "dataset", "split", "resolution", "context_views",
    "target_views", "method", "metric", "value", "unit", "higher_is_better", "source_url", "confidence",
)  # fmt: skip


@dataclass(frozen=True)
class PaperValue:
    """One published number. text: as printed, with its digits; empty where it could not be read.

    table: as the paper numbers it, or where else the number stands ("MODEL_ZOO", "issue 80"). version: of the paper;
    one number can exist in several, and as re-measured by others: these are different values.
    """

    paper: str
    version: str
    table: str
    dataset: str
    resolution: str
    context_views: str
    method: str
    metric: str
    text: str
    unit: str
    source: str
    trust: Trust

    @property
    def value(self) -> float | None:
        return float(self.text) if self.text else None

    @property
    def digits(self) -> int:
        """Decimals as printed."""
        return len(self.text.partition(".")[2])

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from every other value."""
        named = (self.paper, self.version, self.table, self.dataset, self.resolution, self.context_views)
        return (*named, self.method, self.metric)


FIELDS = tuple(field.name for field in fields(PaperValue))


def read_values(path: Path) -> tuple[PaperValue, ...]:
    """The values of a CSV file; DataError names the line and what is wrong with it."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != HEADER:
                raise DataError(
                    f"{path.name}: columns {reader.fieldnames}, expected {list(HEADER)}; correct the header"
                )
            return tuple(_read_line(row, f"{path.name}, line {reader.line_num}") for row in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise DataError(f"{path.name}: not readable ({fault}); restore the file") from fault


def _read_line(row: dict[str, str], where: str) -> PaperValue:
    if None in row or None in row.values():
        raise DataError(f"{where}: {len(row)} fields, expected {len(HEADER)}; quote texts that hold a comma")
    text, trust = row["value"], row["confidence"]
    if trust not in TRUST:
        raise DataError(f"{where}: confidence {trust!r}, expected one of {', '.join(TRUST)}; correct it")
    if bool(text) == (trust == "unread"):
        raise DataError(f"{where}: value {text!r} with confidence {trust!r}; only an unread value is empty")
    if text and not _is_number(text):
        raise DataError(f"{where}: value {text!r}, expected a finite number; correct it")
    if row["higher_is_better"] not in ("", "0", "1") or not row["source_url"].startswith(("http://", "https://")):
        found = f"higher_is_better {row['higher_is_better']!r}, source {row['source_url']!r}"
        raise DataError(f"{where}: {found}; expected 0, 1 or nothing, and an address")
    for name in ("paper", "table", "method", "metric"):
        if not row[name].strip():
            raise DataError(f"{where}: {name} is empty; say which number this is")
    named = {name: row[name] for name in FIELDS if name in row}
    return PaperValue(**named, text=text, source=row["source_url"], trust=trust)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


@lru_cache(maxsize=1)
def paper_values() -> tuple[PaperValue, ...]:
    """Every value of the package, read and unread. DataError where two have the same key."""
    values = tuple(value for name in FILES for value in read_values(Path(__file__).with_name(name)))
    seen: set[tuple[str, ...]] = set()
    for value in values:
        if value.key in seen:
            raise DataError(
                f"published results: {value.key} stands there twice; keep both apart by their table or version"
            )
        seen.add(value.key)
    return values


def paper_value(paper: str, table: str, method: str, metric: str, **further: str) -> PaperValue:
    """The one value of that paper, table, method and metric; `further` fields tell it from others.

    ParameterError where there is none, or more than one: then it names the fields that distinguish them.
    """
    unknown = sorted(further.keys() - set(FIELDS))
    if unknown:
        raise ParameterError(f"paper_value: no field {', '.join(unknown)}; expected some of {', '.join(FIELDS)}")
    wanted = {"paper": paper, "table": table, "method": method, "metric": metric, **further}
    found = [value for value in paper_values() if all(getattr(value, name) == text for name, text in wanted.items())]
    if len(found) != 1:
        hint = f"tell them apart by {', '.join(_distinguishing(found))}" if found else "see published_results.csv"
        raise ParameterError(f"paper_value: {len(found)} values for {wanted}, expected one; {hint}")
    return found[0]


def _distinguishing(values: list[PaperValue]) -> Iterator[str]:
    for name in FIELDS:
        choices = sorted({getattr(value, name) for value in values})
        if len(choices) > 1 and name not in ("text", "unit", "source", "trust"):
            yield f"{name} ({' or '.join(choices)})"
