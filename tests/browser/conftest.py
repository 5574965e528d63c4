"""One JupyterLab a process and one browser a file; a tab of its own for each notebook."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
pytest.register_assert_rewrite("explorer_page", "notebook_page")
SCREENSHOTS = HERE.parents[1] / ".cache" / "screenshots"  # git-ignored: kept to be looked at


@pytest.fixture(scope="session")
def laboratory(tmp_path_factory):
    from chromium import CHROMIUM
    from laboratory import Laboratory

    if CHROMIUM is None:
        pytest.skip("Debian's chromium is not installed (make system)")
    with Laboratory(tmp_path_factory.mktemp("laboratory")) as running:
        yield running


@pytest.fixture(scope="module")
def browser(laboratory, tmp_path_factory):
    """At its end the browser's own log must name connections to this machine only."""
    from chromium import connections, launch, outside
    from playwright.sync_api import sync_playwright

    net_log = tmp_path_factory.mktemp("browser") / "net.json"
    with sync_playwright() as playwright:
        found = launch(playwright, net_log)
        yield found
        found.close()
    addresses = connections(net_log)
    assert any(address.startswith("127.0.0.1:") for address in addresses), "the log of connections is empty"
    assert outside(addresses) == []


@pytest.fixture(scope="module")
def opened(browser, laboratory) -> Callable[[str], AbstractContextManager]:
    """`with opened(name) as notebook`: a tab with a kernel of its own. Left quietly, both are ended."""
    from notebook_page import NotebookPage

    @contextmanager
    def open_notebook(name: str) -> Iterator[NotebookPage]:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        try:
            notebook = NotebookPage(context.new_page(), laboratory, name, SCREENSHOTS)
            try:
                yield notebook
            finally:
                notebook.screenshot("end")
            notebook.check_quiet()
        finally:
            context.close()
            laboratory.end_sessions()

    return open_notebook
