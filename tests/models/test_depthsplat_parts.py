"""Parts of DepthSplat against recorded functions of the released code, and the laws they obey."""

import numpy as np
import pytest
import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.geometry.harmonics import evaluate_harmonics, harmonics_basis
from pmgs_lib.models.backbones.dinov2 import DinoV2, VitConfig
from pmgs_lib.models.depthsplat.config import AdapterConfig
from pmgs_lib.models.depthsplat.gaussian_adapter import CameraGaussians, GaussianAdapter
from pmgs_lib.models.depthsplat.upsampler import FUSION
from pmgs_lib.models.released_harmonics import library_from_released, released_basis, released_harmonics_world


@pytest.fixture
def units(parity) -> dict[str, torch.Tensor]:
    with np.load(parity / "depthsplat" / "units_main.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def random_rotations(count: int, rng: torch.Generator, dtype=torch.float64) -> torch.Tensor:
    q, _ = torch.linalg.qr(torch.randn(count, 3, 3, generator=rng, dtype=dtype))
    return q * torch.linalg.det(q)[:, None, None]


# --- image transformer and heads --------------------------------------------------------------------------------------


def test_position_code_of_the_trained_grid_is_taken_as_it_is(rng):
    network = DinoV2(VitConfig(width=32, depth=4, heads=2, taps=(0, 1, 2, 3), position_grid=5))
    torch.testing.assert_close(network.position_code(5, 5), network.pos_embed, atol=0, rtol=0)
    assert network.position_code(3, 7).shape == (1, 22, 32)
    taps = network(torch.randn(2, 3, 42, 98, generator=rng))
    assert [tap.shape for tap in taps] == [(2, 32, 3, 7)] * 4


def test_every_supported_resolution_uses_every_feature_once():
    for (scales, _), levels in FUSION.items():
        names = [name for level in levels for name in level if name != "tap"]
        assert sorted(names) == sorted(
            ["half", "mid", "low", "inverse_depth", *(f"matching{s}" for s in range(scales))]
        )


# --- Gaussians --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degree", [2, 4])
def test_released_rotation_of_harmonics_equals_the_recorded_one(units, degree):
    count = (degree + 1) ** 2
    coefficients = units["sh/coefficients"][..., :count].mT
    turned = released_harmonics_world(coefficients[:, None, None], units["sh/rotations"][:, None])
    torch.testing.assert_close(turned[:, 0, 0].mT, units[f"sh/rotated_deg{degree}"], atol=2e-5, rtol=0)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_converted_harmonics_show_the_colour_of_the_released_renderer(units, degree):
    """The released formula, from recorded values of e3nn's basis and the renderer's signs, against our evaluation."""
    count = (degree + 1) ** 2
    signs = torch.cat([(-1.0) ** torch.arange(-level, level + 1) for level in range(degree + 1)])
    basis = units["sh/e3nn_basis_integral"][:, :count] * signs
    weights = units["sh/coefficients"][..., :count].mT[:, None]
    world = released_harmonics_world(weights[:, :, None], units["sh/rotations"][:, None])[:, 0]
    released = (basis @ world[:, 0] + 0.5).clamp_min(0)
    ours = library_from_released(degree).float() @ world
    shown = evaluate_harmonics(ours, units["sh/directions"])
    torch.testing.assert_close(shown, released, atol=1e-5, rtol=0)


def test_conversion_of_harmonics_is_orthogonal_within_each_degree():
    matrix = library_from_released(4)
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(25, dtype=torch.float64), atol=1e-12, rtol=0)
    directions = torch.nn.functional.normalize(torch.randn(9, 3, dtype=torch.float64), dim=-1)
    torch.testing.assert_close(
        harmonics_basis(directions, 4) @ matrix, released_basis(directions, 4), atol=1e-12, rtol=0
    )


