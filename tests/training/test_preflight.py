"""Mistakes found before the first step: each in one line, with nothing trained."""

from dataclasses import replace

import pytest
import torch
from wall_training import config, same, tiny_model, wall, walls, weights_of

from pmgs_lib import Example
from pmgs_lib.errors import ParameterError
from pmgs_lib.models import build_model, named_config
from pmgs_lib.training import Trainer
from pmgs_lib.training.preflight import check_configuration


def made(model=None, steps: int = 2, **changes) -> Trainer:
    return Trainer(model or tiny_model(), config(steps, **changes), accelerator="cpu")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"optimizer": {"learning_rate": 1.0}}, "learning_rate 1.0; expected above 0 and at most 0.1"),
        ({"optimizer": {"learning_rate": float("inf")}}, "learning_rate inf; expected"),
        ({"optimizer": {"pretrained_learning_rate": 2.0}}, "pretrained_learning_rate 2.0; expected"),
        ({"optimizer": {"betas": (0.9, 1.0)}}, "betas .0.9, 1.0.; expected"),
        ({"optimizer": {"weight_decay": float("inf")}}, "weight_decay inf; expected"),
        ({"schedule": {"warmup": 2000}}, "2000 steps of warm-up in a schedule of 2"),
        ({"schedule": {"length": 1}}, "a schedule of 1 steps under a training of 2"),
        (
            {"objective": {"photometric_weight": 0.0, "pointmap_weight": 1.0, "pointmap_schedule": {"stop": 1}}},
            "no term of the objective has a weight at step 1",
        ),
        (
            {"objective": {"photometric_weight": 0.0, "perceptual_weight": 1.0, "perceptual_schedule": {"start": 1}}},
            "no term of the objective has a weight at step 0",
        ),
        ({"objective": {"perceptual_weight": 0.5}}, "no perceptual network"),
        ({"objective": {"pointmap_weight": 0.5}}, "no pointmap source"),
    ],
)
def test_a_configuration(changes, told):
    with pytest.raises(ParameterError, match=told):
        made(**changes)


def test_rates_of_published_trainings_pass():
    check_configuration(config(800_001, optimizer={"learning_rate": 4e-4}, schedule={"warmup": 2000}), tiny_model())


def test_nothing_to_train():
    with pytest.raises(ParameterError, match="Gslrm has no weight to train"):
        made(tiny_model().requires_grad_(False))


def test_a_batch_that_does_not_divide_over_processes():
    described = config(2, batch_size=6, accumulate=2)
    check_configuration(described, tiny_model(), processes=3)
    with pytest.raises(ParameterError, match="batch_size 6 does not divide into 4 processes x accumulate 2"):
        check_configuration(described, tiny_model(), processes=4)


def test_devices_that_nobody_started_processes_for():
    with pytest.raises(ParameterError, match="1 x 4 devices asked for, but 1 process"):
        Trainer(tiny_model(), config(2), accelerator="cpu", devices=4)


def cut(views, height: int):
    return replace(views, images=views.images[..., :height, :], depth=None)


def first_batches() -> dict[str, tuple[Example, str]]:
    one, two = walls(1), walls(2)
    return {
        "too many scenes": (two, "a micro-batch of .2,. contexts and .2,. targets; expected 1 of each"),
        "not a batch": (wall(), r"expected 1 of each .*Example.collate"),
        "targets of other scenes": (replace(one, target=two.target), r".1,. contexts and .2,. targets"),
        "odd size": (replace(one, context=cut(one.context, 12)), "pictures of 12 x 24; expected multiples of 8"),
        "no depth": (replace(one, context=cut(one.context, 16)), "depth_weight 1.0, .*but wall 0 has no known depth"),
    }


@pytest.mark.parametrize("case", first_batches())
def test_a_first_batch(case):
    batch, told = first_batches()[case]
    trainer = made(objective={"depth_weight": 1.0})
    before = weights_of(trainer.model)
    with pytest.raises(ParameterError, match=told):
        trainer.fit([batch] * 2)
    assert same(before, weights_of(trainer.model))
    assert trainer.history.rows == []


def test_an_objective_of_pictures_for_a_model_without_gaussians():
    config_of_depth = named_config("depthsplat-tiny").model_copy(update={"color": None})
    trainer = made(build_model(config_of_depth))
    batch = walls(1)
    batch = replace(batch, context=enlarged(batch.context), target=enlarged(batch.target))
    with pytest.raises(ParameterError, match="step 1, scenes wall 0: DepthSplat predicts depth only"):
        trainer.fit([batch] * 2)


def enlarged(views):
    """Twice the size, for networks that ask for more than a few pixels."""
    images = views.images.repeat_interleave(2, -1).repeat_interleave(2, -2)
    return replace(views, images=images, depth=views.depth.repeat_interleave(2, -1).repeat_interleave(2, -2))


def test_the_unofficial_gslrm_trains_with_its_targets_cameras():
    asked = {"pose_normalisation": "unofficial", "width": 32, "layers": 1, "head_width": 16}
    torch.manual_seed(0)
    model = build_model("gslrm-tiny", **asked)
    seen = []
    frame = model.frame
    model.frame = lambda cameras, target=None: seen.append(target) or frame(cameras, target)
    Trainer(model, config(1), accelerator="cpu").fit([walls(1)])
    assert torch.equal(seen[0].world_from_camera, walls(1).target.cameras.world_from_camera)
    assert not tiny_model().needs_target_cameras
