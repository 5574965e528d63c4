"""LPIPS (Zhang et al. 2018, arXiv 1801.03924) by the `lpips` package with VGG-16, or a named reason why not."""

import functools
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pmgs_lib.losses.vgg import VGG16, hub_path, load_lpips_network

WEIGHTS_NAME = VGG16.name
RELEASED_DIGEST = VGG16.digest


@dataclass(frozen=True)
class LpipsUnavailable:
    """Stands where LPIPS values would stand. `reason` names no machine path; `next_step` says where to put the file."""

    reason: str
    next_step: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.next_step}"


def default_weights() -> Path:
    """Where torchvision, and so the lpips package, keeps the VGG-16 weights on this machine."""
    return hub_path(VGG16)


def load_lpips(weights: str | Path | None = None, *, digest: str = RELEASED_DIGEST) -> nn.Module | LpipsUnavailable:
    """The LPIPS network (frozen, on the CPU), or `LpipsUnavailable` when the weight file is not on this machine.

    `digest` is what the file's SHA-256 must begin with. A file that is there but damaged raises `CheckpointError`:
    a plausible number from wrong weights is worse than none.
    """
    path = default_weights() if weights is None else Path(weights)
    if not path.is_file():
        return LpipsUnavailable(
            reason=f"LPIPS not computed: {path.name} (VGG-16 of torchvision) is not on this machine",
            next_step=f"put the file into {path.parent}",
        )
    stat = path.stat()
    return _load_once(path, digest, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=2)
def _load_once(path: Path, digest: str, _modified: int, _size: int) -> nn.Module:
    return load_lpips_network(path, digest=digest)


@torch.no_grad()
def lpips(
    images: Float[Tensor, "image 3 height width"],
    references: Float[Tensor, "image 3 height width"],
    network: nn.Module | LpipsUnavailable | None = None,
) -> Float[Tensor, "image"] | LpipsUnavailable:
    """LPIPS (VGG) of images in [0, 1], one value an image; lower is closer. Not clipped, as in the released code.

    `network` comes from `load_lpips`; by default it is loaded from torch hub's folder. Without the weights the answer
    is `LpipsUnavailable`, never another number. Images go through one by one, so memory does not grow with their count.
    """
    network = load_lpips() if network is None else network
    if isinstance(network, LpipsUnavailable):
        return network
    network = network.to(images.device)
    pairs = zip(images.float().split(1), references.float().split(1), strict=True)
    values = [network(image, reference, normalize=True).reshape(()) for image, reference in pairs]
    return torch.stack(values).to(images.dtype) if values else images.new_zeros(0)
