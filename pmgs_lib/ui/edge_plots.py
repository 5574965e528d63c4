"""Figures of what happens at depth edges: maps of a view, a row of pixels from above, the course of a descent."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.export.images import DEPTH_COLORMAP
from pmgs_lib.geometry.pose import transform_points
from pmgs_lib.training.direct import Descent
from pmgs_lib.ui import style

SURFACE_JUMP = 1.1  # neighbours in a row whose depths differ by this factor are not joined by a line
KEPT_SHARE = 99.5  # percentile of the distances that the colour scale ends at
WIDEST_ROW, TALLEST_ROW = 7.0, 4.6  # inches of a panel
ROW_ROOM = 0.25  # metres left free around the points of a row


def plot_edge_maps(
    image: Float[Tensor, "3 h w"],
    depths: Mapping[str, Float[Tensor, "h w"]],
    edges: Bool[Tensor, "h w"],
    distances: Float[Tensor, "h w"],
    row: int | None = None,
) -> Figure:
    """One view: picture, depth maps on one scale, and how far each pixel's centre lies from the pointmap, in metres.

    White lines outline `edges`; pixels without a distance (NaN) are white. `row` is marked in the picture.
    """
    with style.figure_style():
        figure, grid = style.picture_grid(1, 2 + len(depths), image.shape[-2] / image.shape[-1], bars=True)
        style.show_image(grid[0, 0], image, "picture")
        norm = style.depth_norm(list(depths.values()))
        for axes, (title, depth) in zip(grid[0, 1:], depths.items(), strict=False):
            style.show_map(axes, depth, norm, DEPTH_COLORMAP, title)
        scale = Normalize(0, float(np.nanpercentile(distances.detach().cpu().numpy(), KEPT_SHARE)))
        title = "distance to the pointmap, edges outlined"
        style.show_map(grid[0, -1], distances, scale, style.ERROR_COLORMAP, title)
        grid[0, -1].contour(edges.cpu().float().numpy(), levels=[0.5], colors="white", linewidths=0.7)
        if row is not None:
            halo = [withStroke(linewidth=2.4, foreground="white")]
            grid[0, 0].axhline(row, color=style.CYCLE[1], linewidth=1.2, path_effects=halo)
        style.depth_bar(grid[0, 1], grid[0, -2], norm)
        style.color_bar(grid[0, -1], grid[0, -1], scale, style.ERROR_COLORMAP, "distance [m]")
    return figure


@dataclass(frozen=True)
class PixelRow:
    """One row of pixels in the world: points that were predicted for it, which of them float, and where they are
    pulled.
    """

    points: Float[Tensor, "w 3"]
    floating: Bool[Tensor, "w"]
    pull: Float[Tensor, "w 3"] | None = None


def plot_pixel_rows(rows: Mapping[str, PixelRow], surface: Float[Tensor, "w 3"], camera: Cameras) -> Figure:
    """One row of pixels seen from above, a panel each state: exact surface as a line, points that float as crosses.

    Arrows, where a state has a pull, end where it pulls to. The line is broken where depth steps. `camera` has no batch
    axis; units are metres.
    """
    if not rows or camera.batch_shape != ():
        raise ParameterError(
            f"plot_pixel_rows: {len(rows)} rows and a camera of shape {tuple(camera.batch_shape)}, "
            "expected at least one row and one camera"
        )
    exact = _from_above(surface, camera)
    drawn = np.concatenate([exact, *(_from_above(row.points, camera) for row in rows.values())])
    low, high = drawn.min(0) - ROW_ROOM, drawn.max(0) + ROW_ROOM
    with style.figure_style():
        aspect = (high - low)[1] / (high - low)[0]
        width = min(style.PAGE_WIDTH / len(rows), WIDEST_ROW, TALLEST_ROW / aspect)
        figure = Figure(figsize=(width * len(rows), 0.95 * width * aspect + 0.9), layout="constrained")
        panels = figure.subplots(1, len(rows), squeeze=False, sharex=True, sharey=True)[0]
        for panel, (title, row) in zip(panels, rows.items(), strict=True):
            _draw_row(panel, row, exact, camera)
            panel.set_title(title)
            panel.set_xlabel("right [m]")
            panel.set_xlim(low[0], high[0])
            panel.set_ylim(low[1], high[1])
            panel.set_aspect("equal")
        panels[0].set_ylabel("forward [m]")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=4)
    return figure


def _from_above(points: Tensor, camera: Cameras) -> np.ndarray:
    local = transform_points(camera.camera_from_world, points.detach().to(camera.intrinsics))
    return local[:, [0, 2]].cpu().numpy()


def _draw_row(panel: Axes, row: PixelRow, exact: np.ndarray, camera: Cameras) -> None:
    points, floating = _from_above(row.points, camera), row.floating.cpu().numpy()
    ratio = exact[1:, 1] / exact[:-1, 1]
    breaks = np.flatnonzero(np.maximum(ratio, 1 / ratio) > SURFACE_JUMP) + 1
    line = np.insert(exact, breaks, np.nan, axis=0)
    panel.plot(*line.T, color=style.CONTROL, linewidth=3.5, solid_capstyle="round", label="exact surface")
    panel.plot(*points[~floating].T, "o", color=style.CYCLE[0], markersize=2.6, label="centre near a surface")
    panel.plot(*points[floating].T, "x", color=style.CYCLE[1], markersize=4.2, label="centre that floats")
    if row.pull is not None:
        ends = _from_above(row.points + row.pull, camera)
        options = {
            "angles": "xy",
            "scale_units": "xy",
            "scale": 1,
            "color": style.INK,
            "width": 0.002,
            "headwidth": 4,
            "headlength": 5,
        }
        panel.quiver(*points.T, *(ends - points).T, label="where the loss pulls it", **options)


def plot_descents(descents: Mapping[str, Descent], exact_size: float) -> Figure:
    """Several descents on the points themselves: loss as a share of its start, and the size of the cloud in metres.

    `exact_size` is that of the true surface, drawn as a dashed line.
    """
    if not descents:
        raise ParameterError("plot_descents: no descent was given, expected at least one")
    with style.figure_style():
        figure = Figure(figsize=(10.0, 2.7), layout="constrained")
        shares, sizes = figure.subplots(1, 2)
        for (name, descent), dashes in zip(descents.items(), ("-", "--", "-.", ":") * len(descents), strict=False):
            start = descent.losses[0] or 1.0
            shares.plot([100 * value / start for value in descent.losses], dashes, label=name)
            sizes.plot(descent.sizes, dashes, label=name)
        sizes.axhline(exact_size, color=style.INK, linewidth=0.8, linestyle=(0, (6, 3)), label="exact surface")
        shares.set_yscale("log")
        shares.set_title("loss [% of its start]")
        sizes.set_title("root mean square size of the cloud [m]")
        for panel in (shares, sizes):
            panel.set_xlabel("step")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.grid(axis="y")
        figure.legend(*sizes.get_legend_handles_labels(), loc="outside right upper")
    return figure
