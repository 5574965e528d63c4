"""Numbers of a run by name: the paths of its `metrics.json`, and which one a reader means."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pmgs_lib.errors import ParameterError

OVERALL = "overall"  # of a table's splits, the one that a plain column shows
SHOWN = 8  # names that a refusal lists


def flat_metrics(metrics: Mapping[str, Any], named: bool = True) -> dict[tuple[str, ...], Any]:
    """Every number, text and truth value by its path. An entry of a list is called by its `method` if `named`, and
    where it has none or is not named, counted from 0.
    """
    return dict(_walk(metrics, (), named))


def _walk(value: Any, path: tuple[str, ...], named: bool) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _walk(item, (*path, str(name)), named)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _walk(item, (*path, (_name(item, value) if named else None) or str(place)), named)
    else:
        yield path, value


def _name(item: Any, others: Sequence[Any]) -> str | None:
    """The method of a list's entry, where it tells the entry from the others."""
    methods = [other.get("method") for other in others if isinstance(other, Mapping)]
    method = item.get("method") if isinstance(item, Mapping) else None
    return method if isinstance(method, str) and methods.count(method) == 1 else None


def find_metric(metrics: Mapping[str, Any], name: str, where: str) -> tuple[str, Any]:
    """The path, joined by dots, and the value of the metric that `name` means.

    `name` gives steps of the path in order and ends with its last one; steps may be left out: "psnr",
    "outside.psnr", "nearest-input.psnr". Where several fit, the one over all targets of the method that is no control
    is meant, as in a table. ParameterError names those that fit when there is still a choice, or those there are.
    """
    flat = flat_metrics(metrics)
    fitting = [path for path in flat if _fits(name, path)]
    exact = [path for path in fitting if ".".join(path) == name]
    for narrower in (exact, _without_controls(metrics, fitting), fitting):
        found = narrower if len(narrower) == 1 else [path for path in narrower if OVERALL in path]
        if len(found) == 1:
            return ".".join(found[0]), flat[found[0]]
    known = [".".join(path) for path in fitting or flat]
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    problem = f"{len(known)} metrics fit, expected one" if fitting else "no such metric, expected one of"
    raise ParameterError(f"{where}: `{name}`: {problem}: {', '.join(known[:SHOWN]) or 'it saved none'}{more}")


def _fits(name: str, path: Sequence[str]) -> bool:
    """Whether the path's steps, some left out, read as `name`; a step may itself hold dots."""
    if not path or not (name == path[-1] or name.endswith(f".{path[-1]}")):
        return False
    rest = name[: -len(path[-1])].rstrip(".")
    for step in reversed(path[:-1]):
        if rest == step or rest.endswith(f".{step}"):
            rest = rest[: -len(step)].rstrip(".")
    return rest == ""


def _without_controls(metrics: Mapping[str, Any], paths: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    results = metrics.get("results", [])
    controls = {entry.get("method") for entry in results if isinstance(entry, Mapping) and entry.get("control")}
    return [path for path in paths if not controls.intersection(path)]
