"""Pictures come back as they went out, depth keeps its numbers, and nothing is written half."""

import numpy as np
import pytest
import torch
from PIL import Image

from pmgs_lib.errors import ParameterError
from pmgs_lib.export.images import color_error, depth_colors, error_colors, image_to_uint8, save_depth, save_image


def test_an_image_comes_back_to_the_byte(rng, tmp_path):
    levels = torch.randint(0, 256, (3, 9, 14), generator=rng)
    save_image(tmp_path / "deep" / "image.png", levels / 255)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "deep" / "image.png")), levels.movedim(0, -1))


def test_values_are_clipped_and_rounded_over_any_batch():
    values = torch.tensor([-0.2, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 1.7]).expand(2, 4, 3, 1, 6)
    np.testing.assert_array_equal(image_to_uint8(values)[1, 2, 0, :, 0], [0, 0, 0, 1, 255, 255])


def test_nan_has_no_colour(tmp_path):
    with pytest.raises(ParameterError, match=r"image\.png: the image holds NaN"):
        save_image(tmp_path / "image.png", torch.full((3, 4, 4), torch.nan))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG"])
def test_a_jpeg_is_one_and_nearly_the_same(suffix, tmp_path):
    waves = 0.5 + 0.4 * torch.sin(torch.arange(40.0) / 5)
    image = torch.stack([waves.expand(30, -1), waves[:30, None].expand(-1, 40), 1 - waves.expand(30, -1)])
    save_image(tmp_path / f"image{suffix}", image)
    with Image.open(tmp_path / f"image{suffix}") as picture:
        assert picture.format == "JPEG"
        error = np.abs(np.asarray(picture).astype(float) - image_to_uint8(image))
    assert 0 < error.mean() < 1.5


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(ParameterError, match=r"expected \.png, \.jpg, \.jpeg"):
        save_image(tmp_path / "image.tif", torch.zeros(3, 4, 4))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_full_disk_leaves_nothing(suffix, rng, tmp_path, full_disk):
    with pytest.raises(OSError, match="File too large"), full_disk(1000):
        save_image(tmp_path / f"image{suffix}", torch.rand(3, 60, 60, generator=rng))
    assert list(tmp_path.iterdir()) == []


def test_depth_keeps_its_numbers_beside_its_colours(rng, tmp_path):
    depth = 0.5 + 20 * torch.rand(6, 8, generator=rng)
    save_depth(tmp_path / "depth.png", depth, 0.5, 40)
    np.testing.assert_array_equal(np.load(tmp_path / "depth.npy", allow_pickle=False), depth)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "depth.png")), depth_colors(depth, 0.5, 40))


def test_depth_colours_darken_with_distance_and_leave_holes_white():
    depth = torch.tensor([[0.0, torch.nan, torch.inf, 0.1, 0.5, 1, 2, 4, 8, 16, 40, 100]])
    colors = depth_colors(depth, 0.5, 40)[0].astype(int)
    assert (colors[:3] == 255).all()
    np.testing.assert_array_equal(colors[3], colors[4])
    np.testing.assert_array_equal(colors[-1], colors[-2])
    brightness = colors[4:-1].sum(axis=-1)
    assert (np.diff(brightness) < 0).all()


@pytest.mark.parametrize(("near", "far"), [(0, 1), (2, 2), (3, 1)])
def test_an_empty_depth_range_is_refused(near, far):
    with pytest.raises(ParameterError, match="0 < near < far"):
        depth_colors(torch.ones(2, 2), near, far)


def test_colors_of_errors_are_on_one_scale_and_nothing_is_black():
    colors = error_colors(torch.tensor([[0.0, 0.25, 0.5, 0.9, float("nan")]]))[0]
    assert colors[0].max() < 5
    assert (colors[2] == colors[3]).all()
    assert colors[0].sum() < colors[1].sum() < colors[2].sum()
    assert (colors[4] == 255).all()


def test_the_error_of_a_picture_is_the_mean_over_its_channels_after_clipping():
    color = torch.tensor([1.5, 0.5, -0.2])[:, None, None]
    truth = torch.tensor([1.0, 0.2, 0.0])[:, None, None]
    torch.testing.assert_close(color_error(color, truth), torch.tensor([[0.1]]))
