"""Named models: what exists, and how a name or a configuration becomes a network."""

from typing import Any

from pydantic import ValidationError
from torch import nn

from pmgs_lib._lazy import load_object
from pmgs_lib.errors import ParameterError
from pmgs_lib.models.base import ModelConfig

# Name of a model to the address of its configuration.
MODELS: dict[str, str] = {
    "depthsplat-tiny": "pmgs_lib.models.depthsplat.variants:TINY",
    "depthsplat-gs-small-re10k-256x256": "pmgs_lib.models.depthsplat.variants:GS_SMALL_RE10K_256X256",
    "depthsplat-gs-base-re10k-256x256": "pmgs_lib.models.depthsplat.variants:GS_BASE_RE10K_256X256",
    "depthsplat-gs-large-re10k-256x256": "pmgs_lib.models.depthsplat.variants:GS_LARGE_RE10K_256X256",
    "depthsplat-gs-base-re10k-256x448": "pmgs_lib.models.depthsplat.variants:GS_BASE_RE10K_256X448",
    "depthsplat-gs-base-dl3dv-256x448": "pmgs_lib.models.depthsplat.variants:GS_BASE_DL3DV_256X448",
    "depthsplat-gs-base-re10kdl3dv-448x768": "pmgs_lib.models.depthsplat.variants:GS_BASE_RE10KDL3DV_448X768",
    "depthsplat-gs-small-re10kdl3dv-448x768": "pmgs_lib.models.depthsplat.variants:GS_SMALL_RE10KDL3DV_448X768",
    "depthsplat-depth-small-352x640": "pmgs_lib.models.depthsplat.variants:DEPTH_SMALL_352X640",
    "depthsplat-depth-base-352x640": "pmgs_lib.models.depthsplat.variants:DEPTH_BASE_352X640",
}

# `kind` of a configuration to the addresses of its configuration class and its network.
ARCHITECTURES: dict[str, tuple[str, str]] = {
    "depthsplat": ("pmgs_lib.models.depthsplat.config:DepthSplatConfig", "pmgs_lib.models.depthsplat.model:DepthSplat"),
}


def named_config(name: str) -> ModelConfig:
    """Configuration of a model of the zoo; `ParameterError` lists the names if there is no such model."""
    if name not in MODELS:
        raise ParameterError(f"model {name!r}: is not in the zoo; expected one of {', '.join(sorted(MODELS))}")
    return load_object(MODELS[name])


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


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
