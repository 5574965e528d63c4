"""Parts of DepthSplat against recorded functions of the released code, and the laws they obey."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.geometry.harmonics import evaluate_harmonics, harmonics_basis
from pmgs_lib.models import build_model, load_checkpoint
from pmgs_lib.models.backbones.dinov2 import DinoV2, VitConfig
from pmgs_lib.models.depthsplat.config import AdapterConfig, DepthSplatConfig
from pmgs_lib.models.depthsplat.gaussian_adapter import GaussianAdapter
from pmgs_lib.models.depthsplat.resize_conv import ResizeConvFeatures
from pmgs_lib.models.depthsplat.upsampler import FUSION
from pmgs_lib.models.depthsplat.variants import PMLOSS_ORI_256X448, TINY
from pmgs_lib.models.pixel_gaussians import CameraGaussians, pixel_means
from pmgs_lib.models.released_harmonics import library_from_released, released_basis, released_harmonics_world


@pytest.fixture(params=["units_main", "units_pmloss"])
def units(request, parity) -> dict[str, torch.Tensor]:
    """Recorded functions of both states of the released code."""
    with np.load(parity / "depthsplat" / f"{request.param}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files} | {"unit_rays": "pmloss" in request.param}


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


def test_a_feature_of_each_scale_is_doubled_up_to_the_image(rng):
    network = ResizeConvFeatures((6, 5), (3, 2), 8)
    maps = {"low": (2, 4, 6), "matching0": (1, 4, 6), "monocular0": (3, 4, 6)}
    maps |= {"mid": (2, 8, 12), "matching1": (1, 8, 12), "monocular1": (2, 8, 12)}
    features = {name: torch.randn(2, *shape, generator=rng) for name, shape in maps.items()}
    found = network((), features)
    assert found.shape == (2, 8, 32, 48)
    features["matching1"] = features["matching1"] + 1
    changed = (network((), features) - found).abs().amax((0, 2, 3))
    assert (changed[:4] == 0).all()
    assert (changed[4:] > 0).all()


# --- configuration ----------------------------------------------------------------------------------------------------


def test_files_of_the_first_spelling_keep_their_meaning():
    fields = TINY.model_dump(mode="json")
    color = fields["color"]
    features, regressor = color.pop("features"), color.pop("regressor")
    color |= {"dpt": {key: value for key, value in features.items() if key != "kind"}}
    color |= {"regressor_channels": regressor["channels"]}
    del color["head_expansion"], color["adapter"]["offset_mode"], color["adapter"]["unit_rays"]
    assert DepthSplatConfig.model_validate(fields) == TINY
    assert load_checkpoint("depthsplat-tiny").config == TINY


@pytest.mark.parametrize(
    ("color", "message"),
    [
        ({"features": {"kind": "resize_conv", "features": 33}}, "33 color features: expected a multiple of scales 2"),
        ({"features": {"kind": "resized", "features": 32}}, "'resized'.*'dpt', 'resize_conv'"),
        ({"regressor": {"kind": "unet", "channels": 20}}, "multiple of 8"),
        ({"regressor": {"kind": "unet", "channels": 24, "head_width": 32, "multipliers": (1,)}}, "head_width 32"),
        ({"adapter": {"offset_mode": "free"}}, "'ori', 'pixel' or 'unconstrained'"),
        ({"adapter": {"offset_factor": 0.0}}, "greater than 0"),
        ({"adapter": {"confidence": "tanh"}}, "'softplus' or 'sigmoid'"),
    ],
)
def test_unusable_color_branches_are_refused(color, message):
    given = PMLOSS_ORI_256X448.color.model_dump() | color
    with pytest.raises(ParameterError, match=message):
        build_model(PMLOSS_ORI_256X448, color=given)


@pytest.mark.parametrize(("levels", "multiple"), [(5, 16), (6, 32)])
def test_sides_must_also_divide_for_the_regressor(levels, multiple):
    regressor = {"kind": "unet", "channels": 32, "multipliers": (1,) * levels}
    fields = TINY.model_dump()
    fields["color"] |= {"regressor": regressor}
    assert DepthSplatConfig.model_validate(fields).multiple == multiple


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


def test_recorded_rays(units):
    """Gaussians at distance one of pixels of a 4 x 6 image: along z in the state of March, along the ray in October."""
    cameras = Cameras(units["rays/extrinsics"][None], units["rays/intrinsics"][None])
    means = pixel_means(cameras, torch.ones(1, 3, 4, 6), torch.zeros(1, 3, 24, 2), units["unit_rays"])
    expected = units["rays/origins"] + units["rays/directions"]
    torch.testing.assert_close(means[0], expected, atol=2e-6, rtol=0)


def test_z_depth_is_that_of_the_gaussians_at_pixel_centres(rng):
    intrinsics = torch.tensor([[0.6, 0, 0.4], [0, 0.8, 0.55], [0, 0, 1]], dtype=torch.float64).repeat(1, 2, 1, 1)
    poses = torch.eye(4, dtype=torch.float64).repeat(1, 2, 1, 1)
    poses[0, :, :3, :3] = random_rotations(2, rng)
    cameras = Cameras(poses, intrinsics)
    length = 1 + torch.rand(1, 2, 8, 12, generator=rng, dtype=torch.float64)
    means = pixel_means(cameras, length, torch.zeros(1, 2, 96, 2, dtype=torch.float64), unit_rays=True)
    _, depth = cameras.project(means, 8, 12)
    found = GaussianAdapter(AdapterConfig(unit_rays=True)).z_depth(length, cameras)
    torch.testing.assert_close(found.flatten(2), depth)
    assert (found < length).all()
    assert GaussianAdapter(AdapterConfig()).z_depth(length, cameras) is length


OFFSETS = {
    ("ori", 0.5): [-0.5, -0.23105858, 0.0, 0.5],
    ("pixel", 0.5): [-0.25, -0.19039854, 0.0, 0.25],
    ("pixel", 2.0): [-1.0, -0.76159416, 0.0, 1.0],
    ("unconstrained", 0.5): [-50.0, -0.5, 0.0, 50.0],
}


@pytest.mark.parametrize(("mode", "factor"), OFFSETS)
def test_offsets_in_pixels(mode, factor):
    adapter = GaussianAdapter(AdapterConfig(offset_mode=mode, offset_factor=factor))
    raw = torch.tensor([-100.0, -1.0, 0.0, 100.0])[:, None].expand(1, 1, 4, 2)
    expected = torch.tensor(OFFSETS[mode, factor])[:, None].expand(1, 1, 4, 2)
    torch.testing.assert_close(adapter.offsets(raw), expected)


@pytest.mark.parametrize("kind", ["softplus", "sigmoid"])
def test_confidence_has_its_own_channel_and_gives_no_gradient_to_the_match(kind, rng):
    adapter = GaussianAdapter(AdapterConfig(confidence=kind, harmonics_degree=1))
    assert adapter.channels == GaussianAdapter(AdapterConfig(harmonics_degree=1)).channels + 1
    raw = torch.randn(1, 2, adapter.channels, 4, 6, generator=rng).requires_grad_()
    match = torch.rand(1, 2, 1, 4, 6, generator=rng).requires_grad_()
    confidence = adapter.confidence(raw, match)
    own = torch.log1p(raw[:, :, 1].exp()) if kind == "softplus" else 1 / (1 + (-raw[:, :, 1]).exp())
    torch.testing.assert_close(confidence, own + match[:, :, 0])
    confidence.sum().backward()
    assert match.grad is None
    assert (raw.grad.abs().sum((0, 1, 3, 4)) > 0).nonzero().tolist() == [[1]]


@pytest.mark.parametrize("confidence", [None, "softplus"])
def test_a_fresh_head_leaves_offsets_and_rotations_alone_with_confidence_or_without(confidence):
    """The released code does not move its rows with the confidence channel (quirk C)."""
    fields = TINY.model_dump()
    fields["color"]["adapter"]["confidence"] = confidence
    model = build_model(DepthSplatConfig.model_validate(fields))
    last, more = model.gaussian_head[2], 0 if confidence is None else 1
    still = last.weight.abs().flatten(1).amax(1) == 0
    names = ["opacity", *["confidence"] * more, "offset", "offset", *["scale"] * 3, *["quaternion"] * 4]
    names += ["harmonics"] * (last.weight.shape[0] - len(names))
    assert still.tolist() == [name in ("scale", "harmonics") for name in names]
    assert last.bias[0].sigmoid().item() == pytest.approx(TINY.color.initial_opacity)
    assert (last.bias[1].item() == 0.5) == (confidence is not None)


def test_what_the_released_renderer_never_reads_is_left_out(rng):
    local = camera_gaussians(rng, 4)
    cameras = Cameras(*(torch.eye(n, dtype=torch.float64).repeat(1, 2, 1, 1) for n in (4, 3)))
    released, ours = (GaussianAdapter(AdapterConfig(harmonics_degree=4, released_harmonics=r)) for r in (True, False))
    assert released.to_gaussians(local, cameras).degree == 3
    assert ours.to_gaussians(local, cameras).degree == 4
    three = replace(local, harmonics=local.harmonics[..., :16, :])
    expected = GaussianAdapter(AdapterConfig(harmonics_degree=3, released_harmonics=True)).to_gaussians(three, cameras)
    torch.testing.assert_close(released.to_gaussians(local, cameras).harmonics, expected.harmonics)
