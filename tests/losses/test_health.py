"""Health of PM-Loss: numbers against ones worked out by hand, and every scene accounted for."""

import math

import pytest
import torch

from pmgs_lib.errors import ParameterError
from pmgs_lib.losses import PointmapHealth, PointmapLoss, join_health, measure_health
from pmgs_lib.losses.health import LEVELS


def corners() -> torch.Tensor:
    """The corners of a box of 2 x 4 x 6, far apart enough that each is nearest to its own counterpart."""
    signs = torch.tensor([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)])
    return signs * torch.tensor([1.0, 2.0, 3.0])


def torn_box() -> tuple[torch.Tensor, torch.Tensor]:
    """Centres that are the box seen too wide in x, by a factor that the best similarity undoes in part.

    Both are centred and their axes agree, so that the rotation is the identity and the scale of the pointmap is
    sum(p x) / sum(x²) = (1.5 * 1 + 4 + 9) / 14 = 14.5 / 14.
    """
    box = corners()
    return (box * torch.tensor([1.5, 1.0, 1.0]))[None], box[None]


def test_numbers_of_a_scene_worked_out_by_hand():
    centres, box = torn_box()
    scale = 14.5 / 14
    offset = [1.5 - scale, 2 - 2 * scale, 3 - 3 * scale]
    squared = sum(value**2 for value in offset)
    (scene,) = measure_health(PointmapLoss(), centres, 7 * box + 3, ["box"]).scored
    assert scene.key == "box"
    assert scene.scale == pytest.approx(scale / 7, rel=1e-5)
    assert scene.chamfer == pytest.approx(squared, rel=1e-5)
    assert scene.residual == pytest.approx(math.sqrt(squared), rel=1e-5)
    # All eight corners are equally far off.
    assert scene.distances == pytest.approx([math.sqrt(squared)] * len(LEVELS), rel=1e-5)
    assert (scene.above_threshold, scene.points_above, scene.used) == (False, 0.0, 1.0)


def test_quantiles_follow_the_distances():
    """A hundred points of which one is moved far away: only the last percent sees it."""
    generator = torch.Generator().manual_seed(3)
    points = torch.rand(1, 100, 3, generator=generator)
    moved = points.clone()
    moved[0, 17] += 5
    details = PointmapLoss(detach_alignment=True).details(moved, points, per_pixel=True)
    (scene,) = PointmapHealth.of(details, PointmapLoss().settings).scored
    distances = details.pixels.distances[0].sort().values
    assert scene.distance(50) == pytest.approx(distances[50].item())
    assert scene.distance(100) == pytest.approx(distances[-1].item())
    assert scene.distance(100) > 5 * scene.distance(99)
    assert list(scene.distances) == sorted(scene.distances)


def test_the_threshold_rule_is_told_for_scenes_and_for_points():
    centres, box = torn_box()
    settings = {"threshold": 0.1}
    health = measure_health(PointmapLoss(**settings), centres, box, ["box"])
    assert health.scored[0].above_threshold
    assert health.scored[0].points_above == 1.0
    assert health.scenes_above == 1
    assert health.to_metrics()["scenes_above_threshold"] == 1
    # The loss itself is almost nothing then; the health keeps what it was before the rule.
    assert PointmapLoss(**settings)(centres, box).item() == pytest.approx(1e-5 * health.scored[0].chamfer, rel=1e-4)


def test_penalties_are_those_of_the_settings():
    centres, box = torn_box()
    for penalty, power in (("squared", 2), ("absolute", 1)):
        health = measure_health(PointmapLoss(penalty=penalty), centres, box, ["box"])
        (scene,) = health.scored
        assert health.penalties(scene) == pytest.approx([d**power for d in scene.distances])
        assert scene.chamfer == pytest.approx(health.penalties(scene)[50], rel=1e-5)


