"""The measured side: what a device held at most."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass
class MeasuredMemory:
    """Most bytes that tensors held on the device since the measurement began, those from before included.

    None while it goes on, and on a CPU: the resident size of a process holds too much else to be compared.
    """

    bytes: int | None = None


@contextmanager
def measure_memory(device: torch.device | str) -> Iterator[MeasuredMemory]:
    """Measure what happens inside, on a CUDA device; the number is there afterwards, also after an error.

    >>> with measure_memory("cpu") as measured:
    ...     _ = torch.ones(3)
    >>> measured.bytes is None
    True
    """
    device, measured = torch.device(device), MeasuredMemory()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    try:
        yield measured
    finally:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            measured.bytes = torch.cuda.max_memory_allocated(device)
