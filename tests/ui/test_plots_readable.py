"""Every plot function of the library, on small real inputs: can its figures be read, also without colour?

The figures' artists are inspected, not pixels: fonts, colour maps, scales, labels, and what tells one line, cloud or
bar from the next when it is printed in grey.
"""

import importlib
import inspect
import itertools
import pkgutil
import re
from functools import cache

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex, to_rgb, to_rgba
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from matplotlib.ticker import NullFormatter
from skimage.color import rgb2lab

import pmgs_lib.ui
from pmgs_lib.ui import color_ramps, plots, style
from tests.ui.plot_cases import CASES

SMALLEST_FONT = 8  # points
UNIFORM = {name + turned for name in ("viridis", "magma", "inferno", "plasma", "cividis") for turned in ("", "_r")}
UNIFORM |= {color_ramps.SHADES.name, color_ramps.CHANGES.name}
SIGNED = {color_ramps.CHANGES.name}  # its two sides look alike in grey: the sign must stand there in words
GREY_STEP = 0.15  # difference of lightness, of 1, that a reader sees between two inks
WIDER = 1.5  # ratio of two line widths that a reader sees
PALETTE = {to_hex(color) for color in (*style.CYCLE, style.INK, style.QUIET, style.CONTROL, "white", "black")}
# What an axis may count without a unit in brackets.
COUNTED = re.compile(r"\[.+\]|^(step|views|frame|seconds|ms|GiB at most|pixels of a view)$|scenes, in order| minus ")
FIGURES = [(name, place) for name, cases in CASES.items() for place in range(len(cases))]


@cache
def figure_of(name: str, place: int) -> Figure:
    figure = CASES[name][place]()
    FigureCanvasAgg(figure).draw()  # warnings are errors; lays out the ticks
    return figure


@pytest.fixture(params=FIGURES, ids=[f"{name}-{place}" for name, place in FIGURES])
def figure(request) -> Figure:
    return figure_of(*request.param)


def panels(figure: Figure) -> list[Axes]:
    """Axes with a frame: no pictures, no colour bars."""
    return [axes for axes in figure.axes if axes.axison and not is_bar(axes)]


def is_bar(axes: Axes) -> bool:
    return axes.get_label() == "<colorbar>"


def lightness(color) -> float:
    """Perceived lightness in [0, 1] of a colour over white."""
    *rgb, alpha = to_rgba(color)
    shown = alpha * np.array(rgb) + 1 - alpha
    return float(rgb2lab(shown[None, None])[0, 0, 0]) / 100


def title_of(axes: Axes) -> str:
    return axes.get_title(loc="left") or axes.get_title()


def has_numbers(axis) -> bool:
    texts = [label.get_text() for label in axis.get_ticklabels() if label.get_visible()]
    if isinstance(axis.get_major_formatter(), NullFormatter):
        return False
    return any(re.fullmatch(r"[−\-\d.,e+]+|\$.*\$", text) for text in texts)


def test_every_plot_function_is_looked_at():
    modules = [module.name for module in pkgutil.iter_modules(pmgs_lib.ui.__path__) if module.name.endswith("plots")]
    found = set()
    for name in modules:
        module = importlib.import_module(f"pmgs_lib.ui.{name}")
        members = inspect.getmembers(module, inspect.isfunction)
        found |= {n for n, f in members if n.startswith("plot_") and f.__module__ == module.__name__}
    assert found == set(CASES)


def test_nothing_is_printed_smaller_than_eight_points(figure):
    small = {text.get_text(): text.get_fontsize() for text in figure.findobj(Text)
             if text.get_visible() and text.get_text().strip() and text.get_fontsize() < SMALLEST_FONT}  # fmt: skip
    assert not small


def colormaps_of(figure: Figure) -> list:
    images = [image for axes in figure.axes for image in axes.images if image.get_array().ndim == 2]
    clouds = [item for axes in figure.axes for item in axes.collections
              if isinstance(item, PathCollection) and item.get_array() is not None]  # fmt: skip
    return [*images, *clouds]


def test_numbers_become_colours_by_uniform_maps_only(figure):
    assert {item.get_cmap().name for item in colormaps_of(figure)} <= UNIFORM


def test_what_is_compared_has_one_scale(figure):
    scales: dict[str, set] = {}
    for item in colormaps_of(figure):
        norm = item.norm
        scales.setdefault(item.get_cmap().name, set()).add((type(norm).__name__, norm.vmin, norm.vmax))
    assert all(len(found) == 1 for found in scales.values()), scales


