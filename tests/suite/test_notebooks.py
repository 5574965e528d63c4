"""The shape of notebooks, their twins, and goldens that nbval can fail on."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.goldens import golden_faults, make_golden
from pmgs_lib.suite.notebooks import lint_notebook, main, notebook_of_text, twin_text, write_notebook, write_twin
from pmgs_lib.suite.run import perform

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb")) + sorted((ROOT / "reports").glob("*.ipynb"))
GOLDENS = sorted((ROOT / "tests" / "goldens").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_committed_notebooks_have_the_shape(path):
    assert lint_notebook(path) == []


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.name)
def test_committed_goldens_compare_something(path):
    assert golden_faults(path, ROOT) == []


def test_twins_go_both_ways_and_name_no_version(small):
    path = small.write_notebook("n", "a: int = 1  # steps", "print(a)", "%matplotlib inline\nx = 1")
    twin = write_twin(path)
    assert "jupytext_version" not in twin.read_text()
    assert '# %% tags=["parameters"]\na: int = 1  # steps\n' in twin.read_text()
    path.unlink()
    written = write_notebook(twin)
    assert lint_notebook(written) == []
    first = written.read_bytes()
    assert write_notebook(twin).read_bytes() == first
    assert twin_text(written) == twin.read_text()
    assert notebook_of_text(twin).cells[3].source == "%matplotlib inline\nx = 1"


LONG_FUNCTION = "def f():\n" + "    x = 1\n" * 10 + "    return x"


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        (["x = 1\n" * 16], "cell 2: 16 lines, expected at most 15"),
        (["x = 1"] * 30, "31 code cells, expected at most 30"),
        (["class A:\n    pass"], "class `A`"),
        ([LONG_FUNCTION], "function `f` has over 10 lines"),
        (["%pip install x"], "`%pip` runs a shell or installs"),
        (["!ls"], "`!` runs a shell"),
        (["path = '/data/x'"], "'/data/x' is an absolute path"),
        (["open('~/x')"], "'~/x' is an absolute path"),
        (["f'/x/{1}' + f'{1}/x'"], "'/x/' is an absolute path"),
        (["x = ("], "code cells are no Python"),
    ],
)
def test_lint_finds(small, cells, fault):
    path = small.write_notebook("n", "a: int = 1", *cells)
    write_twin(path)
    faults = lint_notebook(path)
    assert len(faults) == 1
    assert fault in faults[0]


def changed(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_lint_finds_what_is_left_in_a_file(small):
    path = small.write_notebook("n", "a = 1", "2", kernel="mine")
    assert any("no twin n.py" in fault for fault in lint_notebook(path))
    write_twin(path)
    changed(path, lambda content: content["cells"][2].update(execution_count=1))
    changed(path, lambda content: content["cells"][0].update(source="no title"))
    faults = "\n".join(lint_notebook(path))
    for expected in (
        "kernel 'mine'",
        "no title, expected",
        "`a = 1`",
        "outputs or a count",
        "differs from its twin n.py",
    ):
        assert expected in faults
    path.write_text("{}")
    assert "no notebook of format 4" in lint_notebook(path)[0]


def test_the_verbs(small, monkeypatch, capsys):
    path = small.write_notebook("n", "a: int = 1", "2")
    monkeypatch.chdir(small.root)
    assert main(["lint"]) == 1
    assert main(["sync"]) == 0
    assert main(["lint"]) == 0
    path.unlink()
    assert main(["from-text", str(path.with_suffix(".py"))]) == 0
    assert main(["lint", str(path)]) == 0
    assert "wrote " in capsys.readouterr().out


CHECKED = "# NBVAL_CHECK_OUTPUT\nprint('sum', a + 1)"


@pytest.fixture
def golden(small):
    """A golden as a smoke run makes it: one checked cell, one with a picture, one that is not compared."""
    picture = "import matplotlib.pyplot as plt\nplt.plot([1])\nplt.show()"
    small.write_notebook(
        "n", "a: int = 1", CHECKED, picture, "import sys, os\nprint('x', file=sys.stderr)\nprint(os.getpid())"
    )
    small.write_experiment([{"id": "n", "parameters": {"a": 41}}])
    plan = small.plan()
    record = perform(small, plan, plan.run("n"))
    return small, make_golden(record.folder, small.root / "goldens" / "n.ipynb"), record


def nbval(path):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env"]
    command += ["--nbval-cell-timeout=60", path.name]
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    return subprocess.run(command, cwd=path.parent, env=environment, capture_output=True, text=True, check=False)


def test_a_golden_is_replayed_with_its_parameters_and_can_fail(golden):
    small, path, _ = golden
    assert golden_faults(path, small.root) == []
    text = path.read_text()
    assert "image/png" not in text
    assert "finish_run" not in text
    assert str(small.root) not in text
    done = nbval(path)
    assert done.returncode == 0, done.stdout
    edited = small.root / "goldens" / "edited.ipynb"
    edited.write_text(text.replace("sum 42", "sum 43"))
    assert nbval(edited).returncode == 1
    assert golden_faults(edited, small.root) == [
        "edited.ipynb: its content is not what the smoke run made; make it anew"
    ]


def test_goldens_that_compare_nothing_are_refused(golden):
    small, path, record = golden
    good = path.read_text()

    def faults(change):
        path.write_text(good)
        changed(path, change)
        return "\n".join(golden_faults(path, small.root))

    assert "no execution count" in faults(lambda c: c["cells"][3].update(execution_count=None))
    assert "would compare nothing" in faults(lambda c: c["cells"][3].update(outputs=[]))
    assert "no cell with text output" in faults(lambda c: c["cells"][3].update(source="print(1)"))
    assert "names a run's folder" in faults(lambda c: c["cells"][2].update(source="a = 'runs/123/x'"))
    error = {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}
    assert "holds an error" in faults(lambda c: c["cells"][3]["outputs"].append(error))
    path.write_text(good)
    small.write_notebook("n", "a: int = 1", CHECKED, "1")
    assert "its code is not that of its notebook" in "\n".join(golden_faults(path, small.root))
    executed = nbformat.read(record.folder / "executed.ipynb", as_version=4)
    executed.cells[3].source = "print('sum')"
    shutil.copy(record.folder / "run.json", small.root / "kept.json")
    nbformat.write(executed, record.folder / "executed.ipynb")
    content = json.loads((small.root / "kept.json").read_text())
    content["made"] = {}
    (record.folder / "run.json").write_text(json.dumps(content))
    with pytest.raises(ParameterError, match="no cell with text output"):
        make_golden(record.folder, path)
