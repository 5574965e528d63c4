"""Fewer Gaussians for the same picture: the least opaque are left out, and counted."""

from dataclasses import dataclass

from pmgs_lib.errors import ParameterError
from pmgs_lib.gaussians import Gaussians


@dataclass(frozen=True)
class Pruned:
    """What is left of a scene, in the same order, and how many Gaussians were left out."""

    gaussians: Gaussians
    removed: int

    @property
    def kept(self) -> int:
        return self.gaussians.count


def pruned(gaussians: Gaussians, *, minimum_opacity: float | None = None, keep_share: float | None = None) -> Pruned:
    """One unbatched scene without its least opaque Gaussians, for inference: what is left has no gradient to the rest.

    Give one of two: minimum_opacity keeps those at least so opaque; keep_share, in (0, 1], keeps that share of all,
    the most opaque ones (Long-LRM). Anything else raises `ParameterError`.

    >>> import torch
    >>> opacities = torch.tensor([0.1, 0.9, 0.5, 0.2])
    >>> scene = Gaussians(*(torch.rand(4, n) for n in (3, 3, 4)), opacities, torch.rand(4, 1, 3))
    >>> pruned(scene, keep_share=0.5).gaussians.opacities
    tensor([0.9000, 0.5000])
    """
    _check(gaussians, minimum_opacity, keep_share)
    if minimum_opacity is not None:
        left = gaussians.select(gaussians.opacities >= minimum_opacity)
    else:
        count = max(round(keep_share * gaussians.count), 1)
        left = gaussians.select(gaussians.opacities.topk(count).indices.sort().values)
    return Pruned(left, gaussians.count - left.count)


def _check(gaussians: Gaussians, minimum_opacity: float | None, keep_share: float | None) -> None:
    if len(gaussians.batch_shape) > 0:
        raise ParameterError(
            f"pruned: Gaussians of batch shape {tuple(gaussians.batch_shape)}; expected one scene, since scenes keep "
            "different numbers: index them, as gaussians[0]"
        )
    if (minimum_opacity is None) == (keep_share is None):
        raise ParameterError(
            f"pruned: minimum_opacity {minimum_opacity} and keep_share {keep_share}; expected exactly one of them"
        )
    if minimum_opacity is not None and not 0 <= minimum_opacity <= 1:
        raise ParameterError(f"pruned: minimum_opacity {minimum_opacity:g}; expected a number from 0 to 1")
    if keep_share is not None and not 0 < keep_share <= 1:
        raise ParameterError(f"pruned: keep_share {keep_share:g}; expected above 0 and at most 1")
