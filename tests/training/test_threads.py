"""Torch's threads stay as they are when numba's begin, in a process where they differ."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import torch
from pmgs_lib import Cameras, Gaussians
from pmgs_lib.rasterizers import rasterize
from pmgs_lib.training.threads import settle_threads

def draw():
    camera = Cameras(torch.eye(4)[None], torch.tensor([[[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]]]))
    means, quaternions = torch.tensor([[0.0, 0, 2]]), torch.tensor([[1.0, 0, 0, 0]])
    splats = Gaussians(means, torch.full((1, 3), 0.2), quaternions, torch.ones(1), torch.ones(1, 1, 3))
    rasterize(splats, camera, 16, 16, backend="cpu")
    return torch.get_num_threads()

SETTLED = {settled}
before = settle_threads() if SETTLED else torch.get_num_threads()
print(before, draw(), draw())
"""


@pytest.mark.parametrize(("settled", "expected"), [(True, "1 1 1"), (False, "1 2 2")])
def test_a_kernel_of_numba_leaves_torch_its_threads(settled, expected):
    """Without settling the second number shows what it is for; if that fails, numba has changed and this can go."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    script = SCRIPT.replace("{settled}", str(settled))
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected.split()
