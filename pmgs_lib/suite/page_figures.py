"""Alternative texts for the pictures of an executed notebook, for readers who do not see them."""

import re
from collections.abc import Mapping
from typing import Any

from pmgs_lib.suite.cells import source_of

PICTURES = ("image/png", "image/jpeg", "image/svg+xml")
SAVED = re.compile(r"""save_figure\(.*["']([\w-]+)["']\s*\)|["']([\w-]+)\.(?:png|jpe?g)["']""")
MARKUP = re.compile(r"[*_`#]|\[(?=[^]]*\]\()|(?<=\])\([^)]*\)")
MOST_WORDS = 40


def describe_pictures(notebook: dict[str, Any]) -> int:
    """Give every picture without alternative text one, in place; returns how many got it.

    `IPython.display.Image(..., alt=...)` says it best. Where a cell does not, the picture is called by the name under
    which it was saved and by what the text before it says.
    """
    heading, text, count = "", "", 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            heading, text = _read(source_of(cell), heading)
        for output in cell.get("outputs", []):
            count += _describe(output, cell, heading, text)
    return count


def _describe(output: dict[str, Any], cell: Mapping[str, Any], heading: str, text: str) -> int:
    kinds = [kind for kind in PICTURES if kind in output.get("data", {})]
    if not kinds or any(_alternative(output, kind) for kind in kinds):
        return 0
    names = [first or second for first, second in SAVED.findall(source_of(dict(cell)))]
    shown = [name for name in names if name]
    called = f"Figure {', '.join(shown).replace('_', ' ')}" if shown else "Figure"
    parts = [part for part in (heading, text) if part]
    alternative = f"{called}: {'. '.join(parts)}" if parts else called
    metadata = output.setdefault("metadata", {})
    for kind in kinds:
        metadata[kind] = {**metadata.get(kind, {}), "alt": alternative}
    return 1


def _alternative(output: Mapping[str, Any], kind: str) -> str | None:
    metadata = output.get("metadata", {})
    return metadata.get(kind, {}).get("alt") or metadata.get("alt")


def _read(source: str, heading: str) -> tuple[str, str]:
    """The last heading of a text cell (or the one before) and the first words of what is under it."""
    prose: list[str] = []
    for line in source.splitlines():
        if line.startswith("#"):
            heading, prose = line.lstrip("# ").strip(), []
        elif line.strip() and not line.startswith("|"):
            prose.append(line.strip())
    words = MARKUP.sub("", " ".join(prose)).split()
    shortened = " ".join(words[:MOST_WORDS]) + (" …" if len(words) > MOST_WORDS else "")
    return MARKUP.sub("", heading), shortened
