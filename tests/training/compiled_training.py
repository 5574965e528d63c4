"""Prints how far compiled steps end from plain ones, and how far the plain ones went."""

import torch
from wall_training import config, tiny_model, walls, weights_of

from pmgs_lib.training import Trainer


def trained(**changes) -> torch.Tensor:
    model = tiny_model()
    Trainer(model, config(3, batch_size=2, **changes), accelerator="cpu").fit([walls(2, 2 * n) for n in range(3)])
    return torch.cat([value.flatten() for value in weights_of(model).values()])


if __name__ == "__main__":
    plain, start = trained(), torch.cat([value.flatten() for value in weights_of(tiny_model()).values()])
    print((trained(compile=True) - plain).norm().item(), (plain - start).norm().item())
