"""VGG networks as torchvision stores them: looked for on this machine, checked by digest, loaded strictly.

Nothing here downloads: a training or a score that needs a file which is not there says so before it starts.
"""

import pickle
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from pmgs_lib.data.files import file_digest
from pmgs_lib.errors import CheckpointError, first_line

LPIPS_SLICES = range(1, 6)


@dataclass(frozen=True)
class VggFile:
    """A file of weights: its usual name, what its SHA-256 begins with, and the number of layers of its network."""

    name: str
    digest: str
    layers: Literal[16, 19]


VGG16 = VggFile("vgg16-397923af.pth", "397923af", 16)  # torchvision
VGG19 = VggFile("vgg19-dcbb9e9d.pth", "dcbb9e9d", 19)  # torchvision
VGG19_ORIGINAL = VggFile("matconvnet_vgg19.pt", "c7bc9f4a", 19)  # its authors' weights in that layout, with Long-LRM


def hub_path(file: VggFile) -> Path:
    """Where torchvision, and so the lpips package, keeps a file on this machine."""
    return Path(torch.hub.get_dir()) / "checkpoints" / file.name


def load_trunk(path: str | Path, file: VggFile, *, digest: str | None = None) -> nn.Sequential:
    """The convolutional part of a VGG network (torchvision's `features`), frozen, in eval mode, on the CPU.

    path: of a file in the layout of `file`. digest: what its SHA-256 must begin with, if not `file.digest`. Raises
    `CheckpointError` for a file that is missing, of another digest, damaged, or of another network: a plausible number
    from wrong weights is worse than none.
    """
    path, digest = Path(path), digest or file.digest
    if not path.is_file():
        raise CheckpointError(
            f"{path}: not on this machine, expected VGG-{file.layers} weights of SHA-256 {digest}...; "
            f"put torchvision's {file.name} there"
        )
    found = file_digest(path)
    if not found.startswith(digest):
        raise CheckpointError(
            f"{path}: SHA-256 begins with {found[: len(digest)]}, expected {digest}; "
            "remove the file and download it again"
        )
    trunk = _empty_trunk(file.layers)
    try:
        trunk.load_state_dict(_stored_features(path), assign=True)
    except (AttributeError, EOFError, OSError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path}: not a readable VGG-{file.layers} weight file ({first_line(error)}), expected the layout of "
            f"torchvision's {file.name}; download it again"
        ) from error
    return trunk.eval().requires_grad_(False)


def load_lpips_network(path: str | Path, *, digest: str | None = None) -> nn.Module:
    """The network of the lpips package over torchvision's VGG-16, frozen, in eval mode, on the CPU.

    The package would download its VGG weights without a time limit and without checking them; that code is never
    entered. Raises what `load_trunk` raises.
    """
    trunk = load_trunk(path, VGG16, digest=digest).state_dict()
    network = _network_without_trunk()
    own = network.state_dict()
    placed = {f"net.slice{part}.{key}": value for key, value in trunk.items() for part in LPIPS_SLICES}
    placed = {name: value for name, value in placed.items() if name in own}
    assert len(placed) == len(trunk), f"lpips: {len(placed)} of {len(trunk)} tensors of VGG-16 have a place in it"  # noqa: S101
    network.load_state_dict(own | placed)
    return network.eval().requires_grad_(False)


def _empty_trunk(layers: int) -> nn.Sequential:
    """The network without numbers: filling it with random ones would take seconds and change the random state."""
    import torchvision  # slow to import, so only where a network is wanted

    with torch.device("meta"):
        return getattr(torchvision.models, f"vgg{layers}")(weights=None, init_weights=False).features


def _stored_features(path: Path) -> dict[str, Tensor]:
    # The released file may be of torch's older layout, which cannot be memory-mapped.
    stored = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    own = {key: value for key, value in stored.items() if not key.startswith("classifier.")}
    return {key.removeprefix("features."): value.to(torch.float32, copy=True) for key, value in own.items()}


def _network_without_trunk() -> nn.Module:
    """LPIPS with its packaged linear layers and a random trunk; the caller's random state is left as it was."""
    import lpips  # the package: a second to import, so only where a number is wanted

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # lpips 0.1.4 still says `pretrained=` to torchvision, which warns about it.
        warnings.filterwarnings("ignore", message=".*pretrained.*", module="torchvision")
        warnings.filterwarnings("ignore", message=".*weight enum.*", module="torchvision")
        return lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
