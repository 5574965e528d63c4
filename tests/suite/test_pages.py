"""A report page as a reader's browser sees it: complete, quiet, and without a network."""

import base64
import io
import shutil

import matplotlib.pyplot as plt
import nbformat
import pytest

from pmgs_lib.suite.pages import write_page
from pmgs_lib.suite.tables import ResultRow, results_table

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("Debian's chromium is not installed (make system)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


def picture() -> str:
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.plot([0, 1], [1, 0])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture
def page_file(tmp_path):
    rows = [
        ResultRow("ours", {"overall": {"psnr": 25.5}}, trained_steps=20, href="abc/executed.html"),
        ResultRow("copy", {"overall": {"psnr": 18.25}}, control=True),
    ]
    table = results_table(rows, caption="Protocol tiny")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Report\n\nWith $x^2$ and a table.")])
    for data in ({"text/html": table.html, "text/plain": table.text}, {"image/png": picture(), "text/plain": "figure"}):
        output = nbformat.v4.new_output("execute_result", data=data, execution_count=1)
        notebook.cells.append(nbformat.v4.new_code_cell("hidden_source", outputs=[output], execution_count=1))
    nbformat.write(notebook, tmp_path / "executed.ipynb")
    write_page(tmp_path / "executed.ipynb", tmp_path / "page.html", "key", code=False)
    return tmp_path / "page.html"


def test_a_page_is_complete_quiet_and_needs_no_network(browser, page_file):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(page_file.as_uri())
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert said == []
    assert page.locator("td a").first.inner_text() == "25.50"
    assert page.locator("td a").first.get_attribute("href") == "abc/executed.html"
    assert "trained for 20 steps" in page.content()
    assert page.locator("img").evaluate("image => image.naturalWidth") > 100
    assert page.get_by_text("hidden_source").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.close()
