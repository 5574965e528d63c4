"""Figures of predicted depth beside the pictures it was read from, and beside the truth where it is known."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.metrics import DEPTH_METRICS
from pmgs_lib.export.images import DEPTH_COLORMAP
from pmgs_lib.ui import style
from pmgs_lib.views import Views

MOST_COLUMNS = 8


def plot_depths(views: Views, depth: Float[Tensor, "view h w"], titles: Sequence[str] = ()) -> Figure:
    """A column a view: picture, predicted depth, and where it is known the exact depth and the relative error.

    Depths share one logarithmic scale; the error |depth - exact| / exact is on a fixed scale from 0 to 0.5, white where
    there is no exact depth. At most eight views are drawn.
    """
    if views.batch_shape != () or depth.shape != (views.count, views.height, views.width):
        raise ParameterError(
            f"plot_depths: depth of shape {tuple(depth.shape)} for images of shape {tuple(views.images.shape)}, "
            "expected one scene and a depth for each of its pixels"
        )
    count, exact = min(views.count, MOST_COLUMNS), views.depth
    names = [*titles, *(f"view {i}" for i in range(len(titles), count))]
    with style.figure_style():
        figure, grid = style.picture_grid(2 if exact is None else 4, count, views.height / views.width, bars=True)
        shown = [depth[:count]] if exact is None else [depth[:count], exact[:count]]
        norm = style.depth_norm(shown)
        for i, column in enumerate(grid.T):
            first = i == 0
            style.show_image(column[0], views.images[i], names[i])
            style.show_map(column[1], depth[i], norm, DEPTH_COLORMAP, "predicted depth" if first else "")
            if exact is not None:
                style.show_map(column[2], exact[i], norm, DEPTH_COLORMAP, "exact depth" if first else "")
                error = (depth[i] - exact[i]).abs() / exact[i].where(exact[i] > 0, float("nan"))
                style.show_map(column[3], error, style.ERROR_NORM, style.ERROR_COLORMAP, "relative error" * first)
        middle = (count - 1) // 2
        style.depth_bar(grid[-1, 0], grid[-1, -1 if exact is None else middle], norm)
        if exact is not None:
            last = grid[-1, min(middle + 1, count - 1)], grid[-1, -1]
            style.color_bar(*last, style.ERROR_NORM, style.ERROR_COLORMAP, "relative error")
    return figure


def plot_errors_by_views(errors: Mapping[int, Mapping[str, float]], metrics: Sequence[str]) -> Figure:
    """Depth errors (names of `DEPTH_METRICS`) over the number of views, a panel a metric."""
    unknown = [name for name in metrics if name not in DEPTH_METRICS]
    if unknown or not errors or not metrics:
        raise ParameterError(
            f"plot_errors_by_views: {len(errors)} numbers of views and metrics {list(metrics)}, expected some of "
            f"{', '.join(DEPTH_METRICS)}"
        )
    counts = sorted(errors)
    with style.figure_style():
        figure = Figure(figsize=(min(style.PAGE_WIDTH, 2.6 * len(metrics) + 0.4), 2.2), layout="constrained")
        for panel, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
            info = DEPTH_METRICS[metric]
            values = [errors[count][metric] for count in counts]
            panel.plot(counts, values, marker="o", markersize=4)
            panel.set_title(f"{info.label}{f' [{info.unit}]' if info.unit else ''}, {info.better} is better")
            panel.set_xticks(counts)
            panel.set_xlabel("views")
            panel.set_ylim(0, 1.15 * max(values) if info.better == "lower" else 1.02)
            panel.grid(axis="y")
    return figure
