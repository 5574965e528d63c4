"""Videos that play inline in a notebook or a report."""

import os
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from jaxtyping import UInt8

from pmgs_lib.data.files import replaced_atomically
from pmgs_lib.errors import BackendError, ParameterError

QUALITY = 20  # constant rate factor of x264; lower is finer


def write_video(
    path: str | os.PathLike[str], frames: UInt8[np.ndarray, "frame height width 3"], fps: int | float = 30
) -> None:
    """Write RGB frames as H.264 in MP4, readable by every browser, its index first so that it starts at once.

    Height and width must be even, as the format stores colour at half resolution; `ParameterError` otherwise. When the
    encoder fails, `BackendError` repeats what it said and nothing is left at `path`.
    """
    count, height, width = frames.shape[:3]
    if count == 0 or height % 2 or width % 2 or fps <= 0:
        raise ParameterError(
            f"write_video {path}: {count} frames of {height}x{width} at {fps} a second, expected at least one frame, "
            "an even height and width and a positive rate; crop a row or a column"
        )
    with replaced_atomically(path) as sibling:
        _encode(sibling, frames, fps)


def _encode(path: Path, frames: UInt8[np.ndarray, "frame height width 3"], fps: int | float) -> None:
    # The packaged ffmpeg is called directly: imageio_ffmpeg's own writer never looks at its exit status.
    height, width = frames.shape[1:3]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    encoder = ["-c:v", "libx264", "-crf", str(QUALITY), "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *source, *encoder, str(path)]
    done = subprocess.run(command, input=np.ascontiguousarray(frames).data, capture_output=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().replace("\n", "; ")
        raise BackendError(f"write_video: ffmpeg ended with status {done.returncode} ({reason}); check disk and folder")
