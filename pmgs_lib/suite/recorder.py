"""What a notebook says about itself: metrics, figures and artifacts, written into the folder of its run.

    from pmgs_lib.suite import current_run
    run = current_run()
    scenes = run.resolve(scenes)                 # paths in parameters are relative to the repository's root
    run.save_metrics({"psnr": 21.5})
    run.save_figure(figure, "comparison")
    torch.save(..., run.artifact("chunks/000000.torch"))

Opened in JupyterLab, without a runner, the same lines write to `runs/interactive/<notebook>/`.
This file is in the closure of every run: a change of it reruns everything, so it stays small.
"""

import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from pmgs_lib.errors import ParameterError

FOLDER_VARIABLE = "PMGS_RUN_FOLDER"  # set by the runner
ROOT_VARIABLE = "PMGS_ROOT"
END_FILE = ".end.json"


class RunRecorder:
    """Writes into one run's folder; get it by `current_run()`."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.root = root
        self._metrics: dict[str, Any] = {}

    def __repr__(self) -> str:
        return "RunRecorder()"  # no path: a golden notebook may show it

    def resolve(self, path: str | PurePath) -> Path:
        """A path from a parameter: absolute as it is, else from the repository's root."""
        return self.root / path

    def save_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Add to `metrics.json`: maps and lists of finite numbers, texts, booleans and None. No times and no paths: the
        file must compare to the last digit. Raises ParameterError for a value that is not finite or no JSON value.
        """
        self._metrics |= {str(name): _plain(value, str(name)) for name, value in metrics.items()}
        _write_whole(self.folder / "metrics.json", json.dumps(self._metrics, indent=1, sort_keys=True, allow_nan=False))

    def save_figure(self, figure: Any, name: str) -> Any:
        """Save a matplotlib figure as `figures/<name>.png`, the same bytes for the same picture, and hand it back, so
        that a cell that ends with this call shows it.
        """
        path = self._file("figures", f"{name}.png")
        figure.savefig(path, dpi=120, bbox_inches="tight", metadata={"Software": None})
        return figure

    def artifact(self, name: str | PurePath) -> Path:
        """Where to write a result file `artifacts/<name>`; its folder exists."""
        return self._file("artifacts", name)

    def _file(self, kind: str, name: str | PurePath) -> Path:
        base = self.folder / kind
        path = base / name
        if not path.resolve().is_relative_to(base.resolve()):
            raise ParameterError(f"{kind}: {str(name)!r} leads out of the run's folder; give a relative name")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def current_run(notebook: str | None = None) -> RunRecorder:
    """The recorder of the run that this kernel executes, or an interactive one called after the open notebook.

    `notebook` names the interactive folder where the name of the open notebook is not known: outside JupyterLab and
    nbval, which leave it in the kernel's environment.
    """
    root = _root()
    if FOLDER_VARIABLE in os.environ:
        return RunRecorder(Path(os.environ[FOLDER_VARIABLE]), root)
    replayed = os.environ.get("PYTEST_CURRENT_TEST", "unnamed").partition("::")[0]
    name = notebook or Path(os.environ.get("JPY_SESSION_NAME", replayed)).stem
    folder = root / "runs" / "interactive" / name
    folder.mkdir(parents=True, exist_ok=True)
    return RunRecorder(folder, root)


def finish_run() -> None:
    """End marker: the runner executes this after the last cell. Notes which modules and which device were used."""
    torch = sys.modules.get("torch")
    uses_gpu = torch is not None and torch.cuda.is_initialized()
    report = {
        "modules": sorted(name for name, module in sys.modules.items() if getattr(module, "__file__", None)),
        "device": torch.cuda.get_device_name() if uses_gpu else "cpu",
        "torch": torch.__version__ if torch is not None else None,
    }
    _write_whole(Path(os.environ[FOLDER_VARIABLE]) / END_FILE, json.dumps(report))


def _root() -> Path:
    if ROOT_VARIABLE in os.environ:
        return Path(os.environ[ROOT_VARIABLE])
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "constraints.txt").is_file()), here)


def _plain(value: Any, name: str) -> Any:
    """JSON value of nested maps, lists, NumPy and torch scalars; `name` says where in the metrics it stands."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{name}.{place}") for place, item in enumerate(value)]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ParameterError(
            f"metric `{name}` is {value}, expected a finite number; leave None and give the reason beside it"
        )
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ParameterError(
        f"metric `{name}` is a {type(value).__name__}, expected a number, text, map or list; convert it"
    )


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
