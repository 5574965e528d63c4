"""Videos that play inline in a notebook or a report."""

import itertools
import os
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
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
    stream_video(path, [frames], fps)


def stream_video(
    path: str | os.PathLike[str], chunks: Iterable[UInt8[np.ndarray, "frame height width 3"]], fps: int | float = 30
) -> int:
    """`write_video` of frames that come in chunks of one size, of which only one is held; returns how many came.

    Whatever `chunks` raises is passed on, and then nothing is left at `path`.
    """
    chunks = iter(chunks)
    first = next(chunks, np.empty((0, 0, 0, 3), np.uint8))
    count, height, width = first.shape[:3]
    if count == 0 or height % 2 or width % 2 or fps <= 0:
        raise ParameterError(
            f"write_video {path}: {count} frames of {height}x{width} at {fps} a second, expected at least one frame, "
            "an even height and width and a positive rate; crop a row or a column"
        )
    with replaced_atomically(path) as sibling:
        return _encode(sibling, itertools.chain([first], chunks), (height, width), fps)


def _encode(path: Path, chunks: Iterable[np.ndarray], size: tuple[int, int], fps: int | float) -> int:
    # The packaged ffmpeg is called directly: imageio_ffmpeg's own writer never looks at its exit status.
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[1]}x{size[0]}", "-r", str(fps), "-i", "-"]
    encoder = ["-c:v", "libx264", "-crf", str(QUALITY), "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *source, *encoder, str(path)]
    # Its messages go to a file: a pipe that nobody reads while frames are written would fill up and stop both sides.
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=messages)
        try:
            count = _feed(process, chunks, size)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.wait() != 0:
            messages.seek(0)
            reason = messages.read().decode(errors="replace").strip().replace("\n", "; ")
            raise BackendError(
                f"write_video: ffmpeg ended with status {process.returncode} ({reason}); check disk and folder"
            )
    return count


def _feed(process: subprocess.Popen[bytes], chunks: Iterable[np.ndarray], size: tuple[int, int]) -> int:
    count = 0
    with suppress(BrokenPipeError), process.stdin as pipe:  # an encoder that gave up says why by its exit status
        for chunk in chunks:
            if chunk.shape[1:3] != size:
                raise ParameterError(
                    f"write_video: a frame of {chunk.shape[1]}x{chunk.shape[2]} after frames of {size[0]}x{size[1]}, "
                    "expected one size; resize them"
                )
            pipe.write(np.ascontiguousarray(chunk).data)
            count += len(chunk)
    return count
