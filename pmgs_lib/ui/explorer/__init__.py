"""Look round a reconstruction in JupyterLab: `explore` gives the widget, `render_frame` its pictures without one."""

from pmgs_lib._lazy import lazy_names

NAMES = {
    "explore": "pmgs_lib.ui.explorer.session",
    "Explorer": "pmgs_lib.ui.explorer.session",
    "ExplorerState": "pmgs_lib.ui.explorer.state",
    "Subject": "pmgs_lib.ui.explorer.subjects",
    "Stage": "pmgs_lib.ui.explorer.stage",
    "Frame": "pmgs_lib.ui.explorer.frames",
    "render_frame": "pmgs_lib.ui.explorer.frames",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
