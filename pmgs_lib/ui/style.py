"""The one look of every figure: sizes in inches, colours that colour-blind readers tell apart, shared scales."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from torch import Tensor

from pmgs_lib.errors import ParameterError
from pmgs_lib.export.images import DEPTH_COLORMAP, LARGEST_ERROR
from pmgs_lib.export.images import ERROR_COLORMAP as ERROR_COLORMAP  # part of the look, too

PAGE_WIDTH = 11.0  # inches; a notebook's column at 100 dots an inch
WIDEST_PICTURE = 3.6  # inches; few pictures are not blown up to the page
TITLE_HEIGHT, BAR_HEIGHT, GAP = 0.24, 0.46, 0.06  # inches

# Okabe and Ito (2008): told apart with every common kind of colour blindness.
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, QUIET, CONTROL = "#222222", "#5f5f5f", "#b5b5b5"

# What tells lines, points and bars apart where colour does not print; a line, cloud or bar takes them by its number.
DASHES = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1, 1.2)), (0, (9, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (2, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCH = "////"  # of the bars that a figure points out

ERROR_NORM = Normalize(0, LARGEST_ERROR)
DISTANCE_COLORMAP = "viridis"
DEPTH_TICKS = (0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100, 200, 500)

SETTINGS = {
    "figure.facecolor": "white",
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 4,
    "axes.labelsize": 9,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": CONTROL,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=CYCLE) + mpl.cycler(linestyle=DASHES),
    "hatch.color": "white",
    "hatch.linewidth": 1.2,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Inside, matplotlib draws in this look; outside, the reader's own settings stay as they are."""
    with mpl.rc_context(SETTINGS):
        yield


def depth_norm(depths: Sequence[Float[Tensor, "..."]]) -> LogNorm:
    """One logarithmic scale for several depth maps: from the nearest to the farthest surface in any of them."""
    seen = [depth[(depth > 0) & depth.isfinite()] for depth in depths]
    present = [values for values in seen if values.numel()]
    if not present:
        raise ParameterError("depth_norm: no pixel of these maps has a depth, expected some; plot colours only")
    low, high = min(float(v.min()) for v in present), max(float(v.max()) for v in present)
    return LogNorm(low, max(high, 1.01 * low))  # a flat map still needs a range


def picture_grid(rows: int, columns: int, aspect: float, *, bars: bool = False) -> tuple[Figure, np.ndarray]:
    """A figure of equal pictures (aspect = height / width), pixels undistorted, with room for colour bars below."""
    width = min((PAGE_WIDTH - GAP * (columns - 1)) / columns, WIDEST_PICTURE)
    row_height = TITLE_HEIGHT + width * aspect
    total_width = columns * width + (columns - 1) * GAP
    total_height = rows * row_height + (BAR_HEIGHT if bars else 0)
    figure = Figure(figsize=(total_width, total_height))
    grid = np.empty((rows, columns), dtype=object)
    for row in range(rows):
        for column in range(columns):
            left, top = column * (width + GAP), row * row_height + TITLE_HEIGHT
            bottom = total_height - top - width * aspect
            box = (left / total_width, bottom / total_height, width / total_width, width * aspect / total_height)
            grid[row, column] = figure.add_axes(box)
            grid[row, column].set_axis_off()
    return figure, grid


def show_image(axes: Axes, image: Float[Tensor, "3 h w"], title: str = "") -> None:
    """One image, clipped to [0, 1]."""
    pixels = image.detach().cpu().float().clamp(0, 1).movedim(0, -1).numpy()
    axes.imshow(pixels, interpolation="nearest", aspect="auto")
    axes.set_title(title)


def show_map(axes: Axes, values: Float[Tensor, "h w"], norm: Normalize, colormap: str, title: str = "") -> None:
    """One map of numbers on a given scale; white where it has no number, or no depth on a depth scale."""
    array = values.detach().cpu().float().numpy()
    hidden = ~np.isfinite(array) | ((array <= 0) if isinstance(norm, LogNorm) else False)
    axes.imshow(np.ma.masked_array(array, hidden), norm=norm, cmap=colormap, interpolation="nearest", aspect="auto")
    axes.set_title(title)


def color_bar(first: Axes, last: Axes, norm: Normalize, colormap: str, label: str) -> None:
    """A thin colour bar with its label, below the pictures from `first` to `last` of the lowest row."""
    figure = first.get_figure()
    width, height = figure.get_size_inches()
    left, right = first.get_position().x0, last.get_position().x1
    label_width = (0.075 * len(label) + 0.1) / width
    box = (left + label_width, 0.27 / height, right - left - label_width - 0.15 / width, 0.1 / height)
    bar_axes = figure.add_axes(box, label="<colorbar>")
    bar = figure.colorbar(ScalarMappable(norm, colormap), cax=bar_axes, orientation="horizontal")
    bar.outline.set_visible(False)
    figure.text(left + 0.02 / width, 0.32 / height, label, va="center", color=QUIET, fontsize=8)
    if isinstance(norm, LogNorm):
        ticks = [tick for tick in DEPTH_TICKS if norm.vmin <= tick <= norm.vmax]
        bar_axes.xaxis.set_major_locator(FixedLocator(ticks))
        bar_axes.xaxis.set_major_formatter("{x:g}")
        bar_axes.xaxis.set_minor_locator(NullLocator())
    bar_axes.tick_params(length=2, pad=1.5)


def depth_bar(first: Axes, last: Axes, norm: LogNorm) -> None:
    """The colour bar of z-depth."""
    color_bar(first, last, norm, DEPTH_COLORMAP, "depth [m]")
