"""MVSplat as a whole, at a small size: contract, geometry, learning, refusals."""

import subprocess
import sys

import pytest
import torch

from pmgs_lib._lazy import load_object
from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.models.base import Prediction
from pmgs_lib.models.matching.unet import CrossViewAttention, CrossViewUNet, ResBlock
from pmgs_lib.models.mvsplat.config import MvSplatConfig, UNetConfig
from pmgs_lib.models.mvsplat.model import MvSplat
from pmgs_lib.models.mvsplat.variants import RE10K_256X256
from pmgs_lib.rasterizers import rasterize
from pmgs_lib.views import Views

HEIGHT, WIDTH = 32, 48
SMALL = MvSplatConfig(
    cnn_channels=(16, 24, 32),
    transformer_width=32,
    transformer_blocks=2,
    feed_forward_factor=2,
    candidates=16,
    cost_unet=UNetConfig(channels=32, levels=3),
    refine_unet=UNetConfig(channels=16, levels=4),
    unet_head_width=16,
    harmonics_degree=1,
)


def context(batch: int = 1, views: int = 2, height: int = HEIGHT, width: int = WIDTH) -> Views:
    generator = torch.Generator().manual_seed(5)
    poses = torch.eye(4).repeat(batch, views, 1, 1)
    poses[..., :3, 3] = 0.2 * torch.randn(batch, views, 3, generator=generator)
    turn = 0.1 * torch.randn(batch, views, 3, 3, generator=generator)
    poses[..., :3, :3] = torch.linalg.matrix_exp(turn - turn.mT)
    intrinsics = torch.tensor([[0.9, 0.0, 0.48], [0.0, 1.2, 0.52], [0.0, 0.0, 1.0]]).repeat(batch, views, 1, 1)
    images = torch.rand(batch, views, 3, height, width, generator=generator)
    return Views(images, Cameras(poses, intrinsics), torch.full((batch,), 0.5), torch.full((batch,), 20.0))


def disturbed(**overrides) -> MvSplat:
    """A small network none of whose parameters is at its special first value."""
    torch.manual_seed(1)
    model = MvSplat(SMALL.model_copy(update=overrides))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def tensors(prediction: Prediction) -> dict[str, torch.Tensor]:
    return vars(prediction.gaussians) | {"depth": prediction.depth}


