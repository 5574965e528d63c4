"""What an optimizer remembers of each parameter, by the parameter's name."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

NamedState = dict[str, dict[str, Tensor]]


def named_state(optimizer: Optimizer, model: nn.Module) -> NamedState:
    """The state of every trained parameter; empty before the first step. The tensors are the optimizer's own."""
    kept = {name: optimizer.state.get(parameter) for name, parameter in _trained(model)}
    return {name: dict(parts) for name, parts in kept.items() if parts}


def load_named_state(optimizer: Optimizer, model: nn.Module, state: Mapping[str, Mapping[str, Any]]) -> None:
    """Take over what `named_state` gave, moved to the parameters' devices; groups and their settings stay."""
    name_of = {parameter: name for name, parameter in _trained(model)}
    ordered = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbered = {i: dict(state[name_of[p]]) for i, p in enumerate(ordered) if name_of[p] in state}
    optimizer.load_state_dict({"state": numbered, "param_groups": optimizer.state_dict()["param_groups"]})


def nonfinite_state(state: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Name of the first tensor of a `named_state` that is not finite."""
    for parameter, parts in state.items():
        for part, value in parts.items():
            if not torch.as_tensor(value).isfinite().all():
                return f"{part} of {parameter}"
    return None


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
