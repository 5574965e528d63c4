"""The shape of committed notebooks, checked, and their text twins: `python -m pmgs_lib.suite.notebooks VERB [FILES]`.

    lint       say what is wrong with notebooks; exit status 1 if anything is
    sync       write the twin `NN_name.py` of each notebook
    from-text  write the notebook of each twin, without outputs

Each direction is asked for by name: telling the newer side by time stamps would trust what git rewrites.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbformat

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.cells import code_cells, kernel_of, read_notebook, source_of, text_of_code
from pmgs_lib.suite.parameters import read_schema
from pmgs_lib.suite.plan import KERNEL
from pmgs_lib.suite.project import find_project

MOST_LINES, MOST_CELLS, MOST_FUNCTION_LINES = 15, 30, 10
FOLDERS = ("notebooks", "reports")
SHELL = re.compile(r"^\s*(!|%%?(pip|conda|mamba|uv|system|sx|bash|sh|script)\b)", re.MULTILINE)
ABSOLUTE = re.compile(r"^(/[A-Za-z]|~/|[A-Za-z]:[\\/])")
HEADER_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": KERNEL},
    "language_info": {"name": "python"},
}


def lint_notebook(path: Path) -> list[str]:
    """What is wrong with the shape of a notebook, a sentence each."""
    try:
        notebook = read_notebook(path)
    except ParameterError as fault:
        return [str(fault)]
    return [f"{path.name}: {fault}" for fault in (*_faults(notebook), *_twin_faults(path))]


def twin_text(path: Path) -> str:
    """The percent-format text of a notebook, free of the versions that jupytext would write into its head."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = nbformat.from_dict(HEADER_METADATA)  # what one editor leaves there is nothing to compare
    text = jupytext.writes(notebook, fmt="py:percent")
    return re.sub(r"^#\s+(format_version|jupytext_version): .*\n", "", text, flags=re.MULTILINE)


def notebook_of_text(path: Path) -> nbformat.NotebookNode:
    """The notebook of a percent-format text: no outputs, and the same ids each time."""
    notebook = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    notebook.metadata = nbformat.from_dict(HEADER_METADATA)
    notebook.nbformat_minor = 5
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place:02d}"
    return notebook


def write_twin(path: Path) -> Path:
    """Write the twin beside a notebook."""
    twin = path.with_suffix(".py")
    twin.write_text(twin_text(path), encoding="utf-8")
    return twin


def write_notebook(twin: Path) -> Path:
    """Write the notebook beside its twin."""
    path = twin.with_suffix(".ipynb")
    nbformat.write(notebook_of_text(twin), path)
    return path


def _faults(notebook: dict[str, Any]) -> Iterator[str]:
    if kernel_of(notebook) != KERNEL:
        yield f"kernel {kernel_of(notebook)!r}, expected {KERNEL!r}"
    first = notebook["cells"][0] if notebook["cells"] else {}
    if first.get("cell_type") != "markdown" or not source_of(first).startswith("# "):
        yield "the first cell is no title, expected text that begins with `# `"
    try:
        read_schema(notebook, "parameters")
    except ParameterError as fault:
        yield str(fault)
    cells = code_cells(notebook)
    if len(cells) > MOST_CELLS:
        yield f"{len(cells)} code cells, expected at most {MOST_CELLS}"
    for place, cell in cells:
        yield from (f"cell {place}: {fault}" for fault in _cell_faults(cell))
    try:
        ast.parse(text_of_code(notebook))
    except SyntaxError as fault:
        yield f"code cells are no Python: {fault.msg} ({(fault.text or '').strip()!r})"


def _cell_faults(cell: dict[str, Any]) -> Iterator[str]:
    source = source_of(cell)
    if cell.get("outputs") or cell.get("execution_count") is not None:
        yield "has outputs or a count, expected none; clear them"
    if len(source.splitlines()) > MOST_LINES:
        yield f"{len(source.splitlines())} lines, expected at most {MOST_LINES}; move code into the library"
    if SHELL.search(source):
        yield f"`{SHELL.search(source)[0].strip()}` runs a shell or installs, expected the library to do the work"
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return  # told for the notebook as a whole
    inner = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values[1:]}
    for node in nodes:
        if id(node) in inner:
            continue  # a slash behind something else in an f-string begins no path
        if isinstance(node, ast.ClassDef):
            yield f"class `{node.name}`, expected it in the library"
        elif isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= MOST_FUNCTION_LINES:
            yield f"function `{node.name}` has over {MOST_FUNCTION_LINES} lines, expected it in the library"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and ABSOLUTE.match(node.value):
            yield f"{node.value!r} is an absolute path, expected one from the repository's root"


def _twin_faults(path: Path) -> Iterator[str]:
    twin = path.with_suffix(".py")
    if not twin.is_file():
        yield f"no twin {twin.name}; write it by `python -m pmgs_lib.suite.notebooks sync`"
    elif twin.read_text(encoding="utf-8") != twin_text(path):
        yield f"differs from its twin {twin.name}; write the stale one anew by `sync` or `from-text`"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["lint", "sync", "from-text"])
    parser.add_argument("files", nargs="*", type=Path, help="all notebooks of the project by default")
    given = parser.parse_args(arguments)
    suffix = ".py" if given.verb == "from-text" else ".ipynb"
    root = find_project().root
    files = given.files or sorted(path for folder in FOLDERS for path in (root / folder).glob(f"*{suffix}"))
    if given.verb == "lint":
        lines = [fault for path in files for fault in lint_notebook(path)]
    else:
        write = write_notebook if given.verb == "from-text" else write_twin
        lines = [f"wrote {write(path)}" for path in files]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 1 if given.verb == "lint" and lines else 0


if __name__ == "__main__":
    sys.exit(main())
