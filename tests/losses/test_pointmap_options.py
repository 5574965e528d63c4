"""What each option of PM-Loss is for, and what it refuses."""

import pytest
import torch
from pointmap_laws import (
    DOUBLE,
    cameras_of,
    clouds,
    evidence_for,
    gradient_of,
    moved,
    name_of,
    random_similarity,
)
from torch.testing import assert_close

from pmgs_lib import Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.geometry.similarity import Similarity
from pmgs_lib.losses import PointmapLoss, PointmapLossSettings
from pmgs_lib.losses.pointmap_distances import (
    differences_to_centres,
    differences_to_pointmap,
    mean_penalty,
    penalize,
    sample_pixels,
)
from pmgs_lib.losses.pointmap_pairs import AlignedPairs

MASKS = [
    {"confidence_rule": "above", "confidence_limit": 0.5},
    {"confidence_rule": "top", "confidence_limit": 0.6},
    {"confidence_rule": "above", "confidence_limit": 0.5, "two_sided": True, "penalty": "absolute"},
    {"confidence_rule": "above", "confidence_limit": 0.5, "normalization": "spread"},
    {"confidence_rule": "above", "confidence_limit": 0.5, "normalization": "pointmap"},
]


@pytest.mark.parametrize("options", MASKS, ids=name_of)
@pytest.mark.parametrize("junk", [1.0, float("nan"), float("inf")])
def test_a_pixel_that_does_not_count_might_as_well_be_absent(options, junk, rng):
    means, pointmap = (cloud.flatten(1, 3) for cloud in clouds(1, 1, 5, 8, rng))
    confidence = torch.rand(1, 40, generator=rng, **DOUBLE)
    limit = 0.5 if options["confidence_rule"] == "above" else confidence[0].sort().values[-24]
    kept = confidence[0] >= limit
    rest = {name: value for name, value in options.items() if not name.startswith("confidence")}
    expected = PointmapLoss(**rest)(means[:, kept], pointmap[:, kept])
    means[:, ~kept] += junk
    pointmap[:, ~kept] *= junk
    details = PointmapLoss(**options).details(means, pointmap, confidence=confidence, per_pixel=True)
    assert_close(details.loss[0], expected)
    assert_close(details.used[0].item(), kept.double().mean().item())
    assert torch.equal(details.pixels.counts[0], kept)
    assert torch.equal(details.pixels.distances[0].isnan(), ~kept)
    gradient = gradient_of(options, means, pointmap, confidence=confidence)
    assert torch.equal(gradient[0].norm(dim=-1) > 0, kept)


def test_the_farthest_points_are_left_out(rng):
    means, pointmap = (cloud.flatten(1, 3) for cloud in clouds(1, 1, 5, 8, rng, noise=0.05))
    expected = PointmapLoss().details(means[:, 4:], pointmap[:, 4:])
    spoilt = pointmap.clone()
    spoilt[:, :4] = spoilt[:, :4] * 300
    found = PointmapLoss(nearest_share=0.9).details(means, spoilt)
    assert_close(found.loss, expected.loss)
    assert_close(found.scale, expected.scale)
    # Without the mask the stray points rule the alignment.
    assert PointmapLoss().details(means, spoilt).scale < 0.05 * expected.scale


def test_a_nan_is_no_far_point_that_may_be_dropped(rng):
    means, pointmap = (cloud.flatten(1, 3) for cloud in clouds(1, 1, 5, 8, rng))
    pointmap[0, 3] = float("nan")
    assert "NaN" in PointmapLoss(nearest_share=0.5).details(means, pointmap).reasons[0]


def test_integer_confidences_are_repetitions(rng):
    means, pointmap = (cloud.flatten(1, 3) for cloud in clouds(1, 1, 4, 5, rng))
    times = torch.randint(0, 4, (20,), generator=rng)
    repeated = [cloud.repeat_interleave(times, dim=1) for cloud in (means, pointmap)]
    for options in ({}, {"two_sided": True}, {"normalization": "spread"}, {"penalty": "absolute"}):
        weighted = PointmapLoss(**options, confidence_rule="weights")(means, pointmap, confidence=2.5 * times[None])
        assert_close(weighted, PointmapLoss(**options)(*repeated))


