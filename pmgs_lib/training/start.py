"""The network that a training starts from: fresh, from other projects' weights, or from an earlier stage."""

import logging
from collections.abc import Mapping
from typing import Any

from torch import nn

from pmgs_lib.errors import CheckpointError, ParameterError, first_line
from pmgs_lib.models import build_model, initialise, load_checkpoint, named_config
from pmgs_lib.models.base import ModelConfig
from pmgs_lib.models.zoo import parse_config

logger = logging.getLogger(__name__)


def model_config(model: str | Mapping[str, Any]) -> ModelConfig:
    """The configuration that a name of `MODELS`, or the fields of a configuration, stand for."""
    return named_config(model) if isinstance(model, str) else parse_config(dict(model))


def starting_model(
    model: str | Mapping[str, Any],
    *,
    weights: str | None = None,
    part: str | None = None,
    initialisation: Mapping[str, str] | None = None,
) -> nn.Module:
    """A network of the configuration `model`, whatever configuration its first weights were trained with.

    weights: a name of `MODELS` or a checkpoint. They must fit exactly: a stage may change what a network does with its
    outputs (PM-Loss frees the offsets so), never their shapes. part: name of the one module that is taken from them,
    also exactly, the rest being fresh or absent (depth training takes "depth_predictor" of a splatting model).
    initialisation: arguments of `initialise` where there are no weights. Fresh weights follow torch's generator.
    """
    config = model_config(model)
    if weights is None:
        if part is not None:
            raise ParameterError(f"training: part {part!r} of no weights; name weights too, or leave part out")
        network = build_model(config)
        if initialisation:
            logger.info("%s", initialise(network, **initialisation))
        return network
    if initialisation:
        raise ParameterError(f"training: both weights {weights} and an initialisation; expected one of them")
    return load_checkpoint(weights, config=config) if part is None else _with_part(config, weights, part)


def _with_part(config: ModelConfig, weights: str, part: str) -> nn.Module:
    network, source = build_model(config), load_checkpoint(weights)
    try:
        network.get_submodule(part).load_state_dict(source.get_submodule(part).state_dict())
    except (AttributeError, RuntimeError) as fault:
        told = first_line(fault)
        raise CheckpointError(
            f"checkpoint {weights}: its {part} does not fit the model ({told}); name other weights"
        ) from fault
    return network
