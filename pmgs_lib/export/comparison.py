"""Several reconstructions of one scene in one video, side by side along the same path, each under its name."""

import os
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.export.images import image_to_uint8
from pmgs_lib.export.reconstruction import CHUNK_VIEWS, Reconstruction, render_path
from pmgs_lib.export.video import stream_video

LABEL_HEIGHT = 20  # pixels above the pictures, of which the label hides none; even, as videos are
GAP = 4  # white pixels between two pictures
FONT_SIZES = range(14, 7, -1)  # the largest that fits is taken


def write_comparison_video(
    path: str | os.PathLike[str],
    reconstructions: Sequence[Reconstruction],
    cameras: Cameras,
    *,
    labels: Sequence[str] | None = None,
    fps: int | float = 30,
    chunk: int = CHUNK_VIEWS,
) -> int:
    """Write a video of all reconstructions along cameras (frame), such as a `camera_path`; returns its frames.

    Pictures have the size of the first one's context views and stand in the given order, each below its label (the
    names of the models by default). Only `chunk` frames of each are held. Raises `ParameterError` for fewer than two
    reconstructions, for labels that do not tell them apart, and as `render_path` and `stream_video` do.
    """
    names = [each.model for each in reconstructions] if labels is None else list(labels)
    require_labels(names, len(reconstructions))
    return stream_video(path, comparison_frames(reconstructions, cameras, names, chunk=chunk), fps)


def require_labels(labels: Sequence[str], count: int) -> None:
    """Raise `ParameterError` for labels that do not tell `count` reconstructions, two or more, apart."""
    if count < 2 or len(labels) != count or len(set(labels)) != count or not all(labels):
        raise ParameterError(
            f"comparison: labels {list(labels)} for {count} reconstructions, expected two or more and a label of its "
            "own for each; name them"
        )


def comparison_frames(
    reconstructions: Sequence[Reconstruction],
    cameras: Cameras,
    labels: Sequence[str],
    *,
    chunk: int = CHUNK_VIEWS,
) -> Iterator[UInt8[np.ndarray, "frame height width 3"]]:
    """Frames for `stream_video`, `chunk` at a time."""
    context = reconstructions[0].context
    paths = [render_path(each, cameras, context.height, context.width, chunk=chunk) for each in reconstructions]
    for parts in zip(*paths, strict=True):
        yield side_by_side([image_to_uint8(part.color) for part in parts], labels)


def side_by_side(
    panels: Sequence[UInt8[np.ndarray, "frame h w 3"]], labels: Sequence[str]
) -> UInt8[np.ndarray, "frame height width 3"]:
    """Frames of equal size next to each other on white, each under its label; no pixel of them is changed."""
    count, height, width = panels[0].shape[:3]
    columns = len(panels) * (width + GAP) - GAP
    sheet = np.full((count, LABEL_HEIGHT + height, columns, 3), 255, np.uint8)
    for number, (panel, label) in enumerate(zip(panels, labels, strict=True)):
        left = number * (width + GAP)
        sheet[:, :LABEL_HEIGHT, left : left + width] = _label(label, width)
        sheet[:, LABEL_HEIGHT:, left : left + width] = panel
    return sheet


def _label(text: str, width: int) -> UInt8[np.ndarray, "height width 3"]:
    """The text in black on white, as large as it fits; one too long for the smallest letters loses its end."""
    fonts = [ImageFont.load_default(size) for size in FONT_SIZES]
    font = next((font for font in fonts if font.getlength(text) <= width - 2), fonts[-1])
    shown = text
    while len(shown) > 1 and font.getlength(shown) > width - 2:
        shown = shown.removesuffix("...")[:-1] + "..." if len(shown) > 4 else shown[:-1]
    strip = Image.new("RGB", (width, LABEL_HEIGHT), "white")
    ImageDraw.Draw(strip).text((1, 1), shown, fill="black", font=font)
    return np.asarray(strip)
