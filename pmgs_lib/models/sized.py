"""Weights for pictures of a given size: some released commands set a field otherwise for large ones."""

from pathlib import Path

import torch
from torch import nn

from pmgs_lib.models.checkpoints import load_checkpoint
from pmgs_lib.models.zoo import MODELS


def load_for_size(
    name_or_path: str | Path, height: int, width: int, *, device: str | torch.device = "cpu"
) -> nn.Module:
    """`load_checkpoint`; a model of the zoo gets the configuration of `ModelEntry.config_for` that size in pixels."""
    name = str(name_or_path)
    config = MODELS[name].config_for(height, width) if name in MODELS else None
    return load_checkpoint(name_or_path, config=config, device=device)
