"""First on the path of every process of a run: notes each library module that is imported, as it is imported.

Python executes this file at start, in the kernel and in all processes it starts (launchers, ranks, workers), so that
the runner can compare what was loaded with the run's closure. Notes are appended line by line and survive a kill.
"""

import importlib.machinery
import importlib.util
import os
import sys


class Witness:
    """A finder that finds nothing and writes down what was looked for."""

    def __init__(self, path: str, packages: list[str]) -> None:
        self.path, self.packages = path, packages

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in self.packages:
            note = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.write(note, f"{name}\n".encode())
            os.close(note)


def _run_the_hidden_one() -> None:
    """Execute the sitecustomize that this file stands before on the path, if the installation has one."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if "PMGS_WITNESS" in os.environ:
    sys.meta_path.insert(0, Witness(os.environ["PMGS_WITNESS"], os.environ["PMGS_PACKAGES"].split(":")))
_run_the_hidden_one()
