"""Depth comes back: exactly from numbers, to half a step from 16 bits, and every clipped pixel is counted."""

import logging
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from pmgs_lib.errors import BackendError, DataError, ExportError, ParameterError
from pmgs_lib.export import read_depth, write_depth
from pmgs_lib.export.images import save_pixels


@pytest.fixture
def depth(rng):
    """Depths of a room, with a few pixels that have none."""
    made = 0.3 + 30 * torch.rand(37, 51, generator=rng) ** 2
    made[3, :4] = torch.tensor([0.0, torch.nan, torch.inf, 0.0])
    return made


@pytest.mark.parametrize("suffix", [".npy", ".exr"])
@pytest.mark.parametrize("size", [(37, 51), (1, 1), (1, 9)])
def test_numbers_come_back_to_the_last_bit(suffix, size, depth, tmp_path):
    depth = depth[: size[0], -size[1] :]
    made = write_depth(tmp_path / f"depth{suffix}", depth)
    assert (made.steps_per_unit, made.clipped) == (None, 0)
    torch.testing.assert_close(read_depth(tmp_path / f"depth{suffix}"), depth, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("steps", [1000, 250.0, 2000.0])
def test_sixteen_bits_hold_depth_to_half_a_step(steps, depth, tmp_path, caplog):
    made = write_depth(tmp_path / "depth.png", depth, steps_per_unit=steps)
    assert (made.steps_per_unit, made.clipped, made.without) == (steps, 0, 4)
    assert caplog.records == []
    read, seen = read_depth(tmp_path / "depth.png"), depth.isfinite() & (depth > 0)
    assert (read[~seen] == 0).all()
    torch.testing.assert_close(read[seen], depth[seen], rtol=1e-6, atol=0.5 / steps)


def test_others_see_plain_sixteen_bit_millimetres(tmp_path):
    write_depth(tmp_path / "depth.png", torch.tensor([[1.0, 1.2344, 1.2346, 65.535]]))
    with Image.open(tmp_path / "depth.png") as picture:
        assert picture.mode == "I;16"
        assert np.asarray(picture).tolist() == [[1000, 1234, 1235, 65535]]


def test_what_does_not_fit_is_counted_and_said(tmp_path, caplog):
    depth = torch.tensor([[65.5, 65.54, 900.0, 1e30, 0.0004, 0.002, 0.0, torch.inf]])
    with caplog.at_level(logging.WARNING):
        made = write_depth(tmp_path / "depth.png", depth)
    assert (made.too_far, made.too_near, made.clipped, made.without) == (3, 1, 4, 2)
    assert "3 of 8 pixels lie beyond 65.53 units and 1 nearer than one step, 0.001: clipped" in caplog.text
    expected = [[65.5, 65.535, 65.535, 65.535, 0.001, 0.002, 0.0, 0.0]]
    torch.testing.assert_close(read_depth(tmp_path / "depth.png"), torch.tensor(expected), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("name", "change", "options", "message"),
    [
        ("depth.tif", None, {}, "no depth is written as '.tif', expected one of .npy, .exr, .png"),
        ("depth.png", None, {"steps_per_unit": 0}, "0 steps a unit, expected a positive number"),
        ("depth.png", None, {"steps_per_unit": float("nan")}, "nan steps a unit"),
        ("depth.png", -1.0, {}, "depth is negative, expected z along the optical axis"),
    ],
)
def test_what_cannot_be_written_is_refused(name, change, options, message, depth, tmp_path):
    given = depth if change is None else depth * change
    with pytest.raises(ParameterError, match=message):
        write_depth(tmp_path / name, given, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".npy", ".exr", ".png"])
def test_damaged_files_are_one_clear_error(suffix, depth, tmp_path, capfd):
    path, random = tmp_path / f"depth{suffix}", np.random.default_rng(3)
    write_depth(path, depth)
    whole = path.read_bytes()
    for end in (0, 1, 7, len(whole) // 8, len(whole) // 3):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match=f"depth{suffix}"):
            read_depth(path)
    for _ in range(40):
        path.write_bytes(random.integers(256, size=400, dtype=np.uint8).tobytes())
        with pytest.raises(DataError, match=r"check the file|export it again|expected one float32 map"):
            read_depth(path)
    for nowhere in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="cannot be read"):
            read_depth(nowhere.with_suffix(suffix) if nowhere != tmp_path else _folder(tmp_path, suffix))


def _folder(tmp_path, suffix):
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    return folder


def test_good_files_that_hold_no_depth_are_refused(depth, tmp_path):
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "double.npy", np.zeros((2, 2)))
    np.save(tmp_path / "cube.npy", np.zeros((2, 2, 2), np.float32))
    save_pixels(tmp_path / "colours.png", np.zeros((4, 4, 3), np.uint8))
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "unstated.png")
    messages = {
        "pickled.npy": "is no depth map",
        "double.npy": "holds float64",
        "cube.npy": r"of shape \(2, 2, 2\)",
        "colours.png": "a picture of mode RGB, not of 16 bits",
        "unstated.png": "does not state the size of its steps",
    }
    for name, message in messages.items():
        with pytest.raises(DataError, match=message):
            read_depth(tmp_path / name)


@pytest.mark.parametrize("suffix", [".npy", ".exr", ".png"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(suffix, depth, tmp_path, full_disk):
    path = tmp_path / f"depth{suffix}"
    write_depth(path, depth[:2, :2].nan_to_num(1, 1, 1))
    before = path.read_bytes()
    with pytest.raises((OSError, ExportError)), full_disk(1024):
        write_depth(path, depth)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_missing_package_is_named_and_only_needed_for_its_format(depth, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(BackendError, match=r"the package OpenEXR cannot be imported .*; install it, or write .npy"):
        write_depth(tmp_path / "depth.exr", depth)
    write_depth(tmp_path / "depth.npy", depth)
    assert [path.name for path in tmp_path.iterdir()] == ["depth.npy"]
