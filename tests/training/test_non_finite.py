"""NaN and Inf put into every place that a step reads: each is found before the optimizer moves, with its cause."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from wall_training import HEIGHT, WIDTH, config, same, tiny_model, wall, walls, weights_of

from pmgs_lib import Cameras, Example
from pmgs_lib.errors import CheckpointError, ParameterError, TrainingError
from pmgs_lib.pointmaps import build_pointmap_source
from pmgs_lib.pointmaps.base import Pointmap, PointmapSource
from pmgs_lib.training import Trainer

VALUES = pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
TERMS = {"photometric": 1.0, "perceptual": 0.1, "pointmap": 0.05, "depth": 0.1, "depth_gradient": 0.1}


class MeanDifference(nn.Module):
    def forward(self, drawn, true):
        return (drawn.mean((-1, -2)) - true.mean((-1, -2))).square().mean()


def trainer(steps: int = 3, pointmaps: PointmapSource | None = None, **changes) -> Trainer:
    objective = {"objective": {f"{name}_weight": weight for name, weight in TERMS.items()}}
    described = config(steps, batch_size=2, **(objective | changes))
    source = pointmaps or build_pointmap_source("depth", noise=0.01)
    return Trainer(tiny_model(), described, pointmaps=source, perceptual=MeanDifference(), accelerator="cpu")


def fit_and_spoil(training: Trainer, batches, spoil=lambda: None) -> dict[str, torch.Tensor]:
    """Train until an error; the weights after the first step. `spoil` is called after that step."""
    after_first = {}

    def on_step(step, history):
        if step == 1:
            after_first.update(weights_of(training.model))
            spoil()

    try:
        training.fit(batches, on_step=on_step)
    finally:
        training.after_first = after_first
    return after_first


def with_value(tensor: torch.Tensor, value: float) -> torch.Tensor:
    """The same with `value` in one element of its second scene."""
    spoilt = tensor.clone(memory_format=torch.contiguous_format)
    spoilt[1].view(-1)[-1] = value
    return spoilt


def spoilt_pictures(side, value):
    return replace(side, images=with_value(side.images, value))


def spoilt_poses(side, value):
    cameras = Cameras(with_value(side.cameras.world_from_camera, value), side.cameras.intrinsics)
    return replace(side, cameras=cameras)


def spoilt_intrinsics(side, value):
    cameras = Cameras(side.cameras.world_from_camera, with_value(side.cameras.intrinsics, value))
    return replace(side, cameras=cameras)


def spoilt_near(side, value):
    return replace(side, near=with_value(side.near[:, None], value)[:, 0])


def spoilt_far(side, value):
    return replace(side, far=with_value(side.far[:, None], value)[:, 0])


INPUTS = {
    "images": spoilt_pictures,
    "poses": spoilt_poses,
    "intrinsics": spoilt_intrinsics,
    "near ends": spoilt_near,
    "far ends": spoilt_far,
}


def spoilt_example(side: str, name: str, value: float) -> Example:
    good = walls(2)
    return replace(good, **{side: INPUTS[name](getattr(good, side), value)})


@VALUES
@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("side", ["context", "target"])
def test_an_input(side, name, value):
    training = trainer()
    with pytest.raises(TrainingError, match=f"step 2, scenes wall 1: {side} {name}.* hold {value} .expected finite"):
        fit_and_spoil(training, [walls(2), spoilt_example(side, name, value)])
    assert same(weights_of(training.model), training.after_first)
    assert training.step == 1


class SpoiltPointmap(PointmapSource):
    """The exact surface with one value of the second scene replaced."""

    def __init__(self, value: float) -> None:
        self.value = value

    def pointmap(self, context, key):
        points = context.cameras.unproject(context.depth)
        return Pointmap(with_value(points, self.value))


@VALUES
def test_a_pointmap_leaves_its_scene_out_and_is_named(value):
    training = trainer(1, SpoiltPointmap(value))
    history = training.fit([walls(2)])
    assert [(step, scene) for step, scene, _ in history.exclusions] == [(1, "wall 1")]
    assert "points of the pointmap are NaN or infinite" in history.exclusions[0].reason
    assert all(value.isfinite().all() for value in training.model.state_dict().values())


@VALUES
def test_a_known_depth_that_is_unknown_is_masked_by_design(value):
    spoilt = walls(2)
    spoilt = replace(spoilt, context=replace(spoilt.context, depth=with_value(spoilt.context.depth, value)))
    pointmaps = SpoiltPointmap(1.0)
    history = trainer(1, pointmaps).fit([spoilt])
    assert all(math.isfinite(number) for number in history.rows[0].values())


@VALUES
@pytest.mark.parametrize("changes", [{}, {"objective": {"photometric_weight": 1.0}}])
def test_a_prediction_even_where_no_picture_shows_it(value, changes):
    """Rasterizers leave out Gaussians whose place is no number: no term would tell."""
    training = trainer(**changes)
    spoiling = []

    def spoil(module, inputs, output):
        if spoiling:
            output = output.clone()
            output[1, -1] = value  # of one patch; a distance alone would be held by its sigmoid
        return output

    training.model.token_decoder.register_forward_hook(spoil)
    with pytest.raises(TrainingError, match=r"step 2, scenes wall 1: predicted .* not finite"):
        fit_and_spoil(training, [walls(2)] * 2, lambda: spoiling.append(True))
    assert same(weights_of(training.model), training.after_first)


class SpoiltObjective:
    """An objective whose term has another value for the second scene."""

    def __init__(self, objective, term: str, value: float) -> None:
        self.objective, self.term, self.value, self.config = objective, term, value, objective.config

    def __call__(self, prediction, example, step):
        loss = self.objective(prediction, example, step)
        factor = torch.tensor([1.0, self.value])
        per_scene = loss.per_scene | {self.term: loss.per_scene[self.term] * factor}
        return replace(loss, terms=loss.terms | {self.term: loss.terms[self.term] * self.value}, per_scene=per_scene)


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_term(term, value):
    training = trainer()

    def spoil():
        training.step_module.objective = SpoiltObjective(training.step_module.objective, term, value)

    with pytest.raises(TrainingError, match=f"step 2, scenes wall 1: the {term} term is {value}"):
        fit_and_spoil(training, [walls(2)] * 2, spoil)
    assert same(weights_of(training.model), training.after_first)


@VALUES
def test_a_gradient_of_one_parameter(value):
    training = trainer()
    name, parameter = next(iter(training.model.named_parameters()))

    def spoil():
        parameter.register_hook(lambda gradient: torch.full_like(gradient, value))

    with pytest.raises(TrainingError, match=f"step 2, scenes wall 0, wall 1: the gradient of 1 parameters .*{name}"):
        fit_and_spoil(training, [walls(2)] * 2, spoil)
    assert same(weights_of(training.model), training.after_first)


@VALUES
def test_a_weight_is_named_as_the_cause_and_never_skipped(value):
    training = trainer(non_finite={"action": "skip"})
    name, parameter = list(training.model.named_parameters())[-1]

    def spoil():
        with torch.no_grad():
            parameter.view(-1)[0] = value

    with pytest.raises(TrainingError, match=f"step 2, 1 weights are not finite .{name}.*go back"):
        fit_and_spoil(training, [walls(2)] * 2, spoil)
    with pytest.raises(TrainingError, match=f"1 weights are not finite .{name}"):
        training.fit([walls(2)] * 2, first_step=1)


@VALUES
def test_a_state_of_the_optimizer(value):
    training = trainer()
    training.fit([walls(2)], until=1)
    state = training.state_dict()
    name = next(iter(state["optimizer"]))
    state["optimizer"][name]["exp_avg"].view(-1)[0] = value
    with pytest.raises(CheckpointError, match=f"exp_avg of the optimizer at {name} is not finite"):
        trainer().load_state_dict(state)
    before = weights_of(training.model)
    with pytest.raises(TrainingError, match=f"exp_avg of {name} in the optimizer is not finite"):
        training.fit([walls(2)] * 2, first_step=1)
    assert same(weights_of(training.model), before)


@VALUES
def test_a_learning_rate(value):
    """In the configuration it is refused; put into the optimizer it is without effect, as rates follow from steps."""
    described = config(2)
    broken = described.optimizer.model_copy(update={"learning_rate": value})
    with pytest.raises(ParameterError, match=f"learning_rate {value}; expected above 0"):
        Trainer(tiny_model(), described.model_copy(update={"optimizer": broken}), accelerator="cpu")
    training = trainer(2)
    history = None

    def spoil():
        for group in training.optimizer.param_groups:
            group["lr"] = value

    fit_and_spoil(training, [walls(2)] * 2, spoil)
    history = training.history
    assert [row["learning_rate"] for row in history.rows] == [1e-2, 1e-2]


def test_what_a_model_refuses_is_told_with_step_and_scene():
    spoilt = walls(2)
    spoilt = replace(spoilt, context=replace(spoilt.context, far=spoilt.context.near))
    training = trainer(non_finite={"action": "skip"})
    with pytest.raises(ParameterError, match=r"step 2, scenes wall 0, wall 1: Gslrm: depth ranges .*near < far"):
        fit_and_spoil(training, [walls(2), spoilt])


# --- leaving steps out ---


def test_a_skipped_step_counts_but_moves_nothing():
    changes = {"non_finite": {"action": "skip"}, "schedule": {"kind": "warmup-cosine", "warmup": 0}}
    training = trainer(3, average_decay=0.5, **changes)
    seen = []

    def on_step(step, history):
        state = training.state_dict()
        moments = {name: parts["exp_avg"].clone() for name, parts in state["optimizer"].items()}
        averaged = {name: value.clone() for name, value in state["average"]["model"].items()}
        seen.append((weights_of(training.model), moments, averaged))

    spoilt = spoilt_example("target", "images", float("nan"))
    history = training.fit([walls(2), spoilt, walls(2)], on_step=on_step)
    assert all(same(before, after) for before, after in zip(seen[0], seen[1], strict=True))
    assert not same(seen[1][0], seen[2][0])
    frame = history.to_frame()
    assert list(frame["skipped"]) == [0, 1, 0]
    assert frame["photometric"].isna().tolist() == [False, True, False]
    assert frame["learning_rate"].tolist() == pytest.approx([1e-2, 0.75e-2, 0.25e-2])
    assert list(history.skipped) == [f"wall 1: {history.skips[0].reason}"]
    assert history.skips[0][:2] == (2, "wall 1")


def test_skipped_in_sequence_ends_at_most():
    training = trainer(9, non_finite={"action": "skip", "most": 2})
    spoilt = spoilt_example("target", "images", float("nan"))
    good = walls(2)
    with pytest.raises(TrainingError, match=r"step 6, scenes wall 1: .* 2 steps before it were left out as well"):
        training.fit([spoilt, good, good, spoilt, spoilt, spoilt])
    assert [row.get("skipped") for row in training.history.rows] == [1, 0, 0, 1, 1]


def test_a_gradient_too_large_counts_from_the_end_of_the_warm_up():
    rule = {"action": "skip", "largest_norm": 1e-9}
    training = trainer(3, non_finite=rule, schedule={"kind": "constant", "warmup": 2})
    history = training.fit([walls(2)] * 3)
    assert [row["skipped"] for row in history.rows] == [0, 0, 1]
    assert "norm is" in history.skips[0].reason
    with pytest.raises(TrainingError, match=r"step 1, scenes wall 0, wall 1: the gradient's norm is .* largest_norm"):
        trainer(1, non_finite={"largest_norm": 1e-9}).fit([walls(2)])


def test_a_wall_is_what_the_cases_say():
    assert wall().context.images.shape == (2, 3, HEIGHT, WIDTH)
