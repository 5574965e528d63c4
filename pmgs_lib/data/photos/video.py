"""Frames of a video: the sharpest of each of equally long stretches, read in one pass with one frame in memory."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from pmgs_lib.data.picture_quality import sharpness
from pmgs_lib.errors import DataError, first_line


def sharp_frames(path: Path, count: int) -> Iterator[tuple[str, UInt8[Tensor, "height width 3"]]]:
    """Up to `count` frames of a video, evenly picked, as (name, RGB picture); names carry the frame's number.

    A video with fewer frames gives all of them. Raises DataError for a file that holds no readable video.
    """
    # 170 MB with its own ffmpeg, and only videos need it
    import imageio_ffmpeg

    try:
        total, _ = imageio_ffmpeg.count_frames_and_secs(str(path))
        reader = imageio_ffmpeg.read_frames(str(path), pix_fmt="rgb24")
        width, height = next(reader)["size"]
    except (OSError, RuntimeError, StopIteration, KeyError) as error:
        raise DataError(f"video {path}: cannot be read as a video ({first_line(error)}); convert it to MP4") from error
    stretches = max(1, min(count, total))
    best: tuple[float, int, UInt8[Tensor, "height width 3"]] | None = None
    try:
        for number, raw in enumerate(reader):
            image = torch.from_numpy(np.frombuffer(raw, dtype=np.uint8).reshape(height, width, 3).copy())
            value = sharpness(image)
            if best is not None and number * stretches // total != best[1] * stretches // total:
                yield _named(best)
                best = None
            if best is None or value > best[0]:
                best = (value, number, image)
    finally:
        reader.close()
    if best is not None:
        yield _named(best)


def _named(best: tuple[float, int, UInt8[Tensor, "height width 3"]]) -> tuple[str, UInt8[Tensor, "height width 3"]]:
    return f"frame_{best[1]:06d}.jpg", best[2]
