"""A figure of measured times and memory beside what they must be."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.performance import Comparison
from pmgs_lib.ui import style

ROW_HEIGHT = 0.34  # inches


def plot_performance(comparisons: Sequence[Comparison], unit: str) -> Figure:
    """Ours, the limit and the released code, a row a work, on one logarithmic axis in `unit` ("ms", "GiB").

    A dot is our median with the range of the repeats, a bar the limit, a cross the released code. Work that nobody has
    measured has no dot and says so.
    """
    rows = [comparison for comparison in comparisons if comparison.target.unit == unit and comparison.target.at_most]
    if not rows:
        raise ParameterError(
            f"plot_performance: nothing in {unit} among {len(comparisons)}, expected some; choose a unit"
        )
    with style.figure_style():
        figure = Figure(figsize=(style.PAGE_WIDTH, 1.1 + ROW_HEIGHT * len(rows)), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        for place, row in enumerate(rows):
            _draw_row(axes, place, row)
        axes.set_yticks(range(len(rows)), [row.target.work for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(unit)
        axes.set_title("ours beside what it must be at most")
        handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        figure.legend(handles.values(), handles.keys(), loc="outside upper right", ncols=3, frameon=False)
    return figure


def _draw_row(axes: Axes, place: int, row: Comparison) -> None:
    target = row.target
    axes.plot([target.at_most], [place], "|", color="black", markersize=15, markeredgewidth=2, label="must be at most")
    if target.released is not None:
        axes.plot([target.released], [place], "x", color=style.CONTROL, markersize=7, label="released code")
    if row.median is None:
        axes.annotate("not measured", (target.at_most, place), (6, 0), textcoords="offset points", ha="left",
                      va="center", color=style.QUIET, fontsize=8)  # fmt: skip
        return
    spread = [[row.median - min(row.values)], [max(row.values) - row.median]]
    axes.errorbar([row.median], [place], xerr=spread, fmt="o", color=style.CYCLE[0], capsize=3, label="ours, median")
