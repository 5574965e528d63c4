"""What a run must show before it counts as a success, beyond that nothing was raised.

The notebook that papermill saves after a kernel's death claims that every cell completed, and counts the dead one; so
each cell's reply from the kernel, the end marker and the list of loaded library files are looked at.
"""

from collections.abc import Iterable
from pathlib import Path

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.cells import code_cells, read_notebook
from pmgs_lib.suite.closure import label_of, module_file
from pmgs_lib.suite.plan import PlannedRun
from pmgs_lib.suite.project import Project
from pmgs_lib.suite.provenance import digest_code, digest_data, digest_file
from pmgs_lib.suite.recorder import END_FILE
from pmgs_lib.suite.records import (
    EXECUTED_FILE,
    RUN_FILE,
    WITNESS_FILE,
    Failure,
    damaged_files,
    good_record,
    read_json,
)

WRONG_HASH = "wrong hash"


def find_fault(project: Project, run: PlannedRun, folder: Path) -> Failure | None:
    """The first thing that speaks against the run's success."""
    return (
        uncounted_cell(folder)
        or missing_end(folder)
        or unplanned_module(project, run, folder)
        or changed_code(project, run)
    )


def uncounted_cell(folder: Path) -> Failure | None:
    """A code cell of the executed notebook without a count, without the kernel's reply, or with an exception."""
    try:
        notebook = read_notebook(folder / EXECUTED_FILE)
    except ParameterError:
        return Failure("incomplete", f"there is no {EXECUTED_FILE}, expected every cell of it executed")
    for place, cell in code_cells(notebook):
        marks = cell["metadata"]
        replied = "shell.execute_reply" in marks.get("execution", {})
        clean = marks.get("papermill", {}).get("exception") is False
        if cell.get("execution_count") is None or not replied or not clean:
            return Failure("incomplete", "this cell was not executed to its end", place)
    return None


def missing_end(folder: Path) -> Failure | None:
    if read_json(folder / END_FILE) is None:
        return Failure("incomplete", "the end marker is missing though every cell was counted")
    return None


def unplanned_module(project: Project, run: PlannedRun, folder: Path) -> Failure | None:
    """A library file that the kernel or one of its processes loaded outside the run's closure."""
    noted = _lines(folder / WITNESS_FILE)
    if not noted:
        return Failure("unwatched", "no imports were noted: the kernel started without the suite's sitecustomize")
    modules = set(noted) | set((read_json(folder / END_FILE) or {}).get("modules", []))
    files = {module: module_file(module, project.packages) for module in sorted(modules)}
    library = run.parts["library"]
    outside = [module for module, path in files.items() if path and label_of(path, project.packages) not in library]
    if outside:
        loaded = ", ".join(outside)
        message = f"{loaded}: loaded, but no import or registry name leads there; import it or list it in a registry"
        return Failure("outside the closure", message)
    return None


def changed_code(project: Project, run: PlannedRun) -> Failure | None:
    """Code that is no longer what the key was made from: edited after the plan or during the run."""
    expected = run.parts["library"]
    for label, digest in expected.items():
        package, _, rest = label.partition("/")
        path = project.packages[package] / rest
        if not path.is_file() or digest_file(path) != digest:
            return Failure("stale", f"library file {label} changed since the run was planned; run the experiment again")
    if digest_code(read_notebook(project.root / run.notebook)) != run.parts["notebook"]["code"]:
        return Failure("stale", f"{run.notebook} changed since the run was planned; run the experiment again")
    return None


def changed_input(project: Project, run: PlannedRun) -> Failure | None:
    """What a run is about to read must be what its key names: external data, and all files of the runs it needs."""
    for name, path in run.data.items():
        digest = digest_data(project.root / path, name)
        if digest != run.parts["data"][name]:
            message = f"data `{name}` at {path} is {digest[:12]}, expected {run.parts['data'][name][:12]}"
            return Failure(WRONG_HASH, f"{message}: it changed since the run was planned; run the experiment again")
    for name, key in run.needs.items():
        folder = project.run_folder(key)
        record = good_record(folder)
        damaged = [f"no good {RUN_FILE}"] if record is None else damaged_files(record)
        if damaged:
            message = f"needed run `{name}`: {', '.join(damaged)} in {project.shown(folder)} is not what that run made"
            return Failure(WRONG_HASH, f"{message}; delete the folder and run the experiment again")
    return None


def first_uncounted(folder: Path) -> int | None:
    """The cell that a dead kernel or a time-out stopped."""
    fault = uncounted_cell(folder)
    return fault.cell if fault else None


def _lines(path: Path) -> Iterable[str]:
    return path.read_text(encoding="utf-8").split() if path.is_file() else []
