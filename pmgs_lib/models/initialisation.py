"""Weights for new training: matching features from UniMatch, the vision transformer from Depth Anything V2.

The released trainings start so: DepthSplat from both (its scripts/), MVSplat from UniMatch alone (its README). What is
taken is whole: each tensor of the parts that the model shares with the file, by name and shape, or an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pmgs_lib.data.downloads import fetch_file
from pmgs_lib.errors import CheckpointError, ParameterError
from pmgs_lib.models.released_weights import listed, read_tensors
from pmgs_lib.models.zoo import Zoo
from pmgs_lib.models.zoo_entry import InitialisationEntry

INITIALISATIONS: Mapping[str, InitialisationEntry] = Zoo(
    {
        "unimatch-gmflow-things": "pmgs_lib.models.initialisation_files:GMFLOW_THINGS",
        "unimatch-gmdepth-scannet": "pmgs_lib.models.initialisation_files:GMDEPTH_SCANNET",
        "depth-anything-v2-vits": "pmgs_lib.models.initialisation_files:DEPTH_ANYTHING_V2_VITS",
        "depth-anything-v2-vitb": "pmgs_lib.models.initialisation_files:DEPTH_ANYTHING_V2_VITB",
        "depth-anything-v2-vitl": "pmgs_lib.models.initialisation_files:DEPTH_ANYTHING_V2_VITL",
    }
)
UNIMATCH_PARTS, DEPTH_ANYTHING_PARTS = ("backbone", "transformer"), ("pretrained",)
ROOTS = ("depth_predictor.", "backbone.")  # where the models keep those parts: DepthSplat, MVSplat


@dataclass(frozen=True)
class Taken:
    """What one file gave. taken: name in the model by name in the file. left: names that stayed in the file."""

    file: Path
    taken: Mapping[str, str]
    left: tuple[str, ...]
    parameters: int

    def __str__(self) -> str:
        left = f"left: {listed(list(self.left))}" if self.left else "nothing left"
        return f"{self.file.name}: {len(self.taken)} tensors, {self.parameters:,} parameters taken; {left}"


@dataclass(frozen=True)
class InitialisationReport:
    """What came from which file, and the names of the model's weights that stay as they were: fresh."""

    files: tuple[Taken, ...]
    fresh: tuple[str, ...]
    fresh_parameters: int

    def __str__(self) -> str:
        fresh = f"fresh: {len(self.fresh)} tensors, {self.fresh_parameters:,} parameters: {listed(list(self.fresh))}"
        return "\n".join([*map(str, self.files), fresh])


def initialise(
    model: nn.Module, *, unimatch: str | Path | None = None, depth_anything: str | Path | None = None
) -> InitialisationReport:
    """Fill the parts of a new model that UniMatch or Depth Anything V2 can fill, in place.

    unimatch, depth_anything: a name of `INITIALISATIONS`, which is fetched if need be, or a file; None leaves that part
    fresh. `CheckpointError` names what a file lacks or has in another shape; nothing is changed then.
    """
    wanted = [(unimatch, UNIMATCH_PARTS), (depth_anything, DEPTH_ANYTHING_PARTS)]
    if unimatch is None and depth_anything is None:
        raise ParameterError("initialise: no file to take weights from; pass unimatch= or depth_anything=, or both")
    target = model.state_dict()
    values: dict[str, Tensor] = {}
    files = []
    for source, parts in wanted:
        if source is not None:
            path = _file_of(source, parts)
            state = read_tensors(path)
            taken = _taken(path, state, target, parts)
            values |= {name: state[key] for key, name in taken.taken.items()}
            files.append(taken)
    with torch.no_grad():
        for name, value in values.items():
            target[name].copy_(value)
    fresh = tuple(name for name in target if name not in values)
    return InitialisationReport(tuple(files), fresh, sum(target[name].numel() for name in fresh))


def _taken(path: Path, state: Mapping[str, Tensor], target: Mapping[str, Tensor], parts: tuple[str, ...]) -> Taken:
    """Pairs of names in the file and in the model, all of them in the same shape."""
    pairs: dict[str, str] = {}
    for part in parts:
        root = next((root for root in ROOTS if any(name.startswith(f"{root}{part}.") for name in target)), None)
        if root is None:
            raise CheckpointError(f"{path}: gives {part}.*, of which the model has nothing; leave this file out")
        names = [name for name in target if name.startswith(f"{root}{part}.")]
        pairs |= {name.removeprefix(root): name for name in names}
    lacking = [key for key in pairs if key not in state]
    unequal = [
        f"{key} {tuple(state[key].shape)} for {tuple(target[name].shape)}"
        for key, name in pairs.items()
        if key in state and state[key].shape != target[name].shape
    ]
    if lacking or unequal:
        faults = {"lacking": lacking, "of another shape": unequal}
        told = "; ".join(f"{len(keys)} {what}: {listed(keys)}" for what, keys in faults.items() if keys)
        raise CheckpointError(f"{path}: does not fit the model ({told}); {_sizes(state, target)}")
    left = tuple(key for key in state if key not in pairs)
    return Taken(path, pairs, left, sum(target[name].numel() for name in pairs.values()))


def _sizes(state: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> str:
    """What to do about it: mostly a file of another size was given."""
    token = "pretrained.cls_token"
    if token not in state or f"{ROOTS[0]}{token}" not in target:
        return "expected the weights of a model with the same matching features, of the standard widths"
    given, wanted = state[token].shape[-1], target[f"{ROOTS[0]}{token}"].shape[-1]
    sizes = {384: "vits", 768: "vitb", 1024: "vitl"}
    right = f"; pass depth-anything-v2-{sizes[wanted]}" if wanted in sizes else ", for which none is released"
    return f"the file's transformer has width {given}, the model's {wanted}{right}"


def _file_of(source: str | Path, parts: tuple[str, ...]) -> Path:
    name = str(source)
    if name in INITIALISATIONS:
        entry = INITIALISATIONS[name]
        if entry.parts != parts:
            raise ParameterError(
                f"{name}: gives {', '.join(entry.parts)}, expected {', '.join(parts)}; exchange the two"
            )
        return fetch_file(entry.weights)
    path = Path(source)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, nor one of {', '.join(INITIALISATIONS)}")
    return path
