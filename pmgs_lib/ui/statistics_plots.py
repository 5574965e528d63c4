"""How sure numbers are: means with intervals over seeds, and what a method changes scene by scene."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.statistics import Interval, PairedTest, metric_info
from pmgs_lib.ui import style

MOST_NAMES = 12  # scenes that are named below their dots; more would overlap
PANEL_WIDTH, PANEL_HEIGHT = 3.2, 2.6  # inches
ROW_HEIGHT = 0.44  # inches: the mean, its number above and the seeds below


def plot_seed_means(
    rows: Mapping[str, Mapping[str, Interval | float | None]], metrics: Sequence[str], controls: Collection[str] = ()
) -> Figure:
    """Mean and interval over seeds: a panel a metric, a line an arm, with every seed as a hollow mark below the mean.

    `rows` maps an arm to what `interval_over_seeds` gives for each metric, or to the number of a single training, which
    has no interval. Arms named in `controls` are grey: they explain the others. A missing metric is said in words.
    """
    if not rows or not metrics:
        raise ParameterError(
            f"plot_seed_means: {len(rows)} arms and {len(metrics)} metrics, expected some of both; give intervals"
        )
    with style.figure_style():
        width = min(style.PAGE_WIDTH, PANEL_WIDTH * len(metrics) + 1.4)
        figure = Figure(figsize=(width, 0.9 + ROW_HEIGHT * len(rows)), layout="constrained")
        panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for panel, metric in zip(panels, metrics, strict=True):
            for place, (arm, values) in enumerate(rows.items()):
                _draw_arm(panel, place, values.get(metric), metric, arm in controls)
            panel.set_title(_title(metric))
            panel.grid(axis="x")
            panel.margins(x=0.1)
        panels[0].set_yticks(range(len(rows)), list(rows))
        panels[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure


def _draw_arm(panel: Axes, place: int, value: Interval | float | None, metric: str, control: bool) -> None:
    if value is None:
        where = panel.get_yaxis_transform()
        panel.text(0.02, place, "not available", transform=where, va="center", fontsize=8, color=style.QUIET)
        return
    color = style.CONTROL if control else style.CYCLE[place % len(style.CYCLE)]
    marker = style.MARKERS[place % len(style.MARKERS)]
    mean = value.mean if isinstance(value, Interval) else value
    if isinstance(value, Interval):
        reach = [[mean - value.low], [value.high - mean]]
        panel.errorbar([mean], [place], xerr=reach, fmt=marker, markersize=6, capsize=4, color=color)
        below = np.full(len(value.values), place + 0.24)
        panel.plot(value.values, below, marker, markersize=3.5, markerfacecolor="none", color=color)
    else:
        panel.plot([mean], [place], marker, markersize=6, color=color)
    number = f"{mean:.{metric_info(metric).digits}f}"
    above = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center", "va": "bottom"}
    panel.annotate(number, (mean, place), fontsize=8, color=style.INK, **above)


def plot_paired_differences(tests: Sequence[PairedTest], method: str, baseline: str) -> Figure:
    """What `method` changes against `baseline` in each scene: a panel a metric, a dot a scene, in order of size.

    Filled dots: scenes where the method is better; hollow ones: worse; crosses: tied. The line is the mean over scenes,
    the band its interval. Scenes are named where there are few.
    """
    if not tests:
        raise ParameterError("plot_paired_differences: no tests, expected one or more; give what paired_tests returns")
    named = max(len(test.scenes) for test in tests) <= MOST_NAMES
    with style.figure_style():
        width = min(style.PAGE_WIDTH, PANEL_WIDTH * len(tests) + 0.4)
        figure = Figure(figsize=(width, PANEL_HEIGHT + 0.9 * named), layout="constrained")
        panels = figure.subplots(1, len(tests), squeeze=False)[0]
        for panel, test in zip(panels, tests, strict=True):
            _draw_test(panel, test, named)
        panels[0].set_ylabel(f"{method} minus {baseline}")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=len(handles), handletextpad=0.3)
    return figure


def _draw_test(panel: Axes, test: PairedTest, named: bool) -> None:
    differences = np.array(test.interval.values)
    gains = differences if test.info.better == "higher" else -differences
    order = np.argsort(differences, kind="stable")
    places = np.arange(len(order))
    panel.axhline(0, color=style.INK, linewidth=1.0)
    panel.axhspan(
        test.interval.low, test.interval.high, color=style.CONTROL, alpha=0.45, linewidth=0, label="its interval"
    )
    panel.axhline(test.interval.mean, color=style.QUIET, linestyle="--", linewidth=1.2, label="mean")
    looks = (
        (gains > 0, {"marker": "o", "color": style.CYCLE[0], "label": "better"}),
        (gains < 0, {"marker": "o", "color": style.CYCLE[1], "markerfacecolor": "white", "label": "worse"}),
        (gains == 0, {"marker": "x", "color": style.QUIET, "label": "tied"}),
    )
    for chosen, look in looks:
        shown = chosen[order]
        panel.plot(places[shown], differences[order][shown], linestyle="none", markersize=5, **look)
    counts = f"better in {test.better} of {len(test.scenes)}"
    panel.set_title(f"{_title(test.metric)}\n{counts}{f', {test.tied} tied' if test.tied else ''}")
    panel.grid(axis="y")
    panel.set_xlim(-0.7, len(order) - 0.3)
    if named:
        panel.set_xticks(places, [test.scenes[place] for place in order], rotation=90)
    else:
        panel.set_xticks([])
        panel.set_xlabel(f"{len(order)} scenes, in order of the difference")


def _title(metric: str) -> str:
    info = metric_info(metric)
    return f"{info.label}{f' [{info.unit}]' if info.unit else ''}, {info.better} is better"
