"""What every pointmap source shares."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pmgs_lib.errors import ParameterError
from pmgs_lib.views import Views

Evidence = Literal["images", "cameras", "depth"]
Identity = Mapping[str, str | int | float | bool | None]


@dataclass(frozen=True)
class Pointmap:
    """A point for every pixel, and how sure its source is of each where it says so (its own scale, larger is surer)."""

    points: Float[Tensor, "*batch view h w 3"]
    confidence: Float[Tensor, "*batch view h w"] | None = None


class PointmapSource(ABC):
    """A point for every pixel of every view, in one frame a scene, of unknown pose and scale to the world.

    `source(context, key)` returns points "*batch view h w 3", `source.with_confidence(context, key)` a `Pointmap`, both
    without gradient; `key` names the scene or scenes in messages. evidence: what of the views the points depend on.
    """

    evidence: tuple[Evidence, ...] = ("images",)

    def __call__(self, context: Views, key: str | tuple[str, ...] = "") -> Float[Tensor, "*batch view h w 3"]:
        return self.with_confidence(context, key).points

    @torch.no_grad()
    def with_confidence(self, context: Views, key: str | tuple[str, ...] = "") -> Pointmap:
        """The pointmap with its confidence, which is None where the source has none."""
        pointmap = self.pointmap(context, key)
        expected = (*context.batch_shape, context.count, context.height, context.width)
        confidence = pointmap.confidence
        if pointmap.points.shape != (*expected, 3) or (confidence is not None and confidence.shape != expected):
            told = "" if confidence is None else f" and confidence of shape {tuple(confidence.shape)}"
            raise ParameterError(
                f"{type(self).__name__}: returned points of shape {tuple(pointmap.points.shape)}{told}, "
                f"expected {(*expected, 3)}, confidence without the last axis"
            )
        return pointmap

    @abstractmethod
    def pointmap(self, context: Views, key: str | tuple[str, ...]) -> Pointmap:
        """The pointmap of the context views."""

    @property
    def identity(self) -> Identity:
        """What else the points depend on: kind of source, digest of its weights, settings. It is a cache's key."""
        raise ParameterError(
            f"{type(self).__name__}: does not say what its points depend on, so they cannot be cached: "
            "give the class an `identity`"
        )


def at_full_size(pointmap: Pointmap, height: int, width: int) -> Pointmap:
    """The pointmap at another size by its nearest points, as PM-Loss does: averages would float between surfaces."""
    if pointmap.points.shape[-3:-1] == (height, width):
        return pointmap
    points = _nearest(pointmap.points.movedim(-1, -3), height, width).movedim(-3, -1)
    confidence = pointmap.confidence
    return Pointmap(points, None if confidence is None else _nearest(confidence, height, width))


def _nearest(x: Float[Tensor, "*batch row column"], height: int, width: int) -> Float[Tensor, "*batch h w"]:
    flat = x.reshape(1, -1, *x.shape[-2:])
    return functional.interpolate(flat, size=(height, width), mode="nearest").reshape(*x.shape[:-2], height, width)
