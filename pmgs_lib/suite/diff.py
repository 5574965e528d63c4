"""Two runs side by side: what they were made from, and what came out."""

from collections.abc import Iterator, Mapping
from typing import Any

from pmgs_lib.suite.metric_paths import OVERALL, flat_metrics
from pmgs_lib.suite.plan import Plan
from pmgs_lib.suite.project import Project
from pmgs_lib.suite.provenance import differences
from pmgs_lib.suite.records import RunRecord
from pmgs_lib.suite.status import aligned, parts_lookup

DIGITS = 6  # significant ones, of values and differences
MOST_ROWS = 40


def diff_text(
    project: Project, plan: Plan | None, first: RunRecord, second: RunRecord, most: int | None = MOST_ROWS
) -> str:
    """What distinguishes two good runs: every part of their keys, the machines they ran on, and each metric.

    Metrics that are equal to the last digit are counted, not listed; of the others, `most` are, means first.
    """
    lookup = parts_lookup(project, plan)
    causes = differences(first.parts, second.parts, lookup) or ["nothing: the same notebook, parameters, code and data"]
    around = [f"{name}: {_shown(old)} -> {_shown(new)}" for name, old, new in _around(first, second)]
    compared, rows = _metric_rows(first.metrics, second.metrics)
    shown = rows[:most]
    table = aligned([("metric", "first", "second", "difference"), *shown]).splitlines() if rows else []
    more = [f"and {len(rows) - len(shown)} more; --all lists them"] if len(rows) > len(shown) else []
    return "\n".join(
        [
            f"first   {_title(project, first)}",
            f"second  {_title(project, second)}",
            "made from",
            *(f"  {cause}" for cause in causes),
            "made on",
            *(f"  {line}" for line in around or ["the same versions, device and threads"]),
            f"made: {len(rows)} of {compared} metrics differ",
            *(f"  {line}" for line in [*table, *more]),
        ]
    )


def _title(project: Project, record: RunRecord) -> str:
    content = record.content
    origin = f"{content['experiment']} ({content['profile']}), {content['finished'][:19]}"
    return f"{record.id}  {project.shown(record.folder)}  {origin}"


def _around(first: RunRecord, second: RunRecord) -> Iterator[tuple[str, Any, Any]]:
    """What is recorded and is no part of a key: versions, commit, device, threads."""
    old, new = ({**record.content["versions"], **_machine(record)} for record in (first, second))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield name, old.get(name), new.get(name)


def _machine(record: RunRecord) -> dict[str, Any]:
    return {name: record.content.get(name) for name in ("device", "threads")}


def _metric_rows(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[int, list[tuple[str, str, str, str]]]:
    """How many metrics there are, and those that differ: path, both values, difference. Means over all come first.

    Methods are compared by name where both runs have the same ones, else by place: a run of another label, too.
    """
    named = flat_metrics(first).keys() == flat_metrics(second).keys()
    old, new = flat_metrics(first, named), flat_metrics(second, named)
    paths = list(dict.fromkeys([*old, *new]))
    rows = []
    for path in sorted(paths, key=lambda path: OVERALL not in path):
        before, after = old.get(path, _ABSENT), new.get(path, _ABSENT)
        if before != after or type(before) is not type(after):
            rows.append((".".join(path), _shown(before), _shown(after), _difference(before, after)))
    return len(paths), rows


def _difference(before: Any, after: Any) -> str:
    if not (_is_number(before) and _is_number(after)):
        return ""
    return f"{after - before:+.{DIGITS}g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_ABSENT = object()


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)
