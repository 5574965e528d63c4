"""Images with their cameras and depth range, and the pair of context and target that a model learns from."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ParameterError


@dataclass(frozen=True)
class Views:
    """Views of one scene (no batch axes) or of a batch of scenes.

    images: in [0, 1]. cameras: of batch shape `(*batch, view)`. near, far: z-depth range of the scene in world units.
    depth: exact z-depth of every pixel where it is known.
    """

    images: Float[Tensor, "*batch view 3 h w"]
    cameras: Cameras
    near: Float[Tensor, "*batch"]
    far: Float[Tensor, "*batch"]
    depth: Float[Tensor, "*batch view h w"] | None = None

    def __post_init__(self) -> None:
        if self.cameras.batch_shape != self.images.shape[:-3]:
            raise ParameterError(
                f"Views: cameras of shape {tuple(self.cameras.batch_shape)} do not belong to images of shape "
                f"{tuple(self.images.shape)}: expected one camera for each view"
            )

    @property
    def height(self) -> int:
        return self.images.shape[-2]

    @property
    def width(self) -> int:
        return self.images.shape[-1]

    @property
    def count(self) -> int:
        """Number of views of each scene."""
        return self.images.shape[-4]

    @property
    def batch_shape(self) -> torch.Size:
        return self.images.shape[:-4]

    def to(self, *args: Any, **kwargs: Any) -> "Views":
        """The same views on another device or in another dtype (arguments as `Tensor.to`)."""
        values = (getattr(self, f.name) for f in fields(self))
        return type(self)(*(v if v is None else v.to(*args, **kwargs) for v in values))

    def __getitem__(self, index: Any) -> "Views":
        """Scenes selected on the batch axes."""
        return type(self)(*(None if v is None else v[index] for v in (getattr(self, f.name) for f in fields(self))))

    @classmethod
    def stack(cls, views: Sequence["Views"]) -> "Views":
        """Scenes of equal shape as one batch; depth is kept when every scene has it."""
        depths = [v.depth for v in views]
        return cls(
            images=torch.stack([v.images for v in views]),
            cameras=Cameras.stack([v.cameras for v in views]),
            near=torch.stack([v.near for v in views]),
            far=torch.stack([v.far for v in views]),
            depth=None if any(d is None for d in depths) else torch.stack(depths),
        )


@dataclass(frozen=True)
class Example:
    """Context views that a model sees and target views that it must predict; `key` names the scene or scenes."""

    context: Views
    target: Views
    key: str | tuple[str, ...]

    def to(self, *args: Any, **kwargs: Any) -> "Example":
        """The same example on another device or in another dtype (arguments as `Tensor.to`)."""
        return type(self)(self.context.to(*args, **kwargs), self.target.to(*args, **kwargs), self.key)

    @classmethod
    def collate(cls, examples: Sequence["Example"]) -> "Example":
        """A batch of examples of equal shape."""
        return cls(
            Views.stack([e.context for e in examples]),
            Views.stack([e.target for e in examples]),
            tuple(e.key for e in examples),
        )
