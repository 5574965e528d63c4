"""Image and depth metrics, each returned per image so that a mean is always taken in one stated place."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from skimage.metrics import structural_similarity
from torch import Tensor

from pmgs_lib.errors import DataError, ParameterError

SSIM_WINDOW = 11  # pixels; what sigma 1.5 cut at 3.5 sigma spans
DELTA1_RATIO = 1.25
SMALLEST_LOG_DEPTH = 1e-3  # world units; a predicted depth below it has no useful logarithm, a hole has none at all


@dataclass(frozen=True)
class MetricInfo:
    """How a metric is shown: short label, unit ("" if none), which direction is better, decimals."""

    label: str
    unit: str
    better: Literal["higher", "lower"]
    digits: int


METRICS: dict[str, MetricInfo] = {
    "psnr": MetricInfo("PSNR", "dB", "higher", 2),
    "ssim": MetricInfo("SSIM", "", "higher", 3),
    "lpips": MetricInfo("LPIPS", "", "lower", 3),
    "abs_rel": MetricInfo("AbsRel", "", "lower", 3),
    "rmse_m": MetricInfo("RMSE", "m", "lower", 3),
    "delta1": MetricInfo("δ1", "", "higher", 3),
    "context_abs_rel": MetricInfo("context AbsRel", "", "lower", 3),
    "context_rmse_m": MetricInfo("context RMSE", "m", "lower", 3),
    "context_delta1": MetricInfo("context δ1", "", "higher", 3),
    "accuracy_m": MetricInfo("Accuracy", "m", "lower", 3),
    "completeness_m": MetricInfo("Completeness", "m", "lower", 3),
    "overall_m": MetricInfo("Overall", "m", "lower", 3),
}

# What `depth_errors` gives, in the order in which UniMatch and DepthSplat print it. More than `METRICS`, which is what
# evaluations of novel views report.
DEPTH_METRICS: dict[str, MetricInfo] = {
    "abs_rel": METRICS["abs_rel"],
    "sq_rel": MetricInfo("SqRel", "m", "lower", 3),
    "rmse_m": METRICS["rmse_m"],
    "rmse_log": MetricInfo("RMSE log", "", "lower", 3),
    "delta1": METRICS["delta1"],
    "delta2": MetricInfo("δ2", "", "higher", 3),
    "delta3": MetricInfo("δ3", "", "higher", 3),
}


def psnr(
    images: Float[Tensor, "*batch 3 height width"], references: Float[Tensor, "*batch 3 height width"]
) -> Float[Tensor, "*batch"]:
    """Peak signal-to-noise ratio in dB, one value an image; both sides are clipped to [0, 1] first, as the papers do.

    Equal images give infinity.
    """
    difference = images.clamp(0, 1) - references.clamp(0, 1)
    return -10 * difference.square().mean(dim=(-3, -2, -1)).log10()


def ssim(
    images: Float[Tensor, "*batch 3 height width"], references: Float[Tensor, "*batch 3 height width"]
) -> Float[Tensor, "*batch"]:
    """Structural similarity (Wang et al. 2004), one value an image, by scikit-image as the released code calls it:
    Gaussian window (sigma 1.5, 11x11), data range 1, sample covariance, 5 border pixels left out, mean over channels.

    Images are *not* clipped, so a rendered value above 1 counts as it is. Raises `ParameterError` below 11x11 pixels.
    """
    height, width = images.shape[-2:]
    if min(height, width) < SSIM_WINDOW:
        raise ParameterError(
            f"ssim: images are {height}x{width}, expected at least {SSIM_WINDOW}x{SSIM_WINDOW}; evaluate larger images"
        )
    pairs = zip(_flat_images(images), _flat_images(references), strict=True)
    values = [_ssim_of_one(image, reference) for image, reference in pairs]
    return torch.tensor(values, dtype=images.dtype, device=images.device).reshape(images.shape[:-3])


def _flat_images(images: Tensor) -> Tensor:
    return images.detach().cpu().reshape(-1, *images.shape[-3:])


def _ssim_of_one(image: Tensor, reference: Tensor) -> float:
    return float(
        structural_similarity(
            reference.numpy(),
            image.numpy(),
            win_size=SSIM_WINDOW,
            gaussian_weights=True,
            channel_axis=0,
            data_range=1.0,
        )
    )


class DepthErrors(NamedTuple):
    """Depth errors, one value an image.

    abs_rel: mean |depth - exact| / exact; sq_rel: mean (depth - exact)^2 / exact, in world units (metres); rmse_m: root
    mean squared error in world units; rmse_log: root mean squared difference of the natural logarithms; delta1, delta2,
    delta3: share of pixels with max(depth / exact, exact / depth) below 1.25, 1.25^2, 1.25^3.
    """

    abs_rel: Float[Tensor, "*batch"]
    rmse_m: Float[Tensor, "*batch"]
    delta1: Float[Tensor, "*batch"]
    sq_rel: Float[Tensor, "*batch"]
    rmse_log: Float[Tensor, "*batch"]
    delta2: Float[Tensor, "*batch"]
    delta3: Float[Tensor, "*batch"]


def depth_errors(
    depth: Float[Tensor, "*batch height width"],
    exact: Float[Tensor, "*batch height width"],
    valid: Bool[Tensor, "*batch height width"] | None = None,
    *,
    median_scaled: bool = False,
) -> DepthErrors:
    """Errors of z-depth over the valid pixels (Eigen et al., "Depth map prediction from a single image", 2014), as
    UniMatch and DepthSplat report them.

    `valid` marks the pixels with exact depth; by default those where `exact` is finite and positive (UniMatch's ScanNet
    numbers take 0.5 to 10 m). No scale is fitted unless `median_scaled`, which first brings the median of each
    predicted image to that of the exact one, for predictions of unknown scale. A predicted zero (nothing there) counts
    as an error of its own size, for rmse_log as a depth of a millimetre. Raises `DataError` for an image without a
    valid pixel.
    """
    valid = (exact.isfinite() & (exact > 0)) if valid is None else valid
    count = _valid_pixels(valid)
    depth = depth * _median_scale(depth, exact, valid)[..., None, None] if median_scaled else depth
    exact = torch.where(valid, exact, 1.0)
    error = torch.where(valid, depth - exact, 0.0)
    log_error = torch.where(valid, depth.clamp(min=SMALLEST_LOG_DEPTH).log() - exact.log(), 0.0)
    ratio = torch.maximum(depth / exact, exact / depth)
    # A negative depth makes both ratios negative, which would pass a plain "< 1.25".
    within = [valid & (depth > 0) & (ratio < DELTA1_RATIO**power) for power in (1, 2, 3)]

    def mean(values: Tensor) -> Tensor:
        return values.sum(dim=(-2, -1)).to(depth.dtype) / count

    return DepthErrors(
        abs_rel=mean(error.abs() / exact),
        rmse_m=mean(error.square()).sqrt(),
        delta1=mean(within[0]),
        sq_rel=mean(error.square() / exact),
        rmse_log=mean(log_error.square()).sqrt(),
        delta2=mean(within[1]),
        delta3=mean(within[2]),
    )


def _valid_pixels(valid: Bool[Tensor, "*batch height width"]) -> Tensor:
    """Their number in each image."""
    count = valid.sum(dim=(-2, -1))
    if bool((count == 0).any()):
        raise DataError(
            f"depth_errors: {int((count == 0).sum())} of {count.numel()} images have no pixel with exact depth, "
            "expected at least one each; leave those views out"
        )
    return count


def _median_scale(depth: Tensor, exact: Tensor, valid: Tensor) -> Float[Tensor, "*batch"]:
    medians = [torch.where(valid, values, torch.nan).flatten(-2).nanmedian(dim=-1).values for values in (exact, depth)]
    if not bool((medians[1] > 0).all()):
        raise DataError(
            "depth_errors: a predicted image has a median depth of 0 or less, expected a positive one to scale it; "
            "leave that view out or pass median_scaled=False"
        )
    return medians[0] / medians[1]
