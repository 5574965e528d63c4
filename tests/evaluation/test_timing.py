"""A measured time is the time of the work, and the warm-up is not in it."""

import time

import pytest
import torch

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.timing import measure


def test_a_known_wait_is_measured():
    timing = measure(lambda: time.sleep(0.02), repeats=3, warmup=0)
    assert 0.02 <= timing.low_s <= timing.median_s <= timing.high_s < 1
    assert timing.peak_bytes is None


def test_the_warm_up_is_not_in_the_figures():
    waits = iter([0.2, 0.2, 0.0, 0.0, 0.0])
    timing = measure(lambda: time.sleep(next(waits)), repeats=3, warmup=2)
    assert timing.high_s < 0.1
    assert next(waits, None) is None


def test_without_repeats_there_is_no_time():
    with pytest.raises(ParameterError, match="repeats 0"):
        measure(lambda: None, repeats=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_queued_work_is_waited_for_and_its_memory_counted():
    matrix = torch.randn(4096, 4096, device="cuda")
    timing = measure(lambda: matrix @ matrix @ matrix, device="cuda", repeats=5)
    work = 2 * 2 * 4096**3
    assert timing.low_s > work / 2e15
    assert timing.peak_bytes >= 3 * matrix.nbytes
