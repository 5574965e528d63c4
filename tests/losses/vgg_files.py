"""VGG weight files of the released layout, small stand-ins for nothing: the whole network, with random weights."""

import hashlib
from pathlib import Path

import torch
import torchvision


def random_features(layers: int, seed: int = 3) -> torch.nn.Sequential:
    """The convolutional part of torchvision's network, with weights that keep the size of features."""
    with torch.device("meta"):
        features = getattr(torchvision.models, f"vgg{layers}")(weights=None, init_weights=False).features
    features = features.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in features:
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight.normal_(0, (2 / (9 * layer.in_channels)) ** 0.5, generator=generator)
                layer.bias.normal_(0, 0.1, generator=generator)
    return features.requires_grad_(False).eval()


def write_features(path: Path, features: torch.nn.Module) -> str:
    """A file as torchvision's, with a classifier beside the features; returns what its SHA-256 begins with."""
    tensors = {f"features.{key}": value for key, value in features.state_dict().items()}
    torch.save(tensors | {"classifier.0.bias": torch.zeros(4)}, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]
