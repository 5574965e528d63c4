"""Figures of views, predictions and numbers. Each function returns a matplotlib `Figure` in the library's one style.

Scales are shared where values compare: one depth scale a figure, one fixed scale for colour errors.
"""

from collections.abc import Collection, Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.methods import MethodOutput, nearest_cameras
from pmgs_lib.evaluation.metrics import METRICS, psnr
from pmgs_lib.export.images import DEPTH_COLORMAP, color_error
from pmgs_lib.ui import style
from pmgs_lib.views import Example, Views

MOST_VIEWS = 6
SMOOTHING_SHARE = 0.05  # of the steps drawn: the window of the running mean
BESIDE_LOSS = ("gradient_norm", "learning_rate")
NOT_A_LOSS = ("step", "skipped", *BESIDE_LOSS)


def plot_views(views: Views, titles: Sequence[str] = ()) -> Figure:
    """Up to six views of one scene in a row, and under them their exact depth on one scale where it is known."""
    _require_one_scene("plot_views", views)
    count = min(views.count, MOST_VIEWS)
    names = [*titles, *(f"view {i}" for i in range(len(titles), count))]
    rows = 1 if views.depth is None else 2
    with style.figure_style():
        figure, grid = style.picture_grid(rows, count, views.height / views.width, bars=views.depth is not None)
        for i in range(count):
            style.show_image(grid[0, i], views.images[i], names[i])
        if views.depth is not None:
            norm = style.depth_norm([views.depth[:count]])
            for i in range(count):
                style.show_map(grid[1, i], views.depth[i], norm, DEPTH_COLORMAP, "exact depth" if i == 0 else "")
            style.depth_bar(grid[1, 0], grid[1, -1], norm)
    return figure


def plot_prediction(example: Example, output: MethodOutput, targets: Sequence[int] = (0,)) -> Figure:
    """One row a target view: nearest input, target, rendering, its error, exact depth and rendered depth.

    The error is the mean absolute colour difference, on a fixed scale from 0 to 0.5; depths share one scale.
    """
    _require_one_scene("plot_prediction", example.target)
    exact, predicted = example.target.depth, output.depth
    depths = [depth[list(targets)] for depth in (exact, predicted) if depth is not None]
    with style.figure_style():
        aspect = example.target.height / example.target.width
        figure, grid = style.picture_grid(len(targets), 4 + len(depths), aspect, bars=True)
        norm = style.depth_norm(depths) if depths else None
        for row, target in zip(grid, targets, strict=True):
            _draw_colors(list(row[:4]), example, output, target)
            named = [("exact depth", exact), ("rendered depth", predicted)]
            drawn = [(name, depth[target]) for name, depth in named if depth is not None]
            for axes, (name, depth) in zip(row[4:], drawn, strict=True):
                style.show_map(axes, depth, norm, DEPTH_COLORMAP, name)
        _error_bar(grid[-1, 3], grid[-1, 3])
        if norm is not None:
            style.depth_bar(grid[-1, 4], grid[-1, -1], norm)
    return figure


def _draw_colors(row: Sequence[Axes], example: Example, output: MethodOutput, target: int) -> None:
    truth, color = example.target.images[target], output.color[target]
    nearest = int(nearest_cameras(example.target.cameras, example.context.cameras)[target])
    style.show_image(row[0], example.context.images[nearest], "nearest input")
    style.show_image(row[1], truth, "target")
    style.show_image(row[2], color, f"rendering, {psnr(color, truth).item():.2f} dB")
    style.show_map(row[3], color_error(color, truth), style.ERROR_NORM, style.ERROR_COLORMAP, "error")


def _error_bar(first: Axes, last: Axes) -> None:
    style.color_bar(first, last, style.ERROR_NORM, style.ERROR_COLORMAP, "error")


