"""Executed notebooks as static HTML pages that fetch nothing from a network, linked with each other."""

from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from pmgs_lib.errors import RunError
from pmgs_lib.suite.cells import END_TAG, PARAMETERS_TAG, source_of
from pmgs_lib.suite.index_page import INDEX_FILE, INDEX_NAME, write_index
from pmgs_lib.suite.page_figures import describe_pictures
from pmgs_lib.suite.page_frame import (
    NO_NAVIGATION,
    Link,
    document,
    has_stamp,
    navigation,
    renew_navigation,
    write_whole,
)
from pmgs_lib.suite.page_provenance import provenance_section
from pmgs_lib.suite.plan import Plan, PlannedRun
from pmgs_lib.suite.project import Project
from pmgs_lib.suite.provenance import digest_text
from pmgs_lib.suite.records import EXECUTED_FILE, EXECUTED_PAGE, RunRecord, good_record

PARAMETER_TAGS = {PARAMETERS_TAG, "injected-parameters"}
# What a page can show, best first. No widgets and no JavaScript: without a kernel they are empty boxes.
SHOWN = ("text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/latex", "text/plain")
# Files that decide how a page looks: when one changes, pages are made anew though no run is.
MAKERS = ("pages.py", "page_figures.py", "page_frame.py", "page_provenance.py", "page_style.py")


def make_pages(project: Project, *plans: Plan) -> list[Path]:
    """The pages of the plans' runs that have one, made anew where they are missing, of another run or of other looks,
    and the index of all pages of this checkout. Raises RunError for a run that has not succeeded.

    Every run of a plan with pages also gets `executed.html`, its whole notebook with code: what the numbers link to.
    """
    made = [page for plan in plans for page in _pages_of(project, plan)]
    if not made:
        return []
    index, links = write_index(project, plans)
    for link in links:
        renew_navigation(link.page, links)
    return [*made, index]


def _pages_of(project: Project, plan: Plan) -> list[Path]:
    with_page = [run for run in plan.runs if run.page is not None]
    records = {run.key: _record(project, plan, run) for run in plan.runs if with_page}
    for record in records.values():
        page = record.folder / EXECUTED_PAGE
        if not has_stamp(page, _stamp(record.key)):
            write_page(record.folder / EXECUTED_FILE, page, _stamp(record.key), code=True, records=[record],
                       index=project.runs / INDEX_FILE)  # fmt: skip
    for run in with_page:
        page = project.root / str(run.page)
        if not has_stamp(page, _stamp(run.key)):
            behind = [records[key] for key in _behind(plan, run)]
            write_page(project.run_folder(run.key) / EXECUTED_FILE, page, _stamp(run.key), code=False, records=behind)
    return [project.root / str(run.page) for run in with_page]


def _record(project: Project, plan: Plan, run: PlannedRun) -> RunRecord:
    record = good_record(project.run_folder(run.key))
    if record is None:
        raise RunError(f"pages of {plan.experiment}: run `{run.id}` has not succeeded; run the experiment first")
    return record


def _behind(plan: Plan, run: PlannedRun) -> list[str]:
    """Keys of a run and of all that it needs, however deep, the nearest first."""
    by_key, found, left = {other.key: other for other in plan.runs}, [], [run.key]
    while left:
        key = left.pop(0)
        if key in by_key and key not in found:
            found.append(key)
            left += by_key[key].needs.values()
    return found


def write_page(
    notebook: Path, page: Path, stamp: str, code: bool, records: Sequence[RunRecord] = (), index: Path | None = None
) -> None:
    """One HTML file of an executed notebook, with or without its code, its pictures inside, no script from elsewhere.

    records: the runs behind it, whose provenance ends the page. index: the page to link back to, for a page that is
    not itself in the navigation.
    """
    import nbformat  # half a second with nbconvert, which an up-to-date experiment need not wait for

    content = nbformat.read(notebook, as_version=4)
    describe_pictures(content)
    content["metadata"].pop("widgets", None)
    title = _title(content) or notebook.parent.name
    body = _body(content, code) + provenance_section(records, page)
    html = document(title, stamp, body)
    if index is not None:
        header = navigation(page, [Link(INDEX_NAME, index)], here=_called(records, notebook))
        html = html.replace(NO_NAVIGATION, header, 1)
    write_whole(page, html)


def _called(records: Iterable[RunRecord], notebook: Path) -> str:
    return next((record.id for record in records), notebook.parent.name)


def _title(notebook: dict[str, Any]) -> str:
    """The first heading."""
    texts = (source_of(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    lines = (line for text in texts for line in text.splitlines())
    return next((line.lstrip("# ").strip() for line in lines if line.startswith("# ")), "")


def _body(notebook: dict[str, Any], code: bool) -> str:
    html, _ = _exporter(code).from_notebook_node(notebook)
    return html


@cache
def _exporter(code: bool) -> Any:
    """nbconvert's exporter of a notebook's cells alone, without a document around them."""
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    config = Config()
    config.NbConvertBase.display_data_priority = list(SHOWN)
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_cell_tags = {END_TAG} if code else {END_TAG, *PARAMETER_TAGS}
    return HTMLExporter(
        config=config, template_name="basic", embed_images=True, exclude_input=not code, exclude_anchor_links=True,
        exclude_input_prompt=True, exclude_output_prompt=True,
    )  # fmt: skip


@cache
def _looks() -> str:
    folder = Path(__file__).parent
    return digest_text("".join((folder / name).read_text(encoding="utf-8") for name in MAKERS))[:8]


def _stamp(key: str) -> str:
    """What a page is made of: the run, and the code that lays it out."""
    return f"{escape(key)} {_looks()}"