def test_penalties():
    distance = torch.tensor([0.0, 0.1, 1.0, 10.0, 1e4], **DOUBLE)

    def cost(**options):
        return penalize(distance.square(), PointmapLossSettings(**options))

    assert_close(cost(), distance.square())
    assert_close(cost(penalty="absolute"), distance)
    assert_close(cost(penalty="huber", penalty_scale=1.0), torch.tensor([0.0, 0.01, 1.0, 19.0, 19_999.0], **DOUBLE))
    bounded = cost(penalty="geman_mcclure", penalty_scale=2.0)
    assert_close(bounded, 4 * distance.square() / (4 + distance.square()))
    assert (bounded <= 4).all()
    for settings in (
        PointmapLossSettings(penalty="absolute"),
        PointmapLossSettings(penalty="huber", penalty_scale=1.0),
    ):
        squared = distance.square().requires_grad_()
        assert torch.autograd.grad(penalize(squared, settings).sum(), squared)[0].isfinite().all()


def test_a_robust_penalty_resists_a_stray_centre(rng):
    means, pointmap = (cloud.flatten(1, 3) for cloud in clouds(1, 1, 8, 8, rng, noise=0.05))
    means[0, 0] += 30
    pulls = {}
    for name, options in {"squared": {}, "robust": {"penalty": "geman_mcclure", "penalty_scale": 0.5}}.items():
        size = gradient_of({**options, "detach_alignment": True}, means, pointmap)[0].norm(dim=-1)
        pulls[name] = size[0] / size[1:].sum()
    assert pulls["squared"] > 5 * pulls["robust"]


def brute(query, reference):
    return torch.cdist(query, reference, compute_mode="donot_use_mm_for_euclid_dist").amin(-1).square().mean()


def test_two_sides_are_the_sum_of_both_directions(rng):
    means, pointmap = (cloud.flatten(1, 3) for cloud in clouds(1, 1, 6, 6, rng, noise=0.6))
    details = PointmapLoss(two_sided=True).details(means, pointmap, per_pixel=True)
    aligned = details.pixels.aligned[0]
    assert_close(details.chamfer[0], brute(means[0], aligned) + brute(aligned, means[0]))
    assert_close(PointmapLoss()(means, pointmap), brute(means[0], aligned))


def test_two_sides_are_symmetric_under_one_alignment(rng):
    """Of the loss itself they are not: its alignment is a regression onto the centres."""
    settings = PointmapLossSettings(two_sided=True)
    alike = Similarity(torch.ones(1, 1, **DOUBLE), torch.eye(3, **DOUBLE)[None, None], torch.zeros(1, 1, 3, **DOUBLE))

    def chamfer(centres, points):
        pairs = AlignedPairs(centres[:, None], points[:, None], None, alike, torch.zeros(1, 1, dtype=torch.bool))
        both = (
            differences_to_pointmap(pairs, points, None, settings),
            differences_to_centres(pairs, points, None, settings),
        )
        return [mean_penalty(difference, None, None, settings) for difference in both]

    one, other = (cloud.flatten(1, 3) for cloud in clouds(1, 1, 5, 6, rng, noise=1.0))
    there, back = chamfer(one, other), chamfer(other, one)
    assert_close(sum(there), sum(back))
    assert_close(there[0], back[1])
    assert abs(there[0] - back[0]) > 1e-3


def test_an_unpredicted_surface_costs_only_with_two_sides(rng):
    pointmap = torch.randn(1, 60, 3, generator=rng, **DOUBLE)
    means = pointmap.clone()
    means[:, 30:] = pointmap[:, :30]
    one, two = (PointmapLoss(two_sided=both).details(means, pointmap).chamfer.item() for both in (False, True))
    assert two > 1.5 * one


