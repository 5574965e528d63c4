"""The explorer's thin page side: requests come in as messages, pictures go out as buffers, nothing is synchronised."""

from pathlib import Path
from typing import Any

import anywidget

from pmgs_lib.ui.explorer.session import Explorer

HERE = Path(__file__).parent


class ExplorerWidget(anywidget.AnyWidget):
    """One explorer on a page. Pictures are messages and no traits, so that none lands in the saved notebook."""

    _esm = HERE / "widget.js"
    _css = HERE / "widget.css"

    def __init__(self, explorer: Explorer) -> None:
        super().__init__()
        self._explorer = explorer
        self.on_msg(self._serve)

    def tell(self) -> None:
        """The state was set from a cell: pages ask for its picture."""
        self.send({"changed": True})

    def _serve(self, _widget: Any, message: Any, _buffers: Any) -> None:
        reply, buffers = self._explorer.answer(message if isinstance(message, dict) else {})
        self.send(reply, buffers=buffers)
