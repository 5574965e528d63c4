"""Executed report notebooks as static HTML pages that fetch nothing from a network."""

import logging
from pathlib import Path

from pmgs_lib.errors import RunError
from pmgs_lib.suite.cells import END_TAG
from pmgs_lib.suite.plan import Plan
from pmgs_lib.suite.project import Project
from pmgs_lib.suite.records import EXECUTED_FILE, EXECUTED_PAGE, good_record

PARAMETER_TAGS = {"parameters", "injected-parameters"}


def make_pages(project: Project, plan: Plan) -> list[Path]:
    """The pages of a plan's runs that have one, made anew where they are missing or of another run.

    Where there is a page, every run also gets `executed.html`, its whole notebook with code, for the page's links.
    """
    with_page = [run for run in plan.runs if run.page is not None]
    for run in plan.runs if with_page else ():
        folder = project.run_folder(run.key)
        if good_record(folder) is None:
            raise RunError(f"pages of {plan.experiment}: run `{run.id}` has not succeeded; run the experiment first")
        if not (folder / EXECUTED_PAGE).is_file():
            write_page(folder / EXECUTED_FILE, folder / EXECUTED_PAGE, run.key, code=True)
    for run in with_page:
        page = project.root / run.page
        if not page.is_file() or _stamp(run.key) not in page.read_text(encoding="utf-8"):
            write_page(project.run_folder(run.key) / EXECUTED_FILE, page, run.key, code=False)
    return [project.root / run.page for run in with_page]


def write_page(notebook: Path, page: Path, key: str, code: bool) -> None:
    """One HTML file of an executed notebook with its pictures inside and no script from elsewhere."""
    from nbconvert import HTMLExporter  # half a second, which an up-to-date experiment need not wait for
    from traitlets.config import Config

    config = Config()
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_cell_tags = {END_TAG} if code else {END_TAG, *PARAMETER_TAGS}
    exporter = HTMLExporter(
        config=config, embed_images=True, exclude_input=not code, exclude_input_prompt=True, exclude_output_prompt=True,
        mathjax_url="", require_js_url="", jquery_url="", widget_renderer_url="",
    )  # fmt: skip
    exporter.log.setLevel(logging.ERROR)  # it warns once a page that our figures carry no alternative text
    html, _ = exporter.from_filename(str(notebook))
    html = html.replace("<head>", f"<head>{_stamp(key)}", 1)
    page.parent.mkdir(parents=True, exist_ok=True)
    temporary = page.with_name(f".{page.name}.tmp")
    temporary.write_text(html, encoding="utf-8")
    temporary.replace(page)


def _stamp(key: str) -> str:
    return f'<meta name="pmgs-run" content="{key}">'
