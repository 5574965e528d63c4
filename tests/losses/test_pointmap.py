"""Laws of PM-Loss, its options, and its calm in the face of hopeless clouds."""

import pytest
import torch
from pointmap_laws import hopeless_cloud
from torch.testing import assert_close

from pmgs_lib.errors import ParameterError
from pmgs_lib.geometry.pose import quaternion_to_matrix
from pmgs_lib.geometry.similarity import Similarity
from pmgs_lib.losses import PointmapLoss

DOUBLE = {"dtype": torch.float64}


def clouds(*shape, rng, noise=0.5):
    pointmap = torch.randn(*shape, 3, generator=rng, **DOUBLE)
    return pointmap + noise * torch.randn(*shape, 3, generator=rng, **DOUBLE), pointmap


def random_similarity(rng):
    return Similarity(
        torch.rand((), generator=rng, **DOUBLE) + 0.5,
        quaternion_to_matrix(torch.randn(4, generator=rng, **DOUBLE)),
        torch.randn(3, generator=rng, **DOUBLE) * 5,
    )


def gradient_of(loss, means, pointmap):
    means = means.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(means, pointmap), means)
    return gradient


def test_the_frame_of_the_pointmap_does_not_matter_and_the_loss_scales_with_the_square(rng):
    means, pointmap = clouds(1, 60, rng=rng)
    expected = PointmapLoss()(means, pointmap)
    assert_close(PointmapLoss()(means, random_similarity(rng).apply(pointmap[0])[None]), expected)
    moved = random_similarity(rng)
    assert_close(PointmapLoss()(moved.apply(means[0])[None], pointmap), moved.scale.square() * expected)


def test_the_order_of_pixels_does_not_matter(rng):
    means, pointmap = clouds(1, 60, rng=rng)
    order = torch.randperm(60, generator=rng)
    assert_close(PointmapLoss()(means[:, order], pointmap[:, order]), PointmapLoss()(means, pointmap))


def test_views_are_their_points(rng):
    means, pointmap = clouds(2, 3, 4, 5, rng=rng)
    flat = PointmapLoss()(means.flatten(1, 3), pointmap.flatten(1, 3))
    assert torch.equal(PointmapLoss()(means, pointmap), flat)
    assert gradient_of(PointmapLoss(), means, pointmap).shape == means.shape


def test_a_batch_is_a_mean_over_its_items(rng):
    means, pointmap = clouds(4, 50, rng=rng)
    alone = torch.stack([PointmapLoss()(means[i : i + 1], pointmap[i : i + 1]) for i in range(4)])
    assert_close(PointmapLoss()(means, pointmap), alone.mean())
    gradients = [gradient_of(PointmapLoss(), means[i : i + 1], pointmap[i : i + 1]) / 4 for i in range(4)]
    assert_close(gradient_of(PointmapLoss(), means, pointmap), torch.cat(gradients))


def test_one_direction_only(rng):
    """Points of the pointmap that nothing predicts cost nothing: only the predicted ones look for a neighbour."""
    pointmap = torch.randn(1, 40, 3, generator=rng, **DOUBLE)
    means = pointmap.clone()
    means[:, 20:] = pointmap[:, :20]
    found = PointmapLoss().details(means, pointmap)
    assert found.residual > 0.5
    assert found.chamfer < found.residual.square()


def finite_difference(loss, means, pointmap, direction, step=1e-6):
    return (loss(means + step * direction, pointmap) - loss(means - step * direction, pointmap)) / (2 * step)


def test_the_gradient_passes_through_the_alignment(rng):
    means, pointmap = clouds(2, 40, rng=rng)
    full, frozen = (gradient_of(PointmapLoss(detach_alignment=d), means, pointmap) for d in (False, True))
    for _ in range(5):
        direction = torch.randn(means.shape, generator=rng, **DOUBLE)
        slope = finite_difference(PointmapLoss(), means, pointmap, direction)
        assert_close((full * direction).sum(), slope, rtol=1e-6, atol=1e-9)
    assert (full - frozen).norm() / frozen.norm() > 0.05


def test_the_detached_alignment_is_a_constant_of_the_gradient(rng):
    means, pointmap = clouds(1, 40, rng=rng)
    frozen = gradient_of(PointmapLoss(detach_alignment=True), means, pointmap)
    difference = frozen * means.shape[1] / 2
    # Each row is the way to its neighbour in the aligned pointmap, whose squared length makes up the loss.
    assert_close(difference.square().sum(-1).mean(), PointmapLoss()(means, pointmap))