@torch.no_grad()
def test_one_gaussian_for_each_pixel_near_its_ray_and_at_its_depth():
    model, views = disturbed().eval(), context(batch=2)
    prediction = model(views)
    count = 2 * HEIGHT * WIDTH
    assert prediction.gaussians.means.shape == (2, count, 3)
    assert prediction.gaussians.degree == 1
    assert prediction.intermediates == ()
    assert prediction.settings == model.config.rendering
    assert (prediction.depth >= 0.5 - 1e-5).all()
    assert (prediction.depth <= 20 + 1e-3).all()
    pixels, depth = views.cameras[:, 1].project(prediction.gaussians.means[:, count // 2 :], HEIGHT, WIDTH)
    torch.testing.assert_close(depth.unflatten(1, (HEIGHT, WIDTH)), prediction.depth[:, 1], atol=1e-4, rtol=1e-4)
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    assert (pixels.unflatten(1, (HEIGHT, WIDTH)) - torch.stack([x, y], dim=-1)).abs().max() <= 0.5 + 1e-3


@torch.no_grad()
def test_scales_lie_between_their_bounds_in_pixels():
    views = context()
    prediction = disturbed().eval()(views)
    focal = views.cameras.pixel_intrinsics(HEIGHT, WIDTH)[0, 0].diagonal()[:2]
    footprint = prediction.depth.flatten()[:, None] * (1 / focal).mean()
    ratio = prediction.gaussians.scales[0] / footprint
    assert ratio.min() >= SMALL.scale_min
    assert ratio.max() <= SMALL.scale_max
    assert ratio.max() > 1.5 * ratio.min()


@torch.no_grad()
def test_unit_rays_take_matched_depth_for_the_length_of_the_ray():
    views = context()
    straight, along = disturbed().eval()(views), disturbed(unit_rays=True).eval()(views)
    center = views.cameras.centers[:, :, None, None]
    matched = straight.depth
    distance = (along.gaussians.means.unflatten(1, (2, HEIGHT, WIDTH)) - center).norm(dim=-1)
    torch.testing.assert_close(distance, matched, atol=1e-5, rtol=1e-5)
    # Its depth is that of the points on the rays through pixel centres, so unprojecting it gives this distance back.
    points = views.cameras.unproject(along.depth)
    torch.testing.assert_close((points - center).norm(dim=-1), matched, atol=1e-5, rtol=1e-5)
    assert (along.depth < matched).all()


def test_a_step_of_training_is_finite_everywhere_and_helps_as_much_as_its_gradient_says():
    torch.manual_seed(3)
    model, views = MvSplat(SMALL).train(), context(batch=2)
    rate = 0.03

    def loss() -> torch.Tensor:
        gaussians = model(views).gaussians
        rendering = rasterize(gaussians, views.cameras, HEIGHT, WIDTH, backend="cpu")
        return (rendering.color - views.images).square().mean()

    before = loss()
    before.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    expected = rate * sum(parameter.grad.square().sum().item() for parameter in model.parameters())
    torch.optim.SGD(model.parameters(), lr=rate).step()
    with torch.no_grad():
        assert before.item() - loss().item() == pytest.approx(expected, rel=0.3)


def test_every_parameter_learns():
    model = disturbed().train()
    prediction = model(context(height=64, width=64))
    values = [value for name, value in tensors(prediction).items() if name != "depth"]
    sum((value * torch.randn_like(value)).sum() for value in [*values, 1 / prediction.depth]).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
        # A bias before an instance norm cannot matter.
        assert parameter.grad.abs().max() > 0 or "downsample.0.bias" in name, name


def test_recomputed_attention_has_the_same_gradients():
    gradients = []
    for checkpointed in (False, True):
        model = disturbed(checkpoint_attention=checkpointed).train()
        model(context()).depth.sum().backward()
        gradients.append([parameter.grad for parameter in model.backbone.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_scenes_of_a_batch_do_not_see_each_other():
    model, views = disturbed().eval(), context(batch=3)
    together = model(views)
    for number in range(3):
        alone = model(views[number : number + 1])
        for name, value in tensors(together).items():
            torch.testing.assert_close(tensors(alone)[name][0], value[number], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_order_of_views_does_not_matter_to_each_view():
    model, views = disturbed().eval(), context(views=4)
    order = torch.tensor([3, 1, 0, 2])
    turned = Views(views.images[:, order], views.cameras[:, order], views.near, views.far)
    torch.testing.assert_close(model(turned).depth, model(views).depth[:, order], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("unit_rays", [False, True])
@torch.no_grad()
def test_a_moved_and_turned_world_moves_and_turns_the_gaussians(unit_rays):
    model, views = disturbed(unit_rays=unit_rays).eval(), context(views=3)
    motion = torch.eye(4)
    motion[:3, :3] = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.9, 0.4], [0.9, 0.0, -0.7], [-0.4, 0.7, 0.0]]))
    motion[:3, 3] = torch.tensor([3.0, -2.0, 1.0])
    moved = Views(
        views.images, Cameras(motion @ views.cameras.world_from_camera, views.cameras.intrinsics), views.near, views.far
    )
    expected, found = model(views).gaussians[0].transformed(motion), model(moved).gaussians[0]
    torch.testing.assert_close(found.means, expected.means, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(found.covariances(), expected.covariances(), atol=1e-4, rtol=1e-2)
    torch.testing.assert_close(found.harmonics, expected.harmonics, atol=1e-3, rtol=0)


@torch.no_grad()
def test_double_precision_is_double_all_the_way():
    model = disturbed().eval()
    single, double = model(context()), model.double()(context().to(torch.float64))
    assert all(value.dtype == torch.float64 for value in tensors(double).values())
    torch.testing.assert_close(1 / single.depth.double(), 1 / double.depth, atol=2e-5, rtol=0)
    torch.testing.assert_close(single.gaussians.harmonics.double(), double.gaussians.harmonics, atol=1e-4, rtol=0)


@torch.no_grad()
def test_half_precision_keeps_geometry_in_full_precision():
    model = disturbed().eval()
    exact = model(context())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(context())
    assert all(value.dtype == torch.float32 for value in tensors(rough).values())
    assert (1 / rough.depth - 1 / exact.depth).abs().median() < 0.02
    assert not torch.equal(rough.depth, exact.depth)


@pytest.mark.parametrize(
    ("size", "overrides"),
    [((64, 32), {}), ((48, 80), {}), ((16, 32), {}), ((64, 96), {"downscale": 8})],
    ids=["portrait", "wide", "smallest", "matching at an eighth"],
)
@torch.no_grad()
def test_portrait_and_other_sizes(size, overrides):
    assert disturbed(**overrides).eval()(context(height=size[0], width=size[1])).depth.shape[-2:] == size


@pytest.mark.parametrize(
    ("views", "message"),
    [
        (context(views=1), "MvSplat: 1 context view; expected at least 2"),
        (
            context(height=60),
            "MvSplat: images of 60 x 48; expected multiples of 16: crop or resize them, for example to 48 x 48",
        ),
        (context()[0], r"MvSplat: images of .* batch shape \(\); expected \(batch,\)"),
        (
            Views(context().images, context().cameras, torch.ones(1), torch.ones(1)),
            r"MvSplat: depth ranges 1\.\.1; expected",
        ),
    ],
    ids=["one view", "odd size", "no batch", "empty range"],
)
def test_unusable_views_are_refused(views, message):
    with pytest.raises(ParameterError, match=message):
        MvSplat(SMALL)(views)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"unet_head_width": 20}, "cost_unet of width 128 does not divide by unet_head_width 20"),
        ({"scale_min": 4.0}, "scale_min 4.0 and scale_max 3.0: expected min < max"),
        ({"downscale": 2}, "Input should be 4 or 8"),
        ({"refine_unet": {"channels": 20, "levels": 3}}, "multiple of 8"),
        ({"depth": 3}, "Extra inputs are not permitted"),
    ],
)
def test_unusable_configurations_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        MvSplatConfig.model_validate(fields)


