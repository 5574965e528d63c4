"""Descent on points themselves, without a model between: what a loss asks for when nothing stands in its way."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.errors import ParameterError, TrainingError


@dataclass(frozen=True)
class Descent:
    """Where the points went. losses, sizes (root mean square distance from the mean point): before each step, and after
    the last one.
    """

    points: Float[Tensor, "*batch point 3"]
    losses: tuple[float, ...]
    sizes: tuple[float, ...]


def descend(
    loss: Callable[[Tensor], Tensor],
    points: Float[Tensor, "*batch point 3"],
    *,
    steps: int,
    first_move: float,
    directions: Float[Tensor, "*batch point 3"] | None = None,
) -> Descent:
    """Plain gradient descent on the points, or on how far each lies along its direction (on depth, for camera rays).

    first_move: how far the first step moves points in the mean, in their unit; it sets the one step length of all
    steps, so that losses in different units compare. Raises `TrainingError` when loss or gradient are not finite.
    """
    if steps < 0 or not first_move > 0:
        raise ParameterError(f"descend: {steps} steps and first_move {first_move}, expected steps >= 0, first_move > 0")
    points = points.detach()
    offset = torch.zeros_like(points) if directions is None else torch.zeros_like(points[..., :1])
    along = 1.0 if directions is None else directions
    losses, sizes, rate = [], [], None
    for step in range(steps + 1):
        offset.requires_grad_()
        moved = points + offset * along
        value = loss(moved)
        (gradient,) = torch.autograd.grad(value, offset)
        if not (value.isfinite() and gradient.isfinite().all()):
            raise TrainingError(
                f"descend: loss {value.item()} or its gradient at step {step} is not finite; look at both"
            )
        losses.append(value.item())
        sizes.append(_size(moved.detach()))
        rate = rate or _rate(gradient * along, first_move)
        if step < steps:
            offset = (offset - rate * gradient).detach()
    return Descent(moved.detach(), tuple(losses), tuple(sizes))


def pull(loss: Callable[[Tensor], Tensor], points: Float[Tensor, "*batch point 3"]) -> Float[Tensor, "*batch point 3"]:
    """Where a step against the gradient takes each point, times the number of points: for a mean of squares, twice the
    way to what each is compared with.
    """
    points = points.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(points), points)
    return -gradient * (points.numel() // 3)


def _rate(gradient: Tensor, first_move: float) -> float:
    """Step length for that mean movement; 0 where there is nothing to descend."""
    mean = gradient.norm(dim=-1).mean().item()
    return first_move / mean if mean > 0 else 0.0


def _size(points: Tensor) -> float:
    flat = points.reshape(-1, 3)
    return (flat - flat.mean(0)).square().sum(-1).mean().sqrt().item()
