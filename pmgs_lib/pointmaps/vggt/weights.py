"""Released weights of VGGT: where they are, and loading them by name with nothing left over unnamed."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from safetensors import safe_open
from torch import Tensor

from pmgs_lib.data.config import Config
from pmgs_lib.data.downloads import RemoteFile, fetch_file, recorded_digest
from pmgs_lib.data.files import file_digest
from pmgs_lib.errors import CheckpointError, ParameterError, first_line
from pmgs_lib.pointmaps.licences import require_licence
from pmgs_lib.pointmaps.vggt.config import SIZES, Head, VggtConfig
from pmgs_lib.pointmaps.vggt.model import Precision, Vggt

# The revision was read off public logs of downloads; its digest is nowhere published in a form we could read, so the
# first download is recorded and a later change refused. The commercial variant is handed out on application.
WEIGHTS = {
    "vggt-1b": RemoteFile(
        name="vggt-1b.safetensors",
        address=(
            "https://huggingface.co/facebook/VGGT-1B/resolve/860abec7937da0a4c03c41d3c269c366e82abdf9/model.safetensors"
        ),
    ),
    "vggt-1b-commercial": RemoteFile(
        name="vggt-1b-commercial.safetensors",
        address="https://huggingface.co/facebook/VGGT-1B-Commercial",
        by_hand=True,
    ),
}

# What a released file holds and we do not build, by the beginning of its names.
NEVER_BUILT = {
    "track_head.": "the head for point tracks",
    "aggregator.patch_embed.mask_token": "a token of the image transformer's pre-training",
}
HEAD_NAMES = {"point": "point_head.", "depth": "depth_head.", "camera": "camera_head."}
SHOWN_NAMES = 4
logger = logging.getLogger(__name__)


class VggtSettings(Config):
    """Which weights VGGT runs with and how.

    weights: a name of `WEIGHTS`, the path of a .safetensors or .pt file, or an http address. size: the architecture
    that the file holds. sha256: of a file from an address, whole or its beginning, where it is known. folder: where
    downloads are kept (default: the cache folder).
    """

    weights: str = "vggt-1b"
    size: Literal["published", "reduced"] = "published"
    precision: Precision = "float32"
    compile: bool = False
    accept_licence: bool = False
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{8,64}$")
    folder: str | None = None


@dataclass(frozen=True)
class LoadReport:
    """Which file was loaded and what became of its parameters: loaded + skipped is all of them.

    skipped: number of parameters by the beginning of their names.
    """

    path: Path
    sha256: str
    loaded: int
    skipped: Mapping[str, int]


def find_weights(settings: VggtSettings) -> tuple[Path, str]:
    """The verified weights file with its SHA-256, fetched if it is not there.

    The licence is shown, and its acceptance asked for, before anything is fetched.
    """
    name = settings.weights
    remote = WEIGHTS.get(name)
    if name.startswith(("http://", "https://")):
        remote = RemoteFile(name=name.rstrip("/").rpartition("/")[2], address=name, sha256=settings.sha256)
    if remote is not None:
        require_licence(name, settings.accept_licence)
        path = fetch_file(remote, settings.folder)
        return path, recorded_digest(path) or file_digest(path)  # the record was compared with the content just now
    if not Path(name).is_file():
        raise ParameterError(
            f"VGGT: weights {name!r} are no file; expected one of {', '.join(WEIGHTS)}, a path or an http address"
        )
    return Path(name), file_digest(Path(name))


def load_vggt(settings: VggtSettings, heads: tuple[Head, ...] = ("point",)) -> tuple[Vggt, LoadReport]:
    """VGGT with released weights, frozen, in evaluation mode on the CPU, and the account of what was loaded.

    Every name in the file must be one that is built, or begin as an entry of `NEVER_BUILT` or as a head that was not
    asked for; every name that is built must be there in its shape. `CheckpointError` says what differs.
    """
    path, digest = find_weights(settings)
    config = SIZES[settings.size].model_copy(update={"heads": heads})
    state = _read(path)
    # Built without memory, then given the file's: fresh weights of a billion parameters would take a minute to draw.
    with torch.device("meta"):
        model = Vggt(config)
    skipped = _skipped(state, config)
    # Copies: a mapped file that somebody writes over would change the model under our feet.
    kept = {n: v.to(torch.float32, copy=True) for n, v in state.items() if not n.startswith(tuple(skipped))}
    _check(kept, model.state_dict(), path, settings.size)
    model.load_state_dict(kept, strict=True, assign=True)
    report = LoadReport(path, digest, sum(value.numel() for value in kept.values()), skipped)
    logger.info("%s: %d parameters loaded; left in the file: %s", path.name, report.loaded, skipped or "nothing")
    model.requires_grad_(False).eval().set_precision(settings.precision)
    return (model.compiled() if settings.compile else model), report


def _read(path: Path) -> dict[str, Tensor]:
    """Tensors of a file, mapped rather than read: what is skipped never enters memory."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (the file is no mapping)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # damaged bytes make the unpickler raise almost anything
        raise CheckpointError(
            f"VGGT weights {path}: damaged or no plain tensors ({first_line(error)}); fetch the file again"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"VGGT weights {path}: expected a dictionary of tensors by name; fetch it again")
    return content


def _skipped(state: Mapping[str, Tensor], config: VggtConfig) -> dict[str, int]:
    prefixes = [*NEVER_BUILT, *(prefix for head, prefix in HEAD_NAMES.items() if head not in config.heads)]
    counts = {p: sum(v.numel() for name, v in state.items() if name.startswith(p)) for p in prefixes}
    return {prefix: count for prefix, count in counts.items() if count}


def _check(kept: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path, size: str) -> None:
    faults = {
        "missing": [name for name in expected if name not in kept],
        "unknown": [name for name in kept if name not in expected],
        "of another shape": [
            f"{name} {tuple(kept[name].shape)} for {tuple(value.shape)}"
            for name, value in expected.items()
            if name in kept and kept[name].shape != value.shape
        ],
    }
    if any(faults.values()):
        told = "; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in faults.items() if names)
        others = ", ".join(other for other in SIZES if other != size)
        raise CheckpointError(
            f"VGGT weights {path}: do not fit the {size} size ({told}); pass other weights, or size= ({others})"
        )


def _some(names: list[str]) -> str:
    rest = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {rest} more" if rest > 0 else "")
