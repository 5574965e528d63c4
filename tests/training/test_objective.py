"""What is minimised: every term alone, their sum, and what must never vanish in it."""

from dataclasses import replace

import pytest
import torch
from objective_scenes import (
    gradients,
    random_example,
    random_prediction,
    selected,
    selected_example,
)
from torch.testing import assert_close

from pmgs_lib.errors import ParameterError
from pmgs_lib.losses import PerceptualLoss, PointmapLoss, depth_gradient_l1, inverse_depth_l1, log_depth_l1
from pmgs_lib.pointmaps.base import Pointmap, PointmapSource
from pmgs_lib.training.config import ObjectiveConfig, WeightSchedule
from pmgs_lib.training.drawing import draw_targets
from pmgs_lib.training.objective import Objective, StepLoss


class SmallPerceptual(PerceptualLoss):
    """A network of one layer in the place of VGG, and how often it was asked."""

    def __init__(self) -> None:
        network = torch.nn.Conv2d(3, 4, 3, padding=1, bias=False, dtype=torch.float64)
        torch.nn.init.normal_(network.weight, generator=torch.Generator().manual_seed(5))
        super().__init__(network)
        self.asked = 0

    def distances(self, rendered, true):
        self.asked += 1
        return (self.network(rendered).relu() - self.network(true).relu()).abs().mean((1, 2, 3))


class ShiftedDepth(PointmapSource):
    """Known depth in another frame and scale, and how often it was asked for."""

    asked = 0

    def pointmap(self, context, key):
        self.asked += 1
        return Pointmap(2 * context.cameras.unproject(context.depth.clamp_min(1)) + 0.3)


ALL_TERMS = {
    "photometric_weight": 1.5,
    "perceptual_weight": 0.5,
    "pointmap_weight": 0.25,
    "depth_weight": 20.0,
    "depth_gradient_weight": 10.0,
}
TERMS = [name.removesuffix("_weight") for name in ALL_TERMS]


def objective(**changes) -> Objective:
    config = ObjectiveConfig(**({"rasterizer": "reference", "photometric_weight": 0.0} | changes))
    pointmaps = ShiftedDepth() if config.pointmap_weight else None
    return Objective(config, pointmaps, SmallPerceptual() if config.perceptual_weight else None)


@pytest.fixture
def example(rng):
    return random_example(rng)


@pytest.fixture
def prediction(rng, example):
    return random_prediction(rng, intermediates=2)


def test_terms_add_up_with_their_weights(prediction, example):
    loss = objective(**ALL_TERMS)(prediction, example, 0)
    assert list(loss.terms) == TERMS
    for name, (field, weight) in zip(TERMS, ALL_TERMS.items(), strict=True):
        alone = objective(**({"depth_weight": 1.0} | {field: 1.0}))  # depth: a gradient alone is refused
        assert_close(loss.terms[name], weight * alone(prediction, example, 0).terms[name])
    assert_close(loss.total, sum(loss.terms.values()))
    assert all(value > 0 for value in loss.terms.values())


@pytest.mark.parametrize("options", [{}, {"photometric_error": "l1"}, {"largest_squared_error": 0.1}])
def test_a_batch_is_the_mean_of_its_scenes_in_any_order(options, prediction, example):
    """Also where pixels are left out, so that neither parts nor devices change the result."""
    term = objective(**ALL_TERMS, **options)
    whole = term(prediction, example, 0)
    turned = term(selected(prediction, [1, 0]), selected_example(example, [1, 0]), 0)
    alone = [term(selected(prediction, [n]), selected_example(example, [n]), 0) for n in range(2)]
    for name in TERMS:
        assert_close(whole.per_scene[name], torch.cat([one.per_scene[name] for one in alone]))
        assert_close(turned.per_scene[name], whole.per_scene[name].flip(0))
        assert_close(whole.terms[name], whole.per_scene[name].mean())
        assert not whole.per_scene[name].requires_grad


