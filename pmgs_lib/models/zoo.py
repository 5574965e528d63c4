"""Named models: what exists, and how a name or a configuration becomes a network."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from torch import nn

from pmgs_lib._lazy import load_object
from pmgs_lib.errors import ParameterError
from pmgs_lib.models.base import ModelConfig
from pmgs_lib.models.zoo_entry import ModelEntry, ReleasedFile

if TYPE_CHECKING:
    import pandas


class Zoo(Mapping[str, ModelConfig]):
    """Entries by name, each imported when it is asked for: who uses one model depends on the facts of no other."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = dict(addresses)

    def __getitem__(self, name: str) -> ModelConfig:
        return load_object(self._addresses[name])

    def __contains__(self, name: object) -> bool:
        return name in self._addresses

    def __iter__(self) -> Iterator[str]:
        return iter(self._addresses)

    def __len__(self) -> int:
        return len(self._addresses)

    def __repr__(self) -> str:
        return "\n".join(self)


# Name of a model to the address of its entry. A name that ends in eight digits is of a file that a later one replaced;
# the digits are those of the file's own name.
MODELS: Mapping[str, ModelEntry] = Zoo(
    {
        "depthsplat-tiny": "pmgs_lib.models.depthsplat.embedded:TINY",
        "depthsplat-gs-small-re10k-256x256": "pmgs_lib.models.depthsplat.released:GS_SMALL_RE10K_256X256",
        "depthsplat-gs-base-re10k-256x256": "pmgs_lib.models.depthsplat.released:GS_BASE_RE10K_256X256",
        "depthsplat-gs-large-re10k-256x256": "pmgs_lib.models.depthsplat.released:GS_LARGE_RE10K_256X256",
        "depthsplat-gs-base-re10k-256x448": "pmgs_lib.models.depthsplat.released:GS_BASE_RE10K_256X448",
        "depthsplat-gs-base-dl3dv-256x448": "pmgs_lib.models.depthsplat.released:GS_BASE_DL3DV_256X448",
        "depthsplat-gs-base-re10kdl3dv-448x768": "pmgs_lib.models.depthsplat.released:GS_BASE_RE10KDL3DV_448X768",
        "depthsplat-gs-small-re10kdl3dv-448x768": "pmgs_lib.models.depthsplat.released:GS_SMALL_RE10KDL3DV_448X768",
        "depthsplat-depth-small-352x640": "pmgs_lib.models.depthsplat.released:DEPTH_SMALL_352X640",
        "depthsplat-depth-base-352x640": "pmgs_lib.models.depthsplat.released:DEPTH_BASE_352X640",
        "depthsplat-gs-small-re10k-256x256-20f39ed8": (
            "pmgs_lib.models.depthsplat.released:FIRST_GS_SMALL_RE10K_256X256"
        ),
        "depthsplat-gs-base-re10k-256x256-fbe87117": "pmgs_lib.models.depthsplat.released:FIRST_GS_BASE_RE10K_256X256",
        "depthsplat-gs-large-re10k-256x256-8ee2ec2c": (
            "pmgs_lib.models.depthsplat.released:FIRST_GS_LARGE_RE10K_256X256"
        ),
        "depthsplat-gs-base-re10k-256x448-76a0605a": "pmgs_lib.models.depthsplat.released:FIRST_GS_BASE_RE10K_256X448",
        "depthsplat-gs-base-dl3dv-256x448-d94d996f": "pmgs_lib.models.depthsplat.released:FIRST_GS_BASE_DL3DV_256X448",
        "depthsplat-gs-base-re10kdl3dv-448x768-f40abc4f": (
            "pmgs_lib.models.depthsplat.released:FIRST_GS_BASE_RE10KDL3DV_448X768"
        ),
        "depthsplat-gs-small-re10kdl3dv-448x768-1e257b90": (
            "pmgs_lib.models.depthsplat.released:FIRST_GS_SMALL_RE10KDL3DV_448X768"
        ),
        "depthsplat-gs-small-re10k-256x256-49b2d15c": (
            "pmgs_lib.models.depthsplat.released_october:GS_SMALL_RE10K_256X256"
        ),
        "depthsplat-gs-base-re10k-256x256-044fdb17": (
            "pmgs_lib.models.depthsplat.released_october:GS_BASE_RE10K_256X256"
        ),
        "depthsplat-gs-large-re10k-256x256-288d9b26": (
            "pmgs_lib.models.depthsplat.released_october:GS_LARGE_RE10K_256X256"
        ),
        "depthsplat-gs-base-dl3dv-256x448-75cc0183": (
            "pmgs_lib.models.depthsplat.released_october:GS_BASE_DL3DV_256X448"
        ),
        "depthsplat-depth-small-3d79dd5e": "pmgs_lib.models.depthsplat.released_october:DEPTH_SMALL",
        "depthsplat-depth-base-f57113bd": "pmgs_lib.models.depthsplat.released_october:DEPTH_BASE",
        "depthsplat-depth-large-50d3d7cf": "pmgs_lib.models.depthsplat.released_october:DEPTH_LARGE",
        "pmloss-unconstrained-256x448": "pmgs_lib.models.depthsplat.released_october:PMLOSS_UNCONSTRAINED_256X448",
        "pmloss-ori-256x448": "pmgs_lib.models.depthsplat.released_october:PMLOSS_ORI_256X448",
        "mvsplat-re10k-256x256": "pmgs_lib.models.mvsplat.released:RE10K_256X256",
        "mvsplat-acid-256x256": "pmgs_lib.models.mvsplat.released:ACID_256X256",
        "mvsplat-re10k-wopretrained-256x256": "pmgs_lib.models.mvsplat.released:RE10K_RANDOM_START_256X256",
        "mvsplat-re10k-wopretrained-450k-256x256": "pmgs_lib.models.mvsplat.released:RE10K_RANDOM_START_450K_256X256",
        "gslrm-paper-256x256": "pmgs_lib.models.gslrm.published:PAPER_256X256",
        "gslrm-paper-512x512": "pmgs_lib.models.gslrm.published:PAPER_512X512",
        "gslrm-unofficial-256x256": "pmgs_lib.models.gslrm.published:UNOFFICIAL_256X256",
        "gslrm-tiny": "pmgs_lib.models.gslrm.published:TINY",
    }
)

