"""A switch changes one thing, shows where it must and nowhere else, and switching twice changes nothing."""

import pytest
import torch

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation import psnr
from pmgs_lib.evaluation.ablation import (
    BEHAVIOURS,
    Change,
    ablate,
    applicable,
    is_released,
    summarise,
    switched,
    switched_config,
)
from pmgs_lib.evaluation.methods import GaussianMethod
from pmgs_lib.evaluation.situations import SITUATIONS, camera_situations
from pmgs_lib.models import load_checkpoint, named_config
from pmgs_lib.models.depthsplat.variants import GS_SMALL_RE10K_256X256, PMLOSS_UNCONSTRAINED_256X448, TINY
from pmgs_lib.models.mvsplat.variants import RE10K_256X256

BY_FIELD = {behaviour.field: behaviour for behaviour in BEHAVIOURS}
CONFIGS = {
    "tiny": TINY,
    "small": GS_SMALL_RE10K_256X256,
    "PM-Loss": PMLOSS_UNCONSTRAINED_256X448,
    "MVSplat": RE10K_256X256,
}
SIZE = (32, 48)
CAMERAS = {"few": [2, 4], "many": [0, 2, 4, 6], "targets": [1, 3], "size": SIZE}


@pytest.fixture(scope="module")
def model():
    return load_checkpoint("depthsplat-tiny")


@pytest.fixture
def situations(dataset):
    return camera_situations(dataset(), "planes", **CAMERAS)


@pytest.fixture
def changes(model, situations) -> dict[tuple[str, str], Change]:
    by_name = {behaviour.name: behaviour.field for behaviour in BEHAVIOURS}
    return {(by_name[change.behaviour], change.situation): change for change in ablate(model, situations)}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_switch_changes_one_field_and_switching_back_restores_it(name):
    config = CONFIGS[name]
    known = applicable(config)
    assert len(known) >= 5
    for behaviour in known:
        other = switched_config(config, behaviour)
        assert is_released(other, behaviour) != is_released(config, behaviour)
        assert switched_config(other, behaviour) == config
        assert all(is_released(other, b) == is_released(config, b) for b in known if b is not behaviour)


def test_released_configurations_behave_as_released():
    assert all(is_released(PMLOSS_UNCONSTRAINED_256X448, behaviour) for behaviour in BEHAVIOURS)
    assert all(is_released(RE10K_256X256, behaviour) for behaviour in applicable(RE10K_256X256))
    mended = [b.field for b in BEHAVIOURS if not is_released(GS_SMALL_RE10K_256X256, b)]
    assert mended == ["unit_rays"]  # of October 2024 only
    assert not any(is_released(TINY, behaviour) for behaviour in BEHAVIOURS)


def test_switched_shares_nothing_but_values(model):
    before = torch.random.get_rng_state()
    sibling = switched(model, BEHAVIOURS[0])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert sibling.config.scrambled_window_mask
    assert not model.config.scrambled_window_mask
    for name, value in model.state_dict().items():
        other = sibling.state_dict()[name]
        assert torch.equal(value, other)
        assert value.data_ptr() != other.data_ptr()


def test_each_behaviour_shows_where_it_must_and_nowhere_else(changes):
    shows = {
        "scrambled_window_mask": SITUATIONS[1:],
        "reference_intrinsics": ("mixed lenses",),
        "unit_rays": SITUATIONS,
        "metric_depth_input": SITUATIONS,
        "released_harmonics": SITUATIONS,
        "centered_principal_point": ("shifted target",),
        "near_plane_factor": (),
    }
    assert set(shows) == set(BY_FIELD)
    for (field, situation), change in changes.items():
        assert (change.mean_square > 0) == (situation in shows[field]), (field, situation)
        assert (change.psnr_after != change.psnr_before) == (situation in shows[field])
    moving = {"scrambled_window_mask", "reference_intrinsics", "unit_rays"}
    for (field, situation), change in changes.items():
        assert (change.depth_change > 0) == (field in moving and situation in shows[field]), (field, situation)


def test_numbers_are_those_of_the_methods_themselves(model, situations, changes):
    example, change = situations["mixed lenses"], changes["reference_intrinsics", "mixed lenses"]
    before = GaussianMethod(model)(example)
    after = GaussianMethod(switched(model, BY_FIELD["reference_intrinsics"]))(example)
    truth = example.target.images
    assert change.psnr_before == psnr(before.color, truth).mean().item()
    assert change.psnr_after == psnr(after.color, truth).mean().item()
    moved = ((after.context_depth - before.context_depth).abs() / before.context_depth).median()
    assert change.depth_change == moved.item()


def test_a_near_plane_behind_the_gaussians_shows(model, situations):
    near = {"two views": situations["two views"]}
    config = model.config.model_copy(
        update={"rendering": model.config.rendering.model_copy(update={"near_plane": 5.0})}
    )
    changed = load_checkpoint("depthsplat-tiny")
    changed.config = config
    (change,) = ablate(changed, near, [BY_FIELD["near_plane_factor"]])
    assert change.mean_square > 0.01


def test_summary_averages_squares_and_not_decibels():
    one, two = Change("a", "s", "b", 0.1, 20.0, 19.0, 1e-3), Change("c", "s", "b", 0.3, 20.0, 22.0, 3e-3)
    still = Change("a", "t", "b", 0.0, 20.0, 20.0, 0.0)
    rows = summarise([one, two, still]).set_index("situation")
    assert rows.loc["s", "depth_change"] == pytest.approx(0.2)
    assert rows.loc["s", "psnr_change"] == pytest.approx(0.5)
    assert rows.loc["s", "psnr_between"] == pytest.approx(26.9897, abs=1e-4)
    assert rows.loc["t", "psnr_between"] == float("inf")


def test_what_cannot_be_switched_is_named(situations):
    with pytest.raises(ParameterError, match="'metric depth input': MvSplatConfig has no field 'metric_depth_input'"):
        switched_config(RE10K_256X256, BY_FIELD["metric_depth_input"])
    depth_only = torch.nn.Module()
    depth_only.config = named_config("depthsplat-depth-small-352x640")
    with pytest.raises(ParameterError, match="predicts depth only"):
        ablate(depth_only, situations)
