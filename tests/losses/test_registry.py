import pytest

from pmgs_lib.errors import ParameterError
from pmgs_lib.losses import LOSSES, DepthLoss, PointmapLoss, build_loss
from pmgs_lib.losses.base import Loss


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_name_builds_its_loss(name):
    assert isinstance(build_loss(name), Loss)
    assert isinstance(build_loss({"kind": name}), Loss)


def test_options_arrive():
    loss = build_loss({"kind": "pointmap", "threshold": 7.0}, detach_alignment=True)
    assert isinstance(loss, PointmapLoss)
    assert (loss.threshold, loss.detach_alignment) == (7.0, True)
    assert isinstance(build_loss("depth", space="inverse"), DepthLoss)


def test_released_defaults():
    loss = PointmapLoss()
    assert (loss.threshold, loss.above_threshold_factor, loss.detach_alignment) == (100.0, 1e-5, False)


@pytest.mark.parametrize("config", ["chamfer", {"kind": "chamfer"}, {"threshold": 3.0}])
def test_unknown_names_are_refused(config):
    with pytest.raises(ParameterError, match="expected kind to be one of photometric, pointmap, depth"):
        build_loss(config)


def test_misspelt_options_are_refused():
    with pytest.raises(ParameterError, match="pointmap has no option 'treshold', expected some of threshold"):
        build_loss("pointmap", treshold=3.0)