def test_released_configuration_keeps_every_quirk_and_new_training_none():
    for config, released in ((RE10K_256X256, True), (MvSplatConfig(), False)):
        assert MvSplatConfig.model_validate(config.model_dump()) == config
        assert config.scrambled_window_mask == config.reference_intrinsics == released
        assert config.unit_rays == config.released_harmonics == released
        assert (config.rendering.near_plane_factor is not None) == released
        assert config.multiple == 16


def test_is_found_by_the_addresses_of_its_parts():
    assert load_object("pmgs_lib.models.mvsplat.config:MvSplatConfig") is MvSplatConfig
    assert load_object("pmgs_lib.models.mvsplat.model:MvSplat") is MvSplat
    assert load_object("pmgs_lib.models.mvsplat:MvSplat") is MvSplat


@torch.no_grad()
def test_normalising_after_the_convolution_starts_as_the_shortcut(rng):
    x = torch.randn(4, 16, 8, 8, generator=rng)
    assert torch.equal(ResBlock(16, 16, post_norm=True)(x), x)
    assert torch.equal(CrossViewAttention(16, 8, checkpointed=False, post_norm=True)(x, 2), x)
    unet = CrossViewUNet(16, (1, 1, 1), 8, post_norm=True)
    assert unet(x, 2).shape == x.shape
    assert unet(x, 2).std() > 0.1


COMPILE = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
from test_mvsplat import context, disturbed
model, views = disturbed(unit_rays=True, released_harmonics=True).eval(), context()
with torch.no_grad():
    eager, compiled = model(views), torch.compile(model, backend="eager", fullgraph=True)(views)
assert torch.equal(eager.depth, compiled.depth)
torch.testing.assert_close(eager.gaussians.harmonics, compiled.gaussians.harmonics, atol=1e-6, rtol=0)
"""


@pytest.mark.prove
def test_the_network_is_one_graph():
    """In a process of its own: the shape checks of the tests would break the graph."""
    arguments = [sys.executable, "-c", COMPILE, str(__file__).rpartition("/")[0]]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
