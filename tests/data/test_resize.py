"""Image rules: the two papers' pictures to the last bit, and never one for the other."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pmgs_lib import Cameras, Views
from pmgs_lib.data import open_dataset
from pmgs_lib.data.crops import cropped
from pmgs_lib.data.folders import write_scenes
from pmgs_lib.data.resize import EXACT, IMAGE_RULES, Fit, ImageRule, patch_size, resize_image, resize_intrinsics
from pmgs_lib.errors import DataError

DEPTHSPLAT_DL3DV = ImageRule("depthsplat", "lanczos", "kept", image_shape=(270, 480), source_size=(270, 480))
sides = st.integers(1, 700)


@pytest.mark.parametrize(("state", "name"), [("main", "depthsplat"), ("pmloss", "pm-loss")])
@pytest.mark.parametrize("size", [(64, 64), (64, 112)])
def test_a_rule_gives_the_pictures_and_intrinsics_of_its_paper_and_of_no_other(parity, state, name, size):
    recorded = np.load(parity / "depthsplat" / f"units_{state}.npz")
    image = torch.from_numpy(recorded["resize/in_u8"][0]).permute(1, 2, 0).contiguous()
    label = f"{size[0]}x{size[1]}"
    expected = torch.from_numpy(recorded[f"resize/out_u8_{label}"][0]).permute(1, 2, 0)
    for rule in IMAGE_RULES.values():
        how = rule.fit(tuple(image.shape[:2]), size)
        same = torch.equal(resize_image(image, how, rule.resampling), expected)
        assert same == (rule.resampling == IMAGE_RULES[name].resampling)
    rule = IMAGE_RULES[name]
    k_in, k_out = (torch.from_numpy(recorded[f"resize/K_{which}"]) for which in ("in", label))
    found = resize_intrinsics(k_in, rule.fit((90, 160), size), rule.principal_point)
    torch.testing.assert_close(found, k_out, atol=0, rtol=1e-6)


@pytest.mark.parametrize("state", ["main", "pmloss"])
def test_depthsplat_crops_dl3dv_by_its_patch_and_scales_nothing(parity, state):
    recorded = np.load(parity / "depthsplat" / f"units_{state}.npz")
    how = DEPTHSPLAT_DL3DV.fit((270, 480), patch_size(270, 480, 64))
    assert how == Fit(270, 480, 7, 16, 256, 448)
    k_in, k_out = (torch.from_numpy(recorded[f"patch/K_{which}"]) for which in ("in_270x480", "out_p64"))
    torch.testing.assert_close(resize_intrinsics(k_in, how, "kept"), k_out, atol=0, rtol=1e-6)


def test_the_two_papers_see_different_fields_of_one_file():
    """PM-Loss scales 270x480 to 256x455 and shows more of it than DepthSplat's crop: their numbers do not compare."""
    ours, theirs = DEPTHSPLAT_DL3DV, ImageRule("pm-loss", "bilinear", "kept", source_size=(270, 480))
    assert theirs.fit((270, 480), (256, 448)) == Fit(256, 455, 0, 3, 256, 448)
    intrinsics = torch.tensor([[0.9, 0, 0.5], [0, 1.6, 0.5], [0, 0, 1]])
    angles = [
        1 / resize_intrinsics(intrinsics, rule.fit((270, 480), (256, 448)), "kept").diagonal()[:2]
        for rule in (ours, theirs)
    ]
    assert torch.all(angles[1] > angles[0] * 1.05)


