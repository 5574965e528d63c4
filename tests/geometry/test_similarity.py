"""Laws of the similarity alignment: it recovers, it is the least-squares one, and hopeless points stay finite."""

import pytest
import torch
from torch.testing import assert_close

from pmgs_lib.geometry.pose import quaternion_to_matrix
from pmgs_lib.geometry.similarity import Similarity, similarity_transform

BATCHES = [(), (1,), (3, 1, 2)]
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}


def random_similarity(batch, rng, dtype=torch.float64):
    return Similarity(
        torch.rand(batch, generator=rng, dtype=dtype) + 0.5,
        quaternion_to_matrix(torch.randn(*batch, 4, generator=rng, dtype=dtype)),
        torch.randn(*batch, 3, generator=rng, dtype=dtype),
    )


def random_points(*shape, rng, dtype=torch.float64):
    return torch.randn(*shape, 3, generator=rng, dtype=dtype)


def textbook(source, target, weights):
    """Umeyama 1991 as printed, one cloud, by singular values: the oracle."""
    shares = weights / weights.sum()
    source_mean, target_mean = shares @ source, shares @ target
    covariance = (target - target_mean).T @ ((source - source_mean) * shares[:, None])
    left, singular, right = torch.linalg.svd(covariance)
    signs = torch.ones(3, dtype=source.dtype)
    signs[2] = torch.sign(torch.linalg.det(left) * torch.linalg.det(right))
    rotation = left @ torch.diag(signs) @ right
    scale = (singular * signs).sum() / (shares @ (source - source_mean).square().sum(-1))
    return scale, rotation, target_mean - scale * rotation @ source_mean


@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_known_similarity_is_recovered(batch, dtype, rng):
    truth = random_similarity(batch, rng, dtype)
    source = random_points(*batch, 20, rng=rng, dtype=dtype)
    found = similarity_transform(source, truth.apply(source))
    for name in ("scale", "rotation", "translation"):
        assert_close(getattr(found, name), getattr(truth, name), atol=TOLERANCE[dtype], rtol=0)
    assert found.determined.shape == batch
    assert found.determined.all()


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_equal_to_the_textbook(mirrored, weighted, rng):
    source = random_points(30, rng=rng)
    target = random_similarity((), rng).apply(source) + 0.3 * random_points(30, rng=rng)
    target = target * torch.tensor([1, 1, -1.0]) if mirrored else target
    weights = torch.rand(30, generator=rng, dtype=torch.float64) if weighted else None
    found = similarity_transform(source, target, weights=weights)
    expected = textbook(source, target, torch.ones(30, dtype=torch.float64) if weights is None else weights)
    for actual, value in zip((found.scale, found.rotation, found.translation), expected, strict=True):
        assert_close(actual, value, atol=1e-12, rtol=0)
    assert_close(torch.linalg.det(found.rotation), torch.ones((), dtype=torch.float64))


def test_no_nearby_similarity_fits_better(rng):
    source, target = random_points(40, rng=rng), random_points(40, rng=rng)
    best = similarity_transform(source, target)
    least = (best.apply(source) - target).square().sum()
    for _ in range(50):
        turn = quaternion_to_matrix(torch.tensor([1.0, 0, 0, 0]) + 0.02 * torch.randn(4, generator=rng)).double()
        other = Similarity(
            best.scale * (1 + 0.02 * torch.randn((), generator=rng)),
            turn @ best.rotation,
            best.translation + 0.02 * torch.randn(3, generator=rng),
        )
        assert (other.apply(source) - target).square().sum() >= least


def test_moving_either_cloud_moves_the_result_along(rng):
    source, target = random_points(25, rng=rng), random_points(25, rng=rng)
    before, after = random_similarity((), rng), random_similarity((), rng)
    found = similarity_transform(before.apply(source), after.apply(target))
    direct = after.apply(similarity_transform(source, target).apply(source))
    assert_close(found.apply(before.apply(source)), direct, atol=1e-12, rtol=0)


def test_a_point_of_weight_two_is_two_points(rng):
    source, target = random_points(6, rng=rng), random_points(6, rng=rng)
    weights = torch.tensor([2.0, 1, 1, 1, 1, 0], dtype=torch.float64)
    listed = [0, 0, 1, 2, 3, 4]
    found = similarity_transform(source, target, weights=weights)
    assert_close(found.apply(source), similarity_transform(source[listed], target[listed]).apply(source))


