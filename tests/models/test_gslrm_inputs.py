"""What GS-LRM takes and refuses: numbers of views, sizes, cameras at one place, configurations."""

from dataclasses import replace

import pytest
import torch
from gslrm_views import HEIGHT, SMALL, WIDTH, context, lively, tensors, with_poses

from pmgs_lib.errors import ParameterError
from pmgs_lib.models.gslrm import Gslrm, GslrmConfig
from pmgs_lib.models.gslrm.variants import GSLRM_PAPER, GSLRM_PAPER_512, GSLRM_TINY, GSLRM_UNOFFICIAL
from pmgs_lib.views import Views


@pytest.mark.parametrize("views", [1, 2, 3, 4, 5, 6])
@torch.no_grad()
def test_any_number_of_views(views):
    fields = {"pose_normalisation": "none"} if views == 1 else {}
    assert lively(**fields).eval()(context(views=views)).depth.shape == (1, views, HEIGHT, WIDTH)


@pytest.mark.parametrize("size", [(32, 16), (8, 8), (8, 40)], ids=["portrait", "one patch", "one row"])
@torch.no_grad()
def test_portrait_and_other_sizes(size):
    prediction = lively().eval()(context(height=size[0], width=size[1]))
    assert prediction.depth.shape[-2:] == size
    assert all(value.isfinite().all() for value in tensors(prediction).values())


def standing_together(views: Views) -> Views:
    poses = views.cameras.world_from_camera.clone()
    poses[-1, :, :3, 3] = poses[-1, :1, :3, 3]
    return with_poses(views, poses)


@pytest.mark.parametrize(
    ("views", "message"),
    [
        (context(views=1), "Gslrm: 1 context view; expected at least 2, since the distance of cameras is its unit"),
        (
            context(height=60),
            "Gslrm: images of 60 x 24; expected multiples of 8: crop or resize them, for example to 56 x 24",
        ),
        (context()[0], r"Gslrm: images of .* batch shape \(\); expected \(batch,\)"),
        (standing_together(context(batch=2)), "Gslrm: all 2 context cameras of scene 1 stand at one place; expected"),
        (replace(context(), far=torch.zeros(1)), r"Gslrm: depth ranges 0\.5\.\.0; expected"),
    ],
    ids=["one view", "odd size", "no batch", "one place", "empty range"],
)
def test_unusable_views_are_refused(views, message):
    with pytest.raises(ParameterError, match=message):
        Gslrm(SMALL)(views)


@torch.no_grad()
def test_cameras_at_one_place_are_fine_where_nothing_is_measured_by_their_distance():
    views = standing_together(context())
    assert lively(pose_normalisation="none").eval()(views).depth.isfinite().all()


@torch.no_grad()
def test_targets_take_part_in_the_unofficial_normalisation_only_if_given():
    views, targets = context(), context(batch=1, views=5).cameras
    model = lively(pose_normalisation="unofficial").eval()
    assert not torch.allclose(model(views, targets).depth, model(views).depth, rtol=1e-3)
    with pytest.raises(ParameterError, match="target cameras given with pose_normalisation 'unit_box'; expected"):
        lively()(views, targets)


# --- configurations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"head_width": 60}, "width 1024 does not divide by head_width 60"),
        ({"nearest": 500.0}, "nearest 500.0 and farthest 500.0: expected nearest < farthest"),
        ({"inputs": "plucker"}, "Input should be 'paper' or 'unofficial'"),
        ({"depth": 3}, "Extra inputs are not permitted"),
    ],
)
def test_unusable_configurations_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        GslrmConfig.model_validate(fields)


def test_named_configurations():
    for config in (GSLRM_PAPER, GSLRM_PAPER_512, GSLRM_UNOFFICIAL, GSLRM_TINY):
        assert GslrmConfig.model_validate_json(config.model_dump_json()) == config
    assert (GSLRM_PAPER.heads, GSLRM_PAPER.head_width) == (16, 64)
    assert (GSLRM_PAPER.nearest, GSLRM_PAPER.farthest, GSLRM_PAPER.distance_range) == (0, 500, "fixed")
    assert (GSLRM_UNOFFICIAL.heads, GSLRM_UNOFFICIAL.head_width) == (64, 16)
    assert GSLRM_PAPER.model_copy(update={"checkpoint_blocks": True}) == GSLRM_PAPER_512
    size = sum(parameter.numel() for parameter in Gslrm(GSLRM_TINY).parameters())
    assert 2 * size < 8e6  # bytes in half precision, as embedded weights are kept
