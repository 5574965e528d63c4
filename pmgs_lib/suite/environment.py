"""The environment of a run's kernel, the same whatever shell or engine started it, and the versions found in it."""

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pmgs_lib.suite.plan import PlannedRun
from pmgs_lib.suite.project import LIBRARY_FOLDER, Project
from pmgs_lib.suite.recorder import FOLDER_VARIABLE, ROOT_VARIABLE
from pmgs_lib.suite.records import WITNESS_FILE

WITNESS_FOLDER = Path(__file__).parent / "witness"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
RECORDED_VERSIONS = ("numpy", "torch", "numba", "gsplat", "papermill", "snakemake")


def job_environment(project: Project, run: PlannedRun, folder: Path, scratch: Path) -> dict[str, str]:
    """Variables that a run's kernel gets on top of the inherited ones. `scratch` is a short-lived private folder."""
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [str(WITNESS_FOLDER), str(project.root), str(LIBRARY_FOLDER.parent), *inherited]
    return {
        FOLDER_VARIABLE: str(folder),
        ROOT_VARIABLE: str(project.root),
        "PMGS_WITNESS": str(folder / WITNESS_FILE),
        "PMGS_PACKAGES": ":".join(project.packages),
        "PYTHONPATH": os.pathsep.join(path for path in dict.fromkeys(paths) if path),
        "PYTHONHASHSEED": "0",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "NUMBA_CACHE_DIR": str(project.root / ".cache" / "numba" / _kernels_digest()),
        # numba and torch share one OpenMP: threads that spin while they wait take the cores from those that work.
        "OMP_WAIT_POLICY": "passive",
        "IPYTHONDIR": str(scratch / "ipython"),  # no start-up files and no history of the user
        "JUPYTER_RUNTIME_DIR": str(scratch),
        **dict.fromkeys(THREAD_VARIABLES, str(run.threads)),
    }


def versions(project: Project) -> dict[str, str | None]:
    """Python, packages that decide numbers, and the commit with "+" behind it when the tree has changes."""
    found: dict[str, str | None] = {"python": platform.python_version(), "commit": _commit(project.root)}
    for name in RECORDED_VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


@cache
def _kernels_digest() -> str:
    """Digest of all kernel files: numba stamps a compiled function with its own file only, not with those it calls."""
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(LIBRARY_FOLDER.rglob("*_kernels.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _commit(root: Path) -> str | None:
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None  # no git here: a copy without history
    return done.stdout.strip() or None