def test_every_colour_scale_is_explained(figure):
    """By a bar with a label, or by the number in each cell."""
    bars = [axes for axes in figure.axes if is_bar(axes)]
    for item in colormaps_of(figure):
        numbers = [text.get_text() for text in item.axes.texts]
        if item.get_cmap().name in SIGNED:
            assert numbers
            assert all(text[0] in "+-−" or text == "n/a" for text in numbers)
        else:
            assert bars or numbers
    words = [text.get_text() for text in figure.texts]
    assert len([word for word in words if re.search(r"^(depth|distance|error|relative error)", word)]) == len(bars)


def test_cells_can_be_read_on_their_ground(figure):
    for axes in figure.axes:
        for image in (image for image in axes.images if image.get_array().ndim == 2 and axes.axison):
            for text in axes.texts:
                column, row = map(round, text.get_position())
                if text.get_text() == "n/a":  # on the white of a missing value
                    continue
                ground = image.to_rgba(image.get_array()[row, column])[:3]
                light, dark = sorted((color_ramps.luminance(text.get_color()), color_ramps.luminance(ground)))[::-1]
                assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_every_panel_says_what_it_shows(figure):
    for axes in panels(figure):
        x_label, y_label, title = axes.get_xlabel(), axes.get_ylabel(), title_of(axes)
        shared_x = list(axes.get_shared_x_axes().get_siblings(axes))
        below = [other.get_xlabel() for other in figure.axes if other.get_xlabel() and same_column(axes, other)]
        beside = [other.get_ylabel() for other in figure.axes if other.get_ylabel() and same_row(axes, other)]
        above = [other for other in figure.axes if other in shared_x or same_column(axes, other)]
        titled = title or [title_of(other) for other in above if title_of(other)]
        if has_numbers(axes.xaxis):
            assert x_label or below or (titled and not has_numbers(axes.yaxis)), f"{title}: what is on x?"
        if has_numbers(axes.yaxis):
            assert y_label or beside or titled, f"{x_label}: what is on y?"
        assert titled or y_label, "a panel without a word"
    for axes in figure.axes:
        if axes.images and not axes.axison:
            first = [other for other in figure.axes if same_row(axes, other) and title_of(other)]
            assert first, "a row of pictures without a title"


def same_row(axes: Axes, other: Axes) -> bool:
    return abs(axes.get_position().y0 - other.get_position().y0) < 0.02


def same_column(axes: Axes, other: Axes) -> bool:
    return abs(axes.get_position().x0 - other.get_position().x0) < 0.02


def test_labels_of_axes_have_units(figure):
    labels = [label for axes in panels(figure) for label in (axes.get_xlabel(), axes.get_ylabel()) if label]
    assert not [label for label in labels if not COUNTED.search(label)]


def test_only_colours_of_the_palette_are_used(figure):
    used = []
    for axes in panels(figure):
        used += [line.get_color() for line in axes.lines if drawn(line)]
        used += [bar.get_facecolor()[:3] for bar in axes.patches]
        clouds = [item for item in axes.collections if item.get_array() is None or not len(item.get_array())]
        used += [tuple(color[:3]) for item in clouds for color in (*item.get_facecolor(), *item.get_edgecolor())]
    assert {to_hex(color) for color in used} <= PALETTE


def drawn(line: Line2D) -> bool:
    return line.get_visible() and (line.get_linestyle() != "None" or line.get_marker() not in ("None", "", None))


def differ_without_colour(first: Line2D, second: Line2D) -> bool:
    """By dashes, marker, its filling, width, or lightness of the ink."""
    if dashes(first) != dashes(second) or first.get_marker() != second.get_marker():
        return True
    filled = [lightness(line.get_markerfacecolor()) if line.get_markerfacecolor() != "none" else 1.0
              for line in (first, second)]  # fmt: skip
    if first.get_marker() not in ("None", "") and abs(filled[0] - filled[1]) > GREY_STEP:
        return True
    thin, thick = sorted((first.get_linewidth(), second.get_linewidth()))
    return thick >= WIDER * thin or abs(lightness(first.get_color()) - lightness(second.get_color())) > GREY_STEP


def dashes(line: Line2D):
    return line._unscaled_dash_pattern if line.get_linestyle() != "None" else None  # no public name for it


def test_lines_differ_by_more_than_their_colour(figure):
    for axes in panels(figure):
        lines = [line for line in axes.lines if drawn(line) and (line.get_alpha() or 1) > 0.3 and is_data(line)]
        for first, second in itertools.combinations(lines, 2):
            if to_rgb(first.get_color()) != to_rgb(second.get_color()):
                assert differ_without_colour(first, second) or are_companions(first, second), (
                    f"{title_of(axes)}: {first.get_label()} and {second.get_label()} differ by colour only"
                )


