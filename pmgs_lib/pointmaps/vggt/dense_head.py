"""VGGT's dense heads: from stages of tokens to a value and a confidence for every pixel.

Source: Ranftl et al., "Vision Transformers for Dense Prediction", 2021, with VGGT's position codes.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pmgs_lib.pointmaps.vggt.config import DenseConfig

CODE_BASE = 100.0
CODE_SHARE = 0.1
LAST_WIDTH = 32


class DenseTables(NamedTuple):
    """Position codes of the four levels and of the image, each by column and by row."""

    levels: tuple[tuple[Tensor, Tensor], ...]
    image: tuple[Tensor, Tensor]


class ResidualUnit(nn.Module):
    """Two convolutions, each after a ReLU, on top of the *rectified* input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "frame channel row column"]) -> Float[Tensor, "frame channel row column"]:
        # The released code rectifies its input in place, so the skip carries relu(x) and not x. Its weights were
        # trained with it: a skip of x moves the points by 2.6 times their size. DepthSplat's head does carry x.
        rectified = functional.relu(x)
        return rectified + self.conv2(functional.relu(self.conv1(rectified)))


class FusionBlock(nn.Module):
    """Adds a finer level to the coarser one, refines, and resizes. The deepest block has nothing to add."""

    def __init__(self, channels: int, deepest: bool) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(channels, channels, 1)
        if not deepest:
            self.resConfUnit1 = ResidualUnit(channels)
        self.resConfUnit2 = ResidualUnit(channels)

    def forward(
        self,
        x: Float[Tensor, "frame channel row column"],
        level: Float[Tensor, "frame channel row column"] | None,
        size: tuple[int, int],
    ) -> Float[Tensor, "frame channel row_out column_out"]:
        if level is not None:
            x = x + self.resConfUnit1(level)
        return self.out_conv(resized(self.resConfUnit2(x), size))


class Scratch(nn.Module):
    """One width for all levels, fused from coarse to fine, and the last convolutions."""

    def __init__(self, config: DenseConfig, outward: int) -> None:
        super().__init__()
        features = config.features
        for level, width in enumerate(config.projections, start=1):
            setattr(self, f"layer{level}_rn", nn.Conv2d(width, features, 3, padding=1, bias=False))
            setattr(self, f"refinenet{level}", FusionBlock(features, deepest=level == 4))
        self.output_conv1 = nn.Conv2d(features, features // 2, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(features // 2, LAST_WIDTH, 3, padding=1), nn.ReLU(), nn.Conv2d(LAST_WIDTH, outward, 1)
        )

    def forward(self, levels: list[Tensor]) -> Float[Tensor, "frame channel row column"]:
        """Four levels, finest first, to one map of twice the size of the finest."""
        levels = [getattr(self, f"layer{number}_rn")(x) for number, x in enumerate(levels, start=1)]
        finest_rows, finest_columns = levels[0].shape[-2:]
        sizes = [(2 * finest_rows, 2 * finest_columns), *((x.shape[-2], x.shape[-1]) for x in levels[:-1])]
        fused = self.refinenet4(levels[3], None, sizes[3])
        for number in (3, 2, 1):
            fused = getattr(self, f"refinenet{number}")(fused, levels[number - 1], sizes[number - 1])
        return self.output_conv1(fused)


class DenseHead(nn.Module):
    """`channels` values of every pixel before their activation, and one of confidence. In float32."""

    def __init__(self, config: DenseConfig, width: int, channels: int) -> None:
        super().__init__()
        self.config = config
        first, second, _, fourth = config.projections
        self.norm = nn.LayerNorm(width)
        self.projects = nn.ModuleList(nn.Conv2d(width, outward, 1) for outward in config.projections)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(first, first, 4, stride=4),
                nn.ConvTranspose2d(second, second, 2, stride=2),
                nn.Identity(),
                nn.Conv2d(fourth, fourth, 3, stride=2, padding=1),
            ]
        )
        self.scratch = Scratch(config, channels + 1)

    def tables(self, rows: int, columns: int, height: int, width: int) -> DenseTables:
        """Tables for images of `height` x `width` pixels in `rows` x `columns` patches, on the weights' device."""
        aspect, device = width / height, self.norm.weight.device
        levels = tuple(position_code(c, rows, columns, aspect, device) for c in self.config.projections)
        return DenseTables(levels, position_code(self.config.features // 2, height, width, aspect, device))

    def forward(
        self, stages: list[Tensor], tables: DenseTables, size: tuple[int, int]
    ) -> tuple[Float[Tensor, "frame value h w"], Float[Tensor, "frame h w"]]:
        """From patch tokens (frame, token, width) of the four stages; frames are independent of each other."""
        turns = zip(*(stage.split(self.config.frames_at_once) for stage in stages), strict=True)
        maps = torch.cat([self._some_frames(turn, tables, size) for turn in turns])
        return maps[:, :-1], maps[:, -1]

    def _some_frames(
        self, stages: tuple[Tensor, ...], tables: DenseTables, size: tuple[int, int]
    ) -> Float[Tensor, "frame value h w"]:
        levels = []
        for tokens, project, resize, code in zip(stages, self.projects, self.resize_layers, tables.levels, strict=True):
            grid = (code[1].shape[1], code[0].shape[1])
            levels.append(resize(coded(project(self.norm(tokens).mT.unflatten(-1, grid)), code)))
        return self.scratch.output_conv2(coded(resized(self.scratch(levels), size), tables.image))


def resized(x: Float[Tensor, "frame channel row column"], size: tuple[int, int]) -> Float[Tensor, "frame channel h w"]:
    """Bilinear with aligned corners."""
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)


def coded(
    x: Float[Tensor, "frame channel row column"], code: tuple[Tensor, Tensor]
) -> Float[Tensor, "frame channel row column"]:
    """`x` plus its share of the position code: columns in the first half of the channels, rows in the second."""
    by_column, by_row = code
    rows, columns = x.shape[-2:]
    parts = (by_column[:, None, :].expand(-1, rows, -1), by_row[:, :, None].expand(-1, -1, columns))
    return x + torch.cat(parts)


def position_code(
    channels: int, rows: int, columns: int, aspect: float, device: torch.device
) -> tuple[Float[Tensor, "half column"], Float[Tensor, "half row"]]:
    """Sine and cosine codes, times their share, of the columns and of the rows of a grid over an image.

    Coordinates are those of cell centres where the image's diagonal has length 2. aspect: width / height of the image.
    """
    diagonal = math.hypot(aspect, 1.0)
    quarter = channels // 4
    speeds = CODE_BASE ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    codes = []
    for count, span in ((columns, aspect / diagonal), (rows, 1.0 / diagonal)):
        end = span * (count - 1) / count
        angles = speeds[:, None] * torch.linspace(-end, end, count, dtype=torch.float64)
        codes.append((CODE_SHARE * torch.cat([angles.sin(), angles.cos()]).float()).to(device))
    return codes[0], codes[1]
