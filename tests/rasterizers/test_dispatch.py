"""The call itself: batches, settings, the choice of a backend, and what is refused."""

import logging
import math
from dataclasses import replace

import pytest
import torch
from drawing_laws import camera, random_gaussians

from pmgs_lib import Cameras, Gaussians
from pmgs_lib.errors import BackendError, ParameterError
from pmgs_lib.rasterizers import BACKENDS, RenderingSettings, choose_backend, rasterize, render_with_settings
from pmgs_lib.rasterizers.dispatch import build_rasterizer, symmetric_frustum
from pmgs_lib.rasterizers.gsplat import GsplatRasterizer

DRAWING_HERE = ["cpu", "reference"]


def cameras(*shape: int) -> Cameras:
    """Cameras of a batch shape, each a little further to the right."""
    view = camera()
    poses = view.world_from_camera.repeat(*shape, 1, 1)
    poses[..., 0, 3] += 0.1 * torch.arange(poses[..., 0, 3].numel()).reshape(shape)
    return Cameras(poses, view.intrinsics.expand(*shape, 3, 3))


@pytest.mark.parametrize("backend", DRAWING_HERE)
@pytest.mark.parametrize(
    ("scenes", "views"), [((), ()), ((), (2, 3)), ((2,), (2,)), ((2,), (2, 3)), ((1, 2), (1, 2, 2))]
)
def test_a_batch_is_its_parts(scenes, views, backend, rng):
    parts = [random_gaussians(rng, count=30) for _ in range(max(1, torch.Size(scenes).numel()))]
    batch = Gaussians(*(torch.stack(f).reshape(*scenes, *f[0].shape) for f in zip(*map(_fields, parts), strict=True)))
    together = rasterize(batch, cameras(*views), 12, 17, backend=backend)
    assert together.color.shape == (*views, 3, 12, 17)
    assert together.depth.shape == together.alpha.shape == (*views, 12, 17)
    for index in map(tuple, torch.ones(views).nonzero().tolist()):
        alone = rasterize(batch[index[: len(scenes)]], cameras(*views)[index], 12, 17, backend=backend)
        assert torch.equal(together.color[index], alone.color)
        assert torch.equal(together.depth[index], alone.depth)


def _fields(scene: Gaussians) -> tuple[torch.Tensor, ...]:
    return scene.means, scene.scales, scene.quaternions, scene.opacities, scene.harmonics


@pytest.mark.parametrize("backend", DRAWING_HERE)
def test_nothing_to_draw(backend, rng):
    scene = random_gaussians(rng, count=20)
    assert rasterize(scene, cameras(0), 8, 9, backend=backend).color.shape == (0, 3, 8, 9)
    empty = rasterize(scene.select(torch.zeros(20, dtype=torch.bool)), camera(), 8, 9, backend=backend)
    assert not empty.color.any()
    assert not empty.alpha.any()
    assert rasterize(scene, camera(), 1, 1, backend=backend).depth.shape == (1, 1)


@pytest.mark.parametrize("backend", DRAWING_HERE)
def test_background_shows_where_alpha_leaves_it(backend, rng):
    scene, background = random_gaussians(rng), torch.tensor([0.2, 0.5, 0.9]).double().requires_grad_()
    black = rasterize(scene, camera(), 20, 30, backend=backend)
    colored = rasterize(scene, camera(), 20, 30, background=background, backend=backend)
    expected = black.color + (1 - black.alpha) * background[:, None, None]
    torch.testing.assert_close(colored.color, expected)
    colored.color.sum().backward()
    torch.testing.assert_close(background.grad, (1 - black.alpha).sum().expand(3))
    assert torch.equal(colored.depth, black.depth)


@pytest.mark.parametrize("backend", DRAWING_HERE)
def test_near_plane_culls_what_is_nearer(backend, rng):
    scene = random_gaussians(rng)
    middle = cameras()[()].camera_from_world
    depth = (scene.means @ middle[:3, :3].mT + middle[:3, 3])[:, 2]
    kept = rasterize(scene.select(depth >= 4.0), camera(), 20, 30, backend=backend)
    assert torch.equal(rasterize(scene, camera(), 20, 30, near_plane=4.0, backend=backend).color, kept.color)


def test_settings_are_carried_out(rng):
    scene, view = random_gaussians(rng, degree=3), camera()
    settings = RenderingSettings(centered_principal_point=True, max_degree=1, background=(1.0, 0.5, 0.0))
    expected = rasterize(
        replace(scene, harmonics=scene.harmonics[:, :4]),
        Cameras(view.world_from_camera, symmetric_frustum(view.intrinsics)),
        *(20, 30),
        background=(1.0, 0.5, 0.0),
    )
    assert torch.equal(render_with_settings(scene, view, 20, 30, settings, near=1.0).color, expected.color)
    assert view.intrinsics[0, 2] != 0.5


@pytest.mark.parametrize("batch", [(), (1,), (3, 1, 2)], ids=str)
def test_symmetric_frustum_keeps_a_camera_whose_principal_point_is_in_the_middle(batch):
    intrinsics = torch.tensor([[0.9, 0, 0.5], [0, 1.4, 0.5], [0, 0, 1]]).repeat(*batch, 1, 1)
    torch.testing.assert_close(symmetric_frustum(intrinsics), intrinsics, rtol=3e-7, atol=0)


