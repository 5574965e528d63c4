"""A real JupyterLab server on loopback over a copy of the notebooks. Nothing of it outlives the tests."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import requests

ROOT = Path(__file__).parents[2]
GUARD = Path(__file__).with_name("guard.py")
START_S, STOP_S = 90.0, 15.0
FOLDERS = (
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_RUNTIME_DIR",
    "JUPYTERLAB_SETTINGS_DIR",
    "JUPYTERLAB_WORKSPACES_DIR",
    "IPYTHONDIR",
)
# The question for "Jupyter news" would cover the lower right corner.
NO_QUESTIONS = {"fetchNews": "false", "checkForUpdates": False}
NOTIFICATIONS = "@jupyterlab/apputils-extension/notification.jupyterlab-settings"
NOWHERE = "http://127.0.0.1:9"  # a proxy that refuses: a kernel that asks for something outside fails at once


class Laboratory:
    """JupyterLab in a folder of its own; `with` starts and stops it. `folder` is what the browser sees."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.folder = place / "notebooks"
        self.folder.mkdir(parents=True)
        self.url = self.token = ""
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "Laboratory":
        settings = self.place / "JUPYTERLAB_SETTINGS_DIR" / NOTIFICATIONS
        settings.parent.mkdir(parents=True)
        settings.write_text(json.dumps(NO_QUESTIONS))
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"]
        command += ["--ServerApp.port=0", f"--ServerApp.root_dir={self.folder}"]
        command += ["--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(GUARD), *command], cwd=self.folder, env=self._environment(),
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.url:
            self.ask("POST", "api/shutdown")
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._process.stdin.close()  # the guard ends what is left
            self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def copy_notebook(self, name: str, **parameters: object) -> str:
        """Copy `notebooks/<name>.ipynb`; the parameters go into a cell behind its own, as the runner does it."""
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        if parameters:
            tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
            place = next(place for place, found in enumerate(tags) if "parameters" in found)
            source = "\n".join(f"{key} = {value!r}" for key, value in parameters.items())
            notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(source, id="injected"))
        return self.write_notebook(name, notebook)

    def write_cells(self, name: str, *cells: str) -> str:
        """A notebook of these code cells."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        return self.write_notebook(name, notebook)

    def write_notebook(self, name: str, notebook: nbformat.NotebookNode) -> str:
        spec = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
        notebook.metadata["kernelspec"] = spec
        nbformat.write(notebook, self.folder / f"{name}.ipynb")
        return name

    def ask(self, method: str, path: str) -> requests.Response:
        headers = {"Authorization": f"token {self.token}"}
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, f"{self.url}{path}", headers=headers, timeout=10)

    def end_sessions(self) -> None:
        """End all kernels: the next notebook gets a new one."""
        for session in self.ask("GET", "api/sessions").json():
            self.ask("DELETE", f"api/sessions/{session['id']}")

    @property
    def _log(self) -> Path:
        return self.place / "jupyterlab.log"

    def _environment(self) -> dict[str, str]:
        # A GPU is missing here on every machine, so that all see what most laptops see.
        found = {**os.environ, "PYTHONPATH": str(ROOT), "PMGS_ROOT": str(self.place), "CUDA_VISIBLE_DEVICES": ""}
        found |= {"JUPYTER_PREFER_ENV_PATH": "1", "no_proxy": "127.0.0.1,localhost"}
        found |= dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE)
        # The name of the running test would become the name of the notebook's folder.
        found.pop("PYTEST_CURRENT_TEST", None)
        return found | {name: str(self.place / name) for name in FOLDERS}

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while not (self._find_address() and self._answers()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"JupyterLab did not start; its log ends:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return self.ask("GET", "api/status").ok
        except requests.ConnectionError:
            return False

    def _find_address(self) -> bool:
        """The server writes its address, with the free port that it took, when it listens."""
        for file in (self.place / "JUPYTER_RUNTIME_DIR").glob("jpserver-*.json"):
            try:
                found = json.loads(file.read_text())
            except json.JSONDecodeError:
                return False  # half written
            self.url, self.token = found["url"].replace("localhost", "127.0.0.1"), found["token"]
        return bool(self.url)
