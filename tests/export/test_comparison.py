"""Two methods in one video: the pictures are those of each, the labels say which is which."""

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest

from pmgs_lib.errors import BackendError, ParameterError
from pmgs_lib.export import camera_path, reconstruct, write_comparison_video
from pmgs_lib.export.comparison import GAP, LABEL_HEIGHT, comparison_frames, side_by_side
from pmgs_lib.export.images import image_to_uint8
from pmgs_lib.export.reconstruction import Reconstruction, render_path


@pytest.fixture
def other(model, views) -> Reconstruction:
    """The same scene by a model that is told a wrong depth."""
    context = views([0.0, 0.4, 1.0])
    return reconstruct(model(), type(context)(**vars(context) | {"depth": context.depth * 1.5}), name="other")


@pytest.mark.parametrize("kind", ["wobble", "spin", "interpolate"])
def test_each_side_shows_its_own_reconstruction_along_one_path(kind, made, other, tmp_path):
    cameras = camera_path(kind, made, frames=5)
    (sheets,) = comparison_frames([made, other], cameras, ["plane", "other"])
    for number, each in enumerate((made, other)):
        (rendering,) = render_path(each, cameras, 24, 32)
        left = number * (32 + GAP)
        np.testing.assert_array_equal(sheets[:, LABEL_HEIGHT:, left : left + 32], image_to_uint8(rendering.color))
    assert (sheets[:, :, 32 : 32 + GAP] == 255).all()
    assert write_comparison_video(tmp_path / "both.mp4", [made, other], cameras, fps=12, chunk=2) == 5
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(tmp_path / "both.mp4")]
    raw = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    decoded = np.frombuffer(raw, np.uint8).reshape(5, LABEL_HEIGHT + 24, 2 * 32 + GAP, 3)
    assert np.abs(decoded.astype(float) - sheets).mean() < 8


def test_the_chunk_decides_the_memory_and_not_the_pictures(made, other):
    cameras = camera_path("interpolate", made, frames=7)
    whole, parts = (list(comparison_frames([made, other], cameras, ["a", "b"], chunk=chunk)) for chunk in (7, 3))
    assert [len(part) for part in parts] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(parts), whole[0])


def test_labels_are_drawn_over_their_side_and_never_over_a_picture():
    panels = [np.full((2, 40, 90, 3), shade, np.uint8) for shade in (60, 200)]
    named, swapped = side_by_side(panels, ["MVSplat", "GS-LRM"]), side_by_side(panels, ["GS-LRM", "MVSplat"])
    strips = [sheet[0, :LABEL_HEIGHT] for sheet in (named, swapped)]
    assert all((strip[:, part].min() < 100).any() for strip in strips for part in (slice(0, 90), slice(94, None)))
    np.testing.assert_array_equal(strips[0][:, :90], strips[1][:, 94:])
    assert not np.array_equal(strips[0], strips[1])
    np.testing.assert_array_equal(named[:, LABEL_HEIGHT:], swapped[:, LABEL_HEIGHT:])


@pytest.mark.parametrize("width", [16, 40, 200])
def test_a_long_label_is_made_to_fit(width):
    panels = [np.zeros((1, 8, width, 3), np.uint8)] * 2
    sheet = side_by_side(panels, ["a name that is far too long for its picture", "b"])
    assert sheet.shape == (1, LABEL_HEIGHT + 8, 2 * width + GAP, 3)
    assert (sheet[0, :LABEL_HEIGHT, width : width + GAP] == 255).all()
    assert sheet[0, :LABEL_HEIGHT, :width].min() < 100


@pytest.mark.parametrize("labels", [["one"], ["same", "same"], ["one", ""], ["one", "two", "three"]])
def test_labels_tell_the_reconstructions_apart(labels, made, other, tmp_path):
    with pytest.raises(ParameterError, match="two or more and a label of its own for each"):
        write_comparison_video(tmp_path / "a.mp4", [made, other], camera_path("spin", made, frames=2), labels=labels)
    with pytest.raises(ParameterError, match="for 1 reconstructions"):
        write_comparison_video(tmp_path / "a.mp4", [made], camera_path("spin", made, frames=2))
    assert list(tmp_path.iterdir()) == []


def test_depth_alone_has_no_side(made, depth_only, tmp_path):
    cameras = camera_path("spin", made, frames=2)
    with pytest.raises(ParameterError, match="predicts depth only"):
        write_comparison_video(tmp_path / "a.mp4", [made, depth_only], cameras, labels=["a", "b"])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(made, other, tmp_path, full_disk):
    with pytest.raises(BackendError, match="ffmpeg ended with status"), full_disk(600):
        write_comparison_video(tmp_path / "both.mp4", [made, other], camera_path("interpolate", made, frames=20))
    assert list(tmp_path.iterdir()) == []
