"""An explorer in a page, as hands and eyes have it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from notebook_page import NotebookPage, drag, pixels
from playwright.sync_api import Locator


@dataclass(frozen=True)
class Seen:
    """What the explorer shows: the pixels, and which frame in full they are (the first is 1)."""

    pixels: str
    full: int


class ExplorerPage:
    """The explorer that is the `index`-th of its notebook."""

    def __init__(self, notebook: NotebookPage, index: int = 0) -> None:
        self.notebook, self.page = notebook, notebook.page
        # A page without a kernel shows the still; JupyterLab shows the widget.
        self.root = notebook.page.locator(".pmgs-explorer").nth(index)
        self.root.wait_for()
        self.root.scroll_into_view_if_needed()
        self.picture = self.part("picture")
        notebook.await_change(lambda: self.fact("full") is None, True, "the first request")

    def part(self, name: str) -> Locator:
        return self.root.locator(f".pmgs-{name}")

    def fact(self, name: str) -> str | None:
        """A fact that the page notes beside the picture."""
        return self.picture.get_attribute(f"data-{name}")

    def text(self, name: str) -> str:
        return self.part(name).inner_text()

    def seen(self) -> Seen:
        return Seen(pixels(self.picture), int(self.fact("full")))

    def after(self, action: Callable[[], object], what: str) -> Seen:
        """What is seen after an action, when the picture is drawn in full again."""
        before = int(self.fact("full"))
        action()
        self.notebook.await_change(lambda: int(self.fact("full")) > before, False, what)
        return self.settled()

    def settled(self) -> Seen:
        """When every request is answered and the last answer was in full."""
        ready = 'e => e.dataset.waiting === "0" && e.querySelector(".pmgs-picture").dataset.coarse === "false"'
        self.notebook.await_change(lambda: self.root.evaluate(ready), False, "waiting for a picture in full")
        return self.seen()

    def expect_change(self, action: Callable[[], object], what: str) -> Seen:
        """The action must lead to another picture, and to no word of trouble."""
        before = self.settled()
        now = self.after(action, what)
        assert now.pixels != before.pixels, f"{what} left the picture as it was"
        assert self.text("error") == "", what
        return now

    def drag(self, right: int, down: int = 0, steps: int = 10) -> None:
        drag(self.page, self.picture, right, down, steps)

    def push(self, name: str) -> None:
        """A button, by keyboard: the first mouse press into another cell may move the page under the pointer."""
        self.settled()
        self.part(name).press("Enter")

    def slide(self, name: str, key: str, times: int = 1) -> None:
        """A slider by keyboard: PageUp and PageDown go a tenth of the way."""
        for _ in range(times):
            self.part(name).press(key)

    def choose(self, name: str, value: str) -> None:
        self.part(name).select_option(value)

    def options(self, name: str) -> list[str]:
        return self.part(name).locator("option").evaluate_all("all => all.map(option => option.value)")

    def frames_a_second(self, seconds: float) -> float:
        """Coarse pictures that reach the page while a hand moves to and fro without rest."""
        self.picture.scroll_into_view_if_needed()
        mouse, box = self.page.mouse, self.picture.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        mouse.move(x, y)
        mouse.down()
        before, started = int(self.fact("frames")), time.monotonic()
        while (passed := time.monotonic() - started) < seconds:
            way = passed % 2 - 1
            mouse.move(x + 100 * abs(way), y + 20 * way)
        rate = (int(self.fact("frames")) - before) / passed
        assert self.fact("coarse") == "true"
        mouse.up()
        self.settled()
        return rate
