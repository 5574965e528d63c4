"""An explorer's picture as a figure: what stays where there is no kernel to ask."""

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from PIL import Image

from pmgs_lib.ui import style
from pmgs_lib.ui.explorer.frames import Frame
from pmgs_lib.ui.explorer.maps import Scale
from pmgs_lib.ui.explorer.state import ExplorerState

WIDTH = 6.4  # inches
TITLE, BAR = 0.42, 0.5  # inches


def still_figure(frame: Frame, state: ExplorerState, picture: Image.Image) -> Figure:
    """The picture with a title that says what it is, scores, and the scale of its colours."""
    tall = WIDTH * picture.height / picture.width
    total = TITLE + tall + (BAR if frame.scale else 0)
    with style.figure_style():
        figure = Figure(figsize=(WIDTH, total))
        axes = figure.add_axes((0, 1 - (TITLE + tall) / total, 1, tall / total))
        axes.set_axis_off()
        axes.imshow(np.asarray(picture), interpolation="nearest", aspect="auto")
        figure.text(0.005, 1 - 0.05 / total, still_title(frame, state), va="top", fontsize=8.5, linespacing=1.35)
        if frame.scale is not None:
            style.color_bar(axes, axes, _norm(frame.scale), frame.scale.colormap, frame.scale.label)
    return figure


def still_title(frame: Frame, state: ExplorerState) -> str:
    """Two lines: what is seen, and how it scores."""
    names = state.left if state.right is None else f"{state.left} | {state.right}"
    where = f"from held-out view {frame.target}" if frame.at_target else "from the input path"
    if not frame.at_target and not state.at_anchor:
        where = "from a free camera"
    scores = ", ".join(f"{name} {value:.2f} dB" for name, value in frame.psnr.items())
    return f"{state.scene}: {state.mode} of {names}, {where}\nPSNR at held-out view {frame.target}: {scores}"


def _norm(scale: Scale) -> Normalize:
    return LogNorm(scale.low, scale.high) if scale.logarithmic else Normalize(scale.low, scale.high)