def camera_gaussians(rng, degree: int, views: int = 2, count: int = 5) -> CameraGaussians:
    def normal(*shape):
        return torch.randn(1, views, count, *shape, generator=rng, dtype=torch.float64)

    quaternions = torch.nn.functional.normalize(normal(4), dim=-1)
    return CameraGaussians(normal(3), normal(3).exp(), quaternions, normal().sigmoid(), normal((degree + 1) ** 2, 3))


def test_covariances_are_turned_with_the_camera(rng, units):
    rotation = random_rotations(2, rng)
    poses = torch.eye(4, dtype=torch.float64).repeat(1, 2, 1, 1)
    poses[0, :, :3, :3] = rotation
    cameras = Cameras(poses, torch.eye(3, dtype=torch.float64).repeat(1, 2, 1, 1))
    local = camera_gaussians(rng, 2)
    adapter = GaussianAdapter(AdapterConfig(released_harmonics=True)).double()
    world = adapter.to_gaussians(local, cameras)
    own = adapter.to_gaussians(local, Cameras(torch.eye(4).double().repeat(1, 2, 1, 1), cameras.intrinsics))
    turn = rotation.repeat_interleave(5, dim=0)
    torch.testing.assert_close(world.covariances()[0], turn @ own.covariances()[0] @ turn.mT, atol=1e-12, rtol=0)


def test_recorded_covariances(units):
    adapter = GaussianAdapter(AdapterConfig())
    count = len(units["cov/scales"])
    quaternions = units["cov/quat_xyzw"].roll(1, dims=-1)[None, None]
    zeros = torch.zeros(1, 1, count)
    local = CameraGaussians(
        zeros[..., None].expand(-1, -1, -1, 3),
        units["cov/scales"][None, None],
        quaternions,
        zeros,
        torch.zeros(1, 1, count, 9, 3),
    )
    camera = Cameras(torch.eye(4)[None, None], torch.eye(3)[None, None])
    ours = adapter.to_gaussians(local, camera).covariances()[0]
    torch.testing.assert_close(ours, units["cov/covariance"], atol=1e-6, rtol=1e-5)


def test_mended_harmonics_follow_the_camera(rng):
    """Colour along a direction is the camera's own colour along the same direction in its axes."""
    rotation = random_rotations(2, rng)
    poses = torch.eye(4, dtype=torch.float64).repeat(1, 2, 1, 1)
    poses[0, :, :3, :3] = rotation
    cameras = Cameras(poses, torch.eye(3, dtype=torch.float64).repeat(1, 2, 1, 1))
    local = camera_gaussians(rng, 2)
    directions = torch.nn.functional.normalize(torch.randn(2, 5, 3, generator=rng, dtype=torch.float64), dim=-1)
    own = evaluate_harmonics(local.harmonics[0], directions @ rotation)
    mended = GaussianAdapter(AdapterConfig()).to_gaussians(local, cameras).harmonics[0].unflatten(0, (2, 5))
    torch.testing.assert_close(evaluate_harmonics(mended, directions), own, atol=1e-12, rtol=0)


@pytest.mark.parametrize("focal", [0.5, 2.0])
def test_pixel_scales_keep_their_size_in_the_picture(focal):
    adapter = GaussianAdapter(AdapterConfig(scale_map="pixel", scale_min=0.1, scale_max=5.0))
    intrinsics = torch.tensor([[focal, 0, 0.5], [0, focal * 2, 0.5], [0, 0, 1]])[None, None]
    cameras = Cameras(torch.eye(4)[None, None], intrinsics)
    raw = torch.tensor([-50.0, 0.0, 50.0]).repeat(1, 1, 2, 1)
    depth = torch.tensor([[[1.0, 30.0]]])
    scales = adapter.scales(raw, depth, cameras, 20, 40)
    pixels = scales * focal * 40 / depth[..., None]
    torch.testing.assert_close(pixels[0, 0, 0], torch.tensor([0.1, 0.5**0.5, 5.0]))
    torch.testing.assert_close(pixels[0, 0, 1], pixels[0, 0, 0])
