"""Lens distortion: the models that OpenCV, COLMAP and Nerfstudio share, and resampling with them.

Points are camera rays cut at z = 1 (`x = X / Z`); nothing depends on a resolution until `Photograph` brings one.
Pixel centres lie at +0.5. Source of the usual one: D. C. Brown, "Decentering distortion of lenses", 1966, with OpenCV's
names k1, k2, k3 (radial) and p1, p2 (tangential).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pmgs_lib.errors import DataError

NEWTON_STEPS = 20
INVERSE_TOLERANCE = 1e-9  # of a ray at z = 1: far below a pixel at any resolution
WIDEST = 20_000  # pixels of an undistorted side: a fisheye near 90 degrees would ask for millions
SMALLEST_RADIUS = 1e-12  # of a ray at z = 1; keeps 0 / 0 out where the limit is taken instead
ROUNDING = 1e-6  # pixels; keeps an undistorted picture from losing a row to rounding


@dataclass(frozen=True)
class Lens:
    """Distortion coefficients; all zero is an ideal pinhole."""

    k1: float = 0.0
    k2: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    k3: float = 0.0

    @property
    def is_pinhole(self) -> bool:
        return self == Lens()

    def distort(self, points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Where a ray of the ideal pinhole lands on the plane z = 1 behind this lens."""
        x, y = points.unbind(-1)
        xx, yy, xy = x * x, y * y, x * y
        squared = xx + yy
        radial = 1 + squared * (self.k1 + squared * (self.k2 + squared * self.k3))
        return torch.stack(
            [
                x * radial + 2 * self.p1 * xy + self.p2 * (squared + 2 * xx),
                y * radial + self.p1 * (squared + 2 * yy) + 2 * self.p2 * xy,
            ],
            dim=-1,
        )

    def undistort(self, points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """The inverse of `distort`, by Newton's method. NaN where the model folds over and has no inverse there."""
        found = points.clone()
        for _ in range(NEWTON_STEPS):
            (a, b, d), determinant = self._jacobian(found)
            error_x, error_y = (self.distort(found) - points).unbind(-1)
            step = torch.stack([d * error_x - b * error_y, a * error_y - b * error_x], dim=-1)
            found = found - step / determinant[..., None]
        (_, _, _), determinant = self._jacobian(found)
        residual = (self.distort(found) - points).abs().amax(dim=-1)
        sound = (residual < INVERSE_TOLERANCE + 8 * torch.finfo(points.dtype).eps) & (determinant > 0)
        return torch.where(sound[..., None], found, torch.nan)

    def _jacobian(self, points: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """Entries (xx, xy = yx, yy) of the derivative of `distort`, and its determinant."""
        x, y = points.unbind(-1)
        squared = x * x + y * y
        radial = 1 + squared * (self.k1 + squared * (self.k2 + squared * self.k3))
        slope = self.k1 + squared * (2 * self.k2 + squared * 3 * self.k3)
        a = radial + 2 * x * x * slope + 2 * self.p1 * y + 6 * self.p2 * x
        b = 2 * x * y * slope + 2 * self.p1 * x + 2 * self.p2 * y
        d = radial + 2 * y * y * slope + 6 * self.p1 * y + 2 * self.p2 * x
        return (a, b, d), a * d - b * b


@dataclass(frozen=True)
class FisheyeLens:
    """OpenCV's fisheye: a ray at the angle t from the axis lands at t (1 + k1 t^2 + k2 t^4 + k3 t^6 + k4 t^8).

    Source: J. Kannala, S. Brandt, "A generic camera model and calibration method ... fish-eye lenses", 2006.
    """

    k1: float = 0.0
    k2: float = 0.0
    k3: float = 0.0
    k4: float = 0.0

    @property
    def is_pinhole(self) -> bool:
        return False

    def distort(self, points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Where a ray of the ideal pinhole lands on the plane z = 1 behind this lens."""
        radius = points.norm(dim=-1)
        landed = self._landed(radius.atan())
        return points * torch.where(radius > 0, landed / radius.clamp(min=SMALLEST_RADIUS), 1.0)[..., None]

    def undistort(self, points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """The inverse of `distort`, by Newton's method. NaN from 90 degrees on, where a pinhole sees nothing."""
        landed = points.norm(dim=-1)
        angle = landed.clone()
        for _ in range(NEWTON_STEPS):
            angle = angle - (self._landed(angle) - landed) / self._slope(angle)
        residual = (self._landed(angle) - landed).abs()
        sound = (residual < INVERSE_TOLERANCE + 8 * torch.finfo(points.dtype).eps) & (self._slope(angle) > 0)
        sound = sound & (angle >= 0) & (angle < math.pi / 2)
        scale = torch.where(landed > 0, angle.tan() / landed.clamp(min=SMALLEST_RADIUS), 1.0)
        return torch.where(sound[..., None], points * scale[..., None], torch.nan)

    def _landed(self, angle: Tensor) -> Tensor:
        squared = angle * angle
        return angle * (1 + squared * (self.k1 + squared * (self.k2 + squared * (self.k3 + squared * self.k4))))

    def _slope(self, angle: Tensor) -> Tensor:
        squared = angle * angle
        return 1 + squared * (3 * self.k1 + squared * (5 * self.k2 + squared * (7 * self.k3 + squared * 9 * self.k4)))


@dataclass(frozen=True)
class Window:
    """A rectangle of whole pixels cut from an (endless) picture: its corner may lie between pixels."""

    left: float
    top: float
    height: int
    width: int

    def shrunk(self, height: int, width: int, *, whole_pixels: bool) -> "Window":
        """The middle part of this window: exactly, or half a pixel off where whole pixels avoid resampling."""
        top, left = (self.height - height) / 2, (self.width - width) / 2
        if whole_pixels:
            top, left = math.floor(top), math.floor(left)
        return Window(self.left + left, self.top + top, height, width)

    def centers(self) -> Float[Tensor, "height width 2"]:
        """Pixel centres (x, y) of the window in coordinates of the picture it is cut from."""
        y = torch.arange(self.height, dtype=torch.float64) + self.top + 0.5
        x = torch.arange(self.width, dtype=torch.float64) + self.left + 0.5
        return torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), dim=-1)


@dataclass(frozen=True)
class Photograph:
    """Geometry of a picture taken through a lens: size, focal lengths and principal point in pixels."""

    height: int
    width: int
    fx: float
    fy: float
    cx: float
    cy: float
    lens: Lens | FisheyeLens = Lens()

    def points(self, pixels: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Pixels as points on the plane z = 1."""
        return (pixels - pixels.new_tensor([self.cx, self.cy])) / pixels.new_tensor([self.fx, self.fy])

    def pixels(self, points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Points on the plane z = 1 as pixels; the inverse of `points`."""
        return points * points.new_tensor([self.fx, self.fy]) + points.new_tensor([self.cx, self.cy])

    def undistorted(self, pixels: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Where the ideal pinhole with the same intrinsics sees what this picture has at `pixels`."""
        return self.pixels(self.lens.undistort(self.points(pixels)))

    def distorted(self, pixels: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Where this picture has what the ideal pinhole with the same intrinsics sees at `pixels`."""
        return self.pixels(self.lens.distort(self.points(pixels)))

    def border(self) -> list[Float[Tensor, "_ 2"]]:
        """Centres of the outermost pixels: left, top, right and bottom side."""
        grid = Window(0.0, 0.0, self.height, self.width).centers()
        return [grid[:, 0], grid[0], grid[:, -1], grid[-1]]


def largest_window(border: list[Float[Tensor, "_ 2"]], center: tuple[float, float] | None, where: str) -> Window:
    """The largest window whose pixel centres lie inside four curves (left, top, right, bottom side of a picture).

    With `center` (x, y) the window is symmetric about it, which puts a principal point there into the middle. Raises
    DataError, naming `where`, when the curves leave no room: then the distortion is too strong to be undone.
    """
    left, top = border[0][:, 0].max().item() - 0.5, border[1][:, 1].max().item() - 0.5
    right, bottom = border[2][:, 0].min().item() + 0.5, border[3][:, 1].min().item() + 0.5
    spans = right - left, bottom - top
    if center is not None:
        spans = 2 * min(center[0] - left, right - center[0]), 2 * min(center[1] - top, bottom - center[1])
    if not all(math.isfinite(span) and 1 <= span <= WIDEST for span in spans):
        raise DataError(
            f"{where}: the lens distortion folds the picture over or leaves nothing of it; check k1, k2, k3, p1, p2 "
            "and the focal length (of a fisheye, only what lies within 90 degrees of the axis can be undone)"
        )
    width, height = (math.floor(span + ROUNDING) for span in spans)
    if center is not None:
        left, top = center[0] - width / 2, center[1] - height / 2
    return Window(_snapped(left), _snapped(top), height, width)


def _snapped(position: float) -> float:
    """Whole pixels where only rounding stands between: a picture that needs no resampling should get none."""
    return float(round(position)) if abs(position - round(position)) < ROUNDING else position


@lru_cache(maxsize=8)
def undistortion_map(photograph: Photograph, window: Window) -> Float[Tensor, "height width 2"]:
    """For each pixel of `window`, cut from the ideal pinhole picture, where to look in the photograph (in pixels)."""
    return photograph.distorted(window.centers())


def resample(
    image: UInt8[Tensor, "height width 3"], pixels: Float[Tensor, "rows columns 2"]
) -> UInt8[Tensor, "rows columns 3"]:
    """The picture's colours at `pixels` (x, y), by cubic interpolation; outside it the nearest border pixel counts."""
    height, width = image.shape[:2]
    grid = pixels.float() * 2 / pixels.new_tensor([width, height]).float() - 1
    planes = image.permute(2, 0, 1)[None].float()
    colors = torch.nn.functional.grid_sample(
        planes, grid[None], mode="bicubic", padding_mode="border", align_corners=False
    )
    return colors[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8)