def plot_comparison(example: Example, outputs: Mapping[str, MethodOutput], target: int = 0) -> Figure:
    """One target view by several methods, a column each: picture, error and depth, all on the same scales.

    The first column holds the truth: target, nearest input, exact depth.
    """
    _require_one_scene("plot_comparison", example.target)
    truth, exact = example.target.images[target], example.target.depth
    depths = [o.depth[target] for o in outputs.values() if o.depth is not None]
    depths += [] if exact is None else [exact[target]]
    with style.figure_style():
        aspect = example.target.height / example.target.width
        figure, grid = style.picture_grid(3 if depths else 2, 1 + len(outputs), aspect, bars=True)
        nearest = int(nearest_cameras(example.target.cameras, example.context.cameras)[target])
        style.show_image(grid[0, 0], truth, "target")
        style.show_image(grid[1, 0], example.context.images[nearest], "nearest input")
        for column, (name, output) in zip(grid.T[1:], outputs.items(), strict=True):
            color = output.color[target]
            style.show_image(column[0], color, f"{name}, {psnr(color, truth).item():.2f} dB")
            style.show_map(column[1], color_error(color, truth), style.ERROR_NORM, style.ERROR_COLORMAP, "error")
        if depths:
            norm = style.depth_norm(depths)
            maps = {"exact depth": exact, **{f"depth of {name}": o.depth for name, o in outputs.items()}}
            for axes, (name, depth) in zip(grid[2], maps.items(), strict=True):
                _depth_or_note(axes, None if depth is None else depth[target], norm, name)
            style.depth_bar(grid[-1, (1 + len(outputs)) // 2], grid[-1, -1], norm)
        _error_bar(grid[-1, 0], grid[-1, (len(outputs) - 1) // 2])
    return figure


def _depth_or_note(axes: Axes, depth: Tensor | None, norm: LogNorm, title: str) -> None:
    if depth is not None:
        style.show_map(axes, depth, norm, DEPTH_COLORMAP, title)
    else:
        axes.text(0.5, 0.5, "predicts no depth", transform=axes.transAxes, ha="center", color=style.QUIET, fontsize=8)


def plot_metrics(
    rows: Mapping[str, Mapping[str, float | None]], metrics: Sequence[str], controls: Collection[str] = ()
) -> Figure:
    """Bars of each metric: a panel a metric, a bar a method, in the given order.

    Methods named in `controls` are grey: they explain the others. A missing value is said in words, not drawn as zero.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not rows or not metrics:
        raise ParameterError(
            f"plot_metrics: {len(rows)} rows and metrics {list(metrics)}, expected some of {', '.join(METRICS)}"
        )
    with style.figure_style():
        figure = Figure(figsize=(min(style.PAGE_WIDTH, 2.6 * len(metrics) + 1.4), 0.55 + 0.3 * len(rows)))
        panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for panel, metric in zip(panels, metrics, strict=True):
            _metric_panel(panel, metric, rows, controls)
        panels[0].set_yticks(range(len(rows)), list(rows))
        panels[0].invert_yaxis()
        figure.subplots_adjust(left=1.6 / figure.get_size_inches()[0], right=0.99, bottom=0.03, top=0.8, wspace=0.12)
    return figure


def _metric_panel(
    panel: Axes, metric: str, rows: Mapping[str, Mapping[str, float | None]], controls: Collection[str]
) -> None:
    info = METRICS[metric]
    values = [row.get(metric) for row in rows.values()]
    largest = max([value for value in values if value is not None], default=1.0) or 1.0
    colors = [style.CONTROL if name in controls else style.CYCLE[0] for name in rows]
    panel.barh(range(len(values)), [value or 0.0 for value in values], color=colors, height=0.62)
    for position, value in enumerate(values):
        text = "not available" if value is None else f"{value:.{info.digits}f}"
        at = (value or 0.0) + 0.02 * largest
        panel.text(at, position, text, va="center", fontsize=8, color=style.QUIET if value is None else style.INK)
    unit = f" [{info.unit}]" if info.unit else ""
    panel.set_title(f"{info.label}{unit}, {info.better} is better")
    panel.set_xlim(0, 1.28 * largest)
    panel.set_xticks([])
    panel.spines["bottom"].set_visible(False)
    panel.tick_params(axis="y", length=0)


def plot_loss_curve(history: pd.DataFrame) -> Figure:
    """Loss terms over the steps of a training history: single steps faint, their running mean strong.

    `history` has a column `step` and a column a loss term (as `TrainingHistory.to_frame()` gives it); gradient norm and
    learning rate are drawn in small panels beside it where they are recorded. Steps that were skipped are marked below.
    """
    terms = [name for name in history.columns if name not in NOT_A_LOSS]
    if "step" not in history.columns or not terms or history.empty:
        raise ParameterError(
            f"plot_loss_curve: {len(history)} steps with columns {list(history.columns)}, expected 'step' and losses"
        )
    side = [name for name in BESIDE_LOSS if name in history.columns]
    with style.figure_style():
        figure = Figure(figsize=(style.PAGE_WIDTH if side else 6.5, 3.2), layout="constrained")
        panels = figure.subplots(1, 1 + len(side), squeeze=False, width_ratios=[2.2] + [1] * len(side))[0]
        for number, term in enumerate(terms):
            _draw_curve(panels[0], history, term, number)
        _mark_skipped(panels[0], history)
        # Below the panel: curves may run anywhere in it.
        panels[0].legend(ncols=5, loc="upper left", bbox_to_anchor=(0.0, -0.17))
        for panel, name in zip(panels[1:], side, strict=True):
            _draw_curve(panel, history, name, None)
        for panel, names in zip(panels, [terms, *([name] for name in side)], strict=True):
            panel.set_title("loss" if names is terms else names[0].replace("_", " "))
            # A term that is zero now and then has no place on a logarithmic axis; a schedule ends at zero.
            if (
                names != ["learning_rate"] and (history[names].min() > 0).all()
            ):  # skipped steps and unused terms are NaN
                panel.set_yscale("log")
            panel.set_xlabel("step")
            panel.grid(axis="y")
    return figure


def _mark_skipped(panel: Axes, history: pd.DataFrame) -> None:
    if "skipped" in history.columns and history["skipped"].any():
        steps = history.loc[history["skipped"] > 0, "step"]
        marks = {"marker": "|", "color": style.INK, "clip_on": False, "linestyle": "none"}
        panel.plot(steps, [0.0] * len(steps), transform=panel.get_xaxis_transform(), label="skipped", **marks)


def _draw_curve(panel: Axes, history: pd.DataFrame, name: str, number: int | None) -> None:
    """Curve `number` of several, or the only one of its panel (None)."""
    color = style.QUIET if number is None else style.CYCLE[number % len(style.CYCLE)]
    dashes = "-" if number is None else style.DASHES[number % len(style.DASHES)]
    steps, values = history["step"], history[name]
    window = 1 if name == "learning_rate" else max(1, round(SMOOTHING_SHARE * len(values)))
    if window > 1:
        panel.plot(steps, values, color=color, alpha=0.25, linewidth=0.8, linestyle="-")
    mean = values.rolling(window, min_periods=1, center=True).mean()
    panel.plot(steps, mean, color=color, linestyle=dashes, label=name)
    if name == "learning_rate":
        panel.yaxis.set_major_formatter("{x:.0e}")


def _require_one_scene(function: str, views: Views) -> None:
    if views.batch_shape != ():
        raise ParameterError(f"{function}: a batch of {tuple(views.batch_shape)} scenes, expected one; pass views[0]")
