"""Pictures and depth maps as files."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from matplotlib.colors import LogNorm
from PIL import Image
from torch import Tensor

from pmgs_lib.data.files import replaced_atomically
from pmgs_lib.data.pictures import encode_jpeg
from pmgs_lib.errors import ParameterError
from pmgs_lib.export.depth import write_depth

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
JPEG_QUALITY = 95
DEPTH_COLORMAP = "magma_r"  # perceptually uniform; near is light, far is dark
ERROR_COLORMAP = "inferno"  # perceptually uniform, black is no error
LARGEST_ERROR = 0.5  # end of the scale of colour errors; fixed, so that errors compare between pictures


def image_to_uint8(images: Float[Tensor, "*batch 3 h w"]) -> UInt8[np.ndarray, "*batch h w 3"]:
    """Images in [0, 1] as bytes with channels last; clipped and rounded to the nearest of 256 levels."""
    return (images.detach().clamp(0, 1) * 255).round().movedim(-3, -1).byte().cpu().contiguous().numpy()


def save_image(path: str | os.PathLike[str], image: Float[Tensor, "3 h w"]) -> None:
    """Write one image in [0, 1] as PNG or JPEG. Raises `ParameterError` when it holds NaN, which has no colour."""
    if not bool(image.isfinite().all()):
        raise ParameterError(f"save_image {path}: the image holds NaN or infinity; look at what produced it")
    save_pixels(path, image_to_uint8(image))


def depth_colors(depth: Float[Tensor, "h w"], near: int | float, far: int | float) -> UInt8[np.ndarray, "h w 3"]:
    """Colours of a z-depth map, logarithmic from `near` to `far`; white where there is no depth (0 or not finite)."""
    if not 0 < near < far:
        raise ParameterError(f"depth_colors: near {near} and far {far}, expected 0 < near < far")
    values = depth.detach().cpu().double().numpy()
    seen = np.isfinite(values) & (values > 0)
    scaled = LogNorm(near, far, clip=True)(np.where(seen, values, far))
    colors = colormaps[DEPTH_COLORMAP](scaled, bytes=True)[..., :3]
    return np.where(seen[..., None], colors, np.uint8(255))


def color_error(color: Float[Tensor, "3 h w"], truth: Float[Tensor, "3 h w"]) -> Float[Tensor, "h w"]:
    """Mean absolute difference over the three channels, after clipping to [0, 1]."""
    return (color.clamp(0, 1) - truth.clamp(0, 1)).abs().mean(dim=0)


def error_colors(error: Float[Tensor, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Colours of a map of errors, from 0 (black) to `LARGEST_ERROR` and more (light yellow); white where it is NaN."""
    values = error.detach().cpu().double().numpy()
    known = np.isfinite(values)
    colors = colormaps[ERROR_COLORMAP](np.where(known, values, 0.0) / LARGEST_ERROR, bytes=True)[..., :3]
    return np.where(known[..., None], colors, np.uint8(255))


def save_depth(path: str | os.PathLike[str], depth: Float[Tensor, "h w"], near: int | float, far: int | float) -> None:
    """Write a z-depth map twice: colours as PNG at `path`, the numbers (float32, world units) beside it as `.npy`."""
    target = Path(path)
    write_depth(target.with_suffix(".npy"), depth)
    save_pixels(target, depth_colors(depth, near, far))


def save_pixels(path: str | os.PathLike[str], pixels: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write bytes with channels last as the suffix says: `.png` without loss, `.jpg` or `.jpeg` nearly so."""
    suffix = Path(path).suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        raise ParameterError(f"save {path}: no picture is written so, expected {', '.join(PICTURE_SUFFIXES)}")
    with replaced_atomically(path) as sibling:
        if suffix == ".png":
            Image.fromarray(pixels).save(sibling, format="PNG")
        else:
            sibling.write_bytes(encode_jpeg(np.ascontiguousarray(pixels), JPEG_QUALITY))