def test_values_by_the_formulas_of_the_papers(prediction, example):
    """Each stage counts by 0.9 to the power of its distance from the final one; PM-Loss sees the final one only."""
    loss = objective(**dict.fromkeys(ALL_TERMS, 1.0))(prediction, example, 0)
    shares = {0.81: prediction.intermediates[0], 0.9: prediction.intermediates[1], 1.0: prediction}
    drawn = {share: draw_targets(stage, example.target, backend="reference") for share, stage in shares.items()}
    true, known, network = example.target.images, example.context.depth, SmallPerceptual()
    expected = {
        "photometric": sum(share * (color - true).square().mean() for share, color in drawn.items()),
        # The released PM-Loss training adds the last intermediate's again in the place of PM-Loss; not here.
        "perceptual": sum(share * network(c.flatten(0, 1), true.flatten(0, 1)) for share, c in drawn.items()),
        "pointmap": PointmapLoss()(prediction.gaussians.means, ShiftedDepth()(example.context).flatten(1, 3)),
        "depth": sum(share * inverse_depth_l1(stage.depth, known) for share, stage in shares.items()),
        "depth_gradient": sum(share * depth_gradient_l1(stage.depth, known) for share, stage in shares.items()),
    }
    for name, value in expected.items():
        assert_close(loss.terms[name], value, rtol=1e-6, atol=0)


def test_options_reach_their_terms(prediction, example):
    final, true = replace(prediction, intermediates=()), example.target.images
    color = draw_targets(final, example.target, backend="reference")
    photometric = {"photometric_weight": 1.0, "intermediate_decay": None}
    assert_close(objective(**photometric)(prediction, example, 0).total, (color - true).square().mean())
    absolute = objective(**photometric, photometric_error="l1")(prediction, example, 0)
    assert_close(absolute.total, (color - true).abs().mean())
    limited = objective(**photometric, largest_squared_error=0.05)(prediction, example, 0)
    squares = [s[s < 0.05].mean() for s in (color - true).square()]
    assert_close(limited.total, torch.stack(squares).mean())
    logs = objective(depth_weight=1.0, depth_space="log", intermediate_decay=None)(prediction, example, 0)
    assert_close(logs.total, log_depth_l1(prediction.depth, example.context.depth))
    with pytest.raises(ParameterError, match=r"largest_squared_error is 0\.2 with error 'l1'"):
        objective(**photometric, photometric_error="l1", largest_squared_error=0.2)


def test_a_perfect_prediction_costs_nothing(prediction, example):
    prediction = replace(prediction, intermediates=(), depth=example.context.depth.clamp_min(1))
    target = replace(example.target, images=draw_targets(prediction, example.target, backend="reference"))
    loss = objective(**ALL_TERMS)(prediction, replace(example, target=target), 0)
    assert all(loss.terms[name] == 0 for name in ("photometric", "perceptual", "depth", "depth_gradient"))


def test_a_term_without_weight_is_neither_computed_nor_needs_anything(prediction, example):
    depth_only = replace(prediction, gaussians=None, intermediates=())
    bare = Objective(ObjectiveConfig(photometric_weight=0.0, depth_weight=1.0))
    assert list(bare(depth_only, example, 0).terms) == ["depth"]
    no_depth = replace(prediction, depth=None, intermediates=())
    unknown = replace(example, context=replace(example.context, depth=None))
    pictures = Objective(ObjectiveConfig(rasterizer="reference"))
    assert list(pictures(no_depth, unknown, 0).terms) == ["photometric"]


def test_a_resting_term_is_zero_and_not_computed(prediction, example):
    schedule = WeightSchedule(start=1, ramp=1, stop=3)
    weights = {"depth_weight": 1.0, "perceptual_weight": 2.0, "pointmap_weight": 4.0}
    term = objective(**weights, perceptual_schedule=schedule, pointmap_schedule=schedule, intermediate_decay=None)
    losses = [term(prediction, example, step) for step in range(4)]
    assert (term.perceptual.asked, term.pointmaps.asked) == (2, 2)
    for name in ("perceptual", "pointmap"):
        values = [loss.terms[name].item() for loss in losses]
        assert values[0] == values[3] == 0
        assert values[1] == pytest.approx(0.5 * values[2], rel=1e-6)
        assert values[2] > 0


