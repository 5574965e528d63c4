"""Weights into networks: all of them or none, and a word on what would fit if they do not."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pmgs_lib.errors import CheckpointError
from pmgs_lib.models.base import ModelConfig
from pmgs_lib.models.checkpoint_fit import difference, explanation, uninitialised
from pmgs_lib.models.zoo import build_model


def filled(config: ModelConfig, state: Mapping[str, Tensor], where: str) -> nn.Module:
    """A network with exactly these weights, in float32; `CheckpointError` says what is missing, left over or misshapen.

    `where` names the weights' origin. Torch's random generator is left as it is.
    """
    with uninitialised(), torch.random.fork_rng(devices=[]):  # some initialisations draw all the same
        model = build_model(config)
    found = {key: tuple(value.shape) for key, value in state.items()}
    faults = difference({key: tuple(value.shape) for key, value in model.state_dict().items()}, found)
    if faults.count:
        raise CheckpointError(
            f"{where}: does not fit {type(model).__name__} ({faults}); {explanation(config, found)}; "
            "pass the configuration the weights were trained with as config="
        )
    model.load_state_dict({key: value.float() for key, value in state.items()}, strict=True)
    return model