def two_walls(height=6, width=8):
    """Centres on a near and a far wall seen from the origin, and the pointmap of exactly these."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    depth = torch.where(columns < 0, 2.0, 200.0)
    return (torch.stack([columns, rows, torch.ones_like(rows)], -1) * depth[..., None]).double()[None, None]


def forward_camera():
    intrinsics = torch.tensor([[1.0, 0, 0.5], [0, 1.0, 0.5], [0, 0, 1.0]], **DOUBLE)
    return Cameras(torch.eye(4, **DOUBLE)[None, None], intrinsics[None, None])


@pytest.mark.parametrize("normalization", ["spread", "pointmap", "depth"])
def test_a_normalised_loss_does_not_reward_shrinking(normalization, rng):
    """In squared scene units a prediction half the size has a quarter of the loss: the noise shrinks with it."""
    means, pointmap = two_walls() * (1 + 0.05 * torch.randn(1, 1, 6, 8, 1, generator=rng)), two_walls()
    cameras = {"cameras": forward_camera()} if normalization == "depth" else {}
    released, options = {"threshold": float("inf")}, {"threshold": float("inf"), "normalization": normalization}
    plain, fair = PointmapLoss(**released), PointmapLoss(**options)
    assert_close(plain(0.5 * means, pointmap), 0.25 * plain(means, pointmap))
    assert_close(fair(0.5 * means, pointmap, **cameras), fair(means, pointmap, **cameras))
    # Nor does the gradient: about a camera at the origin, growing is moving along the centres themselves.
    growth = (gradient_of(released, means, pointmap) * means).sum()
    assert_close(growth, 2 * plain(means, pointmap))
    fair_growth = (gradient_of(options, means, pointmap, **cameras) * means).sum()
    assert fair_growth.abs() < 1e-9 * growth


def test_far_surfaces_rule_the_loss_unless_it_is_measured_in_depth(rng):
    means, pointmap = two_walls() * (1 + 0.02 * torch.randn(1, 1, 6, 8, 1, generator=rng)), two_walls()
    share = {}
    for normalization, evidence in {"none": {}, "depth": {"cameras": forward_camera()}}.items():
        details = PointmapLoss(normalization=normalization).details(means, pointmap, **evidence, per_pixel=True)
        squared = details.pixels.distances.square().reshape(6, 8)
        share[normalization] = (squared[:, :4].sum() / squared.sum()).item()
    assert share["none"] < 0.01
    assert share["depth"] > 0.1


def test_units_of_a_normalised_distance(rng):
    means, pointmap = (cloud.flatten(1, 3) for cloud in clouds(1, 1, 6, 6, rng))
    plain = PointmapLoss().details(means, pointmap)
    spread = (means - means.mean(1, keepdim=True)).square().sum(-1).mean()
    assert_close(PointmapLoss(normalization="spread")(means, pointmap), plain.chamfer[0] / spread)
    assert_close(PointmapLoss(normalization="pointmap")(means, pointmap), (plain.chamfer / plain.scale.square())[0])


def test_depth_compares_along_the_optical_axis_of_the_own_view(rng):
    means, pointmap = clouds(2, 3, 4, 5, rng)
    cameras = cameras_of(2, 3, rng)
    details = PointmapLoss(compare="depth").details(means, pointmap, cameras=cameras, per_pixel=True)
    aligned = details.pixels.aligned.unflatten(1, (3, 20))
    world = [cloud.flatten(2, 3) for cloud in (means, aligned.unflatten(2, (4, 5)))]
    depths = [cameras.project(points, 4, 5)[1] for points in world]
    assert_close(details.chamfer, (depths[0] - depths[1]).square().mean((1, 2)))


def test_views_with_frames_of_their_own(rng):
    means, _ = clouds(1, 3, 4, 5, rng)
    pointmap = torch.stack([moved(random_similarity(rng), means[0, view]) for view in range(3)])[None]
    assert PointmapLoss()(means, pointmap) > 0.05
    details = PointmapLoss(per_view=True).details(means, pointmap)
    assert details.loss < 1e-20
    pointmap[0, 1] = float("nan")
    partly = PointmapLoss(per_view=True).details(means, pointmap, per_pixel=True)
    assert partly.reasons == (None,)
    assert_close(partly.used.item(), 2 / 3)
    assert not gradient_of({"per_view": True}, means, pointmap)[0, 1].any()
    assert partly.pixels.aligned[0].isnan().any(-1).sum() == 20
    everything = PointmapLoss(per_view=True).details(means, torch.full_like(pointmap, float("nan")))
    assert everything.reasons == (
        "none of 3 views can be aligned; view 0: 20 of 20 points of the pointmap are NaN or infinite",
    )


def test_one_view_by_itself_is_the_released_loss(rng):
    means, pointmap = clouds(2, 1, 4, 5, rng)
    assert_close(PointmapLoss(per_view=True)(means, pointmap), PointmapLoss()(means, pointmap))


def test_samples_are_the_same_for_a_step_and_others_for_the_next(rng):
    means, pointmap = clouds(1, 2, 4, 5, rng)
    loss = PointmapLoss(sampled_points=7)
    values = [loss(means, pointmap, step=step) for step in (0, 0, 1)]
    assert torch.equal(values[0], values[1])
    assert values[0] != values[2]
    assert PointmapLoss(sampled_points=7, seed=1)(means, pointmap, step=0) != values[0]
    assert torch.equal(PointmapLoss(sampled_points=40)(means, pointmap, step=0), PointmapLoss()(means, pointmap))


@pytest.mark.parametrize("size", [1, 7, 20, 39])
def test_every_pixel_is_drawn_equally_often(size):
    settings, draws = PointmapLossSettings(sampled_points=size), 3000
    counts = torch.zeros(40)
    for step in range(draws):
        counts += sample_pixels(torch.zeros(1, 40, 3), settings, step)[0].bincount(minlength=40)
    expected = draws * size / 40
    assert (counts - expected).abs().max() < 5 * expected**0.5


@pytest.mark.parametrize("options", [{}, {"confidence_rule": "weights", "two_sided": True}], ids=name_of)
def test_a_sample_has_no_bias(options, rng):
    means, pointmap = clouds(1, 2, 4, 5, rng)
    evidence = evidence_for(options, pointmap, rng)
    loss = PointmapLoss(**options, sampled_points=6)
    values = torch.stack([loss(means, pointmap, **evidence, step=step) for step in range(100)])
    error = values.mean() - PointmapLoss(**options)(means, pointmap, **evidence)
    assert error.abs() < 4 * values.std() / 100**0.5


def test_quantiles_and_shares_of_the_distances(rng):
    means, pointmap = (cloud.flatten(1, 3) for cloud in clouds(3, 1, 6, 6, rng))
    means[1] = float("nan")
    details = PointmapLoss().details(means, pointmap, keys=["a", "b", "c"], per_pixel=True)
    distances, pixels = details.pixels.distances, details.pixels
    assert details.excluded_scenes == (("b", "36 of 36 points of the prediction are NaN or infinite"),)
    for item in (0, 2):
        assert_close(details.chamfer[item], distances[item].square().mean())
        expected = distances[item].quantile(torch.tensor([0.0, 0.5, 1.0], **DOUBLE), interpolation="nearest")
        assert_close(pixels.quantiles((0.0, 0.5, 1.0))[item], expected)
        assert_close(pixels.share_above(0.2)[item].item(), (distances[item] > 0.2).double().mean().item())
    assert pixels.quantiles()[1].isnan().all()
    assert pixels.share_above(0.2)[1].isnan()
    assert pixels.aligned[1].isnan().all()


UNUSABLE = {
    "penalty_scale is None with penalty 'huber'": {"penalty": "huber"},
    "penalty_scale is 0.5 with penalty 'absolute'": {"penalty": "absolute", "penalty_scale": 0.5},
    "penalty_scale is -1.0 with penalty 'huber'": {"penalty": "huber", "penalty_scale": -1.0},
    "confidence_limit is None with confidence_rule 'above'": {"confidence_rule": "above"},
    "confidence_limit is 0.5 with confidence_rule 'weights'": {"confidence_rule": "weights", "confidence_limit": 0.5},
    "confidence_limit is 1.5, expected a share": {"confidence_rule": "top", "confidence_limit": 1.5},
    "nearest_share is 0.0, expected a share": {"nearest_share": 0.0},
    "two_sided is set with compare='depth'": {"two_sided": True, "compare": "depth"},
    "sampled_points is 0, expected a positive number": {"sampled_points": 0},
    "no option is called 'robust', expected some of threshold": {"robust": True},
}


@pytest.mark.parametrize("message", UNUSABLE)
def test_options_that_make_no_sense_are_refused(message):
    with pytest.raises(ParameterError, match=message.replace("'", ".")):
        PointmapLoss(**UNUSABLE[message])


def test_settings_come_as_one_or_by_name():
    settings = PointmapLossSettings(two_sided=True)
    assert PointmapLoss(settings, threshold=3.0).settings == PointmapLossSettings(two_sided=True, threshold=3.0)


def test_missing_and_superfluous_evidence_is_refused(rng):
    means, pointmap = clouds(1, 2, 4, 5, rng)
    flat, cameras = (means.flatten(1, 3), pointmap.flatten(1, 3)), cameras_of(1, 2, rng)
    complaints = [
        ({"confidence_rule": "weights"}, {}, "confidence: none was given, expected one of shape"),
        ({}, {"confidence": means[..., 0]}, "confidence: one of shape .* was given, expected none"),
        ({"confidence_rule": "weights"}, {"confidence": means[0, ..., 0]}, r"one of shape \(2, 4, 5\) was given"),
        ({"compare": "depth"}, {}, "cameras: none was given"),
        ({}, {"cameras": cameras}, "cameras: one of shape .* expected none"),
        ({"normalization": "depth"}, {"cameras": cameras_of(1, 3, rng)}, r"cameras: one of shape \(1, 3\)"),
        ({"sampled_points": 5}, {}, "the call has no step"),
    ]
    for options, evidence, message in complaints:
        with pytest.raises(ParameterError, match=message):
            PointmapLoss(**options)(means, pointmap, **evidence)
    for options in ({"per_view": True}, {"compare": "depth"}):
        with pytest.raises(ParameterError, match=r"expected \(batch, view, h, w, 3\), which per_view"):
            PointmapLoss(**options)(*flat)
