"""The frame of every page: document, style, navigation. Pages are one file each and ask the network for nothing."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pmgs_lib.suite.page_style import STYLE

NO_NAVIGATION = "<!--nav--><!--/nav-->"
NAVIGATION = re.compile(r"<!--nav-->.*?<!--/nav-->", re.DOTALL)
HEAD_BYTES = 64 * 1024  # stamp and navigation stand within them


@dataclass(frozen=True)
class Link:
    """A page that the others link to, by its short name."""

    name: str
    page: Path


def document(title: str, stamp: str, body: str) -> str:
    """A whole HTML page around the content of its `<main>`; the navigation is filled in by `renew_navigation`."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="pmgs-run" content="{escape(stamp)}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f'<link rel="icon" href="data:,"><style>{STYLE}</style></head>\n<body><a class="skip" href="#content">To the '
        f'content</a>{NO_NAVIGATION}<main id="content">\n{body}\n</main><footer>Made by <code>pmgs run</code> from '
        "executed notebooks. Nothing on this page comes from a network.</footer></body></html>\n"
    )


def navigation(page: Path, links: Sequence[Link], here: str = "") -> str:
    """The header of a page: a link to each other page, relative, and which one this is. `here`: a page without link."""
    entries = []
    for link in links:
        current = ' aria-current="page"' if link.page == page else ""
        href = escape(Path(os.path.relpath(link.page, page.parent)).as_posix())
        entries.append(f'<li><a href="{href}"{current}>{escape(link.name)}</a></li>')
    entries += [f"<li>{escape(here)}</li>"] if here else []
    return f'<!--nav--><header><nav aria-label="Pages"><ul>{"".join(entries)}</ul></nav></header><!--/nav-->'


def renew_navigation(page: Path, links: Sequence[Link]) -> bool:
    """Put the links of now into a page that is there; whether it had to be written."""
    wanted = navigation(page, links)
    if wanted in head_of(page):
        return False
    write_whole(page, NAVIGATION.sub(lambda _: wanted, page.read_text(encoding="utf-8"), count=1))
    return True


def head_of(page: Path) -> str:
    """The beginning of a page; empty where there is none."""
    try:
        with page.open("rb") as file:
            return file.read(HEAD_BYTES).decode("utf-8", errors="ignore")
    except FileNotFoundError:
        return ""


def has_stamp(page: Path, stamp: str) -> bool:
    return f'<meta name="pmgs-run" content="{escape(stamp)}">' in head_of(page)


def write_whole(page: Path, html: str) -> None:
    """Whole or not at all."""
    page.parent.mkdir(parents=True, exist_ok=True)
    temporary = page.with_name(f".{page.name}.tmp")
    temporary.write_text(html, encoding="utf-8")
    temporary.replace(page)
