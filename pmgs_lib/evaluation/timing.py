"""How long a piece of work takes on a device, and how much of its memory: medians after a warm-up."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from pmgs_lib.errors import ParameterError


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median, fastest and slowest repeat, and the most device memory that was in use.

    peak_bytes counts everything that torch had allocated on the device, weights and inputs included, but not what CUDA
    graphs keep for themselves (see `torch.cuda.memory_reserved`); None on a CPU, where torch keeps no such count.
    """

    median_s: float
    low_s: float
    high_s: float
    peak_bytes: int | None


def measure(
    function: Callable[[], object], *, device: torch.device | str = "cpu", repeats: int = 10, warmup: int = 3
) -> Timing:
    """Call `function` `warmup` times unmeasured, then `repeats` times measured one by one.

    On a CUDA device each call is timed between two events, so work that is still queued is waited for. What compiles or
    allocates at a first call belongs to the warm-up.

    >>> measure(lambda: sum(range(100)), repeats=3).low_s >= 0
    True
    """
    if repeats < 1 or warmup < 0:
        raise ParameterError(f"measure: repeats {repeats}, warmup {warmup}; expected at least 1 and at least 0")
    device = torch.device(device)
    for _ in range(warmup):
        function()
    if device.type != "cuda":
        return _summary([_wall_seconds(function) for _ in range(repeats)], None)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    with torch.cuda.device(device):
        seconds = [_event_seconds(function) for _ in range(repeats)]
    return _summary(seconds, torch.cuda.max_memory_allocated(device))


def _summary(seconds: list[float], peak_bytes: int | None) -> Timing:
    return Timing(statistics.median(seconds), min(seconds), max(seconds), peak_bytes)


def _wall_seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _event_seconds(function: Callable[[], object]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    function()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000
