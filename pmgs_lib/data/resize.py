"""Pictures, intrinsics and depth brought to another size: scaled to cover it, then cropped about the middle.

Pictures are filtered on 8-bit pixels by Pillow, as the released DepthSplat (Lanczos) and PM-Loss (bilinear) code does,
so the pixels are theirs to the last bit. Which filter and which sizes is an `ImageRule`; the papers' rules show
different fields of view of one file, so a protocol names its rule and an evaluation refuses data opened with another.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from pmgs_lib.errors import DataError

Filter = Literal["lanczos", "bilinear"]
PrincipalPoint = Literal["exact", "kept"]


class Fit(NamedTuple):
    """How a source is brought to a target size: the size after scaling, and the corner of the crop in it."""

    scaled_height: int
    scaled_width: int
    top: int
    left: int
    height: int
    width: int


def fit(source: tuple[int, int], target: tuple[int, int], where: str = "picture") -> Fit:
    """The smallest uniform scaling of `source` (height, width) that covers `target`, and the crop in the middle.

    Raises DataError, naming `where`, when that would have to enlarge: made-up detail is no data.
    """
    (source_height, source_width), (height, width) = source, target
    factor = max(height / source_height, width / source_width)
    if factor > 1 or min(target) < 1:
        raise DataError(
            f"{where}: is {source_height}x{source_width} (height x width), too small to fill {height}x{width}; "
            "ask for a smaller size, nothing is enlarged"
        )
    scaled_height, scaled_width = round(source_height * factor), round(source_width * factor)
    return Fit(scaled_height, scaled_width, (scaled_height - height) // 2, (scaled_width - width) // 2, height, width)


@dataclass(frozen=True)
class ImageRule:
    """How pictures get the size that a model sees; sizes are (height, width) in pixels.

    They are scaled to cover `image_shape` (None: the size asked for), cropped to it about the middle, and then cropped
    about the middle to the size asked for, as the released code does with its `image_shape` and its patch shim.
    source_size: the only size of file that the rule was published for; None: any that is large enough.
    principal_point: see `resize_intrinsics`.
    """

    name: str
    resampling: Filter = "lanczos"
    principal_point: PrincipalPoint = "exact"
    image_shape: tuple[int, int] | None = None
    source_size: tuple[int, int] | None = None

    def fit(self, source: tuple[int, int], target: tuple[int, int], where: str = "picture") -> Fit:
        """What this rule does to a picture of size `source`. Raises DataError naming `where` if it cannot."""
        if self.source_size is not None and tuple(source) != self.source_size:
            raise DataError(
                f"{where}: is {source[0]}x{source[1]} (height x width), the rule {self.name!r} was published for "
                f"{self.source_size[0]}x{self.source_size[1]}; import the data at that size"
            )
        (rows, columns), (height, width) = self.image_shape or target, target
        outer = fit(source, (rows, columns), where)
        if height > rows or width > columns:
            raise DataError(f"{where}: {height}x{width} cannot be cropped out of {rows}x{columns}; ask for less")
        top, left = outer.top + (rows - height) // 2, outer.left + (columns - width) // 2
        return Fit(outer.scaled_height, outer.scaled_width, top, left, height, width)


EXACT = ImageRule("exact")
IMAGE_RULES = {
    "exact": EXACT,
    # cvg/depthsplat main: Lanczos; with its DL3DV files (`image_shape` = their size) it only crops, by its patch shim.
    "depthsplat": ImageRule("depthsplat", "lanczos", "kept"),
    # aim-uofa/PM-Loss, like DepthSplat of October 2024: bilinear to the size of the model, then the crop.
    "pm-loss": ImageRule("pm-loss", "bilinear", "kept"),
}


def patch_size(height: int, width: int, multiple: int) -> tuple[int, int]:
    """The largest size within `height` x `width` whose sides are multiples of a model's patch.

    >>> patch_size(270, 480, 64)
    (256, 448)
    """
    return height // multiple * multiple, width // multiple * multiple


def resize_image(
    image: UInt8[Tensor, "height width 3"], how: Fit, resampling: Filter = "lanczos"
) -> UInt8[Tensor, "rows columns 3"]:
    """The picture scaled and cropped."""
    if image.shape[:2] != (how.scaled_height, how.scaled_width):
        method = Image.Resampling.LANCZOS if resampling == "lanczos" else Image.Resampling.BILINEAR
        picture = Image.fromarray(image.numpy()).resize((how.scaled_width, how.scaled_height), method)
        image = torch.from_numpy(np.array(picture))
    return image[how.top : how.top + how.height, how.left : how.left + how.width]


def resize_depth(depth: Float[Tensor, "*batch height width"], how: Fit) -> Float[Tensor, "*batch rows columns"]:
    """Depth scaled by nearest neighbour (a mean across an edge is a depth where nothing is) and cropped."""
    if depth.shape[-2:] == how[-2:]:
        return depth
    rows = _nearest(depth.shape[-2], how.scaled_height)[how.top : how.top + how.height]
    columns = _nearest(depth.shape[-1], how.scaled_width)[how.left : how.left + how.width]
    return depth[..., rows[:, None], columns]


def _nearest(source: int, scaled: int) -> Tensor:
    """For each scaled pixel the source pixel that holds its centre."""
    return ((torch.arange(scaled) + 0.5) * source / scaled).long().clamp(max=source - 1)


def resize_intrinsics(
    intrinsics: Float[Tensor, "*batch 3 3"], how: Fit, principal_point: PrincipalPoint = "exact"
) -> Float[Tensor, "*batch 3 3"]:
    """Normalised intrinsics of the scaled and cropped picture.

    "exact" moves the principal point with the crop. "kept" leaves its normalised value, as the released code does: the
    same for one in the middle of an even crop, else off by up to half a pixel or more, but what its numbers rest on.
    """
    resized = intrinsics.clone()
    for row, scaled, first, size in (
        (0, how.scaled_width, how.left, how.width),
        (1, how.scaled_height, how.top, how.height),
    ):
        resized[..., row, :2] *= scaled / size
        if principal_point == "exact" and (scaled, first) != (size, 0):
            resized[..., row, 2] = (intrinsics[..., row, 2] * scaled - first) / size
    return resized
