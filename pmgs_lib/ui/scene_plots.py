"""Figures for the doctor of scenes: cameras from above, epipolar lines, readings of the cameras, sharpness."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.inspection import Diagnosis, SceneReport
from pmgs_lib.data.inspection.readings import MatchedPair
from pmgs_lib.data.matching import triangulate
from pmgs_lib.data.picture_quality import BLURRED_BELOW
from pmgs_lib.errors import ParameterError
from pmgs_lib.geometry.pose import inverse_pose
from pmgs_lib.ui import style

SHOWN_LINES = 8
EXPLAINED, WRONG = style.CYCLE[2], style.CYCLE[1]


def epipolar_lines(
    cameras: Cameras, pixels: Float[Tensor, "point 2"], height: int, width: int
) -> Float[Tensor, "point 3"]:
    """For pixels of camera 0 the lines (a, b, c), a x + b y + c = 0 with unit normal, on which camera 1 sees them.

    cameras: two of them. The line is the image of the ray through the pixel (Hartley and Zisserman, "Multiple View
    Geometry", 2004, section 9.2).
    """
    both = cameras.to(torch.float64)
    k = both.pixel_intrinsics(height, width)
    second_from_first = inverse_pose(both.world_from_camera[1]) @ both.world_from_camera[0]
    rotation, translation = second_from_first[:3, :3], second_from_first[:3, 3]
    homogeneous = torch.cat([pixels.double(), torch.ones_like(pixels[:, :1], dtype=torch.float64)], dim=-1)
    rays = homogeneous @ torch.linalg.inv(k[0]).mT @ rotation.mT
    lines = torch.linalg.cross(translation.expand_as(rays), rays) @ torch.linalg.inv(k[1])
    return lines / lines[:, :2].norm(dim=-1, keepdim=True)


def plot_epipolar_lines(
    images: Sequence[UInt8[Tensor, "height width 3"]],
    diagnosis: Diagnosis,
    pair: int = 0,
    cameras: Cameras | None = None,
) -> Figure:
    """Matched features of one pair of frames, and in the second picture the lines on which the cameras expect them.

    cameras: of all frames; None takes those of the diagnosis. With right cameras each point lies on its line.
    """
    used = diagnosis.cameras if cameras is None else cameras
    if used is None or not diagnosis.pairs:
        raise ParameterError(
            "plot_epipolar_lines: the diagnosis has no cameras or no matched pairs, expected both: pass cameras"
        )
    chosen = diagnosis.pairs[pair]
    height, width = diagnosis.size
    count = chosen.pixels.shape[1]
    first, second = _spread(_trusted(diagnosis, chosen))
    lines = epipolar_lines(used[[chosen.first, chosen.second]], first, height, width)
    offset = (lines[:, :2] * second).sum(dim=-1) + lines[:, 2]
    with style.figure_style():
        figure, grid = style.picture_grid(1, 2, height / width)
        for axes, frame in zip(grid[0], (chosen.first, chosen.second), strict=True):
            axes.imshow(images[frame].numpy(), extent=(0, width, height, 0), aspect="auto")
            axes.set_xlim(0, width)
            axes.set_ylim(height, 0)
        grid[0, 0].set_title(f"frame {chosen.first}: {len(first)} of {count} matched features")
        grid[0, 1].set_title(f"frame {chosen.second}: off their lines by {offset.abs().median():.2f} px (median)")
        for number, (a, b) in enumerate(zip(first, second, strict=True)):
            color = style.CYCLE[number % len(style.CYCLE)]
            _draw_line(grid[0, 1], lines[number], color)
            for axes, point in zip(grid[0], (a, b), strict=True):
                _draw_point(axes, point, str(number + 1), color)
    return figure


def _trusted(diagnosis: Diagnosis, pair: MatchedPair) -> Float64[Tensor, "2 point 2"]:
    """Matches without those that the found cameras call wrong; all of them where no cameras were found."""
    if diagnosis.cameras is None:
        return pair.pixels
    agrees = triangulate(diagnosis.cameras[[pair.first, pair.second]], pair.pixels, diagnosis.size).agrees
    return pair.pixels[:, agrees] if agrees.any() else pair.pixels


def _spread(pixels: Float64[Tensor, "2 point 2"]) -> Float64[Tensor, "2 shown 2"]:
    """A few matches from the left to the right of the first picture."""
    order = pixels[0][:, 0].argsort()
    places = torch.linspace(0, len(order) - 1, min(SHOWN_LINES, len(order))).round().long()
    return pixels[:, order[places]]


def _draw_point(axes: Axes, point: Float[Tensor, "2"], name: str, color: str) -> None:
    """A point with the number that it has in both pictures."""
    axes.plot(*point.tolist(), "o", color=color, markersize=5, markeredgecolor="white")
    axes.annotate(
        name, point.tolist(), (4, 3), textcoords="offset points", fontsize=8, annotation_clip=True, clip_on=True,
        path_effects=[withStroke(linewidth=2, foreground="white")],
    )  # fmt: skip


def _draw_line(axes: Axes, line: Float[Tensor, "3"], color: str) -> None:
    a, b, c = line.tolist()
    # The point of the line nearest to the origin, and the line's direction; the axes clip the rest.
    axes.axline((-a * c, -b * c), (-a * c - b, -b * c + a), color=color, linewidth=1.2)


def plot_readings(diagnosis: Diagnosis) -> Figure:
    """For each way to read the camera numbers the share of matches between pictures that it explains."""
    if not diagnosis.shares:
        raise ParameterError("plot_readings: the diagnosis compared no readings, expected matched pictures and cameras")
    names = [str(reading).replace(", intrinsics in", ",\nintrinsics in") for reading in diagnosis.shares]
    values = [100 * share for share in diagnosis.shares.values()]
    with style.figure_style():
        figure = Figure(figsize=(7.5, 0.6 + 0.42 * len(names)), layout="constrained")
        panel = figure.subplots()
        colors = [EXPLAINED if reading == diagnosis.reading else style.CONTROL for reading in diagnosis.shares]
        weights = ["bold" if reading == diagnosis.reading else "normal" for reading in diagnosis.shares]
        panel.barh(range(len(names)), values, color=colors, height=0.62)
        for place, value in enumerate(values):
            panel.text(value + 1, place, f"{value:.0f} %", va="center", fontsize=8, fontweight=weights[place])
        panel.set_yticks(range(len(names)), names)
        panel.invert_yaxis()
        panel.set_xlim(0, 112)
        panel.set_xticks([])
        panel.spines["bottom"].set_visible(False)
        panel.set_title("matches between pictures that each reading of the camera numbers explains")
    return figure


def plot_walk(cameras: Cameras, report: SceneReport) -> Figure:
    """Cameras in the plane in which they spread most, with viewing directions, and the sharpness of each frame."""
    centers, axes_world = cameras.centers.double(), cameras.world_from_camera[:, :3, 2].double()
    middle = centers.mean(dim=0)
    plane = torch.linalg.svd(centers - middle, full_matrices=True).Vh[:2]
    places, looks = (centers - middle) @ plane.mT, axes_world @ plane.mT
    with style.figure_style():
        figure = Figure(figsize=(9.0, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot(*places.T.numpy(), color=style.CONTROL, linewidth=1)
        left.quiver(*places.T.numpy(), *looks.T.numpy(), color=style.CYCLE[0], angles="xy", width=0.005, scale=14)
        left.plot(*places[0].tolist(), "o", color=style.CYCLE[1], label="first frame")
        left.set_aspect("equal", adjustable="datalim")
        left.legend(loc="best")
        left.set_title("cameras, in the plane of their walk")
        left.set_xlabel("along the walk [world units]")
        left.set_ylabel("across it [world units]")
        _sharpness(right, report)
    return figure


def _sharpness(panel: Axes, report: SceneReport) -> None:
    odd = {frame: finding.check for finding in report.findings for frame in finding.frames}
    colors = [WRONG if odd.get(frame) in ("blurred", "duplicate") else style.CYCLE[0] for frame in range(report.frames)]
    bars = panel.bar(range(report.frames), report.sharpness, color=colors)
    for bar, color in zip(bars, colors, strict=True):
        bar.set_hatch(style.HATCH if color == WRONG else "")
    panel.axhline(BLURRED_BELOW, color=style.QUIET, linewidth=1, linestyle="--")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_title("sharpness relative to neighbours; below the line: blurred")
    panel.set_xlabel("frame")