@settings(max_examples=100, deadline=None)
@given(sides, sides, st.tuples(*[st.integers(1, 100)] * 4))
def test_a_crop_of_a_crop_lies_in_the_picture_about_its_middle(height, width, shares):
    """One mechanism: scaled, cropped to the image shape and cropped to the size asked for is one window."""
    rows, columns = (max(1, side * share // 100) for side, share in zip((height, width), shares[:2], strict=True))
    target = tuple(max(1, side * share // 100) for side, share in zip((rows, columns), shares[2:], strict=True))
    how = ImageRule("two", image_shape=(rows, columns)).fit((height, width), target)
    outer = EXACT.fit((height, width), (rows, columns))
    assert how[:2] == outer[:2]
    assert how[4:] == target
    for scaled, first, size in ((how.scaled_height, how.top, target[0]), (how.scaled_width, how.left, target[1])):
        assert 0 <= first <= first + size <= scaled
        assert abs(first - (scaled - size) / 2) <= 1  # each of the two crops rounds down once
    image = torch.arange(how.scaled_height * how.scaled_width, dtype=torch.int64).reshape(how.scaled_height, -1)
    once = image[outer.top : outer.top + rows, outer.left : outer.left + columns]
    top, left = (rows - target[0]) // 2, (columns - target[1]) // 2
    twice = once[top : top + target[0], left : left + target[1]]
    assert torch.equal(twice, image[how.top : how.top + target[0], how.left : how.left + target[1]])


@settings(max_examples=100, deadline=None)
@given(sides, sides, st.sampled_from([1, 2, 14, 16, 32, 64]))
def test_a_patch_size_is_the_largest_that_fits(height, width, multiple):
    for size, side in zip(patch_size(height, width, multiple), (height, width), strict=True):
        assert size % multiple == 0
        assert size <= side < size + multiple


def test_a_crop_of_views_is_the_same_crop(rng):
    cameras = Cameras(
        torch.eye(4).repeat(3, 1, 1), torch.tensor([[0.9, 0, 0.45], [0, 1.6, 0.52], [0, 0, 1]]).repeat(3, 1, 1)
    )
    whole = Views(torch.rand(3, 3, 270, 480, generator=rng), cameras, torch.tensor(1.0), torch.tensor(2.0))
    how = DEPTHSPLAT_DL3DV.fit((270, 480), (256, 448))
    part = cropped(whole, how.top, how.left, how.height, how.width)
    assert torch.equal(part.cameras.intrinsics, resize_intrinsics(cameras.intrinsics, how))
    assert torch.equal(resize_intrinsics(cameras.intrinsics, EXACT.fit((270, 480), (270, 480))), cameras.intrinsics)


def test_files_of_another_size_than_the_published_are_refused():
    with pytest.raises(DataError, match=r"s1: is 540x960 .*'depthsplat' was published for 270x480"):
        DEPTHSPLAT_DL3DV.fit((540, 960), (256, 448), "s1")
    with pytest.raises(DataError, match="s1: 300x448 cannot be cropped out of 270x480"):
        DEPTHSPLAT_DL3DV.fit((270, 480), (300, 448), "s1")
    with pytest.raises(DataError, match="too small to fill 64x64"):
        IMAGE_RULES["pm-loss"].fit((48, 64), (64, 64), "s1")


def test_a_dataset_shows_the_pictures_of_its_rule(tmp_path, plane_scene):
    write_scenes(tmp_path, "test", [plane_scene("s0")], scenes_per_chunk=1)
    rules = {
        "crop": ImageRule("depthsplat", "lanczos", "kept", image_shape=(48, 64), source_size=(48, 64)),
        "scale": ImageRule("pm-loss", "bilinear", "kept"),
        "lanczos": ImageRule("depthsplat", "lanczos", "kept"),
    }
    views = {}
    for name, rule in rules.items():
        dataset = open_dataset(tmp_path, near=0.5, far=9.0, images=rule)
        views[name] = dataset.example("s0", (0, 4), (2,), 32, 48).context
        whole = dataset[0]
    assert torch.equal(views["crop"].images, whole.images[[0, 4], :, 8:40, 8:56])
    assert torch.equal(views["scale"].cameras.intrinsics, views["lanczos"].cameras.intrinsics)
    assert not torch.equal(views["scale"].images, views["lanczos"].images)
    assert not torch.equal(views["crop"].cameras.intrinsics, views["scale"].cameras.intrinsics)
    other = open_dataset(tmp_path, near=0.5, far=9.0, images=ImageRule("pm-loss", source_size=(270, 480)))
    with pytest.raises(DataError, match=r"scene 's0': is 48x64 .* published for 270x480"):
        other.example("s0", (0, 4), (2,), 32, 48)
    assert other[0].images.shape == (10, 3, 48, 64)


def test_dl3dv_scenes_are_found_with_and_without_the_prefix_of_the_released_conversions(tmp_path, plane_scene):
    write_scenes(tmp_path, "test", [plane_scene("dl3dv_a1"), plane_scene("b2")], scenes_per_chunk=2)
    dataset = open_dataset(tmp_path, near=0.5, far=9.0)
    assert {key: dataset.stored_key(key) for key in ("a1", "dl3dv_a1", "a1#2", "b2", "dl3dv_b2", "c3")} == {
        "a1": "dl3dv_a1",
        "dl3dv_a1": "dl3dv_a1",
        "a1#2": "dl3dv_a1",
        "b2": "b2",
        "dl3dv_b2": "b2",
        "c3": None,
    }
    assert dataset.example("a1", (0, 4), (2,), 32, 48).key == "a1"
    with pytest.raises(DataError, match="c3"):
        dataset.example("c3", (0, 4), (2,), 32, 48)
