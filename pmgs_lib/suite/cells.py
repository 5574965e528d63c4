"""Notebooks as plain JSON: reading them costs no import of the Jupyter stack."""

import json
from pathlib import Path
from typing import Any

from pmgs_lib.errors import ParameterError

PARAMETERS_TAG = "parameters"
END_TAG = "pmgs-end"


def read_notebook(path: Path) -> dict[str, Any]:
    """A notebook file (format 4), or ParameterError naming it."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParameterError(f"{path}: no such notebook; correct the experiment's entry") from None
    except (OSError, ValueError) as fault:
        raise ParameterError(f"{path}: not readable as a notebook ({fault}); save it again from JupyterLab") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise ParameterError(
            f"{path}: no notebook of format 4 (it has no list of cells); save it again from JupyterLab"
        )
    return notebook


def source_of(cell: dict[str, Any]) -> str:
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def tags_of(cell: dict[str, Any]) -> list[str]:
    return cell.get("metadata", {}).get("tags", [])


def code_cells(notebook: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """Position and content of the code cells that hold something to execute."""
    cells = enumerate(notebook["cells"])
    return [(place, cell) for place, cell in cells if cell.get("cell_type") == "code" and source_of(cell).strip()]


def kernel_of(notebook: dict[str, Any]) -> str | None:
    return notebook.get("metadata", {}).get("kernelspec", {}).get("name")


def text_of_code(notebook: dict[str, Any]) -> str:
    """All code but the parameters cell, as Python text: lines for the shell or IPython (`!`, `%`) are blanked."""
    lines = []
    for _, cell in code_cells(notebook):
        if PARAMETERS_TAG not in tags_of(cell):
            lines += [line if line.lstrip()[:1] not in ("%", "!") else "" for line in source_of(cell).splitlines()]
    return "\n".join(lines) + "\n"