def is_data(line: Line2D) -> bool:
    """Caps of error bars belong to their points; a reference across the panel is told by its place."""
    return line.get_marker() not in ("_", "|") and len(set(map(tuple, line.get_xydata()))) > 0


def are_companions(first: Line2D, second: Line2D) -> bool:
    """Straight laws run through points of their own marker, which tells them apart."""
    axes = first.axes
    points = [line for line in axes.lines if line.get_marker() in style.MARKERS and line.get_linestyle() == "None"]
    marks = [{p.get_marker() for p in points if to_hex(p.get_color()) == to_hex(line.get_color())}
             for line in (first, second)]  # fmt: skip
    return all(len(found) == 1 for found in marks) and marks[0] != marks[1]


def test_clouds_differ_by_more_than_their_colour(figure):
    for axes in panels(figure):
        clouds = [item for item in axes.collections if isinstance(item, PathCollection) and item.get_array() is None]
        looks = [(lightness(face), float(item.get_sizes()[0])) for item in clouds for face in item.get_facecolor()]
        for (light, _), (other, _) in itertools.combinations(set(looks), 2):
            assert abs(light - other) > GREY_STEP


def test_bars_differ_by_more_than_their_colour(figure):
    for axes in panels(figure):
        bars = [bar for group in axes.containers if isinstance(group, BarContainer) for bar in group]
        for first, second in itertools.combinations(bars, 2):
            if first.get_facecolor() != second.get_facecolor():
                step = abs(lightness(first.get_facecolor()) - lightness(second.get_facecolor()))
                assert step > GREY_STEP or first.get_hatch() != second.get_hatch()


def test_labels_of_one_panel_do_not_lie_on_each_other(figure):
    renderer = figure.canvas.get_renderer()
    for axes in panels(figure):
        texts = [text for text in axes.texts if text.get_text() and not isinstance(text, Annotation)]
        texts += [label for label in axes.get_yticklabels() if label.get_text() and label.get_visible()]
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
        for (word, first), (other, second) in itertools.combinations(boxes, 2):
            across = min(first.x1, second.x1) - max(first.x0, second.x0)
            along = min(first.y1, second.y1) - max(first.y0, second.y0)
            assert min(across, along) < 1, f"{word!r} lies on {other!r}"


@pytest.mark.parametrize("terms", [1, 4, 9])
def test_legends_leave_the_curves_of_a_loss_and_its_title_alone(terms):
    steps = np.arange(5.0)
    frame = pd.DataFrame({"step": steps, **{f"a rather long term {i}": 2 + steps + i for i in range(terms)}})
    figure = plots.plot_loss_curve(frame)
    FigureCanvasAgg(figure).draw()
    (panel,) = figure.axes
    renderer = figure.canvas.get_renderer()
    legend = panel.get_legend().get_window_extent(renderer)
    assert not legend.overlaps(panel.get_window_extent())
    assert not legend.overlaps(panel.xaxis.label.get_window_extent(renderer))
    assert not legend.overlaps(panel.title.get_window_extent(renderer))
    assert legend.y0 >= 0


@pytest.mark.parametrize("colormap", [color_ramps.SHADES, color_ramps.CHANGES], ids=lambda colormap: colormap.name)
def test_own_colour_maps_are_straight_in_lightness(colormap):
    """From white, equal steps of OKLab are near equal steps of CIELAB lightness; both signs end equally dark."""
    lab = rgb2lab(colormap(np.linspace(0, 1, 65))[None, :, :3])[0]
    signed = colormap.name in SIGNED
    half = lab[32:, 0] if signed else lab[:, 0]
    steps = np.diff(half)
    assert half[0] == pytest.approx(100, abs=0.5)
    assert (steps < 0).all()
    assert steps.min() / steps.max() < 1.6
    if signed:
        np.testing.assert_allclose(lab[:, 0], lab[::-1, 0], atol=4)


@pytest.mark.parametrize("ground", ["white", "black", "#777777", "#0072B2", "#D55E00", "#b5b5b5"])
def test_ink_contrasts_with_any_ground(ground):
    shade, ink = color_ramps.luminance(ground), color_ramps.luminance(color_ramps.ink_on(ground))
    assert (max(shade, ink) + 0.05) / (min(shade, ink) + 0.05) >= 4.5


def test_the_style_has_a_dash_and_a_marker_for_every_colour():
    assert len(style.CYCLE) == len(style.DASHES) == len(style.MARKERS)
    assert len(set(map(str, style.DASHES))) == len(set(style.MARKERS)) == len(style.CYCLE)