def test_nothing_to_minimise_at_a_step_is_told(prediction, example):
    term = objective(pointmap_weight=1.0, pointmap_schedule=WeightSchedule(start=5))
    with pytest.raises(ParameterError, match="no term of the objective has a weight at step 4"):
        term(prediction, example, 4)
    assert term(prediction, example, 5).total > 0


def test_what_a_term_lacks_is_told(prediction, example):
    with pytest.raises(ParameterError, match=r"perceptual_weight is positive .*make it by pmgs_lib.losses.build_perc"):
        Objective(ObjectiveConfig(perceptual_weight=0.5))
    with pytest.raises(ParameterError, match="no pointmap source"):
        Objective(ObjectiveConfig(pointmap_weight=0.5))
    with pytest.raises(ParameterError, match="predicts depth only, expected Gaussians"):
        objective(photometric_weight=1.0)(replace(prediction, gaussians=None, intermediates=()), example, 0)
    with pytest.raises(ParameterError, match="the model predicts no depth"):
        objective(depth_weight=1.0)(replace(prediction, depth=None, intermediates=()), example, 0)
    unknown = replace(example, context=replace(example.context, depth=None))
    with pytest.raises(ParameterError, match="scene 0 has no known depth"):
        objective(depth_weight=1.0)(prediction, unknown, 0)


def test_another_network_that_gives_one_number_serves(prediction, example):
    config = ObjectiveConfig(photometric_weight=0.0, perceptual_weight=2.0, rasterizer="reference")
    loss = Objective(config, perceptual=torch.nn.MSELoss())(prediction, example, 0)
    squares = objective(photometric_weight=2.0)(prediction, example, 0)
    assert_close(loss.total, squares.total)
    assert_close(loss.per_scene["perceptual"], loss.total.expand(2))


def test_the_networks_are_no_part_of_the_model(prediction, example):
    step = torch.nn.Module()
    step.model, step.objective = torch.nn.Linear(2, 2), objective(**ALL_TERMS)
    assert set(step.state_dict()) == {"model.weight", "model.bias"}
    assert len(list(step.parameters())) == 2


def spoilt(loss: StepLoss) -> dict[str, list[bool]]:
    return {name: values.isnan().tolist() for name, values in loss.per_scene.items()}


def test_a_depth_that_is_not_finite_never_vanishes(prediction, example):
    depth = prediction.depth.clone()
    depth[1, 0, 2, 3] = torch.nan
    loss = objective(depth_weight=1.0, depth_gradient_weight=1.0)(replace(prediction, depth=depth), example, 0)
    assert spoilt(loss) == {"depth": [False, True], "depth_gradient": [False, True]}
    assert loss.total.isnan()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_pm_loss_leaves_out_a_broken_pointmap_and_never_a_broken_prediction(value, prediction, example):
    term = objective(pointmap_weight=1.0)
    term.pointmaps = BrokenPointmap(value)
    loss = term(prediction, example, 0)
    assert loss.per_scene["pointmap"][1] == 0
    assert [scene for scene, _ in loss.excluded] == ["scene 1"]
    means = prediction.gaussians.means.clone()
    means[0, 7, 2] = value
    broken = replace(prediction, gaussians=replace(prediction.gaussians, means=means))
    assert spoilt(term(broken, example, 0)) == {"pointmap": [True, False]}


class BrokenPointmap(ShiftedDepth):
    """Of which one point of the second scene is not finite in every pixel."""

    def __init__(self, value: float) -> None:
        self.value = value

    def pointmap(self, context, key):
        points = super().pointmap(context, key).points.clone()
        points[1] = self.value
        return Pointmap(points)


def test_gradients_reach_every_stage_and_only_what_a_term_looks_at(prediction, example):
    found = gradients(lambda p: objective(**ALL_TERMS)(p, example, 0).total, prediction)
    assert all(gradient.isfinite().all() and gradient.any() for gradient in found)
    last_only = objective(photometric_weight=1.0, intermediate_decay=None)
    final = gradients(lambda p: last_only(p, example, 0).total, prediction)
    assert [bool(gradient.any()) for gradient in final] == [False] * 12 + [True] * 5 + [False]
