"""Figures of PM-Loss: the health of a list of scenes, and two point clouds before and after their alignment."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.geometry.pose import transform_points
from pmgs_lib.losses.health import LEVELS, PointmapHealth, SceneHealth
from pmgs_lib.ui import style

MOST_SCENES, MOST_LEFT_OUT = 12, 4
MOST_POINTS = 5_000
WIDE = 20  # times the smallest: from there on an axis is logarithmic
KEPT_SHARE = (0.5, 99.5)  # percentiles of the points that the picture must hold
ROOM = 0.03  # of the extent, left free around the points
# Dark on light: told apart in black and white too.
CENTRES, POINTMAP = style.CYCLE[0], style.CYCLE[4]
SIDES = {"from above": (0, 2, "right", "forward"), "from the first camera": (0, 1, "right", "down")}


def plot_health(health: PointmapHealth) -> Figure:
    """Worst scenes first: what the loss of each is, its residual and scale, and how its distances are distributed.

    At most 12 scenes are drawn, and the title says of how many. Scenes that were left out stand below with their
    reasons.
    """
    shown, notes = health.scored[:MOST_SCENES], _left_out(health.excluded)
    height = 1.5 + 0.22 * max(len(shown), 5) + 0.18 * len(notes)
    with style.figure_style():
        figure = Figure(figsize=(style.PAGE_WIDTH, height))
        figure.suptitle(_headline(health, len(shown)), x=0.01, ha="left", fontsize=9)
        bottom = (0.5 + 0.18 * len(notes)) / height
        for line, note in enumerate(notes):
            figure.text(0.01, (0.18 * (len(notes) - line) - 0.12) / height, note, fontsize=8, color=style.INK)
        if shown:
            panels = figure.subplots(1, 4, width_ratios=[1.2, 1, 1, 1.6])
            figure.subplots_adjust(left=0.16, right=0.99, bottom=bottom, top=1 - 0.55 / height, wspace=0.16)
            _scene_panels(list(panels[:3]), health, shown)
            _distribution(panels[3], health, shown)
    return figure


def _headline(health: PointmapHealth, shown: int) -> str:
    hollow = " (hollow)" if health.scenes_above else ""
    parts = [
        f"{health.listed} scenes: {len(health.scored)} scored, {len(health.excluded)} left out",
        f"threshold rule (dashed: {health.settings.threshold:g}) took hold in {health.scenes_above}{hollow}",
    ]
    if len(health.scored) > 1:
        parts.append("thick curve: the worst")
    if shown < len(health.scored):
        parts.append(f"the {shown} worst are drawn")
    return "; ".join(parts)


def _left_out(excluded: Sequence[tuple[str, str]]) -> list[str]:
    notes = [f"left out: {scene}: {reason}" for scene, reason in excluded[:MOST_LEFT_OUT]]
    rest = len(excluded) - len(notes)
    return [*notes, f"and {rest} more left out"] if rest else notes


def _scene_panels(panels: Sequence[Axes], health: PointmapHealth, shown: Sequence[SceneHealth]) -> None:
    """A mark for each scene, hollow where the threshold rule took hold; the threshold is drawn where it matters."""
    places = range(len(shown))
    chamfers, residuals, scales = (
        [getattr(scene, name) for scene in shown] for name in ("chamfer", "residual", "scale")
    )
    colors = [style.CYCLE[1] if scene.above_threshold else style.CYCLE[0] for scene in shown]
    faces = ["white" if scene.above_threshold else style.CYCLE[0] for scene in shown]  # hollow: the rule took hold
    panels[0].scatter(chamfers, places, facecolors=faces, edgecolors=colors, linewidths=1.4, s=30, zorder=3)
    panels[0].set_title(f"loss [{_penalty_unit(health)}]")
    if max(chamfers) > health.settings.threshold / 4:
        panels[0].axvline(health.settings.threshold, color=style.INK, linewidth=0.8, linestyle="--")
    panels[1].plot(residuals, places, "o", color=style.CYCLE[0], markersize=5)
    panels[1].set_title("residual [scene units]")
    panels[2].plot(scales, places, "D", color=style.CYCLE[2], markersize=4.5)
    panels[2].set_title("scale of the pointmap")
    for panel in panels:
        panel.set_ylim(len(shown) - 0.4, -0.6)
        panel.set_yticks(places, [scene.key for scene in shown] if panel is panels[0] else [""] * len(shown))
        panel.tick_params(axis="y", length=0)
        panel.grid(axis="x")
    for panel, values in zip(panels, (chamfers, residuals, scales), strict=True):
        if min(values) > 0 and max(values) > WIDE * min(values):
            panel.set_xscale("log")
        else:
            panel.set_xlim(0, 1.08 * max(max(values), 1e-12))


def _distribution(panel: Axes, health: PointmapHealth, shown: Sequence[SceneHealth]) -> None:
    """Cumulative share of the points over what each costs; the worst scene is drawn strong."""
    for place, scene in enumerate(shown):
        strong = {"color": style.CYCLE[1], "linewidth": 2.2, "zorder": 3}
        options = strong if place == 0 else {"color": style.CONTROL, "linewidth": 1.0, "linestyle": "-"}
        # The smallest cost may be 0, which has no place on a logarithmic axis.
        panel.plot(health.penalties(scene)[1:], [100 * level for level in LEVELS[1:]], **options)
    panel.set_xscale("log")
    panel.set_title("share of points up to a penalty [%]")
    panel.set_xlabel(f"penalty of a point [{_penalty_unit(health)}]")
    low, high = panel.get_xlim()
    if high > health.settings.threshold > low:
        panel.axvline(health.settings.threshold, color=style.INK, linewidth=0.8, linestyle="--")
    panel.set_ylim(0, 101)
    panel.grid()


def _penalty_unit(health: PointmapHealth) -> str:
    return health.unit if health.settings.penalty == "absolute" else f"squared {health.unit}"


def plot_alignment(
    centres: Float[Tensor, "*point 3"],
    pointmap: Float[Tensor, "*pixel 3"],
    aligned: Float[Tensor, "*_ 3"],
    cameras: Cameras,
) -> Figure:
    """Gaussian centres and pointmap of one scene before and after alignment, from above and from the first camera.

    All in the first camera's frame; before the alignment the pointmap is in units of its own. Axes have equal units.
    NaN in `aligned`, where a pixel did not count, is left out. `cameras` are those of the views, shape (view,).
    """
    if len(cameras.batch_shape) != 1:
        raise ParameterError(
            f"plot_alignment: cameras of shape {tuple(cameras.batch_shape)}, expected those of one scene, shape (view,)"
        )
    local, raw, fitted = (_local(cloud, cameras) for cloud in (centres, pointmap, aligned))
    with style.figure_style():
        figure = Figure(figsize=(style.PAGE_WIDTH, 5.6), layout="compressed")
        grid = figure.subplots(2, 2)
        for column, (when, points) in zip(grid.T, {"before": raw, "after": fitted}.items(), strict=True):
            for axes, side in zip(column, SIDES, strict=True):
                _overlay(
                    axes, local, points, side, "scene units; pointmap: its own" if when == "before" else "scene units"
                )
            column[0].set_title(f"{when} alignment, from above")
            column[1].set_title(f"{when} alignment, from the first camera")
        handles = [
            grid[0, 0].plot([], [], "o", color=color, markersize=5, label=label)[0]
            for color, label in ((CENTRES, "Gaussian centres"), (POINTMAP, "pointmap"))
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _local(cloud: Tensor, cameras: Cameras) -> np.ndarray:
    points = cloud.detach().reshape(-1, 3).to(cameras.intrinsics)
    points = points[points.isfinite().all(-1)]
    if len(points) == 0:
        raise ParameterError("plot_alignment: a cloud has no finite point, expected some; the scene was left out")
    return transform_points(cameras[0].camera_from_world, points[:: -(-len(points) // MOST_POINTS)]).cpu().numpy()


def _overlay(axes: Axes, centres: np.ndarray, pointmap: np.ndarray, side: str, unit: str) -> None:
    across, along, horizontal, vertical = SIDES[side]
    for points, color, size, order in ((pointmap, POINTMAP, 5.0, 1), (centres, CENTRES, 1.5, 2)):
        axes.scatter(
            points[:, across], points[:, along], s=size, color=color, linewidths=0, zorder=order, rasterized=True
        )
    low, high = np.percentile(np.concatenate((centres, pointmap))[:, [across, along]], KEPT_SHARE, axis=0)
    spare = np.maximum(ROOM * (high - low), 1e-6)
    (left, bottom), (right, top) = low - spare, high + spare
    axes.set_xlim(left, right)
    axes.set_ylim(*((top, bottom) if vertical == "down" else (bottom, top)))
    axes.set_aspect("equal")
    axes.set_xlabel(f"{horizontal} [{unit}]")
    axes.set_ylabel(f"{vertical} [scene units]")
