"""VGGT as a pointmap source, by its point head as PM-Loss uses it, or by its depth and cameras."""

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pmgs_lib.errors import ParameterError
from pmgs_lib.pointmaps.base import Identity, Pointmap, PointmapSource, at_full_size
from pmgs_lib.pointmaps.vggt.camera_head import CameraEstimate
from pmgs_lib.pointmaps.vggt.config import Head
from pmgs_lib.pointmaps.vggt.model import VggtPrediction
from pmgs_lib.pointmaps.vggt.weights import VggtSettings, load_vggt
from pmgs_lib.views import Views


class VggtSource(PointmapSource):
    """What both sources do: images down to multiples of the patch, through the model, points back by `nearest`.

    The network is loaded at once and moves to the device of the first images it sees. Options are the fields of
    `VggtSettings`, but `precision` "bf16" is that of PM-Loss on a GPU and "float32" the exact one.
    """

    name: ClassVar[str]
    heads: ClassVar[tuple[Head, ...]]

    def __init__(
        self,
        weights: str = VggtSettings().weights,
        size: str = "published",
        precision: str = "float32",
        compile: bool = False,
        accept_licence: bool = False,
        sha256: str | None = None,
        folder: str | None = None,
    ) -> None:
        options = {
            "weights": weights,
            "size": size,
            "precision": precision,
            "compile": compile,
            "accept_licence": accept_licence,
            "sha256": sha256,
            "folder": folder,
        }
        self.settings = VggtSettings.build(options, type(self).__name__)
        self.model, self.report = load_vggt(self.settings, self.heads)

    @property
    def identity(self) -> Identity:
        return {
            "source": self.name,
            "weights_sha256": self.report.sha256,
            "size": self.settings.size,
            "precision": self.settings.precision,
        }

    def pointmap(self, context: Views, key: str | tuple[str, ...]) -> Pointmap:
        images = context.images.reshape(-1, *context.images.shape[-4:])
        if self.model.aggregator.camera_token.device != images.device:
            self.model.to(images.device)
        with torch.autocast(images.device.type, enabled=False):
            found = self.found(self.model(resized_images(images.float(), self.model.config.patch, key)))
        found = at_full_size(found, context.height, context.width)
        # A compiled model hands out memory that its next call writes over.
        return Pointmap(
            found.points.reshape(*context.batch_shape, *found.points.shape[1:]).clone(),
            found.confidence.reshape(*context.batch_shape, *found.confidence.shape[1:]).clone(),
        )

    @abstractmethod
    def found(self, prediction: VggtPrediction) -> Pointmap:
        """Points and confidence at the model's size, from what it predicts."""


class VggtPointmap(VggtSource):
    """The point head's points, in the frame and scale that the first view defines. What PM-Loss was trained with."""

    name = "vggt"
    heads = ("point",)

    def found(self, prediction: VggtPrediction) -> Pointmap:
        return Pointmap(prediction.points, prediction.points_confidence)


class VggtDepthPointmap(VggtSource):
    """Points from VGGT's own depth and cameras, in the same frame; its authors find them more exact than the head's.

    The point of a pixel is taken at its *integer* coordinates, as VGGT's own utilities do, with the principal point at
    width / 2 and height / 2: half a pixel up and left of the library's pixel centres.
    """

    name = "vggt-depth"
    heads = ("depth", "camera")

    def found(self, prediction: VggtPrediction) -> Pointmap:
        return Pointmap(unprojected(prediction.depth, prediction.cameras), prediction.depth_confidence)


def unprojected(depth: Float[Tensor, "batch frame h w"], cameras: CameraEstimate) -> Float[Tensor, "batch frame h w 3"]:
    """World points at integer pixel coordinates, from z-depth and the camera head's cameras.

    The image plane is spanned by the tangents and not by focal lengths, so that a field of view of zero, which the
    head's ReLU allows, gives a point on the axis instead of a division by infinity.
    """
    height, width = depth.shape[-2:]
    x = torch.arange(width, device=depth.device) * (2 / width) - 1
    y = torch.arange(height, device=depth.device) * (2 / height) - 1
    horizontal, vertical = cameras.tangents[..., None, None].unbind(-3)
    plane = torch.broadcast_tensors(horizontal * x, vertical * y[:, None], torch.ones_like(depth))
    points_camera = torch.stack(plane, dim=-1) * depth[..., None]
    rotation, translation = cameras.camera_from_world.split((3, 1), dim=-1)
    # Row vectors times the rotation: the inverse of a rotation is its transpose.
    return (points_camera - translation[..., None, None, :, 0]) @ rotation[..., None, :, :]


def resized_images(
    images: Float[Tensor, "batch frame 3 h w"], patch: int, key: str | tuple[str, ...] = ""
) -> Float[Tensor, "batch frame 3 row column"]:
    """Images at the multiples of `patch` below their size: bilinear without antialiasing, as PM-Loss does."""
    height, width = images.shape[-2:]
    size = (height // patch * patch, width // patch * patch)
    if 0 in size:
        raise ParameterError(
            f"VGGT: {key or 'the scene'} has images of {height} x {width} pixels, expected at least {patch} x {patch}"
        )
    if size == (height, width):
        return images
    flat = functional.interpolate(images.flatten(0, 1), size=size, mode="bilinear", align_corners=False)
    return flat.unflatten(0, images.shape[:2])
