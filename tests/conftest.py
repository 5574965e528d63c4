"""Shapes are executed here and only here: all of `pmgs_lib` except the compiled kernels is checked at its calls."""

import hashlib
import importlib.abc
import importlib.machinery
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook

ROOT = Path(__file__).parents[1]
# The folder that runs use, too. It is named after all kernels, since numba stamps a function with its own file only.
KERNELS = b"".join(path.read_bytes() for path in sorted((ROOT / "pmgs_lib").rglob("*_kernels.py")))
KERNELS_DIGEST = hashlib.blake2b(KERNELS, digest_size=6).hexdigest()
os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".cache" / "numba" / KERNELS_DIGEST))


class KernelsUnchecked(importlib.abc.MetaPathFinder):
    """Finds `*_kernels` modules before the shape checker does: its decorator breaks numba's and Triton's compilers."""

    def find_spec(self, name, path=None, target=None):
        if name.startswith("pmgs_lib.") and name.endswith("_kernels"):
            return importlib.machinery.PathFinder.find_spec(name, path, target)
        return None


# PMGS_CHECK_SHAPES=0 is for timings: a user's run does not pay for the checks.
if os.environ.get("PMGS_CHECK_SHAPES", "1") != "0":
    install_import_hook("pmgs_lib", "beartype.beartype")
    sys.meta_path.insert(0, KernelsUnchecked())


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def parity() -> Path:
    """Recorded inputs and outputs of the released code, committed with their provenance."""
    return Path(__file__).parent / "parity"


@pytest.fixture
def shared() -> Path:
    """Development data that is not part of the project."""
    folder = os.environ.get("PMGS_SHARED")
    if not folder:
        pytest.skip("PMGS_SHARED names no folder with development data (captures, peers, indexes)")
    return Path(folder)


@pytest.fixture(autouse=True)
def seeded() -> None:
    np.random.seed(0)
    torch.manual_seed(0)
