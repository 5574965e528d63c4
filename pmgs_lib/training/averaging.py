"""A moving average of the weights, which is often better than the last of them."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """After n updates: the first weights times `decay`^(n - 1), and every later ones' share (1 - decay) times
    `decay` to the power of their age. Buffers are those of the last update.

    torch's own `AveragedModel` gives the same numbers, but asks the device at every update whether it is the first.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.updates = 0
        self._blend = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        own, new = list(self.model.parameters()), list(model.parameters())
        if self.updates:
            self._blend(own, new, None)
        else:
            torch._foreach_copy_(own, new)
        for mine, given in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(given)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """All that the next update needs."""
        return {"updates": self.updates, "model": self.model.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave, whose tensors were checked before."""
        self.model.load_state_dict(state["model"], strict=True)
        self.updates = state["updates"]
