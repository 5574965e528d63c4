"""The processes of one training: one on one device, or under torchrun one for each device."""

import os
from datetime import timedelta
from typing import TypeVar

import torch.distributed
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.fabric.strategies import DDPStrategy

from pmgs_lib.errors import ParameterError

Told = TypeVar("Told")
# How long a process waits for another one. The first may draw pictures and measure while the others wait.
PATIENCE = timedelta(minutes=30)
# Gradients are exchanged in groups of so many MiB: few and large ones for networks of hundreds of millions of weights.
EXCHANGED_AT_ONCE = 100


def start_fabric(accelerator: str, precision: str, devices: int = 1, nodes: int = 1) -> Fabric:
    """Fabric for this process: alone on one device, or as one of the `WORLD_SIZE` that torchrun (or srun) started.

    Under torchrun the environment says how many devices and nodes there are, and other numbers than 1 must agree with
    it. Other clusters' variables are never looked at: inside a Slurm job, Fabric by itself would wait for tasks that
    nobody started. Raises `ParameterError` for several devices in a process that nobody started others beside.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    if devices * nodes not in (1, size):
        raise ParameterError(
            f"training: {nodes} x {devices} devices asked for, but {size} process(es) were started; expected one for "
            "each device: start them with `pmgs train --devices`, launch_training or torchrun"
        )
    if size == 1:
        return Fabric(accelerator=accelerator, devices=1, precision=precision, plugins=[LightningEnvironment()])
    here = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    # Every parameter of every model of the zoo gets a gradient in every step, and no buffer changes in training.
    strategy = DDPStrategy(
        timeout=PATIENCE,
        broadcast_buffers=False,
        find_unused_parameters=False,
        gradient_as_bucket_view=True,
        bucket_cap_mb=EXCHANGED_AT_ONCE,
    )
    fabric = Fabric(
        accelerator=accelerator,
        devices=here,
        num_nodes=size // here,
        strategy=strategy,
        precision=precision,
        plugins=[TorchElasticEnvironment()],
    )
    fabric.launch()
    return fabric


class Processes:
    """What the processes of a training tell each other besides gradients: small things, past their devices.

    Each process must ask the same questions in the same order. A process alone answers itself.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.rank, self.count = fabric.global_rank, fabric.world_size
        self._group = torch.distributed.new_group(backend="gloo", timeout=PATIENCE) if self.count > 1 else None

    def any(self, own: bool) -> bool:
        """Whether it holds in any process."""
        if self.count == 1:
            return own
        flag = torch.tensor([float(own)])
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX, group=self._group)
        return bool(flag.item())

    def gather(self, own: Told) -> list[Told]:
        """What each process says, in the order of their ranks."""
        if self.count == 1:
            return [own]
        told: list[Told] = [own] * self.count
        torch.distributed.all_gather_object(told, own, group=self._group)
        return told
