"""gsplat on a CUDA device against our kernels on the CPU, and what our wrapper costs; skips where there is none."""

import statistics
from collections.abc import Callable

import pytest
import torch
from drawing_laws import FIELDS, NEAR, camera, cosine_and_bias, draw, random_gaussians, safe_pixels

from pmgs_lib import Cameras, Gaussians
from pmgs_lib.errors import BackendError
from pmgs_lib.rasterizers import choose_backend, rasterize
from pmgs_lib.rasterizers.gsplat import GsplatRasterizer

CUDA = torch.device("cuda")
OBSTACLE = GsplatRasterizer().obstacle(CUDA)
pytestmark = pytest.mark.skipif(OBSTACLE is not None, reason=f"gsplat cannot draw here: {OBSTACLE}")

# gsplat's exponential and its float32 projection are good to about this, relative to alpha; see `safe_pixels`.
MARGIN = 2e-4
SIZE = (130, 190)


def scene_of(rng: torch.Generator, degree: int) -> Gaussians:
    return random_gaussians(rng, count=1500, degree=degree).to(torch.float32)


@pytest.mark.parametrize("degree", range(5))
def test_equals_our_cpu_kernels(degree, rng, record_property):
    scene, view = scene_of(rng, degree), camera(torch.float32)
    safe = safe_pixels(scene, view, *SIZE, margin=MARGIN)
    expected, expected_gradients = draw(scene, view, safe, "cpu")
    actual, actual_gradients = draw(scene.to(CUDA), view.to(CUDA), safe.to(CUDA), "gsplat")
    error = (actual.color.cpu() - expected.color)[:, safe].abs().max().item()
    excluded = 1 - safe.double().mean().item()
    record_property("max_color_error", error)
    record_property("excluded_pixels", excluded)
    assert excluded < 0.05
    assert error < 1e-3
    assert (actual.alpha.cpu() - expected.alpha)[safe].abs().max() < 1e-3
    assert (actual.depth.cpu() - expected.depth)[safe].abs().max() < 1e-2
    for name in FIELDS:
        cosine, bias = cosine_and_bias(getattr(actual_gradients, name).cpu(), getattr(expected_gradients, name))
        record_property(f"cosine_{name}", cosine)
        assert cosine > 0.999, name
        assert abs(bias) < 1e-2, name


def test_auto_takes_gsplat_on_cuda():
    assert choose_backend("cuda")[0] == "gsplat"


def test_a_batch_is_its_parts(rng):
    scenes, view = [scene_of(rng, 1) for _ in range(2)], camera(torch.float32)
    batch = Gaussians(*(torch.stack([getattr(s, name) for s in scenes]) for name in FIELDS)).to(CUDA)
    poses = view.world_from_camera.repeat(2, 3, 1, 1)
    poses[:, :, 0, 3] += torch.tensor([0.0, 0.1, 0.2])
    views = Cameras(poses, view.intrinsics.expand(2, 3, 3, 3)).to(CUDA)
    together = rasterize(batch, views, *SIZE, background=(0.1, 0.2, 0.3), backend="gsplat")
    assert together.color.shape == (2, 3, 3, *SIZE)
    for s in range(2):
        for v in range(3):
            alone = rasterize(batch[s], views[s, v], *SIZE, background=(0.1, 0.2, 0.3), backend="gsplat")
            torch.testing.assert_close(together.color[s, v], alone.color)
            torch.testing.assert_close(together.depth[s, v], alone.depth)


def test_gradient_by_the_camera_position_is_the_reference_one(rng):
    scene = random_gaussians(rng, degree=2)
    safe = safe_pixels(scene, camera(), 40, 50, margin=MARGIN)
    gradients = []
    for backend, device, dtype in [("gsplat", CUDA, torch.float32), ("reference", "cpu", torch.float64)]:
        view = camera(dtype).to(device)
        view.world_from_camera.requires_grad_()
        image = rasterize(scene.to(dtype).to(device), view, 40, 50, near_plane=NEAR, backend=backend)
        (image.color * safe.to(device)).square().sum().backward()
        gradients.append(view.world_from_camera.grad[:3, 3].cpu())
    assert cosine_and_bias(*gradients)[0] > 0.999


def test_nothing_to_draw(rng):
    scene, view = scene_of(rng, 0).to(CUDA), camera(torch.float32).to(CUDA)
    empty = rasterize(scene.select(torch.zeros(1500, dtype=torch.bool, device=CUDA)), view, 8, 9, backend="gsplat")
    assert empty.color.shape == (3, 8, 9)
    assert not empty.color.any()
    nobody = Cameras(view.world_from_camera.new_zeros(0, 4, 4), view.intrinsics.new_zeros(0, 3, 3))
    assert rasterize(scene, nobody, 8, 9, backend="gsplat").depth.shape == (0, 8, 9)


def test_float64_is_refused(rng):
    with pytest.raises(BackendError, match="gsplat draws float32"):
        rasterize(random_gaussians(rng).to(CUDA), camera().to(CUDA), 8, 8, backend="gsplat")


def median_times(calls: list[Callable[[], object]], rounds: int = 30) -> list[float]:
    """Milliseconds of each call, alternating, medians after a warm-up."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds + 5):
        for call, taken in zip(calls, times, strict=True):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize()
            start.record()
            call()
            end.record()
            torch.cuda.synchronize()
            taken.append(start.elapsed_time(end))
    return [statistics.median(taken[5:]) for taken in times]


@pytest.mark.timing
@pytest.mark.parametrize("degree", [0, 2])
@pytest.mark.parametrize("backward", [False, True])
def test_wrapper_adds_at_most_five_percent(backward, degree, rng, record_property):
    """688,128 Gaussians, one for each pixel of six views of 256x448, drawn for eight cameras of that size."""
    from gsplat import rasterization

    height, width, views = 256, 448, 8
    count = 6 * height * width
    scene, view = random_gaussians(rng, count=count, degree=degree).to(torch.float32), camera(torch.float32)
    scene = Gaussians(scene.means, scene.scales * 0.05, scene.quaternions, scene.opacities, scene.harmonics).to(CUDA)
    leaves = Gaussians(*(getattr(scene, name).requires_grad_(backward) for name in FIELDS))
    cameras = Cameras(view.world_from_camera.repeat(views, 1, 1), view.intrinsics.repeat(views, 1, 1)).to(CUDA)
    poses, intrinsics = cameras.camera_from_world, cameras.pixel_intrinsics(height, width)
    fields = [getattr(leaves, name) for name in ("means", "quaternions", "scales", "opacities", "harmonics")]
    options = {"sh_degree": degree, "packed": False, "render_mode": "RGB+D"}

    def ours():
        image = rasterize(leaves, cameras, height, width, backend="gsplat")
        if backward:
            torch.autograd.grad(image.color.sum() + image.depth.sum(), fields)

    def theirs():
        image = rasterization(*fields, poses, intrinsics, width, height, **options)[0]
        if backward:
            torch.autograd.grad(image[..., :3].sum() + image[..., 3].sum(), fields)

    wrapped, plain = median_times([ours, theirs])
    record_property("wrapped_ms", wrapped)
    record_property("plain_ms", plain)
    assert wrapped <= 1.05 * plain
