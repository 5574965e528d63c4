"""Time and memory against the size of the input, on logarithmic axes: a power law is a straight line there."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.scaling import growth
from pmgs_lib.ui import style

AMOUNTS = {"views": "pixels", "pixels": "views"}  # what grows, and what is the same meanwhile
GIBIBYTE = 2**30


def plot_growth(table: pd.DataFrame) -> Figure:
    """Time of a forward pass by views and by pixels of a view, from the table of `time_model`; memory below if known.

    Points are medians, bars reach from the fastest to the slowest repeat, lines are power laws with their exponents.
    """
    missing = {"setting", "views", "pixels", "median_s", "low_s", "high_s", "peak_bytes"} - set(table.columns)
    if missing or table.empty:
        raise ParameterError(
            f"plot_growth: {len(table)} rows without {sorted(missing)}, expected what time_model gives"
        )
    quantities = ["median_s"] + (["peak_bytes"] if table["peak_bytes"].notna().all() else [])
    with style.figure_style():
        figure = Figure(figsize=(0.8 * style.PAGE_WIDTH, 3.0 * len(quantities)), layout="constrained")
        grid = figure.subplots(len(quantities), len(AMOUNTS), squeeze=False)
        for row, quantity in zip(grid, quantities, strict=True):
            for panel, amount in zip(row, AMOUNTS, strict=True):
                _draw(panel, table, amount, quantity)
        grid[0, 0].set_title(f"by number of views, {_said(table, 'pixels')} pixels each")
        grid[0, 1].set_title(f"by pixels of a view, {_said(table, 'views')} views")
    return figure


def _said(table: pd.DataFrame, column: str) -> str:
    return f"{int(table[column].iloc[0]):,}"


def _draw(panel: Axes, table: pd.DataFrame, amount: str, quantity: str) -> None:
    fixed = AMOUNTS[amount]
    table = table[table[fixed] == table[fixed].iloc[0]]
    for number, (setting, part) in enumerate(table.groupby("setting", sort=False)):
        part, color = part.sort_values(amount), style.CYCLE[number % len(style.CYCLE)]
        marker = style.MARKERS[number % len(style.MARKERS)]
        values = part[quantity] / (GIBIBYTE if quantity == "peak_bytes" else 1)
        bars = None
        if quantity == "median_s":
            bars = np.stack([values - part["low_s"], part["high_s"] - values])
        label = _draw_line(panel, part[amount].tolist(), values.tolist(), color, str(setting))
        panel.errorbar(part[amount], values, bars, fmt=marker, markersize=4, capsize=3, color=color, label=label)
    panel.set_xscale("log")
    panel.set_yscale("log")
    ticks = sorted(table[amount].unique())
    panel.set_xticks(ticks, [f"{int(tick):,}" for tick in ticks])
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.minorticks_off()
    panel.set_xlabel("views" if amount == "views" else "pixels of a view")
    panel.set_ylabel("seconds" if quantity == "median_s" else "GiB at most")
    panel.yaxis.set_major_formatter("{x:g}")
    panel.grid(axis="y")
    panel.legend()


def _draw_line(
    panel: Axes, amounts: Sequence[float | int], values: Sequence[float | int], color: str, name: str
) -> str:
    """Draw the power law where there are two amounts or more; returns the label of the points."""
    if len(set(amounts)) < 2:
        return name
    law = growth(amounts, values)
    ends = np.array([min(amounts), max(amounts)])
    panel.plot(ends, law.coefficient * ends**law.exponent, color=color, linewidth=1.0, alpha=0.6, linestyle="-")
    return f"{name}, exponent {law.exponent:.2f}"
