"""Laws that PM-Loss keeps under every option."""

import pytest
import torch
from pointmap_laws import (
    DOUBLE,
    OPTION_SETS,
    clouds,
    evidence_for,
    gradient_of,
    moved,
    name_of,
    random_similarity,
    select,
)
from torch.testing import assert_close

from pmgs_lib import Cameras
from pmgs_lib.losses import PointmapLoss

every_option = pytest.mark.parametrize("options", OPTION_SETS, ids=name_of)


@every_option
def test_a_batch_is_a_mean_over_its_items(options, rng):
    means, pointmap = clouds(3, 2, 4, 5, rng)
    evidence = evidence_for(options, pointmap, rng)
    items = [slice(i, i + 1) for i in range(3)]
    alone = [PointmapLoss(**options)(means[i], pointmap[i], **select(evidence, i)) for i in items]
    assert_close(PointmapLoss(**options)(means, pointmap, **evidence), torch.stack(alone).mean())
    gradients = [gradient_of(options, means[i], pointmap[i], **select(evidence, i)) / 3 for i in items]
    assert_close(gradient_of(options, means, pointmap, **evidence), torch.cat(gradients))


@every_option
def test_the_frame_of_the_pointmap_does_not_matter(options, rng):
    means, pointmap = clouds(1, 2, 4, 5, rng)
    evidence, similarity = evidence_for(options, pointmap, rng), random_similarity(rng)
    expected = PointmapLoss(**options)(means, pointmap, **evidence)
    if options.get("normalization") == "pointmap":
        expected = expected * similarity.scale.square()
    assert_close(PointmapLoss(**options)(means, moved(similarity, pointmap), **evidence), expected)


@pytest.mark.parametrize("options", [o for o in OPTION_SETS if "penalty_scale" not in o], ids=name_of)
def test_the_frame_of_the_scene_does_not_matter_and_its_scale_counts_as_stated(options, rng):
    means, pointmap = clouds(1, 2, 4, 5, rng)
    evidence, similarity = evidence_for(options, pointmap, rng), random_similarity(rng)
    expected = PointmapLoss(**options)(means, pointmap, **evidence)
    if "cameras" in evidence:
        poses = evidence["cameras"].world_from_camera.clone()
        poses[..., :3, 3] = moved(similarity, poses[..., :3, 3])
        poses[..., :3, :3] = similarity.rotation @ poses[..., :3, :3]
        evidence["cameras"] = Cameras(poses, evidence["cameras"].intrinsics)
    if "normalization" not in options:
        expected = expected * similarity.scale ** (1 if options.get("penalty") == "absolute" else 2)
    assert_close(PointmapLoss(**options)(moved(similarity, means), pointmap, **evidence), expected)


@every_option
def test_the_order_of_the_pixels_of_a_view_does_not_matter(options, rng):
    means, pointmap = (cloud[..., None, :, :] for cloud in clouds(1, 2, 20, 1, rng)[:2])
    means, pointmap = means[:, :, :, 0, 0][:, :, None], pointmap[:, :, :, 0, 0][:, :, None]
    evidence, order = evidence_for(options, pointmap, rng), torch.randperm(20, generator=rng)
    expected = PointmapLoss(**options)(means, pointmap, **evidence)
    if "confidence" in evidence:
        evidence["confidence"] = evidence["confidence"][..., order]
    assert_close(PointmapLoss(**options)(means[..., order, :], pointmap[..., order, :], **evidence), expected)


@every_option
def test_the_gradient_is_the_slope(options, rng):
    """By finite differences: the full gradient through alignment and divisor. A detached one is a slope of neither."""
    means, pointmap = clouds(2, 2, 4, 5, rng)
    evidence = evidence_for(options, pointmap, rng)
    loss, gradient = PointmapLoss(**options), gradient_of(options, means, pointmap, **evidence)
    difference = 0.0
    for _ in range(3):
        direction = torch.randn(means.shape, generator=rng, **DOUBLE)
        ahead, behind = (loss(means + step * direction, pointmap, **evidence) for step in (1e-6, -1e-6))
        slope = (ahead - behind) / 2e-6
        difference = max(difference, ((gradient * direction).sum() - slope).abs().item() / gradient.norm().item())
    assert (difference > 1e-3) if options.get("detach_alignment") else (difference < 1e-6)


@every_option
def test_low_precision_in_float32_out_and_details_agree(options, rng):
    means, pointmap = clouds(2, 2, 4, 5, rng)
    evidence = evidence_for(options, pointmap, rng)
    details = PointmapLoss(**options).details(means.float(), pointmap.float(), **evidence, per_pixel=True)
    assert details.loss.dtype == details.pixels.distances.dtype == torch.float32
    assert_close(details.loss.mean(), PointmapLoss(**options)(means.float(), pointmap.float(), **evidence))
    assert_close(details.loss.mean().double(), PointmapLoss(**options)(means, pointmap, **evidence), rtol=1e-4, atol=0)
    assert_close(details.used, details.pixels.counts.float().mean(-1))
    assert details.reasons == (None, None)
