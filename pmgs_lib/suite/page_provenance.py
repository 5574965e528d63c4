"""Where the numbers of a page come from: a collapsed part a run, with its environment and what its key is made of."""

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from pmgs_lib.suite.provenance import canonical_json
from pmgs_lib.suite.records import EXECUTED_PAGE, RunRecord


def provenance_section(records: Sequence[RunRecord], page: Path) -> str:
    """A section with every run behind a page, collapsed; each links to its executed notebook."""
    if not records:
        return ""
    parts = "".join(provenance_details(record, page) for record in records)
    return (
        f'<section aria-labelledby="provenance"><h2 id="provenance">Runs behind this page</h2><p>Runs: {len(records)}. '
        "Each opens to its environment, its parameters and what its key was made of; <code>pmgs why RUN</code> prints "
        f"the same chain, <code>pmgs why RUN:METRIC</code> that of one number.</p>{parts}</section>"
    )


def provenance_details(record: RunRecord, page: Path) -> str:
    """One run, collapsed."""
    content = record.content
    summary = f"{escape(record.id)} <span class=quiet>{escape(content['notebook'])}, {record.key}</span>"
    entries = "".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in _entries(record, page))
    return f"<details><summary>{summary}</summary><dl>{entries}</dl></details>"


def _entries(record: RunRecord, page: Path) -> list[tuple[str, str]]:
    content, parts = record.content, record.parts
    href = Path(os.path.relpath(record.folder / EXECUTED_PAGE, page.parent)).as_posix()
    library = list(parts["library"])
    entries = [("executed notebook", f'<a href="{escape(href)}">{escape(href)}</a>')] if href != page.name else []
    entries += [
        ("experiment", escape(f"{content['experiment']} ({content['profile']})")),
        ("finished", escape(f"{content['finished'][:19]} UTC, after {record.seconds:.1f} s")),
        ("commit", f"{escape(str(content['versions'].get('commit') or 'not known'))}{_changes(content)}"),
        ("device", escape(f"{content.get('device')}, {content.get('threads')} threads")),
        ("versions", escape(_versions(content["versions"]))),
        ("parameters", _parameters(content["parameters"])),
        ("code", f"notebook {_short(parts['notebook']['code'])}, {len(library)} library files"),
        ("data", escape(", ".join(f"{n} {d[:12]}" for n, d in parts["data"].items()) or "none outside the project")),
        ("environment", escape(", ".join(f"{n} {str(v)[:12]}" for n, v in parts["environment"].items()))),
        ("needs", escape(", ".join(f"{name} {key}" for name, key in content["needs"].items()) or "no other run")),
        ("chain", f"<code>pmgs why {escape(record.id)}</code>"),
    ]
    return entries


def _changes(content: Mapping[str, Any]) -> str:
    commit = str(content["versions"].get("commit") or "")
    return ' <span class=quiet>(the "+": with changes that were not committed)</span>' if commit.endswith("+") else ""


def _versions(versions: Mapping[str, str | None]) -> str:
    return ", ".join(f"{name} {value}" for name, value in versions.items() if value and name != "commit")


def _short(digest: str) -> str:
    return f"<code>{escape(digest[:12])}</code>"


def _parameters(values: Mapping[str, Any]) -> str:
    lines = [f"<code>{escape(name)}</code> = {escape(canonical_json(value))}" for name, value in values.items()]
    return "<br>".join(lines) or "none"
