"""What notebooks write about themselves, in a run and in JupyterLab."""

import json
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.environment import WITNESS_FOLDER
from pmgs_lib.suite.recorder import RunRecorder, current_run


@pytest.fixture
def recorder(tmp_path):
    return RunRecorder(tmp_path, tmp_path)


def read(recorder):
    return json.loads((recorder.folder / "metrics.json").read_text())


def test_metrics_add_up_and_compare_to_the_last_digit(recorder):
    third = torch.tensor(1.0, dtype=torch.float64) / 3
    recorder.save_metrics({"psnr": third, "rows": [{"lpips": None, "n": np.int64(3)}], "ok": np.bool_(True)})
    recorder.save_metrics({"name": "a"})
    assert read(recorder) == {"psnr": 1 / 3, "rows": [{"lpips": None, "n": 3}], "ok": True, "name": "a"}
    first = (recorder.folder / "metrics.json").read_bytes()
    recorder.save_metrics({"name": "a"})
    assert (recorder.folder / "metrics.json").read_bytes() == first


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"a": {"b": [1.0, float("nan")]}}, "metric `a.b.1` is nan, expected a finite number"),
        ({"a": np.float32("inf")}, "metric `a` is inf"),
        ({"a": object()}, "metric `a` is a object, expected a number"),
    ],
)
def test_what_is_no_metric_is_refused_and_nothing_is_written(recorder, metrics, message):
    with pytest.raises(ParameterError, match=message):
        recorder.save_metrics({"fine": 1, **metrics})
    assert list(recorder.folder.iterdir()) == []


def test_equal_figures_are_equal_files(recorder):
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    assert recorder.save_figure(figure, "line") is figure
    recorder.save_figure(figure, "again")
    first, again = ((recorder.folder / "figures" / f"{name}.png").read_bytes() for name in ("line", "again"))
    assert again == first
    plt.close(figure)


def test_artifacts_stay_in_the_folder(recorder):
    assert recorder.artifact("a/b.txt").parent.is_dir()
    for name in ("../x", "/x", "a/../../x"):
        with pytest.raises(ParameterError, match="leads out"):
            recorder.artifact(name)


def test_paths_are_from_the_root(recorder):
    assert recorder.resolve("runs/x") == recorder.root / "runs" / "x"
    assert recorder.resolve(recorder.root / "y") == recorder.root / "y"


def test_without_a_runner_it_writes_beside_the_runs(tmp_path, monkeypatch):
    for name in ("PMGS_RUN_FOLDER", "PMGS_ROOT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "constraints.txt").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/30_train.ipynb")
    run = current_run()
    assert run.folder == tmp_path / "runs" / "interactive" / "30_train"
    assert run.resolve("x") == tmp_path / "x"
    assert current_run("other").folder.name == "other"
    monkeypatch.setenv("PMGS_RUN_FOLDER", str(tmp_path / "key"))
    assert current_run().folder == tmp_path / "key"


def test_the_witness_notes_imports_and_hides_no_other_sitecustomize(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.hidden = 'seen'")
    for name in ("lib", "aside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    code = "import lib, aside, os, subprocess, sys\nprint(hidden, sys.argv[1] in sys.path)\n"
    code += "try:\n    import lib.absent\nexcept ImportError:\n    pass"
    environment = {"PYTHONPATH": f"{WITNESS_FOLDER}:{tmp_path}", "PMGS_PACKAGES": "lib:x"}
    environment["PMGS_WITNESS"] = str(tmp_path / "note")
    command = [sys.executable, "-c", code, str(WITNESS_FOLDER)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("seen False\n", "")
    assert (tmp_path / "note").read_text().split() == ["lib", "lib.absent"]