# `kind` of a configuration to the addresses of its configuration class and its network.
ARCHITECTURES: dict[str, tuple[str, str]] = {
    "depthsplat": ("pmgs_lib.models.depthsplat.config:DepthSplatConfig", "pmgs_lib.models.depthsplat.model:DepthSplat"),
    "mvsplat": ("pmgs_lib.models.mvsplat.config:MvSplatConfig", "pmgs_lib.models.mvsplat.model:MvSplat"),
    "gslrm": ("pmgs_lib.models.gslrm.config:GslrmConfig", "pmgs_lib.models.gslrm.model:Gslrm"),
}


def named_entry(name: str) -> ModelEntry:
    """The zoo's entry of a name; `ParameterError` lists the names if there is no such model."""
    if name not in MODELS:
        raise ParameterError(f"model {name!r}: is not in the zoo; expected one of {', '.join(sorted(MODELS))}")
    return MODELS[name]


def named_config(name: str) -> ModelConfig:
    """Configuration of a model of the zoo; `ParameterError` lists the names if there is no such model."""
    return named_entry(name).config


def parse_config(fields: dict[str, Any], *, where: str = "model configuration") -> ModelConfig:
    """A configuration from plain values, e.g. of a JSON card; `where` names their origin in the error."""
    kind = fields.get("kind")
    if kind not in ARCHITECTURES:
        raise ParameterError(f"{where}: kind is {kind!r}; expected one of {', '.join(ARCHITECTURES)}")
    try:
        return load_object(ARCHITECTURES[kind][0]).model_validate(fields)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'as a whole'}: {fault['msg']} (got {_short(fault['input'])})"
            for fault in error.errors()
        )
        raise ParameterError(f"{where}: {faults}") from error


def build_model(name_or_config: str | ModelConfig, **overrides: Any) -> nn.Module:
    """A network with fresh weights, from a name of `MODELS` or from a configuration; `overrides` replace its fields.

    Weights follow torch's random generator: `torch.manual_seed` before it makes them reproducible.

    >>> build_model("depthsplat-tiny", transformer_blocks=2).config.transformer_blocks
    2
    """
    config = named_config(name_or_config) if isinstance(name_or_config, str) else name_or_config
    if overrides:
        config = parse_config(config.model_dump() | overrides, where=f"build_model({', '.join(overrides)})")
    return load_object(ARCHITECTURES[config.kind][1])(config)


def zoo_table() -> "pandas.DataFrame":
    """All models, one row each: what it is, what it was trained on, its file, how that is verified, its numbers."""
    import pandas

    rows = {name: _row(MODELS[name]) for name in MODELS}
    return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def _row(entry: ModelEntry) -> dict[str, Any]:
    height, width = entry.image_size
    file = entry.weights
    first = entry.paper[0] if entry.paper else None
    return {
        "size": f"{height}x{width}",
        "views": "-".join(map(str, dict.fromkeys(entry.context_views))),
        "trained on": entry.training_data,
        "near": entry.near,
        "far": entry.far,
        "file": file if isinstance(file, str) else file.name,
        "digest": _digest(file),
        "published": f"{first.metrics['PSNR']:.2f} dB, {first.dataset} ({first.trust})" if first else "",
        "released": entry.released,
        "licence": entry.licence,
    }


def _digest(weights: str | ReleasedFile) -> str:
    if isinstance(weights, ReleasedFile):
        return weights.sha256 or "recorded at first download"
    return "card" if weights == "embedded" else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
