"""PM-Loss in somebody else's project: a fresh interpreter in which nothing else is installed."""

import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

# Run without the shape checker of the tests, so that the user's own messages come to light.
SCRIPT = r"""
import importlib.metadata, re, sys

def closure(names):
    found, waiting = set(), list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        found.add(name)
        try:
            required = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting += [re.match(r"[\w.-]+", r)[0] for r in required if "extra ==" not in r]
    return found

allowed = closure(["torch", "numpy", "scipy", "numba", "roma", "jaxtyping"]) | {"pmgs-lib"}
modules = {}
for module, owners in importlib.metadata.packages_distributions().items():
    if not any(re.sub(r"[-_.]+", "-", owner).lower() in allowed for owner in owners):
        modules[module] = owners

# A finder in whose eyes the other packages are not installed.
class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in modules else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
try:
    import pydantic
except ModuleNotFoundError:
    print("blocked", len(modules) > 50)

from pmgs_lib.losses import PointmapLoss
import torch
means = torch.rand(2, 50, 3, requires_grad=True)
loss = PointmapLoss()(means, 2 * means.detach() + torch.randn(2, 50, 3) * 0.1)
loss.backward()
print("works", bool(loss > 0), bool(means.grad.any()))
print("clean", not modules.keys() & {name.split(".")[0] for name in sys.modules})

from pmgs_lib.errors import PmgsError
from pmgs_lib.geometry import nearest_neighbors, similarity_transform

def complain(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except PmgsError as error:
        print(error)

z = torch.zeros
complain(PointmapLoss(), z(4, 2), z(4, 2))
complain(PointmapLoss(), z(1, 4, 3), z(1, 5, 3))
complain(PointmapLoss(), z(1, 4, 3, dtype=torch.int64), z(1, 4, 3, dtype=torch.int64))
complain(PointmapLoss, 3.0)
complain(PointmapLoss, penalty="l2")
complain(nearest_neighbors, z(4, 2), z(4, 3))
complain(nearest_neighbors, z(2, 4, 3), z(4, 3))
complain(similarity_transform, z(4, 2), z(4, 2))
complain(similarity_transform, z(4, 3), z(5, 3))
complain(similarity_transform, z(4, 3), z(4, 3), weights=z(3))
complain(similarity_transform, z(2, 3), z(2, 3), weights=torch.tensor([1.0, -0.5]))
"""

EXPECTED = """
blocked True
works True True
clean True
PointmapLoss: means are torch.float32 of shape (4, 2), expected floats of shape (batch, point, 3) or (batch, view, h, w, 3)
PointmapLoss: prediction (1, 4, 3) and target (1, 5, 3), expected two tensors of equal shape with at least one element
PointmapLoss: means are torch.int64 of shape (1, 4, 3), expected floats of shape (batch, point, 3) or (batch, view, h, w, 3)
PointmapLoss: settings are 3.0, expected PointmapLossSettings, or options by name
PointmapLoss: penalty is 'l2', expected one of squared, absolute, huber, geman_mcclure
nearest_neighbors: query is torch.float32 of shape (4, 2), expected floats of shape (..., point, 3) with at least one point
nearest_neighbors: query (2, 4, 3) on cpu and reference (4, 3) on cpu, expected equal batch axes and one device
similarity_transform: source has shape (4, 2), expected (..., point, 3) with at least one point
similarity_transform: source (4, 3) and target (5, 3) differ in shape, expected a target point for each source point
similarity_transform: weights have shape (3,), expected one for each point, (4,)
similarity_transform: a weight is -0.5, expected none below 0
"""  # noqa: E501


def test_what_is_installed_without_extras_is_what_the_loss_needs():
    described = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in described}
    assert names == {"torch", "numpy", "scipy", "numba", "roma", "jaxtyping"}


def test_alone_in_a_fresh_interpreter_and_its_messages():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines() == EXPECTED.strip().splitlines()
