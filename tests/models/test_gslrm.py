"""GS-LRM as a whole, at a small size: contract, symmetries, learning."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from gslrm_views import FAR, HEIGHT, NEAR, SMALL, WIDTH, context, differences, lively, reordered, tensors, with_poses

from pmgs_lib.gaussians import Gaussians
from pmgs_lib.models.acceleration import accelerate
from pmgs_lib.models.gslrm import Gslrm
from pmgs_lib.models.gslrm.variants import GSLRM_TINY
from pmgs_lib.rasterizers import rasterize

# float32's rounding after a small network, as a relative L2 difference.
ROUNDING = 2e-5


def motion() -> torch.Tensor:
    """A rigid motion of the world."""
    pose = torch.eye(4)
    pose[:3, :3] = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.9, 0.4], [0.9, 0.0, -0.7], [-0.4, 0.7, 0.0]]))
    pose[:3, 3] = torch.tensor([3.0, -2.0, 1.0])
    return pose


@pytest.mark.parametrize("pose_normalisation", ["unit_box", "unofficial", "none"])
@torch.no_grad()
def test_one_gaussian_for_each_pixel_on_its_ray_and_at_its_depth(pose_normalisation):
    model, views = lively(pose_normalisation=pose_normalisation).eval(), context(batch=2)
    prediction = model(views)
    count = 2 * HEIGHT * WIDTH
    assert prediction.gaussians.means.shape == (2, count, 3)
    assert prediction.gaussians.degree == 1
    assert (prediction.intermediates, prediction.settings) == ((), model.config.rendering)
    for view in range(2):
        means = prediction.gaussians.means.unflatten(1, (2, -1))[:, view]
        pixels, depth = views.cameras[:, view].project(means, HEIGHT, WIDTH)
        torch.testing.assert_close(depth.unflatten(1, (HEIGHT, WIDTH)), prediction.depth[:, view], atol=1e-3, rtol=1e-4)
        y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
        assert (pixels.unflatten(1, (HEIGHT, WIDTH)) - torch.stack([x, y], dim=-1)).abs().max() < 1e-2


@torch.no_grad()
def test_distances_along_the_rays_lie_in_the_range_of_each_rule():
    views = context()
    length = {}
    for rule in ("fixed", "views", "baseline"):
        model = lively(distance_range=rule, pose_normalisation="none", nearest=2.0, farthest=5.0)
        means = model(views).gaussians.means.unflatten(1, (2, -1))
        length[rule] = (means - views.cameras.centers[:, :, None]).norm(dim=-1)
    for rule, (nearest, farthest) in {"fixed": (2.0, 5.0), "views": (NEAR, FAR)}.items():
        assert nearest - 1e-4 <= length[rule].min() < length[rule].max() <= farthest + 1e-4
        weight = (length[rule] - nearest) / (farthest - nearest)
        # One network, one weight: the rules share it.
        torch.testing.assert_close(weight, (length["fixed"] - 2) / 3, atol=1e-5, rtol=0)
    assert length["baseline"].max() / length["baseline"].min() > 1.2


@torch.no_grad()
def test_scales_and_opacities_start_where_the_biases_say():
    prediction = Gslrm(SMALL)(context())
    frame = Gslrm(SMALL).frame(context().cameras)
    inside = prediction.gaussians.scales * frame.scale
    assert inside.max() <= SMALL.scale_max
    torch.testing.assert_close(inside.median(), torch.tensor(-2.3).exp(), atol=0, rtol=0.2)
    torch.testing.assert_close(prediction.gaussians.opacities.median(), torch.tensor(-2.0).sigmoid(), atol=0, rtol=0.2)
    torch.testing.assert_close(
        prediction.gaussians.quaternions.norm(dim=-1), torch.ones(1, 2 * HEIGHT * WIDTH), atol=1e-5, rtol=0
    )


# --- symmetries -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_views_in_another_order_give_the_same_in_that_order():
    model, views, order = lively().eval(), context(batch=2, views=4), [3, 1, 0, 2]

    def by_view(prediction):
        parts = [x.unflatten(1, (4, -1)) for x in vars(prediction.gaussians).values()]
        return [*parts, prediction.depth]

    for found, expected in zip(by_view(model(reordered(views, order))), by_view(model(views)), strict=True):
        torch.testing.assert_close(found, expected[:, order], atol=2e-3, rtol=1e-3)


@torch.no_grad()
def test_only_the_unofficial_pose_normalisation_looks_at_the_order_and_not_for_two_views():
    model = lively(pose_normalisation="unofficial").eval()
    for views, order, same in ((2, [1, 0], True), (3, [2, 1, 0], False)):
        given = context(views=views)
        depth = model(reordered(given, order)).depth
        assert torch.allclose(depth, model(given).depth[:, order], rtol=1e-3) == same


@pytest.mark.parametrize("pose_normalisation", ["unit_box", "unofficial"])
@torch.no_grad()
def test_a_moved_and_turned_world_moves_and_turns_the_prediction(pose_normalisation):
    model, views = lively(pose_normalisation=pose_normalisation).eval(), context(views=3)
    before, after = model(views), model(with_poses(views, motion() @ views.cameras.world_from_camera))
    moved = before.gaussians[0].transformed(motion())
    expected = replace(before, gaussians=Gaussians(*(value[None] for value in vars(moved).values())))
    found = differences(after, expected)
    assert max(found.values()) < 20 * ROUNDING, found


@torch.no_grad()
def test_without_pose_normalisation_the_network_sees_the_world():
    model, views = lively(pose_normalisation="none").eval(), context()
    moved = model(with_poses(views, motion() @ views.cameras.world_from_camera))
    assert not torch.allclose(moved.depth, model(views).depth, rtol=1e-2)


@torch.no_grad()
def test_a_larger_world_gives_larger_gaussians_further_away():
    model, views = lively().eval(), context(batch=2, views=3)
    poses = views.cameras.world_from_camera.clone()
    poses[..., :3, 3] *= 7
    before, after = model(views), model(with_poses(views, poses))
    for name, value in tensors(before).items():
        times = 7 if name in ("means", "scales", "depth") else 1
        difference = (tensors(after)[name] - times * value).norm() / (times * value).norm()
        assert difference < 20 * ROUNDING, name


@torch.no_grad()
def test_pictures_in_the_frame_and_in_the_world_are_the_same():
    """Rendering is where all of it meets: means, scales, rotations and view-dependent colour."""
    model, views = lively(farthest=8.0).eval(), context(views=2)
    frame = model.frame(views.cameras)
    inside_views = with_poses(views, frame.cameras_inside(views.cameras).world_from_camera)
    inside = lively(farthest=8.0, pose_normalisation="none").eval()(inside_views).gaussians
    color = rasterize(inside, inside_views.cameras, HEIGHT, WIDTH, backend="cpu").color
    assert color.std() > 0.02
    found = rasterize(model(views).gaussians, views.cameras, HEIGHT, WIDTH, backend="cpu").color
    torch.testing.assert_close(found, color, atol=2e-3, rtol=0)


@torch.no_grad()
def test_scenes_of_a_batch_do_not_see_each_other():
    model, views = lively().eval(), context(batch=3)
    together = model(views)
    for number in range(3):
        alone = model(views[number : number + 1])
        for name, value in tensors(together).items():
            torch.testing.assert_close(tensors(alone)[name][0], value[number], atol=1e-3, rtol=1e-4)


@torch.no_grad()
def test_each_view_sees_the_others():
    model, views = lively().eval(), context()
    changed = views.images.clone()
    changed[:, 1] = 0
    other = model(replace(views, images=changed))
    assert not torch.allclose(other.depth[:, 0], model(views).depth[:, 0], rtol=1e-2)


# --- precision and learning -------------------------------------------------------------------------------------------


@torch.no_grad()
def test_double_precision_is_double_all_the_way():
    model = lively().eval()
    single, double = model(context()), model.double()(context().to(torch.float64))
    assert all(value.dtype == torch.float64 for value in tensors(double).values())
    assert max(differences(single, double).values()) < ROUNDING


@torch.no_grad()
def test_half_precision_is_for_the_transformer_only():
    model = lively().eval()
    seen = {}
    for name in ("tokenizer", "attn_processor.blocks.1.mlp.fc2", "attn_processor", "token_decoder"):
        model.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out.dtype}))
    exact = model(context())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(context())
    assert seen.pop("attn_processor.blocks.1.mlp.fc2") == torch.bfloat16
    assert set(seen.values()) == {torch.float32}
    assert all(value.dtype == torch.float32 for value in tensors(rough).values())
    found = differences(rough, exact)
    # Recorded of the unofficial code: 2e-3 (means) to 5e-3 (harmonics).
    assert 0 < max(found.values()) < 3e-2, found


@pytest.mark.parametrize("normed", [False, True])
def test_every_parameter_learns(normed):
    model = lively(normalise_tokens=normed, normalise_queries=normed, farthest=10.0, scale_max=1e6).train()
    sum((value * torch.randn_like(value)).sum() for value in tensors(model(context(batch=2))).values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_a_step_of_training_is_finite_everywhere_and_helps_as_much_as_its_gradient_says():
    model, views = lively(farthest=8.0, opacity_bias=0.0).train(), context(batch=2)
    rate = 0.01

    def loss() -> torch.Tensor:
        rendering = rasterize(model(views).gaussians, views.cameras, HEIGHT, WIDTH, backend="cpu")
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


def test_recomputed_blocks_have_the_same_gradients():
    gradients, calls = [], []
    for recomputed in (False, True):
        model = lively(checkpoint_blocks=recomputed).train()
        model.attn_processor.blocks[0].norm1.register_forward_hook(lambda *_, kind=recomputed: calls.append(kind))
        model(context()).depth.square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert calls == [False, True, True]  # kept once, and once again in the backward pass
    for kept, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, kept, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_the_fast_setting_predicts_the_same():
    model, views = lively().eval(), context(views=3)
    fast = accelerate(model, precision="float32", compile=False, views_at_once=1)
    assert max(differences(fast(views), model(views)).values()) < ROUNDING


# --- long forms -------------------------------------------------------------------------------------------------------


COMPILE = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
from gslrm_views import context, lively
model, views = lively(normalise_queries=True).eval(), context()
with torch.no_grad():
    eager, compiled = model(views), torch.compile(model, backend="eager", fullgraph=True)(views)
torch.testing.assert_close(eager.depth, compiled.depth, atol=1e-5, rtol=1e-5)
torch.testing.assert_close(eager.gaussians.harmonics, compiled.gaussians.harmonics, atol=1e-6, rtol=0)
"""


@pytest.mark.prove
def test_the_network_is_one_graph():
    """In a process of its own: the shape checks of the tests would break the graph."""
    arguments = [sys.executable, "-c", COMPILE, str(__file__).rpartition("/")[0]]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.prove
def test_one_pair_is_learnt_by_heart():
    """A smooth picture seen twice: 150 steps take the error far below that of one grey."""
    torch.manual_seed(2)
    config = GSLRM_TINY.model_copy(update={"width": 96, "layers": 2})
    model, views = Gslrm(config).train(), context(height=32, width=48)
    smooth = torch.nn.functional.interpolate(views.images[0, :, :, ::8, ::8], size=(32, 48), mode="bicubic")
    views = replace(views, images=smooth.clamp(0, 1)[None])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0)
    losses = []
    for _ in range(150):
        rendering = rasterize(model(views).gaussians, views.cameras, 32, 48, backend="cpu")
        loss = (rendering.color - views.images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    grey = views.images.var(unbiased=False).item()
    assert min(losses[-10:]) < 0.3 * grey, losses[::15]
    assert losses[-1] < 0.2 * losses[0], losses[::15]
