"""Situations are one scene: the same frames, other lenses, and everything known about them stays true."""

import pytest
import torch

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.situations import SITUATIONS, camera_situations

CAMERAS = {"few": [2, 4], "many": [0, 2, 4, 6], "targets": [1, 3], "size": (32, 48)}


def test_situations_differ_in_cameras_only(dataset):
    found = camera_situations(dataset(), "planes", **CAMERAS)
    assert tuple(found) == SITUATIONS
    assert [example.context.count for example in found.values()] == [2, 4, 4, 4]
    for example in found.values():
        for views in (example.context, example.target):
            assert views.images.shape[-2:] == CAMERAS["size"]
            heights = views.cameras.unproject(views.depth)[..., 2]
            torch.testing.assert_close(heights, torch.full_like(heights, 4.0), atol=1e-4, rtol=0)  # all on the plane


def test_lenses_and_axes_are_what_the_names_say(dataset):
    found = camera_situations(dataset(), "planes", **CAMERAS, zoom=1.5)
    wide, mixed = (found[name].context.cameras.intrinsics for name in ("many views", "mixed lenses"))
    torch.testing.assert_close(mixed[:, 0, 0] / wide[:, 0, 0], torch.tensor([1.0, 1.5, 1.0, 1.5]))
    torch.testing.assert_close(mixed[:, :2, 2], torch.full((4, 2), 0.5))
    shifted = found["shifted target"].target.cameras.intrinsics
    torch.testing.assert_close(shifted[:, :2, 2], torch.full((2, 2), 0.75))
    assert found["shifted target"].context is found["many views"].context


def test_a_zoom_below_one_is_refused(dataset):
    with pytest.raises(ParameterError, match="does not lie in pictures of 16 x 24"):
        camera_situations(dataset(), "planes", **CAMERAS, zoom=0.5)
