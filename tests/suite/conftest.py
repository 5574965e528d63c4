"""A small project in a temporary folder: its own notebooks, experiment, library package and environment lock."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
import pytest
import yaml

from pmgs_lib.suite.experiment import read_experiment
from pmgs_lib.suite.plan import Plan, make_plan
from pmgs_lib.suite.project import Project

ROOT = Path(__file__).parents[2]
SAVE = "from pmgs_lib.suite import current_run\nrun = current_run()"


class SmallProject(Project):
    """A project whose parts a test writes and then changes."""

    def write_notebook(self, name: str, parameters: str, *cells: str, kernel: str = "python3") -> Path:
        spec = {"name": kernel, "display_name": kernel, "language": "python"}
        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": spec})
        title = nbformat.v4.new_markdown_cell(f"# {name}")
        first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
        notebook.cells = [title, first, *map(nbformat.v4.new_code_cell, cells)]
        for place, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{place}"
        path = self.root / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, path)
        return path

    def write_module(self, name: str, source: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        return path

    def write_experiment(self, runs: list[dict], name: str = "toy", **fields) -> Path:
        for run in runs:
            run.setdefault("notebook", f"notebooks/{run['id']}.ipynb")
        content = {"profiles": {"smoke": {"cell_timeout_s": 60, "run_timeout_s": 120}}, "runs": runs} | fields
        path = self.root / "experiments" / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    def plan(self, given: Mapping | None = None, profile: str = "smoke") -> Plan:
        return make_plan(self, read_experiment(self.experiment_file("toy"), given), profile)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}

    def start(self, *arguments: str) -> subprocess.Popen:
        """`pmgs ...` as a user calls it, in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "pmgs_lib.cli", *arguments], cwd=self.root, env=self.environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def pmgs(self, *arguments: str) -> subprocess.CompletedProcess:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def start_run(self, name: str, plan: Plan | None = None) -> subprocess.Popen:
        """One run without an engine, as the Snakefile starts it."""
        plan = plan or self.plan()
        file = self.root / "plan.json"
        file.write_text(plan.to_json())
        command = [sys.executable, "-m", "pmgs_lib.suite.run", str(file), plan.run(name).key]
        return subprocess.Popen(command, cwd=self.root, env=self.environment(), text=True, stderr=subprocess.PIPE)

    def failure(self, name: str) -> dict:
        return json.loads((self.run_folder(self.plan().run(name).key) / "failure.json").read_text())


@pytest.fixture
def small(tmp_path) -> SmallProject:
    """An empty small project with a package `toy` of two modules."""
    return _empty_project(tmp_path)


@pytest.fixture(scope="module")
def small_of_module(tmp_path_factory) -> SmallProject:
    """The same, one for all tests of a file that only look at it."""
    return _empty_project(tmp_path_factory.mktemp("small"))


def _empty_project(folder: Path) -> SmallProject:
    project = SmallProject(folder)
    (folder / "constraints.txt").write_text("torch==1\n")
    (folder / "experiments").mkdir()
    shutil.copy(ROOT / "experiments" / "Snakefile", folder / "experiments")
    project.write_module("toy/__init__.py", '"""A library."""\n')
    project.write_module("toy/add.py", "def add(a, b):\n    return a + b\n")
    project.write_module("toy/other.py", "VALUE = 1\n")
    return project
