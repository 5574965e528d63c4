"""Poses of photographs by VGGT's camera head, handed to `PhotosImporter` as a pose estimator."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pmgs_lib.data.chunks import decode_image
from pmgs_lib.data.importers.base import DepthHint
from pmgs_lib.data.lenses import Photograph
from pmgs_lib.data.photos.base import PhotoSet, PosedPhoto, PoseEstimate, PoseEstimator
from pmgs_lib.errors import DataError
from pmgs_lib.geometry.pose import inverse_pose
from pmgs_lib.pointmaps.vggt.config import Head
from pmgs_lib.pointmaps.vggt.model import VggtPrediction
from pmgs_lib.pointmaps.vggt.weights import VggtSettings, load_vggt

TRAINED_SIDE = 518  # pixels of the longer side in VGGT's training
QUANTILES = (0.01, 0.99)  # of the depth of all pixels: far sky and stray pixels are left aside
MARGINS = (0.8, 1.2)
HEADS: tuple[Head, ...] = ("depth", "camera")


class VggtPoses(PoseEstimator):
    """VGGT's cameras, one pinhole for all photographs; every photograph is placed, well or not.

    Positions are in VGGT's own scale. longer_side: pictures are brought to so many pixels, multiples of the patch.
    device: where the network runs. options: fields of `VggtSettings` (weights, accept_licence, precision, ...).
    """

    def __init__(self, *, longer_side: int = TRAINED_SIDE, device: str = "cpu", **options: Any) -> None:
        self.longer_side, self.device = longer_side, device
        self.settings = VggtSettings.build(options, "VggtPoses")
        self.model, self.report = load_vggt(self.settings, HEADS)

    @property
    def identity(self) -> Mapping[str, str | int | float | bool | None]:
        return {
            "poses": "vggt",
            "weights_sha256": self.report.sha256,
            "size": self.settings.size,
            "precision": self.settings.precision,
            "longer_side": self.longer_side,
        }

    @torch.no_grad()
    def __call__(self, photos: PhotoSet, working: Path) -> PoseEstimate:
        images = self._images(photos).to(self.device)
        self.model.to(self.device)
        with torch.autocast(images.device.type, enabled=False):
            found = self.model(images[None])
        return estimate_of(found, photos)

    def _images(self, photos: PhotoSet) -> Float[Tensor, "photo 3 row column"]:
        """The photographs at multiples of the patch; the sides' ratio changes by less than a patch."""
        factor, patch = self.longer_side / max(photos.height, photos.width), self.model.config.patch
        size = [max(1, round(side * factor / patch)) * patch for side in (photos.height, photos.width)]
        pictures = []
        for name in photos.names:
            image = decode_image((photos.folder / name).read_bytes(), f"photograph {name}").movedim(-1, 0)[None]
            small = functional.interpolate(image.float() / 255, size=size, mode="bicubic", antialias=True)
            pictures.append(small[0].clamp(0, 1))
        return torch.stack(pictures)


def estimate_of(found: VggtPrediction, photos: PhotoSet) -> PoseEstimate:
    """Cameras of the photographs from what VGGT predicts for them (a batch of one).

    The lens is that of the median opening angles, since one camera took them all. Raises DataError for angles or poses
    that are no camera's.
    """
    camera_from_world = torch.eye(4, dtype=torch.float64).repeat(len(photos.names), 1, 1)
    camera_from_world[:, :3] = found.cameras.camera_from_world[0].double().cpu()
    tangents = found.cameras.tangents[0].double().cpu().median(dim=0).values
    if not (camera_from_world.isfinite().all() and bool((tangents > 0).all()) and bool(tangents.isfinite().all())):
        raise DataError(
            f"photographs {photos.folder.name}: VGGT gave no usable cameras (tangents of half the field of view "
            f"{tangents.tolist()}); use other photographs, other weights or COLMAP"
        )
    across, up = tangents.tolist()
    lens = Photograph(
        photos.height,
        photos.width,
        photos.width / 2 / across,
        photos.height / 2 / up,
        photos.width / 2,
        photos.height / 2,
    )
    poses = inverse_pose(camera_from_world)
    placed = {name: PosedPhoto(pose, lens) for name, pose in zip(photos.names, poses, strict=True)}
    angles = [round(math.degrees(2 * math.atan(tangent)), 3) for tangent in (across, up)]
    return PoseEstimate(placed, {}, _depth_hint(found.depth[0]), {"field_of_view_deg": angles})


def _depth_hint(depth: Float[Tensor, "photo h w"]) -> DepthHint | None:
    some = depth[:, ::4, ::4].float().flatten().cpu()
    some = some[some.isfinite() & (some > 0)]
    if not len(some):
        return None
    low, high = torch.quantile(some[:: max(1, len(some) // 1_000_000)], torch.tensor(QUANTILES)).tolist()
    return DepthHint(low * MARGINS[0], high * MARGINS[1], "98 % of the depth that VGGT predicts, with margins")