def test_symmetric_frustum_has_the_opening_angle_of_the_shifted_camera():
    focal, shift = 0.9, 0.1
    intrinsics = torch.tensor([[focal, 0, 0.5 + shift], [0, 1.4, 0.5], [0, 0, 1]], dtype=torch.float64)
    found = symmetric_frustum(intrinsics)
    angle = math.atan((0.5 + shift) / focal) + math.atan((0.5 - shift) / focal)
    assert found[0, 0].item() == pytest.approx(0.5 / math.tan(angle / 2), rel=1e-12)
    # The shift to the side makes the rays through the upper and lower border longer, and so nearer to each other.
    assert found[1, 1].item() == pytest.approx(1.4 * math.hypot(1, shift / focal), rel=1e-12)
    assert found[:2, 2].tolist() == [0.5, 0.5]


def test_every_scene_has_its_own_near_plane(rng):
    scene = random_gaussians(rng)
    batch = Gaussians(*(field.expand(2, *field.shape) for field in _fields(scene)))
    settings = RenderingSettings(near_plane_factor=0.2)
    both = render_with_settings(batch, cameras(2, 3), 20, 30, settings, near=torch.tensor([1.0, 20.0]))
    for index, plane in enumerate([0.2, 4.0]):
        alone = rasterize(scene, cameras(2, 3)[index], 20, 30, near_plane=plane)
        torch.testing.assert_close(both.color[index], alone.color)
    same = render_with_settings(batch, cameras(2, 3), 20, 30, settings, near=1.0)
    torch.testing.assert_close(same.color[0], both.color[0])
    with pytest.raises(ParameterError, match=r"near: shape \(3,\) does not fit .* \(2,\)"):
        render_with_settings(batch, cameras(2, 3), 20, 30, settings, near=torch.ones(3))


def test_auto_says_what_it_chose_and_why(caplog):
    choose_backend.cache_clear()
    with caplog.at_level(logging.INFO, logger="pmgs_lib.rasterizers"):
        name, reason = choose_backend("cpu")
    assert name == "cpu"
    assert "cpu" in reason
    assert reason in caplog.text
    name, reason = choose_backend("meta")
    assert name == "reference"


def test_gsplat_is_refused_with_the_reason(monkeypatch, rng):
    with pytest.raises(BackendError, match="gsplat draws CUDA tensors only, these are on cpu"):
        rasterize(random_gaussians(rng), camera(), 8, 8, backend="gsplat")
    cuda, gsplat = torch.device("cuda"), GsplatRasterizer()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gsplat.obstacle(cuda) == "torch finds no CUDA device"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert gsplat.obstacle(cuda) == "the package gsplat is not installed"


def test_gsplat_without_kernels_needs_a_compiler(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    package = tmp_path / "gsplat" / "__init__.py"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: type("Spec", (), {"origin": str(package)}))
    cuda, gsplat = torch.device("cuda"), GsplatRasterizer()
    assert "no nvcc to compile them" in gsplat.obstacle(cuda)
    kernels = tmp_path / "gsplat_cuda" / "gsplat_cuda.so"
    kernels.parent.mkdir()
    kernels.touch()
    assert gsplat.obstacle(cuda) is None


def test_unknown_backend_gets_a_suggestion(rng):
    with pytest.raises(ParameterError, match=r"'gsplatt' is unknown .* did you mean 'gsplat'\?"):
        rasterize(random_gaussians(rng), camera(), 8, 8, backend="gsplatt")
    assert all(build_rasterizer(name) for name in BACKENDS)


def test_camera_gradients_are_refused_where_there_are_none(rng):
    scene, view = random_gaussians(rng), camera()
    view.world_from_camera.requires_grad_()
    with pytest.raises(BackendError, match=r"no gradient for cameras\.world_from_camera.*detach it"):
        rasterize(scene, view, 8, 8, backend="cpu")
    with torch.no_grad():
        rasterize(scene, view, 8, 8, backend="cpu")
    rasterize(scene, view, 8, 8, backend="reference").color.sum().backward()
    assert view.world_from_camera.grad.abs().sum() > 0


@pytest.mark.parametrize("backend", DRAWING_HERE)
@pytest.mark.parametrize("field", ["means", "scales", "quaternions", "opacities", "harmonics"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_gaussians_that_are_not_finite_are_counted_and_refused(field, value, backend, rng):
    scene = random_gaussians(rng)
    getattr(scene, field)[3:5] = value
    with pytest.raises(ParameterError, match="2 of 300 Gaussians have a NaN"):
        rasterize(scene, camera(), 8, 8, backend=backend)


@pytest.mark.parametrize("backend", DRAWING_HERE)
def test_quaternion_of_zero_length_is_refused(backend, rng):
    scene = random_gaussians(rng)
    scene.quaternions[7] = 0
    with pytest.raises(ParameterError, match=r"1 of 300 .* quaternion of zero length"):
        rasterize(scene, camera(), 8, 8, backend=backend)


def test_unusable_arguments_are_named(rng):
    scene, view = random_gaussians(rng), camera()
    with pytest.raises(ParameterError, match=r"no prefix of cameras with batch shape \(3,\)"):
        rasterize(Gaussians(*(f.expand(2, *f.shape) for f in _fields(scene))), cameras(3), 8, 8)
    with pytest.raises(ParameterError, match="0 x 8 pixels is empty"):
        rasterize(scene, view, 0, 8)
    with pytest.raises(ParameterError, match=r"near_plane: 0\.0 is not a positive distance"):
        rasterize(scene, view, 8, 8, near_plane=0.0)
    with pytest.raises(ParameterError, match=r"torch\.float16 on cpu"):
        rasterize(scene.to(torch.float16), view, 8, 8)
    with pytest.raises(ParameterError, match="6 coefficients belong to no degree"):
        rasterize(replace(scene, harmonics=torch.zeros(300, 6, 3).double()), view, 8, 8)
    with pytest.raises(ParameterError, match="is no colour"):
        rasterize(scene, view, 8, 8, background=(0.5, 0.5))
