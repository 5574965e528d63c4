"""One notebook in JupyterLab as a user has it: run, look, drag, reload, and what the browser said meanwhile."""

import base64
import re
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from laboratory import Laboratory
from PIL import Image
from playwright.sync_api import Locator, Page

# What a loaded machine may take; nothing waits longer than it must.
OPEN_S, RUN_S, CHANGE_S = 90, 300, 30
# "Idle" is not "ready": a notebook that is run before this is true may leave cells out.
READY = """async () => {
  await jupyterapp.restored;
  const panel = jupyterapp.shell.currentWidget;
  if (!panel?.sessionContext) return false;
  await panel.context.ready; await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
  return true;
}"""
# A promise of the page has no time limit of its own: it leaves a mark that is waited for.
START = """command => {
  window.finished = false;
  const finish = how => { window.finished = how };
  jupyterapp.commands.execute(command).then(() => finish(true), error => finish(`${error}`));
}"""
CELLS = """() => {
  const cells = jupyterapp.shell.currentWidget.content.model.cells;
  return [...Array(cells.length)].map((_, i) => cells.get(i).toJSON());
}"""
LAST = "() => { const list = jupyterapp.shell.currentWidget.content; list.activeCellIndex = list.widgets.length - 1; }"
WRITE = "source => jupyterapp.shell.currentWidget.content.activeCell.model.sharedModel.setSource(source)"
PIXELS = """e => e.decode().then(() => {
  const canvas = document.createElement('canvas');
  canvas.width = e.naturalWidth; canvas.height = e.naturalHeight;
  canvas.getContext('2d').drawImage(e, 0, 0);
  return canvas.toDataURL();
})"""
LOCAL = re.compile(r"(https?|wss?)://127\.0\.0\.1:\d+/|blob:|data:|about:")

# What a console may say, and why. Everything else fails the test that met it.
HARMLESS = {
    r"GPU stall due to ReadPixels": "WebGL in software is read back for screenshots",
    r"three\.js.*deprecated|THREE\..*deprecated|deprecated.*three": "viser's bundle uses an older part of three.js",
    r"computeBoundingSphere\(\): Computed radius is NaN": "three.js, before viser's splats have centres",
    r"Automatic fallback to software WebGL": "Chromium's note on machines without a GPU",
}


class NotebookPage:
    """A tab on one notebook; `requests`, `said` and `refused` fill while it is open."""

    def __init__(self, page: Page, laboratory: Laboratory, name: str, screenshots: Path) -> None:
        self.page, self.name = page, name
        self._laboratory, self._screenshots = laboratory, screenshots
        self.requests: list[str] = []
        self.said: list[str] = []
        self.refused: list[str] = []
        self.expected: list[str] = []
        page.set_default_timeout(1000 * OPEN_S)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("websocket", lambda socket: self.requests.append(socket.url))
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.said.append(f"uncaught: {error}"))
        page.on("response", self._note_refusal)
        self.open("?reset&")

    def open(self, query: str = "?") -> None:
        where = f"lab/workspaces/{self.name}/tree/{self.name}.ipynb{query}token={self._laboratory.token}"
        self.page.goto(f"{self._laboratory.url}{where}", wait_until="domcontentloaded")
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        self.page.wait_for_function("window.jupyterapp !== undefined")
        self.page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-CodeCell")
        self.page.wait_for_function(READY)

    def execute(self, command: str, patience_s: float = OPEN_S, *, dialog: str = "") -> None:
        """One of JupyterLab's commands, to its end; its question is answered by the button named `dialog`."""
        self.page.evaluate(START, command)
        if dialog:
            self.page.locator(".jp-Dialog").get_by_role("button", name=dialog, exact=True).click()
        self.page.wait_for_function("window.finished !== false", timeout=1000 * patience_s)
        assert self.page.evaluate("window.finished") is True, (command, self.page.evaluate("window.finished"))

    def run_all(self, patience_s: float = RUN_S) -> list[dict[str, Any]]:
        """Run every cell; all ran, in order, none with an error or a word on stderr. Returns the code cells."""
        self.execute("notebook:run-all-cells", patience_s)
        cells = self.code_cells()
        assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), self.errors()
        assert self.errors() == []
        return cells

    def run_cell(self, source: str) -> list[dict[str, Any]]:
        """Add a cell at the end, as a user would, and run it. Returns its outputs."""
        self.page.evaluate(LAST)
        self.execute("notebook:insert-cell-below")
        self.page.evaluate(WRITE, source)
        self.execute("notebook:run-cell")
        return self.code_cells()[-1]["outputs"]

    def code_cells(self) -> list[dict[str, Any]]:
        return [cell for cell in self.page.evaluate(CELLS) if cell["cell_type"] == "code"]

    def errors(self) -> list[str]:
        """Error outputs and what was written to stderr."""
        outputs = [output for cell in self.code_cells() for output in cell["outputs"]]
        found = [f"{o['ename']}: {o['evalue']}" for o in outputs if o["output_type"] == "error"]
        return found + ["".join(o["text"]) for o in outputs if o.get("name") == "stderr"]

    def await_change(self, look: Callable[[], Any], before: Any, what: str) -> Any:
        """Look again and again until it is no longer as before."""
        deadline = time.monotonic() + CHANGE_S
        while (now := look()) == before:
            assert time.monotonic() < deadline, f"{what} changed nothing within {CHANGE_S} s"
            self.page.wait_for_timeout(50)
        return now

    def show(self, element: Locator) -> None:
        """Scroll there; cells above it take their height only when they have been seen, so it may slip away again."""
        places: list[dict | None] = [None, element.bounding_box()]

        def look() -> bool:
            element.scroll_into_view_if_needed()
            self.page.wait_for_timeout(150)
            places[:] = places[1], element.bounding_box()
            return places[0] == places[1]

        self.await_change(look, False, "scrolling")

    def screenshot(self, moment: str) -> None:
        self.page.screenshot(path=self._screenshots / f"{self.name}-{moment}.png")

    def check_quiet(self) -> None:
        """Nothing was asked for outside this machine, nothing was refused, and the console has no unknown word.

        `expected` may name words that belong to what one test does on purpose.
        """
        assert self.requests, "no request was seen: the listener is broken"
        assert [url for url in self.requests if not LOCAL.match(url)] == []
        assert self.refused == []
        unknown = [
            text for text in self.said if not any(re.search(known, text) for known in (*HARMLESS, *self.expected))
        ]
        assert unknown == []

    def _listen(self, message) -> None:
        if message.type in ("error", "warning"):
            self.said.append(f"{message.type}: {message.text}")

    def _note_refusal(self, response) -> None:
        if response.status >= 400:
            self.refused.append(f"{response.status} {response.url}")


def pixels(image: Locator) -> str:
    """The picture that an `<img>` shows, as text; its address is no measure, since it changes with every frame."""
    return image.evaluate(PIXELS)


def decoded(shown: str) -> Image.Image:
    """Such a text as a picture."""
    return Image.open(BytesIO(base64.b64decode(shown.partition(",")[2]))).convert("RGB")


def on_screen(element: Locator) -> Image.Image:
    """What is seen at the place of an element, whatever draws it."""
    return Image.open(BytesIO(element.screenshot())).convert("RGB")


def drag(page: Page, element: Locator, right: int, down: int = 0, steps: int = 10) -> None:
    """From the middle of an element with the mouse pressed."""
    element.scroll_into_view_if_needed()
    box = element.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + right, y + down, steps=steps)
    page.mouse.up()
