"""The plane sweep's kernels equal the plain version: on a CUDA device, and everywhere by Triton's interpreter."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sweep_twins import example, relative_differences

from pmgs_lib.models.matching import cost_volume

ROOT = Path(__file__).parents[2]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed here")
@pytest.mark.skipif(torch.cuda.is_available(), reason="with a CUDA device the kernels themselves are tested")
def test_interpreted_kernels_equal_the_plain_version():
    program = [sys.executable, str(ROOT / "tests/models/sweep_twins.py"), "cpu"]
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    printed = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert printed.returncode == 0, printed.stderr
    differences = [float(word) for word in printed.stdout.split()]
    assert len(differences) == 4
    assert max(differences) < 1e-5, differences


@needs_cuda
@pytest.mark.parametrize("channels", [12, 64, 128])
@pytest.mark.parametrize("per_pixel", [False, True])
def test_kernels_equal_the_plain_version(channels, per_pixel, rng):
    assert max(relative_differences(rng, channels, per_pixel, "cuda")) < 1e-5


@needs_cuda
def test_half_precision_features_are_summed_in_single_precision(rng):
    features, cameras, inverse_depth = (x.to("cuda") for x in example(rng, 64, True))
    neighbours = torch.tensor([[1, 2], [2, 0], [0, 1]], device="cuda").expand(2, 3, 2)
    half = features.half()
    arguments = (cameras, inverse_depth, neighbours, True)
    expected, actual = (cost_volume.matching_cost(x, *arguments) for x in (half.float(), half))
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)


def test_sweeping_a_few_candidates_at_once_is_the_same_sweep(rng, monkeypatch):
    features, cameras, inverse_depth = example(rng, 16, True)
    neighbours = torch.tensor([[1], [2], [0]]).expand(2, 3, 1)
    whole = cost_volume.matching_cost(features, cameras, inverse_depth, neighbours, False)
    monkeypatch.setattr(cost_volume, "WARPED_ELEMENTS", 2 * features.numel())
    parts = cost_volume.matching_cost(features, cameras, inverse_depth, neighbours, False)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)  # vectors and their rests round differently
