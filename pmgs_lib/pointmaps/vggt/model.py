"""VGGT whole: aggregator, and the heads that were asked for."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pmgs_lib.errors import ParameterError
from pmgs_lib.pointmaps.vggt.aggregator import Aggregator, AggregatorTables
from pmgs_lib.pointmaps.vggt.blocks import Linear
from pmgs_lib.pointmaps.vggt.camera_head import CameraEstimate, CameraHead, cameras_of
from pmgs_lib.pointmaps.vggt.config import VggtConfig
from pmgs_lib.pointmaps.vggt.dense_head import DenseHead, DenseTables

Precision = Literal["float32", "bf16"]


class VggtTables(NamedTuple):
    """Everything that depends on the number and size of images only."""

    aggregator: AggregatorTables
    dense: DenseTables | None


class VggtPrediction(NamedTuple):
    """What the built heads say; None for the others. Frame and scale are the model's own, fixed by the first frame.

    points: in that frame. depth: z of each frame. Confidences are at least 1, unbounded above. pose_encodings: of each
    refinement of the cameras.
    """

    points: Float[Tensor, "batch frame h w 3"] | None = None
    points_confidence: Float[Tensor, "batch frame h w"] | None = None
    depth: Float[Tensor, "batch frame h w"] | None = None
    depth_confidence: Float[Tensor, "batch frame h w"] | None = None
    cameras: CameraEstimate | None = None
    pose_encodings: tuple[Float[Tensor, "batch frame 9"], ...] = ()


class Vggt(nn.Module):
    """Images (batch, frame, 3, h, w) in [0, 1], sides multiples of the patch size, to a `VggtPrediction`.

    Weights are fresh: `load_vggt` brings released ones. Sizes are static: tables are made once for each number and
    size of images and kept while the weights are frozen, so that a call is one fixed sequence of kernels.
    """

    def __init__(self, config: VggtConfig) -> None:
        super().__init__()
        self.config = config
        stage = 2 * config.width
        self.aggregator = Aggregator(config)
        if "camera" in config.heads:
            self.camera_head = CameraHead(config.camera, stage)
        if "point" in config.heads:
            self.point_head = DenseHead(config.dense, stage, channels=3)
        if "depth" in config.heads:
            self.depth_head = DenseHead(config.dense, stage, channels=1)
        self._tables: dict[tuple[int, int, int], VggtTables] = {}
        self._run: Callable[..., VggtPrediction] = self.run
        self.register_load_state_dict_post_hook(lambda module, _: module._tables.clear())

    def forward(self, images: Float[Tensor, "batch frame 3 h w"]) -> VggtPrediction:
        return self._run(images, self.tables(*images.shape[1:2], *images.shape[-2:]))

    def set_precision(self, precision: Precision) -> "Vggt":
        """Weights of the aggregator's linear layers in that precision; all else, and the heads, stay in float32.

        On the recordings bf16 moves the points by 0.5 to 0.8 % and the depth by 0.2 % (relative L2; random weights, the
        published size 0.5 %). Going back to "float32" does not bring the lost digits back: load again for that.
        """
        dtype = {"float32": torch.float32, "bf16": torch.bfloat16}[precision]
        for module in self.aggregator.modules():
            if isinstance(module, Linear | nn.Conv2d):
                module.to(dtype)
        return self

    def compiled(self) -> "Vggt":
        """From now on calls run compiled, as one CUDA graph for each size on a GPU (the first call takes minutes)."""
        self._run = torch.compile(self.run, mode="reduce-overhead", dynamic=False)
        return self

    def tables(self, frames: int, height: int, width: int) -> VggtTables:
        """The tables for scenes of so many images of that size."""
        patch = self.config.patch
        if height % patch or width % patch or min(frames, height, width) < 1:
            raise ParameterError(
                f"VGGT: {frames} images of {height} x {width} pixels, expected at least one with sides that are "
                f"multiples of {patch}: resize them first, as the pointmap source does"
            )
        key = (frames, height, width)
        if key in self._tables:
            return self._tables[key]
        rows, columns = height // patch, width // patch
        dense = next((head.tables(rows, columns, height, width) for head in self._dense_heads()), None)
        tables = VggtTables(self.aggregator.tables(rows, columns, frames), dense)
        if not tables.aggregator.position.requires_grad:
            self._tables[key] = tables
        return tables

    def run(self, images: Float[Tensor, "batch frame 3 h w"], tables: VggtTables) -> VggtPrediction:
        """The network itself, on tables made beforehand."""
        last = self.config.pairs - 1
        kept = self.aggregator(images, tables.aggregator, (*self.config.dense.stages, last))
        patches = [kept[stage][:, :, self.aggregator.special :].flatten(0, 1) for stage in self.config.dense.stages]
        shape, size = images.shape[:2], (images.shape[-2], images.shape[-1])
        found: dict[str, Any] = {}
        if "point" in self.config.heads:
            values, confidence = self.point_head(patches, tables.dense, size)
            found["points"] = (values.sign() * values.abs().expm1()).movedim(1, -1).unflatten(0, shape)
            found["points_confidence"] = (1 + confidence.exp()).unflatten(0, shape)
        if "depth" in self.config.heads:
            values, confidence = self.depth_head(patches, tables.dense, size)
            found["depth"] = values[:, 0].exp().unflatten(0, shape)
            found["depth_confidence"] = (1 + confidence.exp()).unflatten(0, shape)
        if "camera" in self.config.heads:
            encodings = self.camera_head(kept[last][:, :, 0])
            found |= {"pose_encodings": tuple(encodings), "cameras": cameras_of(encodings[-1])}
        return VggtPrediction(**found)

    def _dense_heads(self) -> list[DenseHead]:
        return [getattr(self, f"{name}_head") for name in self.config.heads if name != "camera"]

    def _apply(self, *arguments: Any, **options: Any) -> "Vggt":
        # A move to another device or precision makes the tables stale.
        self._tables.clear()
        return super()._apply(*arguments, **options)
