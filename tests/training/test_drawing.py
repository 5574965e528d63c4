"""Targets drawn one at a time, in one target's memory, are those drawn at once; what is not finite never vanishes."""

import weakref
from dataclasses import replace

import pytest
import torch
from objective_scenes import (
    TARGETS,
    as_leaves,
    gradients,
    random_example,
    random_prediction,
    selected,
    selected_example,
)
from torch.testing import assert_close

from pmgs_lib import Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.rasterizers import cpu
from pmgs_lib.rasterizers.base import RenderingSettings
from pmgs_lib.training.config import ObjectiveConfig
from pmgs_lib.training.drawing import draw_targets
from pmgs_lib.training.objective import Objective

FIELDS = ("means", "scales", "quaternions", "opacities", "harmonics")
EXACT = {"reference": (torch.float64, 1e-12), "cpu": (torch.float32, 1e-5)}


class Blurred(torch.nn.Module):
    """A perceptual term that mixes neighbouring pixels."""

    def forward(self, rendered, true):
        return torch.nn.functional.avg_pool2d(rendered - true, 3, stride=1).abs().mean()


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("options", [{}, {"near_plane_factor": 0.2, "max_degree": 0, "background": (0.1, 0.5, 0.9)}])
def test_deferred_equals_kept(backend, options, rng):
    dtype, tolerance = EXACT[backend]
    example = random_example(rng, dtype=dtype)
    prediction = random_prediction(rng, dtype=dtype, intermediates=1)
    settings = RenderingSettings(**options)
    stages = [replace(stage, settings=settings) for stage in prediction.intermediates]
    prediction = replace(prediction, settings=settings, intermediates=tuple(stages))
    values, found = [], []
    for rendering in ("kept", "deferred"):
        config = ObjectiveConfig(perceptual_weight=0.7, rendering=rendering, rasterizer=backend)
        objective = Objective(config, perceptual=Blurred())
        values.append(objective(prediction, example, 0).total)
        found.append(gradients(lambda p, objective=objective: objective(p, example, 0).total, prediction))
    assert_close(values[1], values[0], rtol=tolerance, atol=0)
    for deferred, kept in zip(found[1], found[0], strict=True):
        assert_close(deferred, kept, rtol=tolerance, atol=tolerance * kept.abs().max().item())
    assert sum(bool(gradient.any()) for gradient in found[0]) == 10


def test_the_gradient_is_right(rng):
    prediction, example = random_prediction(rng, scenes=1), random_example(rng, scenes=1)
    weights = torch.randn(example.target.images.shape, generator=rng, dtype=torch.float64)

    def loss(p):
        return (draw_targets(p, example.target, backend="reference", deferred=True) * weights).sum()

    found = gradients(loss, prediction)[0]
    step = 1e-6 * torch.randn(prediction.gaussians.means.shape, generator=rng, dtype=torch.float64)
    moved = [
        replace(prediction, gaussians=replace(prediction.gaussians, means=prediction.gaussians.means + sign * step))
        for sign in (1, -1)
    ]
    assert_close((found * step).sum(), (loss(moved[0]) - loss(moved[1])) / 2, rtol=1e-5, atol=0)


@pytest.mark.parametrize("deferred", [False, True])
def test_how_many_targets_are_held_at_a_time(deferred, rng, monkeypatch):
    """Counts the lists of the rasterizer itself: they are no tensors, so no hook on saved tensors sees them."""
    alive, most, draw = weakref.WeakSet(), 0, cpu._draw

    class Held:
        """Lives as long as the array it is tied to."""

    def counted(*arguments):
        nonlocal most
        splats, tiles = draw(*arguments)
        held = Held()
        alive.add(held)
        weakref.finalize(splats.shapes, lambda held: None, held)
        most = max(most, len(alive))
        return splats, tiles

    monkeypatch.setattr(cpu, "_draw", counted)
    prediction, _ = as_leaves(random_prediction(rng, dtype=torch.float32))
    target = random_example(rng, dtype=torch.float32).target
    color = draw_targets(prediction, target, backend="cpu", deferred=deferred)
    (color * color).sum().backward()
    assert most == (1 if deferred else 2 * TARGETS)


def saved_bytes(prediction, target, deferred: bool) -> int:
    """What the graph of the pictures holds, every tensor once."""
    seen = {}

    def note(tensor):
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        color = draw_targets(prediction, target, backend="reference", deferred=deferred)
    assert color.requires_grad
    return sum(seen.values())


def test_what_is_saved_does_not_grow_with_the_targets(rng):
    prediction, leaves = as_leaves(random_prediction(rng, scenes=1))
    own = sum(leaf.nbytes for leaf in leaves[:5])
    target = random_example(rng, scenes=1).target
    one = replace(target, images=target.images[:, :1], cameras=target.cameras[:, :1], depth=None)
    kept = [saved_bytes(prediction, views, False) for views in (one, target)]
    deferred = [saved_bytes(prediction, views, True) for views in (one, target)]
    assert kept[1] - kept[0] > 100_000
    assert own <= deferred[1] <= own + 100  # and one flag a scene
    assert deferred[1] - deferred[0] == 0


@pytest.mark.parametrize("rendering", ["kept", "deferred"])
@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("where", [*FIELDS, "images", "world_from_camera", "intrinsics", "near"])
def test_what_is_not_finite_surfaces_in_its_scene(where, backend, rendering, rng):
    dtype = EXACT[backend][0]
    prediction, example = random_prediction(rng, dtype=dtype), random_example(rng, dtype=dtype)
    objective = Objective(ObjectiveConfig(rendering=rendering, rasterizer=backend))
    target, gaussians = example.target, prediction.gaussians
    spoilt = {
        **{name: getattr(gaussians, name).clone() for name in FIELDS},
        **{name: getattr(target, name).clone() for name in ("images", "near")},
        **{name: getattr(target.cameras, name).clone() for name in ("world_from_camera", "intrinsics")},
    }
    spoilt[where][1].view(-1)[3 if spoilt[where][1].numel() > 3 else 0] = torch.nan
    prediction = replace(prediction, gaussians=type(gaussians)(*(spoilt[name] for name in FIELDS)))
    cameras = Cameras(spoilt["world_from_camera"], spoilt["intrinsics"])
    example = replace(example, target=replace(target, images=spoilt["images"], near=spoilt["near"], cameras=cameras))
    loss = objective(prediction, example, 0)
    assert loss.terms["photometric"].isnan()
    assert loss.per_scene["photometric"].isnan().tolist() == [False, True]
    alone = objective(selected(prediction, [0]), selected_example(example, [0]), 0)
    assert_close(loss.per_scene["photometric"][:1], alone.per_scene["photometric"])


def test_all_scenes_broken_and_other_refusals(rng):
    prediction, example = random_prediction(rng), random_example(rng)
    means = torch.full_like(prediction.gaussians.means, torch.nan)
    broken = replace(prediction, gaussians=replace(prediction.gaussians, means=means))
    assert draw_targets(broken, example.target, backend="reference").isnan().all()
    zero = replace(prediction.gaussians, quaternions=torch.zeros_like(prediction.gaussians.quaternions))
    with pytest.raises(ParameterError, match="quaternion of zero length"):
        draw_targets(replace(prediction, gaussians=zero), example.target, backend="reference")
