"""The oracle itself: derivatives by finite differences, closed forms, and the law of rigid motion for every backend."""

import math

import pytest
import torch
from drawing_laws import FIELDS, camera, random_gaussians

from pmgs_lib import Cameras, Gaussians
from pmgs_lib.rasterizers import rasterize
from pmgs_lib.rasterizers.base import LOW_PASS, MAX_ALPHA

FRONT = Cameras(torch.eye(4).double(), torch.tensor([[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]]).double())


def ball(depth: float = 2.0, opacity: float = 0.8, size: float = 0.2, gray: float = 0.5) -> Gaussians:
    """One round Gaussian on the optical axis, of a gray that no direction changes."""
    harmonics = torch.full((1, 1, 3), (gray - 0.5) * 2 * math.sqrt(math.pi))
    means, turn = torch.tensor([[0.0, 0, depth]]), torch.tensor([[1.0, 0, 0, 0]])
    return Gaussians(means, torch.full((1, 3), size), turn, torch.tensor([opacity]), harmonics).to(torch.float64)


@pytest.mark.parametrize("field", [*FIELDS, "world_from_camera", "intrinsics"])
def test_gradients_are_those_of_finite_differences(field, rng):
    scene, view = random_gaussians(rng, count=4, degree=2), camera()
    scene = Gaussians(scene.means, scene.scales * 3, scene.quaternions, scene.opacities, scene.harmonics)
    values = {name: getattr(scene, name) for name in FIELDS}
    values |= {"world_from_camera": view.world_from_camera, "intrinsics": view.intrinsics}

    def images(value):
        changed = values | {field: value}
        moved = Cameras(changed.pop("world_from_camera"), changed.pop("intrinsics"))
        rendering = rasterize(Gaussians(**changed), moved, 4, 4, near_plane=0.2, backend="reference")
        return rendering.color, rendering.depth, rendering.alpha

    assert torch.autograd.gradcheck(images, values[field].clone().requires_grad_(), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_one_ball_is_a_gaussian_in_the_picture(backend):
    size, depth, opacity, pixels = 0.2, 2.0, 0.8, 21
    rendering = rasterize(ball(depth, opacity, size, gray=0.3), FRONT, pixels, pixels, backend=backend)
    variance = (pixels * size / depth) ** 2 + LOW_PASS
    x = torch.arange(pixels).double() + 0.5 - pixels / 2
    expected = opacity * torch.exp(-(x**2 + x[:, None] ** 2) / (2 * variance))
    expected = torch.where(expected < 1 / 255, 0, expected)
    torch.testing.assert_close(rendering.alpha, expected)
    torch.testing.assert_close(rendering.depth, expected * depth)
    torch.testing.assert_close(rendering.color, (expected * 0.3).expand(3, -1, -1))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_nearer_hides_farther_and_stops_before_the_last_light_is_gone(backend):
    parts = [ball(3.0, opacity=1.0, gray=0.0), ball(1.0, opacity=1.0, gray=1.0), ball(2.0, opacity=1.0, gray=0.5)]
    rendering = rasterize(Gaussians.concatenate(parts), FRONT, 1, 1, backend=backend)
    # Two balls would leave a transmittance of 1e-6, below the limit: the second one is not drawn any more.
    assert rendering.alpha.item() == pytest.approx(MAX_ALPHA)
    assert rendering.color[0].item() == pytest.approx(MAX_ALPHA)
    assert rendering.depth.item() == pytest.approx(MAX_ALPHA * 1.0)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("degree", range(5))
def test_moving_the_whole_world_moves_nothing_in_the_picture(degree, backend, rng):
    scene, view = random_gaussians(rng, count=150, degree=degree), camera()
    motion = torch.eye(4).double()
    motion[:3, :3] = torch.linalg.qr(torch.randn(3, 3, generator=rng).double())[0]
    motion[:3, :3] *= torch.linalg.det(motion[:3, :3])
    motion[:3, 3] = torch.tensor([3.0, -1.0, 2.0])
    moved = Cameras(motion @ view.world_from_camera, view.intrinsics)
    before = rasterize(scene, view, 40, 56, backend=backend)
    after = rasterize(scene.transformed(motion), moved, 40, 56, backend=backend)
    assert before.color.max() > 0.3
    for name in ("color", "depth", "alpha"):
        assert (getattr(before, name) - getattr(after, name)).abs().max() < 1e-4
