"""Pictures of a validation: truth, rendering, error and depth beside each other, equal in scale from step to step."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pmgs_lib.evaluation.methods import MethodOutput
from pmgs_lib.evaluation.metrics import depth_errors, psnr
from pmgs_lib.export.images import LARGEST_ERROR, color_error, depth_colors, error_colors, image_to_uint8
from pmgs_lib.views import Example, Views

MOST_ROWS = 3  # views of one scene that are shown
LEAST_WIDTH = 200  # pixels of one picture; smaller ones are enlarged by whole numbers, without smoothing
TITLE_HEIGHT, FONT_SIZE, GAP = 18, 12, 4  # pixels

Cell = tuple[str, UInt8[np.ndarray, "h w 3"]]  # title and picture


def rendering_picture(example: Example, output: MethodOutput) -> UInt8[np.ndarray, "rows columns 3"]:
    """Targets of one scene, a row each: truth, rendering, its error, rendered depth, and exact depth where known."""
    target = example.target
    low, high = depth_scale(target)
    rows = []
    for view in _spread(target.count):
        truth, color = target.images[view], output.color[view]
        row = [
            ("truth", image_to_uint8(truth)),
            (f"rendering, {psnr(color, truth).item():.2f} dB", image_to_uint8(color)),
            (f"error, 0 to {LARGEST_ERROR:g}", error_colors(color_error(color, truth))),
        ]
        row += _depth_cells({"depth": output.depth, "exact depth": target.depth}, view, low, high)
        rows.append(row)
    return titled_grid(rows)


def depth_picture(context: Views, depth: Float[Tensor, "view h w"]) -> UInt8[np.ndarray, "rows columns 3"]:
    """Input views of one scene, a row each, for a model of depth: input, predicted depth, exact depth, relative error.

    The views must have exact depth.
    """
    low, high = depth_scale(context)
    rows = []
    for view in _spread(context.count):
        exact = context.depth[view]
        relative = (depth[view] - exact).abs() / exact
        error = depth_errors(depth[view], exact).abs_rel.item()
        rows.append(
            [
                ("input", image_to_uint8(context.images[view])),
                *_depth_cells({"depth": depth, "exact depth": context.depth}, view, low, high),
                (f"relative error {error:.3f}, 0 to {LARGEST_ERROR:g}", error_colors(relative)),
            ]
        )
    return titled_grid(rows)


def depth_scale(views: Views) -> tuple[float, float]:
    """Ends of the colour scale of one scene's depth: exact depth's own, else near and far. No prediction moves it."""
    if views.depth is not None:
        seen = views.depth[(views.depth > 0) & views.depth.isfinite()]
        if seen.numel():
            low, high = seen.min().item(), seen.max().item()
            return low, max(high, 1.01 * low)
    return views.near.item(), views.far.item()


def _depth_cells(maps: dict[str, Tensor | None], view: int, low: float, high: float) -> list[Cell]:
    known = {name: depth[view] for name, depth in maps.items() if depth is not None}
    return [(f"{name}, {low:.3g} to {high:.3g}", depth_colors(depth, low, high)) for name, depth in known.items()]


def _spread(count: int) -> list[int]:
    """Up to MOST_ROWS of `count` views, from the first to the last."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, MOST_ROWS))})


def titled_grid(rows: Sequence[Sequence[Cell]]) -> UInt8[np.ndarray, "rows columns 3"]:
    """Pictures of equal size on white, each with its title above."""
    height, width = rows[0][0][1].shape[:2]
    scale = -(-LEAST_WIDTH // width)
    cell_height, cell_width = TITLE_HEIGHT + scale * height, scale * width
    columns = max(map(len, rows))
    size = (columns * (cell_width + GAP) - GAP, len(rows) * (cell_height + GAP) - GAP)
    canvas = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(FONT_SIZE)
    for number, row in enumerate(rows):
        for column, (title, pixels) in enumerate(row):
            left, top = column * (cell_width + GAP), number * (cell_height + GAP)
            draw.text((left + 1, top + 1), title, fill="black", font=font)
            enlarged = pixels.repeat(scale, axis=0).repeat(scale, axis=1)
            canvas.paste(Image.fromarray(enlarged), (left, top + TITLE_HEIGHT))
    return np.asarray(canvas)