def test_points_above_counts_penalties_and_not_distances():
    """Distances below 1 whose squares are below the threshold and whose plain values are above."""
    centres, box = torn_box()
    shares = {
        penalty: measure_health(PointmapLoss(penalty=penalty, threshold=0.3), centres, box, ["box"]).scored[0]
        for penalty in ("squared", "absolute")
    }
    assert shares["squared"].distance(50) > 0.3
    assert shares["squared"].points_above == 0.0
    assert shares["absolute"].points_above == 1.0


def test_every_scene_is_scored_or_left_out_by_name():
    centres, box = torn_box()
    broken = box.clone()
    broken[0, 0, 0] = torch.inf
    batch = torch.cat((box, broken, torch.zeros_like(box), box * 2))
    keys = ["sound", "infinite", "coincident", "doubled"]
    health = measure_health(PointmapLoss(), centres.repeat(4, 1, 1), batch, keys)
    assert [scene.key for scene in health.scored] == ["sound", "doubled"]
    assert [scene for scene, _ in health.excluded] == ["infinite", "coincident"]
    metrics = health.to_metrics()
    assert metrics["listed"] == 4
    assert metrics["scored"] + len(metrics["excluded"]) == metrics["listed"]
    assert metrics["excluded"][0]["reason"].startswith("1 of 8 points of the pointmap are NaN or infinite")
    assert "coincide" in metrics["excluded"][1]["reason"]


def test_joined_batches_are_one_list_with_the_worst_first():
    centres, box = torn_box()
    loss = PointmapLoss()
    small = measure_health(loss, centres, box, ["small"])
    large = measure_health(loss, 3 * centres, box, ["large"])
    empty = measure_health(loss, centres, torch.full_like(box, torch.nan), ["empty"])
    health = join_health([small, empty, large])
    assert [scene.key for scene in health.scored] == ["large", "small"]
    assert health.listed == 3
    metrics = health.to_metrics()
    assert [row["scene"] for row in metrics["worst"]] == ["large", "small"]
    values = sorted(scene.chamfer for scene in health.scored)
    assert metrics["chamfer"]["smallest"] == values[0]
    assert metrics["chamfer"]["median"] == pytest.approx(sum(values) / 2)
    assert metrics["chamfer"]["largest"] == pytest.approx(9 * values[0], rel=1e-4)
    assert metrics["penalty_50"]["largest"] == pytest.approx(metrics["distance_50"]["largest"] ** 2)


def test_with_nothing_scored_there_are_counts_and_no_numbers():
    _, box = torn_box()
    health = measure_health(PointmapLoss(), box, torch.full_like(box, torch.nan), ["empty"])
    metrics = health.to_metrics()
    assert (metrics["scored"], metrics["chamfer"], metrics["worst"]) == (0, None, [])


def test_a_scene_lost_on_the_way_is_our_mistake():
    _, box = torn_box()
    health = measure_health(PointmapLoss(), box, box, ["box"])
    with pytest.raises(AssertionError, match="1 scenes scored or left out of 2 listed"):
        PointmapHealth(2, health.scored, health.excluded, health.settings)


def test_what_cannot_be_joined_or_measured_is_refused():
    centres, box = torn_box()
    health = measure_health(PointmapLoss(), centres, box, ["box"])
    other = measure_health(PointmapLoss(penalty="absolute"), centres, box, ["box"])
    with pytest.raises(ParameterError, match=r"2 parts with 2 settings"):
        join_health([health, other])
    with pytest.raises(ParameterError, match=r"0 parts with 0 settings"):
        join_health([])
    with pytest.raises(ParameterError, match="per_pixel=True"):
        PointmapHealth.of(PointmapLoss().details(centres, box), PointmapLoss().settings)


def test_the_unit_is_that_of_the_normalization():
    centres, box = torn_box()
    plain, relative = (
        measure_health(PointmapLoss(normalization=name), centres, 10 * box, ["box"]) for name in ("none", "pointmap")
    )
    assert (plain.unit, relative.unit) == ("scene units", "units of the pointmap")
    assert relative.scored[0].distance(50) == pytest.approx(
        plain.scored[0].distance(50) / plain.scored[0].scale, rel=1e-4
    )
