"""Goldens: executed smoke notebooks that nbval replays, and a guard against goldens that compare nothing.

    python -m pmgs_lib.suite.goldens EXPERIMENT FOLDER

nbval with `--nbval-lax` compares only cells that ask for it by a line `# NBVAL_CHECK_OUTPUT`. A golden is papermill's
output, injected parameters included, so that the replay has the smoke parameters.
"""

import sys
from pathlib import Path
from typing import Any

import nbformat

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.cells import END_TAG, code_cells, read_notebook, source_of, tags_of
from pmgs_lib.suite.experiment import read_experiment
from pmgs_lib.suite.plan import make_plan
from pmgs_lib.suite.project import find_project
from pmgs_lib.suite.provenance import canonical_json, digest_code, digest_text
from pmgs_lib.suite.records import EXECUTED_FILE, read_record

CHECK_MARK = "# NBVAL_CHECK_OUTPUT"
INJECTED_TAG = "injected-parameters"


def make_golden(run_folder: Path, target: Path) -> Path:
    """Write the golden of a good run. Pictures, messages on stderr, times and the runner's own cell are left out.

    Raises ParameterError when the result would be refused by `golden_faults`.
    """
    record = read_record(run_folder)
    notebook = nbformat.read(run_folder / EXECUTED_FILE, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if END_TAG not in tags_of(cell)]
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({"tags": tags_of(cell)} if tags_of(cell) else {})
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _is_compared(output)]
    language = {"name": "python"}
    notebook.metadata = nbformat.from_dict({"kernelspec": notebook.metadata.kernelspec, "language_info": language})
    notebook.metadata["pmgs"] = {"notebook": record.content["notebook"], "digest": _digest(notebook)}
    faults = _faults(notebook)
    if faults:
        raise ParameterError(f"golden of {record.content['notebook']}: {'; '.join(faults)}; correct the notebook")
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)
    return target


def golden_faults(path: Path, root: Path) -> list[str]:
    """Why a golden cannot be trusted: nothing compared, cells not counted, edited by hand, or of older code."""
    try:
        golden = read_notebook(path)
        faults = _faults(golden)
        made = golden["metadata"].get("pmgs", {})
        if made.get("digest") != _digest(golden):
            faults.append("its content is not what the smoke run made; make it anew")
        if made.get("notebook") is None or _own_code(golden) != digest_code(read_notebook(root / made["notebook"])):
            faults.append("its code is not that of its notebook; make it anew")
    except ParameterError as fault:
        return [str(fault)]
    return [f"{path.name}: {fault}" for fault in faults]


def _faults(golden: dict[str, Any]) -> list[str]:
    faults = []
    cells = code_cells(golden)
    for place, cell in cells:
        if cell.get("execution_count") is None:
            faults.append(f"cell {place} has no execution count: nbval would compare nothing")
        if any(output["output_type"] == "error" for output in cell["outputs"]):
            faults.append(f"cell {place} holds an error")
    checked = [cell for _, cell in cells if CHECK_MARK in source_of(cell).splitlines()]
    if not any(_texts(cell) for cell in checked):
        faults.append(f"no cell with text output has the line `{CHECK_MARK}`: nbval would compare nothing")
    for _, cell in cells:
        if INJECTED_TAG in tags_of(cell) and any(word in source_of(cell) for word in ('"runs/', '"/', "'runs/", "'/")):
            faults.append("a parameter names a run's folder or an absolute path, expected embedded things only")
    return faults


def _texts(cell: dict[str, Any]) -> list[dict[str, Any]]:
    return [output for output in cell["outputs"] if output["output_type"] != "error"]


def _is_compared(output: dict[str, Any]) -> bool:
    """Whether an output is text that a replay can repeat: printed, or the plain view of a result."""
    if output["output_type"] == "stream":
        return output["name"] == "stdout"
    if output["output_type"] == "error":
        return True
    html = _joined(output["data"].get("text/html", ""))  # clips and thumbnails stand in it
    return ";base64," not in html and not any(kind.startswith("image/") for kind in output["data"])


def _own_code(golden: dict[str, Any]) -> str:
    cells = [cell for cell in golden["cells"] if INJECTED_TAG not in tags_of(cell)]
    return digest_code({**golden, "cells": cells})


def _digest(golden: dict[str, Any]) -> str:
    """Digest of sources and outputs, the same for a notebook in memory and read from its file."""
    cells = [[source_of(cell), [_content(output) for output in cell.get("outputs", [])]] for cell in golden["cells"]]
    return digest_text(canonical_json(cells))


def _content(output: dict[str, Any]) -> Any:
    joined = {name: _joined(value) for name, value in output.get("data", {}).items()}
    return [output["output_type"], _joined(output.get("text", "")), joined]


def _joined(value: Any) -> Any:
    return "".join(value) if isinstance(value, list) else value


def main(arguments: list[str]) -> int:
    """Make the goldens of all runs of an experiment that have been executed."""
    experiment, folder = arguments
    project = find_project()
    plan = make_plan(project, read_experiment(project.experiment_file(experiment)), "smoke")
    for run in plan.runs:
        golden = make_golden(project.run_folder(run.key), project.root / folder / Path(run.notebook).name)
        sys.stdout.write(f"wrote {project.shown(golden)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
