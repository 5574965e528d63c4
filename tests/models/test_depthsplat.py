"""DepthSplat as a whole, at the size that ships with the library: contract, gradients, refusals."""

import subprocess
import sys
from itertools import combinations

import pytest
import torch
from depthsplat_tiny import GENERATIONS, HEIGHT, OCTOBER, WIDTH, assert_same, context, disturbed, tensors

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.models import MODELS, build_model, named_config
from pmgs_lib.models.depthsplat.config import DepthSplatConfig
from pmgs_lib.views import Views


@pytest.fixture(scope="module")
def tiny() -> torch.nn.Module:
    torch.manual_seed(1)
    return build_model("depthsplat-tiny").eval()


def test_tiny_is_small():
    assert sum(parameter.numel() for parameter in build_model("depthsplat-tiny").parameters()) <= 2_000_000


@torch.no_grad()
def test_untrained_gaussians_are_what_the_images_show(tiny):
    views = context(batch=2)
    prediction = tiny(views)
    count = 2 * HEIGHT * WIDTH
    assert prediction.gaussians.means.shape == (2, count, 3)
    assert prediction.gaussians.degree == 1
    assert prediction.depth.shape == (2, 2, HEIGHT, WIDTH)
    assert (prediction.depth >= 0.5 - 1e-5).all()
    assert (prediction.depth <= 40 + 1e-3).all()
    assert prediction.intermediates == ()
    assert prediction.settings == tiny.config.rendering
    # One Gaussian a pixel, in the order of views, rows and columns, less than a pixel from its own pixel's ray.
    pixels, depth = views.cameras[:, 1].project(prediction.gaussians.means[:, count // 2 :], HEIGHT, WIDTH)
    torch.testing.assert_close(depth.unflatten(1, (HEIGHT, WIDTH)), prediction.depth[:, 1], atol=1e-4, rtol=1e-4)
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    assert (pixels.unflatten(1, (HEIGHT, WIDTH)) - torch.stack([x, y], dim=-1)).abs().max() <= 0.5 + 1e-3
    shown = prediction.gaussians.harmonics[:, :, 0] * 0.28209479 + 0.5
    torch.testing.assert_close(shown, views.images.movedim(2, -1).flatten(1, 3), atol=1e-5, rtol=0)
    assert prediction.gaussians.harmonics[:, :, 1:].abs().max() == 0
    assert prediction.gaussians.opacities.mean() == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_parameter_learns(generation):
    model = disturbed(**GENERATIONS[generation]).train()
    prediction = model(context(height=64, width=112))
    values = [value for name, value in tensors(prediction).items() if name != "depth"]
    # The coarse scale learns from its own depth only.
    values += [1 / each.depth for each in (*prediction.intermediates, prediction)]
    sum((value * torch.randn_like(value)).sum() for value in values).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # A bias before an instance norm cannot matter.
        assert parameter.grad.abs().max() > 0 or "downsample.0.bias" in name, name


def test_same_seed_same_network_same_prediction():
    first, second = disturbed().eval(), disturbed().eval()
    with torch.no_grad():
        assert_same(first(context()), second(context()))
        assert_same(first(context()), first(context()))


@pytest.mark.parametrize("generation", GENERATIONS)
@torch.no_grad()
def test_scenes_of_a_batch_do_not_see_each_other(generation):
    model, views = disturbed(**GENERATIONS[generation]).eval(), context(batch=3)
    together, order = model(views), torch.tensor([2, 0, 1])
    permuted = model(views[order])
    for name, value in tensors(together).items():
        torch.testing.assert_close(tensors(permuted)[name], value[order], atol=1e-4, rtol=1e-4)
    alone = model(views[:1])
    torch.testing.assert_close(alone.depth, together.depth[:1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("generation", GENERATIONS)
@torch.no_grad()
def test_a_moved_and_turned_world_moves_and_turns_the_gaussians(generation):
    model, views = disturbed(**GENERATIONS[generation]).eval(), context(views=3)
    motion = torch.eye(4)
    motion[:3, :3] = torch.linalg.qr(torch.randn(3, 3))[0]
    motion[:3, 0] *= torch.linalg.det(motion[:3, :3])
    motion[:3, 3] = torch.tensor([3.0, -2.0, 1.0])
    moved = Views(
        views.images, Cameras(motion @ views.cameras.world_from_camera, views.cameras.intrinsics), views.near, views.far
    )
    expected, found = model(views).gaussians[0].transformed(motion), model(moved).gaussians[0]
    torch.testing.assert_close(found.means, expected.means, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(found.covariances(), expected.covariances(), atol=1e-4, rtol=1e-2)
    torch.testing.assert_close(found.harmonics, expected.harmonics, atol=1e-3, rtol=0)


TWO_SCALES = {"scales": 2, "upsample": 2, "unet_channels": 64, "unet_head_width": 32}
TRAINING = {
    "one scale": ({}, 0),
    "two scales": (TWO_SCALES, 1),
    "one scale, supervised": ({"supervise_last_scale": True}, 1),
    "october 2024": (OCTOBER, 2),
}


@pytest.mark.parametrize("case", TRAINING)
def test_training_mode_adds_the_earlier_estimates(case):
    overrides, expected = TRAINING[case]
    model = disturbed(**overrides).train()
    prediction = model(context())
    assert len(prediction.intermediates) == expected
    depths = [prediction.depth, *(early.depth for early in prediction.intermediates)]
    assert all(depth.shape == prediction.depth.shape for depth in depths)
    assert not any(torch.equal(*pair) for pair in combinations(depths, 2))
    for early in prediction.intermediates:
        assert torch.equal(early.gaussians.opacities, prediction.gaussians.opacities)
        assert torch.equal(early.gaussians.harmonics, prediction.gaussians.harmonics)
        assert not torch.equal(early.gaussians.means, prediction.gaussians.means)
    model.eval()
    with torch.no_grad():
        assert model(context()).intermediates == ()


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_model_puts_its_parts_together_as_the_recorded_cases_do(generation):
    """Recorded cases see network and adapter; this is the rest of the way from there to a prediction."""
    model, views = disturbed(**GENERATIONS[generation]).train(), context(batch=2, views=3)
    adapter, prediction = model.gaussian_adapter, model(views)
    estimate = model.depth_predictor(views)
    frames = model.color_frames(views, estimate)
    raw = model.raw_gaussians(frames, 3).unflatten(0, (2, 3))
    found = [*prediction.intermediates, prediction]
    for one, depth in zip(found, estimate.depths, strict=True):
        expected = adapter.to_gaussians(adapter(raw, depth, views), views.cameras)
        for name, value in vars(expected).items():
            torch.testing.assert_close(getattr(one.gaussians, name), value, atol=1e-5, rtol=1e-5, msg=name)
        torch.testing.assert_close(one.depth, adapter.z_depth(depth, views.cameras))
    confidence = adapter.confidence(raw, frames.match_probability.unflatten(0, (2, 3)))
    assert (confidence is None) == (prediction.confidence is None) == (generation == "march 2025")
    if confidence is not None:
        torch.testing.assert_close(prediction.confidence, confidence)


@torch.no_grad()
def test_depth_only_model_predicts_the_same_depth_without_gaussians():
    full = disturbed().eval()
    depth_only = build_model("depthsplat-tiny", color=None).eval()
    state = {key: value for key, value in full.state_dict().items() if key.startswith("depth_predictor.")}
    depth_only.load_state_dict(state)
    prediction = depth_only(context())
    assert prediction.gaussians is None
    torch.testing.assert_close(prediction.depth, full(context()).depth)


@pytest.mark.parametrize("overrides", [{}, TWO_SCALES, OCTOBER], ids=["one scale", "two scales", "october 2024"])
@torch.no_grad()
def test_double_precision_is_double_all_the_way(overrides):
    model = disturbed(**overrides).eval()
    single, double = model(context()), model.double()(context().to(torch.float64))
    assert all(value.dtype == torch.float64 for value in tensors(double).values())
    torch.testing.assert_close(1 / single.depth.double(), 1 / double.depth, atol=2e-5, rtol=0)
    torch.testing.assert_close(single.gaussians.harmonics.double(), double.gaussians.harmonics, atol=1e-4, rtol=0)


@pytest.mark.parametrize("generation", GENERATIONS)
@torch.no_grad()
def test_half_precision_keeps_geometry_in_full_precision(generation):
    model = disturbed(**GENERATIONS[generation]).eval()
    exact = model(context())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(context())
    assert all(value.dtype == torch.float32 for value in tensors(rough).values())
    assert (1 / rough.depth - 1 / exact.depth).abs().median() < 0.02


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"scales": 3}, "scales 3 with upsample 4 is not supported"),
        ({"vit": "vitg"}, "no transformer preset 'vitg'"),
        ({"unet_channels": 44}, "unet_channels 44"),
        ({"transformer_depth": 2}, "transformer_depth: Extra inputs are not permitted"),
        ({"candidates": "many"}, "candidates: .* valid integer"),
    ],
)
def test_unusable_configurations_are_refused(overrides, message):
    with pytest.raises(ParameterError, match=message):
        build_model("depthsplat-tiny", **overrides)


def test_unknown_model_lists_the_zoo():
    with pytest.raises(
        ParameterError, match=r"'depthsplat-huge': is not in the zoo; expected one of .*depthsplat-tiny"
    ):
        build_model("depthsplat-huge")


SCALE_MAPS = {"2024-10": "exp", "2025-03": "pixel_linear", "2025-04": "softplus", "2025-09": "exp"}


def test_released_configurations_keep_every_quirk_and_new_training_none():
    for name in (name for name in MODELS if not name.startswith(("mvsplat", "gslrm"))):
        config = named_config(name)
        assert DepthSplatConfig.model_validate(config.model_dump()) == config
        released = name != "depthsplat-tiny"
        assert config.scrambled_window_mask == config.reference_intrinsics == released
        assert (config.rendering.near_plane_factor is not None) == released
        if config.color is not None:
            adapter = config.color.adapter
            assert adapter.released_harmonics == config.color.metric_depth_input == released
            assert adapter.scale_map == SCALE_MAPS.get(MODELS[name].released, "pixel")
            assert adapter.unit_rays == (adapter.scale_map == "exp")


COMPILE = """
import torch
from pmgs_lib.cameras import Cameras
from pmgs_lib.models import build_model
from pmgs_lib.views import Views
torch.manual_seed(0)
model = build_model("depthsplat-tiny").eval()
poses = torch.eye(4).repeat(1, 2, 1, 1)
poses[0, 1, 0, 3] = 0.3
intrinsics = torch.tensor([[0.9, 0, 0.5], [0, 0.9, 0.5], [0, 0, 1]]).repeat(1, 2, 1, 1)
views = Views(torch.rand(1, 2, 3, 64, 64), Cameras(poses, intrinsics), torch.ones(1), torch.full((1,), 9.0))
with torch.no_grad():
    eager, compiled = model(views), torch.compile(model, backend="eager", fullgraph=True)(views)
assert torch.equal(eager.depth, compiled.depth)
assert torch.equal(eager.gaussians.harmonics, compiled.gaussians.harmonics)
"""


@pytest.mark.prove
def test_the_network_is_one_graph():
    """In a process of its own: the shape checks of the tests would break the graph."""
    result = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
