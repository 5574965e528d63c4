"""Ablations as a table that is a picture: behaviours down, situations across."""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from pmgs_lib.errors import ParameterError
from pmgs_lib.ui import style
from pmgs_lib.ui.color_ramps import CHANGES, SHADES, ink_on

# Column of the summary, title, factor, format of a cell, colour scale (colour map, lowest, highest).
PANELS = (
    ("psnr_change", "PSNR against the truth, change in dB", 1.0, "{:+.2f}", (CHANGES, -3.0, 3.0)),
    ("depth_change", "depth, median relative change in %", 100.0, "{:.2f}", (SHADES, 0.0, 5.0)),
)


def plot_changes(summary: pd.DataFrame) -> Figure:
    """Change of PSNR and of depth for each behaviour (rows) and situation (columns) of `summarise(changes)`.

    The scale of decibels is centred at zero: red is worse. Both scales end early, so that small changes show; the cells
    say the number. An empty cell: nothing changed; n/a: not measured.
    """
    columns = {"behaviour", "situation", *(panel[0] for panel in PANELS)}
    if summary.empty or not columns <= set(summary.columns):
        raise ParameterError(
            f"plot_changes: {len(summary)} rows with columns {list(summary.columns)}, expected {sorted(columns)}: "
            "give what `summarise` returns"
        )
    behaviours, situations = summary["behaviour"].unique(), summary["situation"].unique()
    with style.figure_style():
        figure = Figure(figsize=(style.PAGE_WIDTH, 0.85 + 0.3 * len(behaviours)), layout="constrained")
        axes = figure.subplots(1, len(PANELS), sharey=True)
        for panel, (column, title, factor, text, scale) in zip(axes, PANELS, strict=True):
            table = summary.pivot(index="behaviour", columns="situation", values=column) * factor
            _draw_table(panel, table.loc[behaviours, situations], text, scale)
            panel.set_title(title)
    return figure


def _draw_table(panel: Axes, table: pd.DataFrame, text: str, scale: tuple[Colormap, float, float]) -> None:
    colormap, low, high = scale
    norm = Normalize(low, high)
    panel.imshow(table.to_numpy(), norm=norm, cmap=colormap, aspect="auto")
    for row, values in enumerate(table.to_numpy()):
        for column, value in enumerate(values):
            if value == 0:
                continue
            missing = math.isnan(value)
            color = style.QUIET if missing else ink_on(colormap(float(norm(value)))[:3])
            words = "n/a" if missing else text.format(value)
            panel.text(column, row, words, ha="center", va="center", fontsize=8, color=color)
    panel.set_xticks(range(table.shape[1]), table.columns)
    panel.set_yticks(range(table.shape[0]), table.index)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
