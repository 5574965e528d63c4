"""Our own files of weights: safetensors with the configuration in the header, beside a JSON card.

Weights and configuration change together; the card says where they come from and which bytes it speaks of.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pmgs_lib.data.files import file_digest, replaced_atomically, write_json
from pmgs_lib.errors import CheckpointError, PmgsError
from pmgs_lib.models.base import ModelConfig
from pmgs_lib.models.released_weights import listed
from pmgs_lib.models.zoo import parse_config


def save_checkpoint(
    path: str | Path, model: nn.Module, card: Mapping[str, Any], *, dtype: Literal["float32", "float16"] = "float32"
) -> Path:
    """Write the weights of a model and, beside them, their JSON card (same name, suffix `.json`).

    `card` says how the weights came about (command, commit, seed, metrics ...); configuration, parameter count, dtype
    and SHA-256 of the file are added. Both files are replaced atomically, the card last.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: weights are written as .safetensors; change the suffix")
    number = getattr(torch, dtype)
    state = {key: value.detach().cpu().to(number).contiguous() for key, value in model.state_dict().items()}
    broken = [key for key, value in state.items() if not value.isfinite().all()]
    if broken:
        raise CheckpointError(f"{path}: not written, {listed(broken)} not finite as {dtype}")
    config = model.config.model_dump(mode="json")
    with replaced_atomically(path) as sibling:
        save_file(state, sibling, metadata={"config": json.dumps(config)})
    facts = {
        "config": config,
        "parameters": sum(value.numel() for value in state.values()),
        "dtype": dtype,
        "sha256": file_digest(path),
    }
    write_json(path.with_suffix(".json"), dict(card) | facts)
    return path


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], ModelConfig | None]:
    """Tensors of a safetensors file, and the configuration in its header if it is one of ours."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (the file is no mapping)
        fields = json.loads(header["config"]) if "config" in header else None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path}: is damaged ({error}); fetch or write it again") from error
    try:
        return state, parse_config(fields, where=f"checkpoint {path}") if fields else None
    except PmgsError as error:
        raise CheckpointError(f"{error}; the file was written by another version of this library") from error


def card_of(path: Path) -> dict[str, Any]:
    """The card beside a file of weights; `CheckpointError` if there is none that can be read."""
    card_path = path.with_suffix(".json")
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"card {card_path}: is missing or not readable as JSON ({error}); fetch or write the weights again"
        ) from error
    if not isinstance(card, dict):
        raise CheckpointError(f"card {card_path}: holds a {type(card).__name__}, expected an object; fetch it again")
    return card


def check_card(path: Path) -> None:
    """Refuse weights whose card, if there is one, speaks of other bytes."""
    if not path.with_suffix(".json").is_file():
        return
    expected, found = card_of(path).get("sha256"), file_digest(path)
    if expected not in (None, found):
        raise CheckpointError(
            f"checkpoint {path}: SHA-256 is {found[:12]}..., its card says {str(expected)[:12]}...; "
            "one of the two is from another run: fetch or write both again"
        )
