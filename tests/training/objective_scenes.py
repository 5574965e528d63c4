"""Small scenes to try an objective on: random Gaussians before cameras, with everything a term may ask for."""

from collections.abc import Callable
from dataclasses import fields, replace

import torch

from pmgs_lib import Cameras, Example, Gaussians, Views
from pmgs_lib.models.base import Prediction
from pmgs_lib.rasterizers.base import RenderingSettings

HEIGHT, WIDTH, CONTEXTS, TARGETS = 5, 7, 2, 3
SETTINGS = RenderingSettings(near_plane_factor=0.2, max_degree=0, background=(0.1, 0.3, 0.2))


def random_gaussians(rng: torch.Generator, scenes: int, dtype: torch.dtype) -> Gaussians:
    """As many Gaussians as the context has pixels, in front of all cameras, of harmonics of degree 1."""
    count = CONTEXTS * HEIGHT * WIDTH

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(scenes, count, *shape, generator=rng, dtype=torch.float64).to(dtype)

    means = (draw(3) - 0.5) * torch.tensor([2.0, 1.5, 1.0], dtype=dtype) + torch.tensor([0.0, 0.0, 3.0], dtype=dtype)
    quaternions = draw(4) + 0.1
    return Gaussians(means, 0.03 + 0.2 * draw(3), quaternions, 0.1 + 0.8 * draw(), draw(4, 3) - 0.3)


def random_views(rng: torch.Generator, scenes: int, count: int, dtype: torch.dtype) -> Views:
    poses = torch.eye(4, dtype=dtype).repeat(scenes, count, 1, 1)
    poses[..., :3, 3] = 0.2 * torch.randn(scenes, count, 3, generator=rng, dtype=torch.float64).to(dtype)
    intrinsics = torch.tensor([[0.8, 0, 0.5], [0, 1.2, 0.5], [0, 0, 1]], dtype=dtype).repeat(scenes, count, 1, 1)
    images = torch.rand(scenes, count, 3, HEIGHT, WIDTH, generator=rng, dtype=torch.float64).to(dtype)
    depth = 2 + torch.rand(scenes, count, HEIGHT, WIDTH, generator=rng, dtype=torch.float64).to(dtype)
    depth[:, 0, 0, 0] = 0.0  # unknown
    near = torch.linspace(0.5, 0.6, scenes, dtype=dtype)
    return Views(images, Cameras(poses, intrinsics), near, torch.full((scenes,), 20.0, dtype=dtype), depth)


def random_example(rng: torch.Generator, scenes: int = 2, dtype: torch.dtype = torch.float64) -> Example:
    keys = tuple(f"scene {number}" for number in range(scenes))
    views = (random_views(rng, scenes, count, dtype) for count in (CONTEXTS, TARGETS))
    return Example(*views, keys)


def random_prediction(
    rng: torch.Generator, scenes: int = 2, dtype: torch.dtype = torch.float64, intermediates: int = 0
) -> Prediction:
    shape = (scenes, CONTEXTS, HEIGHT, WIDTH)
    stages = [
        Prediction(
            random_gaussians(rng, scenes, dtype),
            1 + 3 * torch.rand(shape, generator=rng, dtype=torch.float64).to(dtype),
            SETTINGS,
        )
        for _ in range(intermediates + 1)
    ]
    return replace(stages[-1], intermediates=tuple(stages[:-1]))


def selected(prediction: Prediction, scenes: list[int]) -> Prediction:
    """Some scenes of a prediction, in that order."""
    return replace(
        prediction,
        gaussians=None if prediction.gaussians is None else prediction.gaussians[scenes],
        depth=None if prediction.depth is None else prediction.depth[scenes],
        intermediates=tuple(selected(stage, scenes) for stage in prediction.intermediates),
    )


def selected_example(example: Example, scenes: list[int]) -> Example:
    return Example(example.context[scenes], example.target[scenes], tuple(example.key[number] for number in scenes))


def as_leaves(prediction: Prediction) -> tuple[Prediction, list[torch.Tensor]]:
    """The prediction over tensors that collect gradients, and these tensors."""
    leaves: list[torch.Tensor] = []

    def leaf(value: torch.Tensor) -> torch.Tensor:
        leaves.append(value.detach().clone().requires_grad_())
        return leaves[-1]

    def over_leaves(stage: Prediction) -> Prediction:
        gaussians = Gaussians(*(leaf(getattr(stage.gaussians, field.name)) for field in fields(Gaussians)))
        return replace(stage, gaussians=gaussians, depth=leaf(stage.depth))

    earlier = tuple(over_leaves(stage) for stage in prediction.intermediates)
    return replace(over_leaves(prediction), intermediates=earlier), leaves


def gradients(loss: Callable[[Prediction], torch.Tensor], prediction: Prediction) -> list[torch.Tensor]:
    """Gradients of a scalar at every tensor of the prediction, 0 where it does not depend on it."""
    prediction, leaves = as_leaves(prediction)
    loss(prediction).backward()
    return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