def test_a_pointmap_that_learns_gets_its_gradient_too(rng):
    means, pointmap = clouds(1, 30, rng=rng)
    pointmap.requires_grad_()
    (gradient,) = torch.autograd.grad(PointmapLoss()(means, pointmap), pointmap)
    direction = torch.randn(pointmap.shape, generator=rng, **DOUBLE)
    ahead, behind = (PointmapLoss()(means, pointmap.detach() + sign * 1e-6 * direction) for sign in (1, -1))
    assert_close((gradient * direction).sum(), (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-9)


def test_threshold(rng):
    means, pointmap = clouds(2, 40, rng=rng)
    means[0] *= 100
    details = PointmapLoss().details(means, pointmap)
    assert details.above_threshold.tolist() == [True, False]
    assert_close(details.loss[0], details.chamfer[0] * 1e-5)
    assert_close(details.loss[1], details.chamfer[1])
    gentle = PointmapLoss(threshold=float("inf")).details(means, pointmap)
    assert_close(gentle.loss, gentle.chamfer)


def test_details_agree_with_the_loss(rng):
    means, pointmap = clouds(3, 40, rng=rng)
    means[1, 5, 0] = float("nan")
    details = PointmapLoss().details(means, pointmap)
    assert_close(details.loss.mean(), PointmapLoss()(means, pointmap))
    assert details.reasons == (None, "1 of 40 points of the prediction are NaN or infinite", None)
    assert details.excluded.tolist() == [False, True, False]
    aligned = details.scale[0].item()
    assert 0.5 < aligned < 1.2
    assert 0 < details.residual[0] < 2


@pytest.mark.parametrize("backend", ["kdtree", "scipy", "brute"])
def test_backends_agree(backend, rng):
    means, pointmap = clouds(2, 100, rng=rng)
    assert_close(PointmapLoss(backend=backend)(means, pointmap), PointmapLoss()(means, pointmap))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_low_precision_in_float32_out(dtype, rng):
    means, pointmap = (cloud.to(dtype) for cloud in clouds(1, 50, rng=rng))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = PointmapLoss()(means, pointmap)
    assert found.dtype == torch.float32
    assert_close(found.double(), PointmapLoss()(means.double(), pointmap.double()), rtol=1e-6, atol=0)
    assert gradient_of(PointmapLoss(), means, pointmap).dtype == dtype


def thickness(points):
    """Standard deviation across the plane that fits best."""
    return torch.linalg.svdvals((points - points.mean(0)).detach())[-1].item() / len(points) ** 0.5


def test_minimising_it_pulls_centres_onto_the_surface(rng):
    """What it is for: a plane seen through noise becomes flat, in a frame that the pointmap does not know."""
    grid = torch.cartesian_prod(torch.linspace(-1, 1, 20), torch.linspace(-1, 1, 20))
    plane = torch.cat([grid, torch.full((400, 1), 2.0)], -1)
    means = (plane + 0.1 * torch.randn(400, 3, generator=rng))[None].requires_grad_()
    pointmap = random_similarity(rng).apply(plane.double())[None]
    before = thickness(means[0])
    optimizer = torch.optim.Adam([means], lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        PointmapLoss()(means, pointmap).backward()
        optimizer.step()
    assert thickness(means[0]) < 0.2 * before


def test_a_thousand_hopeless_clouds_and_no_bad_gradient(rng):
    excluded = 0
    for trial in range(250):
        count = (1, 2, 3, 8, 40)[trial % 5]
        dtype = (torch.float32, torch.float64)[trial % 2]
        pairs = [(hopeless_cloud(count, rng), hopeless_cloud(count, rng)) for _ in range(4)]
        if trial % 3 == 0:
            pairs[0] = (pairs[0][0] * torch.tensor([1, 1, -1.0]), pairs[0][0])
        means, pointmap = (torch.stack(side).to(dtype) for side in zip(*pairs, strict=True))
        means.requires_grad_()
        details = PointmapLoss().details(means, pointmap)
        (gradient,) = torch.autograd.grad(details.loss.mean(), means)
        for tensor in (details.loss, details.chamfer, details.scale, details.residual, gradient):
            assert tensor.isfinite().all(), (trial, details)
        assert [reason is not None for reason in details.reasons] == details.excluded.tolist()
        assert not gradient[details.excluded].any()
        excluded += details.excluded.sum().item()
    assert 300 < excluded < 900


def test_pairs_that_do_not_belong_together_are_refused(rng):
    means, pointmap = clouds(1, 12, rng=rng)
    with pytest.raises(ParameterError, match="one pointmap point for each Gaussian"):
        PointmapLoss().details(means, pointmap[:, :6])
    with pytest.raises(ParameterError, match=r"prediction .* and target .* of equal shape"):
        PointmapLoss()(means, pointmap[:, :6])
    with pytest.raises(ParameterError, match=r"expected floats of shape \(batch, point, 3\)"):
        PointmapLoss()(means.unflatten(1, (3, 4)), pointmap.unflatten(1, (3, 4)))


@pytest.mark.parametrize("options", [{"threshold": 0.0}, {"threshold": -1.0}, {"above_threshold_factor": 2.0}])
def test_unusable_options_are_refused(options):
    with pytest.raises(ParameterError, match="expected a positive threshold and a factor from 0 to 1"):
        PointmapLoss(**options)