def test_gradients_are_those_of_finite_differences(rng):
    source, target = random_points(2, 7, rng=rng), random_points(2, 7, rng=rng)
    weights = torch.rand(2, 7, generator=rng, dtype=torch.float64) + 0.1

    def flat(source, target, weights):
        found = similarity_transform(source, target, weights=weights)
        return found.scale, found.rotation, found.translation

    assert torch.autograd.gradcheck(flat, [x.requires_grad_() for x in (source, target, weights)])


def test_autocast_does_not_touch_it(rng):
    source, target = random_points(500, rng=rng).float(), random_points(500, rng=rng).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = similarity_transform(source, target)
    assert torch.equal(under.rotation, similarity_transform(source, target).rotation)
    assert under.scale.dtype == torch.float32


def test_float32_far_from_the_origin(rng):
    source = random_points(20_000, rng=rng).float() + 100
    target = (random_similarity((), rng).apply(source.double()) + 100).float()
    found, exact = similarity_transform(source, target), similarity_transform(source.double(), target.double())
    assert_close(found.scale.double(), exact.scale, rtol=1e-7, atol=0)


LINE = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None] * torch.tensor([1.0, 2, -1], dtype=torch.float64)
PLANE = torch.cat([LINE + torch.tensor([0.0, y, 2 * y], dtype=torch.float64) for y in (0, 1)])
CUBE = torch.cartesian_prod(*[torch.tensor([-1.0, 1], dtype=torch.float64)] * 3)
ONE = torch.full((4, 3), 0.3, dtype=torch.float64)
SPOILT = torch.tensor([[0.0, 0, 0], [1, 2, 3], [float("nan"), 0, 0]], dtype=torch.float64)


def check_finite(source, target):
    source, target = source.clone().requires_grad_(), target.clone().requires_grad_()
    found = similarity_transform(source, target)
    assert found.rotation.detach().det().item() == pytest.approx(1)
    (found.scale + found.rotation.square().sum() + found.rotation[0, 1] + found.translation.sum()).backward()
    for tensor in (found.scale, found.rotation, found.translation, source.grad, target.grad):
        assert tensor.isfinite().all()
    return found, source.grad, target.grad


@pytest.mark.parametrize("points", [LINE, PLANE, CUBE], ids=["line", "plane", "cube"])
def test_special_but_sufficient_points_align_exactly(points, rng):
    target = random_similarity((), rng).apply(points)
    found, _, _ = check_finite(points, target)
    assert found.determined
    assert_close(found.apply(points), target, atol=1e-12, rtol=0)


def test_a_mirrored_cloud_gets_a_proper_rotation(rng):
    points = random_points(30, rng=rng)
    found, _, _ = check_finite(points, points * torch.tensor([1, 1, -1.0]))
    assert found.determined
    assert found.scale < 0.9


@pytest.mark.parametrize("count", [1, 4])
def test_coincident_source_is_only_moved(count):
    target = CUBE[:count] + 5
    found, _, gradient = check_finite(ONE[:count], target)
    assert not found.determined
    assert found.scale == 1
    assert_close(found.rotation, torch.eye(3, dtype=torch.float64))
    assert_close(found.translation, target.mean(0) - 0.3)
    assert_close(gradient, torch.full_like(gradient, 1 / count))


def test_coincident_target_has_scale_zero():
    found, _, _ = check_finite(CUBE[:4], ONE)
    assert not found.determined
    assert found.scale == 0
    assert_close(found.apply(CUBE), torch.full_like(CUBE, 0.3))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e300])
@pytest.mark.parametrize("in_target", [False, True])
def test_unusable_numbers_give_the_identity_and_no_gradient(value, in_target):
    spoilt = torch.where(SPOILT.isnan(), value, SPOILT)
    found, *gradients = check_finite(*((CUBE[:3], spoilt) if in_target else (spoilt, CUBE[:3])))
    assert not found.determined
    assert_close(found.apply(CUBE), CUBE)
    assert not any(gradient.any() for gradient in gradients)


def test_one_spoilt_item_leaves_the_others_alone(rng):
    source, target = random_points(3, 8, rng=rng), random_points(3, 8, rng=rng)
    spoilt = source.clone()
    spoilt[1, 4, 2] = float("nan")
    weights = torch.ones(3, 8, dtype=torch.float64)
    weights[2] = 0
    found = similarity_transform(spoilt, target, weights=weights)
    assert found.determined.tolist() == [True, False, False]
    assert_close(found.rotation[0], similarity_transform(source[0], target[0]).rotation)
