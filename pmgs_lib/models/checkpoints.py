"""Networks with trained weights: of the zoo by name, or from a file of ours or of a released project. Always strict.

A released file of the zoo is fetched, verified and read once. The copy kept of it as safetensors is used as long as it
is one of exactly that file, by its digest.
"""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pmgs_lib.data.downloads import cache_folder, downloads_folder, fetch_file, recorded_digest
from pmgs_lib.data.files import file_digest
from pmgs_lib.errors import CheckpointError
from pmgs_lib.models.base import ModelConfig
from pmgs_lib.models.checkpoint_files import card_of, check_card, read_safetensors, save_checkpoint
from pmgs_lib.models.checkpoint_fit import models_that_fit
from pmgs_lib.models.released_weights import our_names, read_released
from pmgs_lib.models.strict_loading import filled
from pmgs_lib.models.zoo import MODELS, named_config
from pmgs_lib.models.zoo_entry import ModelEntry, ReleasedFile

PICKLE_SUFFIXES = {".pth", ".ckpt", ".pt"}
PACKAGE_WEIGHTS = Path(__file__).parent / "weights"


def load_checkpoint(
    name_or_path: str | Path, *, config: str | ModelConfig | None = None, device: str | torch.device = "cpu"
) -> nn.Module:
    """A network in evaluation mode with the weights of a model of the zoo, or of a file.

    Weights of the zoo that do not ship with the library are fetched at first use and verified (see
    `pmgs_lib.data.downloads`). Our own files carry their configuration; for others it is taken from the file name, or
    from `config` (a name of `MODELS` or a configuration). Names and shapes must agree exactly: `CheckpointError` says
    what does not, and which configuration would. In particular weights without a confidence channel do not load into
    a configuration with one: the released code of PM-Loss makes up a row for it, and we do not.
    """
    path, known = _find(name_or_path)
    if path.suffix == ".safetensors":
        state, stored = read_safetensors(path)
        state = state if stored else our_names(state)
        if known is None:  # a copy of a released file is checked when it is found
            check_card(path)
    elif path.suffix in PICKLE_SUFFIXES:
        state, stored = read_released(path), None
    else:
        raise CheckpointError(f"{path}: has suffix {path.suffix!r}; expected .safetensors, .pth, .ckpt or .pt")
    chosen = named_config(config) if isinstance(config, str) else config
    chosen = chosen or stored or known or _config_by_file_name(path, state)
    return filled(chosen, state, f"checkpoint {path}").to(device).eval()


def read_card(name_or_path: str | Path) -> dict[str, Any]:
    """The JSON card of weights that this library wrote: how they came about, on what, and how good they were."""
    return card_of(_find(name_or_path)[0])


def embedded_weights(name: str) -> Path:
    """Where the weights of a model lie if they ship with the library."""
    return PACKAGE_WEIGHTS / f"{name}.safetensors"


def released_weights(name: str, entry: ModelEntry, file: ReleasedFile) -> Path:
    """Our copy of a released file of the zoo, as safetensors with a card, in the cache; made if there is none yet.

    A copy counts if its card names the source's digest: that of the file in the cache, or where only the copy was kept,
    the recorded and published one. It is made anew otherwise.
    """
    copy, source = cache_folder() / "converted" / f"{name}.safetensors", downloads_folder() / file.name
    if source.is_file() or recorded_digest(source) is None or not _is_copy(copy, _origin(file, source), entry):
        source = fetch_file(file)
        origin = _origin(file, source)
        if not _is_copy(copy, origin, entry):
            model = filled(entry.config, read_released(source), f"checkpoint {source}")
            save_checkpoint(copy, model, {"model": name, "source": origin, "licence": entry.licence})
    return copy


def _find(name_or_path: str | Path) -> tuple[Path, ModelConfig | None]:
    """The file of weights, and its configuration if it is a released one of the zoo."""
    name, path = str(name_or_path), Path(name_or_path)
    if name in MODELS:
        entry = MODELS[name]
        if isinstance(entry.weights, ReleasedFile):
            return released_weights(name, entry, entry.weights), entry.config
        if entry.weights == "none":
            raise CheckpointError(f"model {name!r}: nobody published weights; train it, or pass a file of your own")
        path = embedded_weights(name)
        if not path.is_file():
            raise CheckpointError(f"model {name!r}: its weights are missing from this installation; install it again")
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path}: no such file, nor a model name; models: {', '.join(sorted(MODELS))}")
    return path, None


def _origin(file: ReleasedFile, source: Path) -> dict[str, Any]:
    return {"file": file.name, "address": file.address, "sha256": recorded_digest(source)}


def _is_copy(copy: Path, origin: dict[str, Any], entry: ModelEntry) -> bool:
    """Whether `copy` is a whole copy of that file for that configuration."""
    published = entry.weights.sha256 if isinstance(entry.weights, ReleasedFile) else None
    if not copy.is_file() or not str(origin["sha256"]).startswith(published or ""):
        return False
    try:
        card = card_of(copy)
    except CheckpointError:  # killed between the weights and their card, or an edited card: it is made again
        return False
    same = card.get("source") == origin and card.get("config") == entry.config.model_dump(mode="json")
    return same and card.get("sha256") == file_digest(copy)


def _config_by_file_name(path: Path, state: dict[str, Tensor]) -> ModelConfig:
    """The configuration of a released file by its name: that of the zoo, or one that begins like a model's."""
    digits = re.search(r"-([0-9a-f]{8})$", path.stem)
    by_digits = [name for name in MODELS if digits and name.endswith(digits[0])]
    names = by_digits or [name for name in MODELS if path.name.startswith(name)]
    if names:
        name = max(names, key=len)
        weights = MODELS[name].weights
        if by_digits or not digits or (isinstance(weights, ReleasedFile) and weights.name == path.name):
            return MODELS[name].config
    for name in MODELS:
        weights = MODELS[name].weights
        if isinstance(weights, ReleasedFile) and weights.name == path.name:
            return MODELS[name].config
    fitting = models_that_fit({key: tuple(value.shape) for key, value in state.items()})
    hint = f"its tensors fit {', '.join(fitting)}" if fitting else f"one of {', '.join(sorted(MODELS))}"
    raise CheckpointError(
        f"checkpoint {path}: neither the file nor its name says which model it is; pass config=, {hint}"
    )
