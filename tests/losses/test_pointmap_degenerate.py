"""PM-Loss is calm in the face of hopeless clouds, confidences and cameras, under every option."""

import pytest
import torch
from pointmap_laws import DOUBLE, cameras_of, hopeless_cloud

from pmgs_lib import Cameras
from pmgs_lib.losses import PointmapLoss, PointmapLossSettings


def choose(rng, *choices):
    return choices[torch.randint(0, len(choices), (), generator=rng).item()]


def random_options(rng):
    """Any combination that the settings allow."""
    penalty = choose(rng, "squared", "absolute", "huber", "geman_mcclure")
    rule, compare = choose(rng, "none", "none", "weights", "above", "top"), choose(rng, "nearest", "nearest", "depth")
    return PointmapLossSettings(
        detach_alignment=choose(rng, False, True),
        per_view=choose(rng, False, True),
        confidence_rule=rule,
        confidence_limit=0.5 if rule in ("above", "top") else None,
        nearest_share=choose(rng, 1.0, 0.7, 0.1),
        compare=compare,
        two_sided=compare == "nearest" and choose(rng, False, True),
        penalty=penalty,
        penalty_scale=choose(rng, 1e-12, 0.1, 1e9) if penalty in ("huber", "geman_mcclure") else None,
        normalization=choose(rng, "none", "spread", "pointmap", "depth"),
        sampled_points=choose(rng, None, None, 1, 3),
        threshold=choose(rng, 100.0, float("inf")),
    )


def hopeless_confidence(count, rng):
    confidence = torch.rand(count, generator=rng, **DOUBLE)
    kind = torch.randint(0, 9, (), generator=rng).item()
    if kind < 4:
        confidence[torch.randint(0, count, (), generator=rng)] = (float("nan"), float("inf"), -1.0, 1e38)[kind]
    elif kind == 4:
        confidence[:] = 0
    elif kind == 5:
        confidence[1:] = 0
    elif kind == 6:
        confidence *= 10.0 ** torch.randint(-45, 37, (), generator=rng)
    return confidence


def hopeless_cameras(batch, views, rng):
    poses = cameras_of(batch, views, rng).world_from_camera
    for item in range(batch):
        kind = torch.randint(0, 8, (), generator=rng).item()
        if kind < 3:
            poses[item, 0, :3, 3] = (float("nan"), float("inf"), 1e30)[kind]
        elif kind == 3:
            poses[item, :, :3, :3] = 0
        elif kind == 4:
            poses[item, :, :3, 3] *= 1e12
    return Cameras(poses, torch.eye(3, **DOUBLE).expand(batch, views, 3, 3))


def hopeless_items(count, views, dtype, rng):
    """A batch of four: pairs of clouds (4, view, 1, count, 3), now and then one the mirror image of the other."""
    sides = [[torch.stack([hopeless_cloud(count, rng) for _ in range(views)]) for _ in range(4)] for _ in range(2)]
    if choose(rng, True, False):
        sides[1][0] = sides[0][0] * torch.tensor([1, 1, -1.0])
    return [torch.stack(side)[:, :, None].to(dtype) for side in sides]


@pytest.mark.parametrize("part", range(5))
def test_a_thousand_hopeless_items_under_random_options_and_no_bad_gradient(part):
    rng = torch.Generator().manual_seed(part)
    excluded = 0
    for trial in range(50):
        count, views = (1, 2, 3, 8, 20)[trial % 5], choose(rng, 1, 2)
        means, pointmap = hopeless_items(count, views, (torch.float32, torch.float64)[trial % 2], rng)
        settings, evidence = random_options(rng), {}
        if settings.confidence_rule != "none":
            values = [hopeless_confidence(count * views, rng) for _ in range(4)]
            evidence["confidence"] = torch.stack(values).reshape(pointmap.shape[:-1])
        if settings.needs_cameras:
            evidence["cameras"] = hopeless_cameras(4, views, rng)
        if settings.sampled_points is not None:
            evidence["step"] = trial
        means.requires_grad_()
        details = PointmapLoss(settings).details(means, pointmap, **evidence)
        (gradient,) = torch.autograd.grad(details.loss.mean(), means, allow_unused=False)
        for tensor in (details.loss, details.chamfer, details.scale, details.residual, details.used, gradient):
            assert tensor.isfinite().all(), (trial, settings, details)
        assert [reason is not None for reason in details.reasons] == details.excluded.tolist()
        assert not gradient[details.excluded].any()
        assert not details.loss[details.excluded].any()
        excluded += details.excluded.sum().item()
    assert 50 < excluded < 190


def reason(means, pointmap, confidence=None, cameras=None, **options):
    details = PointmapLoss(**options).details(means, pointmap, confidence=confidence, cameras=cameras)
    (gradient,) = torch.autograd.grad(details.loss.sum(), means)
    assert not details.loss.any()
    assert not gradient.any()
    return details.reasons[0]


def test_what_is_left_out_says_why(rng):
    means = torch.randn(1, 1, 3, 4, 3, generator=rng, **DOUBLE).requires_grad_()
    pointmap = torch.randn(1, 1, 3, 4, 3, generator=rng, **DOUBLE)
    confidence, cameras = torch.rand(1, 1, 3, 4, generator=rng), cameras_of(1, 1, rng)
    above = {"confidence_rule": "above", "confidence_limit": 2.0}
    assert reason(means, pointmap, confidence, **above) == "the masks leave no pixel"
    assert reason(means, pointmap, 0 * confidence, confidence_rule="weights") == "the masks leave no pixel"
    negative = torch.cat([-confidence[..., :1], confidence[..., 1:]], -1)
    expected = "3 confidences are NaN, infinite or negative"
    assert reason(means, pointmap, negative, confidence_rule="weights") == expected
    broken = Cameras(cameras.world_from_camera * torch.nan, cameras.intrinsics)
    expected = "a camera has a NaN, infinite or immense pose"
    assert reason(means, pointmap, cameras=broken, compare="depth") == expected
    flat = torch.cat([pointmap[..., :2], torch.zeros_like(pointmap[..., :1])], -1)
    facing = Cameras(torch.eye(4, **DOUBLE)[None, None], cameras.intrinsics)
    flat_means = flat.clone().requires_grad_()
    expected = "the aligned pointmap has no depth in its views to measure in"
    assert reason(flat_means, flat, cameras=facing, normalization="depth") == expected
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], **DOUBLE)] * 3)
    unrelated = corners.prod(-1, keepdim=True) * torch.ones(3, **DOUBLE)
    found = reason(unrelated[None].requires_grad_(), corners[None], normalization="pointmap")
    assert found.startswith("pointmap and prediction have nothing in common (correlation 0e+00)")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_points(count, rng):
    """One point has no alignment; two and three have one, and lie on their counterparts' figure as well as they can."""
    means, pointmap = (torch.randn(1, count, 3, generator=rng, **DOUBLE) for _ in range(2))
    details = PointmapLoss().details(means, pointmap)
    assert details.excluded.item() == (count == 1)
    assert (details.loss > 0).item() == (count == 3) or details.loss < 1e-3


def test_a_mirrored_cloud_gets_the_best_rotation(rng):
    means = torch.randn(1, 50, 3, generator=rng, **DOUBLE)
    details = PointmapLoss().details(means, means * torch.tensor([1, 1, -1.0], **DOUBLE))
    assert not details.excluded
    assert details.loss > 0.01
    assert 0.1 < details.scale < 0.99
