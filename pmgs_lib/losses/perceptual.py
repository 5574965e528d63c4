"""Differences of pictures as a VGG network sees them, made for training: the gradient goes to the rendered pictures."""

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pmgs_lib.errors import CheckpointError, ParameterError
from pmgs_lib.losses.base import Loss, check_shapes
from pmgs_lib.losses.vgg import VGG16, VGG19, VGG19_ORIGINAL, hub_path, load_lpips_network, load_trunk

FILES = {"lpips": VGG16, "vgg19": VGG19}
OTHER_FILES = {VGG19_ORIGINAL.name: VGG19_ORIGINAL}  # taken when asked for by name, never because it is there
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}
SMALLEST_NORM = 1e-10  # the lpips package adds it to the length of a feature before it divides by it
# Layer of torchvision's VGG-19 after which features are compared (relu1_2, relu2_2, relu3_2, relu4_2, relu5_2), and
# what their difference is divided by.
CHEN_KOLTUN_DIVISORS = {3: 2.6, 8: 4.8, 13: 3.7, 22: 5.6, 31: 1.5 / 10}
IMAGENET_MEAN = (0.485, 0.456, 0.406)
FULL_SCALE = 255.0


class PerceptualLoss(Loss):
    """Mean over pictures in [0, 1] of a distance between features; the network is frozen and stays in eval mode.

    precision: of the convolutions, "float32" or "bfloat16" (by autocast); differences and means are in the network's
    own precision either way. chunk: so many pictures go through at a time (None: all), in that much less memory.

    The gradient is worked out in the forward pass, so that no features are kept until the backward pass; it is zero for
    the true pictures and there is no second derivative. A NaN in a picture gives NaN for that picture.
    """

    def __init__(self, network: nn.Module, precision: str = "float32", chunk: int | None = None) -> None:
        super().__init__()
        name = type(self).__name__
        if precision not in PRECISIONS:
            raise ParameterError(f"{name}: precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
        if chunk is not None and chunk < 1:
            raise ParameterError(f"{name}: chunk is {chunk}, expected a positive number of pictures, or None for all")
        self.network = network.eval().requires_grad_(False)
        self.precision, self.chunk = precision, chunk

    def train(self, mode: bool = True) -> "PerceptualLoss":
        """Never in training mode: LPIPS has dropout, which would make another distance of it."""
        return super().train(False)

    def per_item(
        self, prediction: Float[Tensor, "image 3 height width"], target: Float[Tensor, "image 3 height width"]
    ) -> Float[Tensor, "image"]:
        """The distance of each picture from its true one."""
        check_shapes(type(self).__name__, prediction, target)
        own = next(self.network.parameters()).dtype
        pictures = prediction.to(own), target.detach().to(own)
        size = self.chunk or len(prediction)
        if torch.is_grad_enabled() and prediction.requires_grad:
            values = _WithGradient.apply(self._distances, size, *pictures)
        else:
            with torch.no_grad():
                parts = zip(*(images.split(size) for images in pictures), strict=True)
                values = torch.cat([self._distances(*part) for part in parts])
        return values.to(prediction.dtype)

    def value(self, prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        return self.per_item(prediction, target).mean()

    def _distances(self, rendered: Tensor, true: Tensor) -> Tensor:
        half = PRECISIONS[self.precision]
        with torch.autocast(rendered.device.type, dtype=half, enabled=half is not None):
            return self.distances(rendered, true)

    @abstractmethod
    def distances(
        self, rendered: Float[Tensor, "image 3 height width"], true: Float[Tensor, "image 3 height width"]
    ) -> Float[Tensor, "image"]:
        """The formula, differentiable in `rendered`."""


class LpipsLoss(PerceptualLoss):
    """LPIPS (Zhang et al. 2018, arXiv 1801.03924) of the lpips package, with VGG-16: the value of the metric.

    network: from `load_lpips_network`. DepthSplat and MVSplat train with weight 0.05, the unofficial GS-LRM with 0.5.
    """

    def __init__(self, network: nn.Module, precision: str = "float32", chunk: int | None = None) -> None:
        # Channels beside each other in memory: what the tensor cores of a GPU want, and sums over channels like it.
        network.net.to(memory_format=torch.channels_last)
        super().__init__(network, precision, chunk)

    def distances(
        self, rendered: Float[Tensor, "image 3 height width"], true: Float[Tensor, "image 3 height width"]
    ) -> Float[Tensor, "image"]:
        with torch.no_grad():
            references = self._directions(true)
        total = rendered.new_zeros(len(rendered))
        for direction, reference, layer in zip(self._directions(rendered), references, self.network.lins, strict=True):
            weights = layer.model[-1].weight  # of a convolution of one pixel: (1, channel, 1, 1)
            total = total + ((direction - reference).square() * weights).sum(1).mean((1, 2))
        return total

    def _directions(self, images: Tensor) -> list[Tensor]:
        """Features of each layer, every pixel's of length 1 (0 where there are none)."""
        features = self.network.net(self.network.scaling_layer(2 * images - 1))
        return [self._direction(feature.to(images.dtype)) for feature in features]

    @staticmethod
    def _direction(feature: Tensor) -> Tensor:
        # Not the package's root of a sum of squares, whose derivative at 0 is NaN.
        return feature / (torch.linalg.vector_norm(feature, dim=1, keepdim=True) + SMALLEST_NORM)


class Vgg19Loss(PerceptualLoss):
    """Features of VGG-19 compared by absolute differences (Chen and Koltun 2017, "Photographic Image Synthesis with
    Cascaded Refinement Networks"), which GS-LRM's paper takes with weight 0.5.

    The sum of the mean absolute differences of the pictures and of their features after relu1_2, relu2_2, relu3_2,
    relu4_2 and relu5_2, these divided by 2.6, 4.8, 3.7, 5.6 and 0.15; pictures from 0 to 255 less ImageNet's mean
    colour; average instead of maximum pooling: all as in Chen and Koltun's released code (CQFIO/
    PhotographicImageSynthesis). The sum is divided by 255, so that the pictures count by their difference in [0, 1].

    GS-LRM's paper names only the network and the reference: layers, pooling, weights and scale are not in it. The
    division by 255 and the layers' weights are what Long-LRM's released re-implementation has (arthurhero/Long-LRM,
    `model/loss.py` and its configuration); the version of it that was read works features out without a gradient, which
    is not repeated here.

    trunk: of `load_trunk`, torchvision's weights or VGG's original ones. The divisors were found with the original
    ones; torchvision's were trained on colours about 57 times smaller, which only their biases notice.
    """

    def __init__(self, trunk: nn.Sequential, precision: str = "float32", chunk: int | None = None) -> None:
        last = max(CHEN_KOLTUN_DIVISORS)
        layers = [nn.AvgPool2d(2) if isinstance(layer, nn.MaxPool2d) else layer for layer in trunk[: last + 1]]
        super().__init__(nn.Sequential(*layers).to(memory_format=torch.channels_last), precision, chunk)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)

    def distances(
        self, rendered: Float[Tensor, "image 3 height width"], true: Float[Tensor, "image 3 height width"]
    ) -> Float[Tensor, "image"]:
        features, references = (FULL_SCALE * (images - self.mean.to(images)) for images in (rendered, true))
        total = _mean_difference(features, references, rendered.dtype)
        for index, layer in enumerate(self.network):
            features = layer(features)
            with torch.no_grad():
                references = layer(references)
            if index in CHEN_KOLTUN_DIVISORS:
                total = total + _mean_difference(features, references, rendered.dtype) / CHEN_KOLTUN_DIVISORS[index]
        return total / FULL_SCALE


@runtime_checkable
class PerceptualOptions(Protocol):
    """What `ObjectiveConfig` says about the term; the configuration itself stands on a higher floor."""

    perceptual: str
    perceptual_weight: float
    perceptual_precision: str
    rendering: str


def build_perceptual(
    options: PerceptualOptions, weights: str | Path | None = None, *, digest: str | None = None
) -> PerceptualLoss | None:
    """The perceptual term of an objective, or None when it has no weight. Loads it from files on this machine.

    weights: the file, by default torchvision's in torch hub's folder; Long-LRM's `matconvnet_vgg19.pt` (the original
    weights) is known, too. digest: what the file's SHA-256 must begin with, by default what belongs to its name. With
    deferred rendering one picture at a time goes through. Raises `CheckpointError` for a file that is missing or wrong.
    """
    kind = options.perceptual
    if kind not in FILES:
        raise ParameterError(f"build_perceptual: perceptual is {kind!r}, expected one of {', '.join(FILES)}")
    if options.perceptual_weight == 0:
        return None
    path = hub_path(FILES[kind]) if weights is None else Path(weights)
    file = OTHER_FILES.get(path.name, FILES[kind])
    if not path.is_file():
        raise CheckpointError(
            f"training: the perceptual term {kind!r} needs {path.name} (VGG-{file.layers}), which is not in "
            f"{path.parent}; put the file there, or train with perceptual_weight 0"
        )
    settings = {"precision": options.perceptual_precision, "chunk": 1 if options.rendering == "deferred" else None}
    if kind == "lpips":
        return LpipsLoss(load_lpips_network(path, digest=digest), **settings)
    return Vgg19Loss(load_trunk(path, file, digest=digest), **settings)


def _mean_difference(first: Tensor, second: Tensor, dtype: torch.dtype) -> Tensor:
    return (first.to(dtype) - second.to(dtype)).abs().mean((1, 2, 3))


class _WithGradient(torch.autograd.Function):
    """Distances of pictures part by part, and at once their gradients, which are no larger than the pictures."""

    @staticmethod
    def forward(ctx: Any, distances: Callable[[Tensor, Tensor], Tensor], size: int, *pictures: Tensor) -> Tensor:
        values, gradients = [], []
        for rendered, true in zip(*(images.split(size) for images in pictures), strict=True):
            with torch.enable_grad():
                leaf = rendered.detach().requires_grad_()
                value = distances(leaf, true)
                gradients += torch.autograd.grad(value.sum(), leaf)
            values.append(value.detach())
        ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return None, None, upstream[:, None, None, None] * gradient, None
