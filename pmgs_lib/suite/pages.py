"""Executed report notebooks as static HTML pages that fetch nothing from a network."""

from pathlib import Path

from pmgs_lib.errors import RunError
from pmgs_lib.suite.cells import END_TAG
from pmgs_lib.suite.plan import Plan
from pmgs_lib.suite.project import Project
from pmgs_lib.suite.records import EXECUTED_FILE, good_record


def make_pages(project: Project, plan: Plan) -> list[Path]:
    """The pages of a plan's runs that have one, made anew where they are missing or of another run."""
    pages = []
    for run in plan.runs:
        if run.page is not None:
            page = project.root / run.page
            folder = project.run_folder(run.key)
            if good_record(folder) is None:
                raise RunError(f"page {run.page}: its run `{run.id}` has not succeeded; run the experiment first")
            if not page.is_file() or _stamp(run.key) not in page.read_text(encoding="utf-8"):
                write_page(folder / EXECUTED_FILE, page, run.key)
            pages.append(page)
    return pages


def write_page(notebook: Path, page: Path, key: str) -> None:
    """One HTML file with pictures inside, without code, scripts from elsewhere, or the runner's own cell."""
    from nbconvert import HTMLExporter  # half a second, which an up-to-date experiment need not wait for
    from traitlets.config import Config

    config = Config()
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_cell_tags = {END_TAG, "parameters", "injected-parameters"}
    exporter = HTMLExporter(
        config=config, embed_images=True, exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True,
        mathjax_url="", require_js_url="", jquery_url="", widget_renderer_url="",
    )  # fmt: skip
    html, _ = exporter.from_filename(str(notebook))
    html = html.replace("<head>", f"<head>{_stamp(key)}", 1)
    page.parent.mkdir(parents=True, exist_ok=True)
    temporary = page.with_name(f".{page.name}.tmp")
    temporary.write_text(html, encoding="utf-8")
    temporary.replace(page)


def _stamp(key: str) -> str:
    return f'<meta name="pmgs-run" content="{key}">'
