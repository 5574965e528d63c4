"""A video plays what was put in: decoded again, frame by frame."""

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest

from pmgs_lib.errors import BackendError, ParameterError
from pmgs_lib.export.video import stream_video, write_video


def moving_gradient(count: int, height: int, width: int) -> np.ndarray:
    x, y, t = np.arange(width), np.arange(height)[:, None], np.arange(count)[:, None, None]
    channels = [(2 * x + 9 * t + 0 * y) % 200, (3 * y + 0 * (x + t)) % 250, 40 + 0 * (x + y + t)]
    return np.stack(np.broadcast_arrays(*channels), axis=-1).astype(np.uint8)


def decoded(path, height: int, width: int) -> tuple[str, np.ndarray]:
    """What ffmpeg says about the file, and its frames."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    return done.stderr.decode(), np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize("size", [(48, 64), (50, 34)])  # the second is no multiple of 16
def test_frames_come_back_at_their_size_and_rate(size, tmp_path):
    frames = moving_gradient(7, *size)
    write_video(tmp_path / "orbit.mp4", frames, fps=12)
    description, read = decoded(tmp_path / "orbit.mp4", *size)
    assert read.shape == frames.shape
    assert np.abs(read.astype(float) - frames).mean() < 6
    for words in ("h264", "yuv420p", f"{size[1]}x{size[0]}", "12 fps"):
        assert words in description
    assert [p.name for p in tmp_path.iterdir()] == ["orbit.mp4"]


def test_the_index_comes_first_so_that_a_browser_starts_at_once(tmp_path):
    write_video(tmp_path / "orbit.mp4", moving_gradient(3, 32, 32))
    content = (tmp_path / "orbit.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_frames_may_be_a_strided_view(tmp_path):
    frames = moving_gradient(4, 32, 64)
    write_video(tmp_path / "a.mp4", frames[:, :, ::2])
    write_video(tmp_path / "b.mp4", frames[:, :, ::2].copy())
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize(
    ("shape", "fps"), [((3, 31, 32, 3), 30), ((3, 32, 31, 3), 30), ((0, 32, 32, 3), 30), ((3, 32, 32, 3), 0)]
)
def test_what_the_format_cannot_hold_is_refused(shape, fps, tmp_path):
    with pytest.raises(ParameterError, match="even height and width"):
        write_video(tmp_path / "orbit.mp4", np.zeros(shape, np.uint8), fps=fps)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_encoder_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(BackendError, match="ffmpeg ended with status"):
        write_video(tmp_path / "orbit.mp4", moving_gradient(2, 32, 32), fps=1e30)
    assert list(tmp_path.iterdir()) == []


def test_chunks_give_the_same_file_as_all_frames_at_once(tmp_path):
    frames = moving_gradient(7, 32, 48)
    write_video(tmp_path / "whole.mp4", frames, fps=12)
    assert stream_video(tmp_path / "chunks.mp4", (frames[i : i + 3] for i in (0, 3, 6)), fps=12) == 7
    assert (tmp_path / "whole.mp4").read_bytes() == (tmp_path / "chunks.mp4").read_bytes()


def test_a_chunk_of_another_size_is_refused_and_leaves_nothing(tmp_path):
    chunks = [moving_gradient(2, 32, 48), moving_gradient(2, 48, 32)]
    with pytest.raises(ParameterError, match="a frame of 48x32 after frames of 32x48"):
        stream_video(tmp_path / "orbit.mp4", chunks)
    assert list(tmp_path.iterdir()) == []


def test_what_the_source_of_frames_raises_is_passed_on_and_leaves_nothing(tmp_path):
    def frames():
        yield moving_gradient(2, 32, 48)
        raise KeyError("the renderer broke")

    with pytest.raises(KeyError, match="the renderer broke"):
        stream_video(tmp_path / "orbit.mp4", frames())
    assert list(tmp_path.iterdir()) == []


def test_no_chunks_are_no_video(tmp_path):
    with pytest.raises(ParameterError, match="0 frames"):
        stream_video(tmp_path / "orbit.mp4", iter(()))
