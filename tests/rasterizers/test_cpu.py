"""The compiled kernels against the plain torch version, and what they promise beyond its picture."""

import threading

import numba
import numpy as np
import pytest
import torch
from drawing_laws import (
    FIELDS,
    MAX_EXCLUDED,
    NEAR,
    SCENES,
    camera,
    cosine_and_bias,
    draw,
    random_gaussians,
    relative_error,
    safe_pixels,
)
from numba import njit

from pmgs_lib import Cameras, Gaussians
from pmgs_lib.rasterizers import rasterize
from pmgs_lib.rasterizers.cpu_lanes_kernels import LANES, exp2, load, store

# Tiles of 16 and of 32 pixels; neither divides the size.
SIZES = [(40, 72), (130, 150)]


def assert_same_picture_and_gradients(scene: Gaussians, view: Cameras, size: tuple[int, int]) -> None:
    safe = safe_pixels(scene, view, *size)
    assert 1 - safe.double().mean() <= MAX_EXCLUDED
    actual, actual_gradients = draw(scene, view, safe, "cpu")
    expected, expected_gradients = draw(scene.to(torch.float64), view, safe, "reference")
    for name in ("color", "depth", "alpha"):
        one, two = getattr(actual, name)[..., safe], getattr(expected, name)[..., safe]
        assert relative_error(one, two) <= 1e-5, name
        assert not one[two == 0].any(), name
    for name in FIELDS:
        one, two = getattr(actual_gradients, name), getattr(expected_gradients, name)
        cosine, bias = cosine_and_bias(one, two)
        assert cosine >= 0.9999, name
        assert abs(bias) <= 1e-3, name
        assert not one[two == 0].any(), name


@pytest.mark.parametrize(
    ("size", "dtype"), [(SIZES[0], torch.float32), (SIZES[0], torch.float64), (SIZES[1], torch.float32)]
)
@pytest.mark.parametrize("kind", SCENES)
def test_equals_reference(kind, size, dtype, rng):
    assert_same_picture_and_gradients(SCENES[kind](rng).to(dtype), camera(), size)


@pytest.mark.parametrize("degree", range(5))
def test_equals_reference_at_every_degree(degree, rng):
    assert_same_picture_and_gradients(random_gaussians(rng, degree=degree), camera(), SIZES[0])


def test_float64_agrees_to_rounding(rng):
    scene, everywhere = random_gaussians(rng), torch.ones(SIZES[0], dtype=torch.bool)
    (actual, gradients), (expected, expected_gradients) = (
        draw(scene, camera(), everywhere, backend) for backend in ("cpu", "reference")
    )
    assert relative_error(actual.color, expected.color) < 1e-12
    assert relative_error(gradients.means, expected_gradients.means) < 1e-11


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.prove
def test_equals_reference_on_many_scenes(seed):
    rng = torch.Generator().manual_seed(seed)
    for kind in SCENES.values():
        assert_same_picture_and_gradients(kind(rng).to(torch.float32), camera(), SIZES[seed % 2])


def test_gradients_of_several_views_add_up(rng):
    scene, view = random_gaussians(rng), camera()
    moved = view.world_from_camera.clone()
    moved[0, 3] += 0.5
    both = Cameras.stack([view, Cameras(moved, view.intrinsics)])
    together = _gradients(scene, both)
    for name in FIELDS:
        apart = sum(getattr(_gradients(scene, both[v]), name) for v in range(2))
        torch.testing.assert_close(getattr(together, name), apart)


def _gradients(scene: Gaussians, views: Cameras) -> Gaussians:
    leaves = Gaussians(*(getattr(scene, name).clone().requires_grad_() for name in FIELDS))
    image = rasterize(leaves, views, 30, 40, near_plane=NEAR, backend="cpu")
    loss = image.color.square().sum() + image.depth.sum() + image.alpha.sum()
    return Gaussians(*torch.autograd.grad(loss, [getattr(leaves, name) for name in FIELDS]))


def test_number_of_threads_changes_no_bit(rng):
    scene, safe = random_gaussians(rng).to(torch.float32), torch.ones(SIZES[1], dtype=torch.bool)
    most, results = numba.get_num_threads(), []
    try:
        for threads in {1, most}:
            numba.set_num_threads(threads)
            results.append(draw(scene, camera(), safe, "cpu"))
    finally:
        numba.set_num_threads(most)
    (first, first_gradients), (last, last_gradients) = results[0], results[-1]
    assert torch.equal(first.color, last.color)
    assert all(torch.equal(getattr(first_gradients, name), getattr(last_gradients, name)) for name in FIELDS)


def test_equal_depths_keep_the_order_of_the_gaussians():
    count = 200  # enough for the radix sort
    red_first = Gaussians(
        means=torch.tensor([0.0, 0.0, 2.0]).expand(count, 3),
        scales=torch.full((count, 3), 0.2),
        quaternions=torch.tensor([1.0, 0, 0, 0]).expand(count, 4),
        opacities=torch.full((count,), 0.5),
        harmonics=torch.zeros(count, 1, 3).index_fill(0, torch.tensor([0]), 1.0),
    )
    view = Cameras(torch.eye(4), torch.tensor([[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]]))
    for backend in ("cpu", "reference"):
        assert rasterize(red_first, view, 5, 5, backend=backend).color[0, 2, 2] > 0.6


def test_two_python_threads_at_once(rng):
    scene, view, images = random_gaussians(rng), camera(), {}
    workers = [
        threading.Thread(target=lambda i=i: images.update({i: rasterize(scene, view, *SIZES[0], backend="cpu").color}))
        for i in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(images) == 4
    assert all(torch.equal(images[0], image) for image in images.values())


def test_inputs_need_not_be_contiguous(rng):
    scene = random_gaussians(rng)
    strided = Gaussians(*(getattr(scene, name).repeat_interleave(2, dim=-1)[..., ::2] for name in FIELDS[:3]),
                        scene.opacities.repeat_interleave(2)[::2], scene.harmonics.mT.contiguous().mT)  # fmt: skip
    assert not strided.means.is_contiguous()
    images = [rasterize(s, camera(), *SIZES[0], backend="cpu").color for s in (scene, strided)]
    assert torch.equal(*images)


@njit
def _exponentials(values, results):
    for at in range(0, len(values), LANES):
        store(results, at, exp2(load(values, at)))


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 1.2e-7), (np.float64, 1e-15)])
def test_exponential_is_exact_to_rounding(dtype, bound):
    values = np.linspace(-100, 10, 8000).astype(dtype)
    results = np.empty_like(values)
    _exponentials(values, results)
    assert np.abs(results / np.exp2(values.astype(np.float64)) - 1).max() < bound
