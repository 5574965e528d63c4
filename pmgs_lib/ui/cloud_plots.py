"""Point clouds on paper: from above and from the side, in the frame of the first camera."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.geometry.pose import transform_points
from pmgs_lib.ui import style

MOST_POINTS = 20_000
PANEL_WIDTH, TALLEST_PANEL = 3.5, 3.5  # inches
KEPT_SHARE = (0.5, 99.5)  # percentiles of the points that the picture must hold; single floaters do not shrink the rest
FLATTEST = 0.08  # smallest share of the largest extent that a direction gets
FORWARD, RIGHT, DOWN = 2, 0, 1  # axes of a camera (OpenCV)


@dataclass(frozen=True)
class _Cloud:
    title: str
    points: np.ndarray  # (point, 3) in the first camera's frame
    colors: np.ndarray | None  # (point, 3) RGB, or (point,) metres


def plot_point_clouds(
    clouds: Mapping[str, Float[Tensor, "_ 3"]],
    cameras: Cameras,
    *,
    colors: Mapping[str, Float[Tensor, "..."]] | None = None,
    limit_m: int | float | None = None,
) -> Figure:
    """World points of one scene, a column a cloud: from above and from the side, the first camera at the left edge.

    `colors` gives for each cloud either RGB in [0, 1] or one number a point in metres, e.g. its distance to the exact
    surface; such numbers share one scale. `limit_m` leaves out what lies farther from the first camera. Above 20,000
    points every n-th is drawn, and the title says so. `cameras` (batch shape `(view,)`) are drawn as triangles.
    """
    if not clouds or len(cameras.batch_shape) != 1:
        raise ParameterError(
            f"plot_point_clouds: {len(clouds)} clouds and cameras of shape {tuple(cameras.batch_shape)}, "
            "expected at least one cloud and cameras of one scene, shape (view,)"
        )
    drawn = [_prepared(name, points, cameras, colors, limit_m) for name, points in clouds.items()]
    low, high = _bounds(drawn)
    metres = [cloud.colors for cloud in drawn if cloud.colors is not None and cloud.colors.ndim == 1]
    norm = Normalize(0, float(np.percentile(np.concatenate(metres), KEPT_SHARE[1]))) if metres else None
    with style.figure_style():
        figure, grid = _panels(len(drawn), high - low, bars=norm is not None)
        for column, cloud in zip(grid.T, drawn, strict=True):
            for axes, vertical in zip(column, (RIGHT, DOWN), strict=True):
                _draw(axes, cloud, vertical, norm, cameras)
                axes.set_xlim(low[FORWARD], high[FORWARD])
                axes.set_ylim(high[vertical], low[vertical])
            column[0].set_title(cloud.title)
            column[1].set_xlabel("forward [m]")
        grid[0, 0].set_ylabel("right [m]")
        grid[1, 0].set_ylabel("down [m]")
        if norm is not None:
            style.color_bar(grid[1, 0], grid[1, -1], norm, style.DISTANCE_COLORMAP, "distance [m]")
    return figure


def _prepared(
    name: str,
    points: Float[Tensor, "_ 3"],
    cameras: Cameras,
    colors: Mapping[str, Float[Tensor, "..."]] | None,
    limit_m: int | float | None,
) -> _Cloud:
    local = transform_points(cameras[0].camera_from_world, points.detach().to(cameras.intrinsics)).cpu().numpy()
    shades = None if colors is None or name not in colors else colors[name].detach().cpu().numpy()
    if limit_m is not None:
        near = np.linalg.norm(local, axis=-1) <= limit_m
        local, shades = local[near], None if shades is None else shades[near]
    if len(local) == 0:
        raise ParameterError(
            f"plot_point_clouds: {name!r} has no point within limit_m={limit_m}, expected some; raise it"
        )
    step = -(-len(local) // MOST_POINTS)
    title = name if step == 1 else f"{name} (1 point in {step})"
    # Far points first, so that near ones lie on top of them.
    order = np.argsort(-local[::step, FORWARD], kind="stable")
    return _Cloud(title, local[::step][order], None if shades is None else shades[::step][order])


def _bounds(clouds: Sequence[_Cloud]) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the picture; the first camera is in it, and a flat cloud still has a width."""
    low, high = np.percentile(np.concatenate([cloud.points for cloud in clouds]), KEPT_SHARE, axis=0)
    low[FORWARD] = min(low[FORWARD], -0.03 * high[FORWARD])
    least = max(FLATTEST * float((high - low).max()), 1e-6)
    spare = np.maximum(least - (high - low), 0) / 2
    return low - spare, high + spare


def _panels(columns: int, extent: np.ndarray, *, bars: bool) -> tuple[Figure, np.ndarray]:
    """Two rows of axes with one scale for all three directions; sizes in inches."""
    width = min(PANEL_WIDTH, (style.PAGE_WIDTH - 0.6) / columns - 0.15)
    scale = min(width / extent[FORWARD], TALLEST_PANEL / max(extent[RIGHT], extent[DOWN]))
    width, heights = scale * extent[FORWARD], (scale * extent[RIGHT], scale * extent[DOWN])
    margins = {"left": 0.55, "top": 0.28, "between": 0.2, "bottom": 0.45 + (style.BAR_HEIGHT if bars else 0)}
    total_width = margins["left"] + columns * (width + 0.15)
    total_height = sum(heights) + margins["top"] + margins["between"] + margins["bottom"]
    figure = Figure(figsize=(total_width, total_height))
    grid = np.empty((2, columns), dtype=object)
    bottoms = (margins["bottom"] + heights[1] + margins["between"], margins["bottom"])
    for row in range(2):
        for column in range(columns):
            left = margins["left"] + column * (width + 0.15)
            box = (left / total_width, bottoms[row] / total_height, width / total_width, heights[row] / total_height)
            grid[row, column] = figure.add_axes(box)
            grid[row, column].tick_params(labelbottom=row == 1, labelleft=column == 0, length=2)
    return figure, grid


def _draw(axes: Axes, cloud: _Cloud, vertical: int, norm: Normalize | None, cameras: Cameras) -> None:
    options = {"color": style.CYCLE[0]} if cloud.colors is None else {"c": cloud.colors}
    if cloud.colors is not None and cloud.colors.ndim == 1:
        options |= {"norm": norm, "cmap": style.DISTANCE_COLORMAP}
    axes.scatter(cloud.points[:, FORWARD], cloud.points[:, vertical], s=1.2, linewidths=0, rasterized=True, **options)
    centers = transform_points(cameras[0].camera_from_world, cameras.centers).cpu().numpy()
    axes.plot(centers[:, FORWARD], centers[:, vertical], ">", color=style.CYCLE[1], markersize=5, clip_on=False)
