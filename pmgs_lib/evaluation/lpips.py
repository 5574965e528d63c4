"""LPIPS (Zhang et al. 2018, arXiv 1801.03924) by the `lpips` package with VGG-16, or a named reason why not.

The package downloads its VGG weights without a time limit and without checking them. This module never enters that
code: it looks for the file itself, checks its digest, and loads the trunk strictly.
"""

import functools
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pmgs_lib.data.files import file_digest
from pmgs_lib.errors import CheckpointError

WEIGHTS_NAME = "vgg16-397923af.pth"  # torchvision's file; the eight digits begin its SHA-256
RELEASED_DIGEST = "397923af"
TRUNK_TENSORS = 26  # 13 convolutions, weight and bias
TRUNK_SLICES = range(1, 6)


@dataclass(frozen=True)
class LpipsUnavailable:
    """Stands where LPIPS values would stand. `reason` names no machine path; `next_step` says where to put the file."""

    reason: str
    next_step: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.next_step}"


def default_weights() -> Path:
    """Where torchvision, and so the lpips package, keeps the VGG-16 weights on this machine."""
    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS_NAME


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
    return _load_checked(path, digest, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=2)
def _load_checked(path: Path, digest: str, _modified: int, _size: int) -> nn.Module:
    found = file_digest(path)
    if not found.startswith(digest):
        raise CheckpointError(
            f"{path}: SHA-256 begins with {found[: len(digest)]}, expected {digest}; "
            "remove the file and download it again"
        )
    features = _stored_features(path)
    network = _network_without_trunk()
    network.load_state_dict(network.state_dict() | _trunk(path, features, network))
    return network.eval().requires_grad_(False)


def _network_without_trunk() -> nn.Module:
    """LPIPS with its packaged linear layers and a random trunk; the caller's random state is left as it was."""
    import lpips  # the package: a second to import, so only where a number is wanted

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # lpips 0.1.4 still says `pretrained=` to torchvision, which warns about it.
        warnings.filterwarnings("ignore", message=".*pretrained.*", module="torchvision")
        warnings.filterwarnings("ignore", message=".*weight enum.*", module="torchvision")
        return lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)


def _stored_features(path: Path) -> dict[str, Tensor]:
    try:
        # The released file may be of torch's older layout, which cannot be memory-mapped.
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        return {key.removeprefix("features."): value for key, value in stored.items()}
    except (AttributeError, EOFError, OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path}: not a readable VGG-16 weight file ({reason}); download it again") from error


def _trunk(path: Path, features: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The 26 trunk tensors of a torchvision VGG-16 file under the names of the lpips package."""
    own = network.state_dict()
    names = {f"net.slice{index}.{key}": key for key in features for index in TRUNK_SLICES}
    trunk = {name: features[key] for name, key in names.items() if name in own}
    wrong = [name for name, value in trunk.items() if value.shape != own[name].shape]
    if len(trunk) != TRUNK_TENSORS or wrong:
        raise CheckpointError(
            f"{path}: {len(trunk)} of {TRUNK_TENSORS} VGG-16 tensors found, {len(wrong)} of another shape; "
            f"expected torchvision's {WEIGHTS_NAME}"
        )
    return trunk


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
