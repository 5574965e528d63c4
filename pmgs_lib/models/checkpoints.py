"""Weights in files: our own (safetensors beside a JSON card) and those of released models. Always strict.

The safetensors file carries the model's configuration in its header, so weights and configuration change together; the
card beside it says where they come from and which bytes it speaks of.
"""

import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pmgs_lib.data.files import replaced_atomically, write_json
from pmgs_lib.errors import CheckpointError, PmgsError
from pmgs_lib.models.base import ModelConfig
from pmgs_lib.models.zoo import MODELS, build_model, named_config, parse_config

# So many keys of each sort are written out in an error; the others are counted.
SHOWN_KEYS = 6
PICKLE_SUFFIXES = {".pth", ".ckpt", ".pt"}


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
        raise CheckpointError(f"{path}: not written, {_listed(broken)} not finite as {dtype}")
    config = model.config.model_dump(mode="json")
    with replaced_atomically(path) as sibling:
        save_file(state, sibling, metadata={"config": json.dumps(config)})
    facts = {
        "config": config,
        "parameters": sum(value.numel() for value in state.values()),
        "dtype": dtype,
        "sha256": _digest(path),
    }
    write_json(path.with_suffix(".json"), dict(card) | facts)
    return path


def load_checkpoint(
    name_or_path: str | Path, *, config: str | ModelConfig | None = None, device: str | torch.device = "cpu"
) -> nn.Module:
    """A network in evaluation mode with the weights of a file, or of the model that ships under a name.

    Our own files carry their configuration; for released `.pth` and `.ckpt` files it is taken from the file name, or
    from `config` (a name of `MODELS` or a configuration). Keys and shapes must agree exactly. Released files are never
    unpickled beyond plain tensors.
    """
    path = _find(name_or_path)
    if path.suffix == ".safetensors":
        state, stored = _read_safetensors(path)
        _check_card(path)
    elif path.suffix in PICKLE_SUFFIXES:
        state, stored = _read_released(path), None
    else:
        raise CheckpointError(f"{path}: has suffix {path.suffix!r}; expected .safetensors, .pth, .ckpt or .pt")
    chosen = named_config(config) if isinstance(config, str) else config or stored or _config_by_file_name(path)
    model = build_model(chosen)
    _load_strictly(model, state, path)
    return model.to(device).eval()


def read_card(name_or_path: str | Path) -> dict[str, Any]:
    """The JSON card of weights that this library wrote: how they came about, on what, and how good they were."""
    path = _find(name_or_path).with_suffix(".json")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"card {path}: is missing or not readable as JSON ({error}); fetch it again") from error


def embedded_weights(name: str) -> Path:
    """Where the weights of a model lie if they ship with the library."""
    return Path(str(resources.files("pmgs_lib.models") / "weights" / f"{name}.safetensors"))


def _find(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if str(name_or_path) in MODELS:
        path = embedded_weights(str(name_or_path))
        if not path.is_file():
            raise CheckpointError(
                f"model {str(name_or_path)!r}: its weights do not ship with this installation; "
                "pass the path of a checkpoint file, or use build_model for an untrained network"
            )
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path}: no such file, nor a model name; models: {', '.join(sorted(MODELS))}")
    return path


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], ModelConfig | None]:
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


def _check_card(path: Path) -> None:
    card_path = path.with_suffix(".json")
    if not card_path.is_file():
        return
    try:
        expected = json.loads(card_path.read_text(encoding="utf-8")).get("sha256")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"card {card_path}: is not readable as JSON ({error}); write the checkpoint again"
        ) from error
    found = _digest(path)
    if expected not in (None, found):
        raise CheckpointError(
            f"checkpoint {path}: SHA-256 is {found[:12]}..., its card says {str(expected)[:12]}...; "
            "one of the two is from another run: fetch or write both again"
        )


def _read_released(path: Path) -> dict[str, Tensor]:
    """Tensors of a released file under the names of our modules, whatever it wraps them in."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the unpickler raise almost anything
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"checkpoint {path}: holds no plain tensors or is damaged ({reason}); fetch it again"
        ) from error
    prefix = ""
    if isinstance(content, Mapping) and "state_dict" in content:
        content = content["state_dict"]
    elif isinstance(content, Mapping) and "model" in content:  # depth models: keys are relative to the depth network
        content, prefix = content["model"], "depth_predictor."
    if not isinstance(content, Mapping):
        raise CheckpointError(f"checkpoint {path}: holds a {type(content).__name__}; expected a dictionary of tensors")
    foreign = [str(key) for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if foreign:
        raise CheckpointError(f"checkpoint {path}: {_listed(foreign)} no tensors; expected weights only")
    return {prefix + key.removeprefix("encoder."): value for key, value in content.items()}


def _config_by_file_name(path: Path) -> ModelConfig:
    names = [name for name in MODELS if path.name.startswith(name)]
    if not names:
        raise CheckpointError(
            f"checkpoint {path}: neither the file nor its name says which model it is; "
            f"pass config=, one of {', '.join(sorted(MODELS))}"
        )
    return named_config(max(names, key=len))


def _load_strictly(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    expected = model.state_dict()
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    shapes = [
        f"{key} {tuple(state[key].shape)} for {tuple(value.shape)}"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    faults = {"missing": missing, "unexpected": unexpected, "of the wrong shape": shapes}
    if any(faults.values()):
        texts = [f"{len(keys)} {what}: {_listed(keys)}" for what, keys in faults.items() if keys]
        raise CheckpointError(
            f"checkpoint {path}: does not fit {type(model).__name__} ({'; '.join(texts)}); "
            "pass the configuration the weights were trained with as config="
        )
    model.load_state_dict({key: value.float() for key, value in state.items()}, strict=True)


def _listed(keys: list[str]) -> str:
    rest = len(keys) - SHOWN_KEYS
    return ", ".join(keys[:SHOWN_KEYS]) + (f" and {rest} more" if rest > 0 else "")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
