"""One notebook through papermill, in a process of its own that its runner watches.

`python -m pmgs_lib.suite.execute FOLDER` reads `.job.json` in the run's folder, writes `executed.ipynb` cell by cell
and at the end `.outcome.json`.
"""

import json
import os
import re
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# jsonschema, which nbformat imports, would build a grammar for addresses that notebooks do not have: 1.2 s of each run.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

import nbformat  # noqa: E402
from jupyter_client.kernelspec import KernelSpec  # noqa: E402
from jupyter_client.manager import AsyncKernelManager  # noqa: E402
from nbclient.exceptions import CellTimeoutError, DeadKernelError  # noqa: E402
from papermill import execute_notebook  # noqa: E402
from papermill.exceptions import PapermillExecutionError  # noqa: E402
from traitlets.config import Config  # noqa: E402

from pmgs_lib.suite.cells import END_TAG  # noqa: E402
from pmgs_lib.suite.plan import END_SOURCE, KERNEL  # noqa: E402
from pmgs_lib.suite.records import (  # noqa: E402
    EXECUTED_FILE,
    INPUT_FILE,
    JOB_FILE,
    OUT_OF_MEMORY,
    OUTCOME_FILE,
    Failure,
    write_json,
)

TRACEBACK_LINES = 30
LONGEST_SOCKET_PATH = 100  # Unix sockets allow 107 bytes on Linux and 103 on macOS
# NumPy raises a MemoryError of its own name, torch a RuntimeError for the CPU and OutOfMemoryError for a GPU.
MEMORY_ERROR = re.compile(r"^\w*MemoryError$|OutOfMemoryError$")
MEMORY_MESSAGE = re.compile(r"CUDA out of memory|DefaultCPUAllocator: (can't|not enough)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class OwnKernel(AsyncKernelManager):
    """A kernel of the interpreter that runs the suite, whatever a kernel specification elsewhere says of `python3`."""

    @property
    def kernel_spec(self) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")


def execute(folder: Path, job: Mapping[str, Any]) -> Failure | None:
    """Execute the notebook of a run; returns what went wrong, as far as exceptions tell it."""
    source = folder / INPUT_FILE
    nbformat.write(_with_end_marker(nbformat.read(job["notebook"], as_version=4)), source)
    try:
        execute_notebook(
            str(source), str(folder / EXECUTED_FILE), job["parameters"],
            kernel_name=KERNEL, language="python", progress_bar=False, start_timeout=60, record_timing=True,
            execution_timeout=job["cell_timeout_s"], kernel_manager_class=OwnKernel,
            config=_kernel_config(Path(os.environ["JUPYTER_RUNTIME_DIR"])),
        )  # fmt: skip
    except PapermillExecutionError as fault:
        trace = "\n".join("\n".join(fault.traceback).splitlines()[-TRACEBACK_LINES:])
        message = COLOUR.sub("", f"{fault.ename}: {fault.evalue}").strip().splitlines()
        full = MEMORY_ERROR.search(fault.ename) or MEMORY_MESSAGE.search(str(fault.evalue))
        kind = OUT_OF_MEMORY if full else "cell error"
        return Failure(kind, message[0] if message else fault.ename, fault.cell_index, COLOUR.sub("", trace))
    except DeadKernelError:
        return Failure(
            "kernel died", "the kernel ended without a reply (killed, out of memory or a crash in native code)"
        )
    except CellTimeoutError:
        return Failure(
            "cell time-out", f"a cell ran longer than {job['cell_timeout_s']:g} s, the limit of this profile"
        )
    except RuntimeError as fault:
        return Failure("kernel did not start", " ".join(str(fault).split()))
    return None


def _with_end_marker(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    cell = nbformat.v4.new_code_cell(END_SOURCE, id="pmgs-end", metadata={"tags": [END_TAG]})
    notebook.cells.append(cell)
    return notebook


def _kernel_config(folder: Path) -> Config:
    """Sockets in a private folder, unless its name is too long: no ports, so no clash of kernels started together."""
    connection = folder / "kernel.json"
    transport = "ipc" if len(str(connection)) < LONGEST_SOCKET_PATH else "tcp"
    return Config({"KernelManager": {"transport": transport, "connection_file": str(connection)}})


def _end_with_runner() -> None:
    """End this process, and with it the kernel, as soon as the runner that holds the other end of stdin is gone."""
    os.read(sys.stdin.fileno(), 1)  # blocks until the end of the file; no buffer that shutting down would wait for
    os._exit(1)


def main() -> None:
    folder = Path(sys.argv[1])
    threading.Thread(target=_end_with_runner, daemon=True).start()
    job = json.loads((folder / JOB_FILE).read_text(encoding="utf-8"))
    os.environ.update(job["environment"])
    failure = execute(folder, job)
    write_json(folder / OUTCOME_FILE, {"failure": None if failure is None else vars(failure)})


if __name__ == "__main__":
    main()
