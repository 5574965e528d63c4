"""The closure holds what code uses, and no more, without running it."""

import subprocess
import sys
from pathlib import Path

import pytest

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.closure import find_closure
from pmgs_lib.suite.project import LIBRARY_FOLDER, Project

FILES = {
    "__init__.py": """
from lib._names import lazy
if TYPE_CHECKING:
    from lib.unused import thing
NAMES = {"Circle": "lib.shapes", "Square": "lib.squares"}
__all__ = ["Circle", "Square"]
__getattr__, __dir__ = lazy(__name__, NAMES)
""",
    "_names.py": "import importlib",
    "shapes.py": "from . import ground\nfrom .inner.deep import depth\n",
    "squares.py": "def side():\n    import lib.ground",
    "ground.py": '"""Docstring naming lib.unused and slow."""\nkind: "slow" = None',
    "unused.py": "thing = 1",
    "inner/__init__.py": "",
    "inner/deep.py": "depth = 3",
    "inner/table.json": "{}",
    "inner/data/weights.bin": "x",
    "inner/README.md": "text",
    "models/__init__.py": """
MODELS = {
    "fast": "lib.models.fast:Fast",
    "slow": "lib.models.slow:Slow",
    "two-part": ("lib.models.slow:Slow", {"kind": "fast"}),
}
def build(name): return load(MODELS[name])
""",
    "models/fast.py": "class Fast: pass",
    "models/slow.py": "import lib.ground\nclass Slow: pass",
    "detect.py": "FORMATS = {'deep': 'lib.inner.deep:depth'}\n[load(where) for where in FORMATS.values()]",
    "launch.py": 'COMMAND = ["-m", "lib.worker"]',
    "worker.py": "from lib.models import build\nbuild('fast')",
    "eager.py": "def __getattr__(name):\n    return load(_TABLE[name])\n_TABLE: dict = {'deep': '.inner.deep'}",
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("closure") / "lib"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {"lib": folder}


BASE = {"lib/__init__.py", "lib/_names.py"}
INNER = {"lib/inner/__init__.py", "lib/inner/deep.py", "lib/inner/table.json", "lib/inner/data/weights.bin"}
SHAPES = {"lib/shapes.py", "lib/ground.py"} | INNER
MODELS = {"lib/models/__init__.py"}
FAST, SLOW = {"lib/models/fast.py"}, {"lib/models/slow.py", "lib/ground.py"}


@pytest.mark.parametrize(
    ("source", "names", "expected"),
    [
        ("import torch, json", (), set()),
        ("import lib", (), BASE),
        ("from lib import Circle", (), BASE | SHAPES),
        ("import lib\nlib.Circle(1)", (), BASE | SHAPES),
        ("import lib as l\nx = [l.Square]", (), BASE | {"lib/squares.py", "lib/ground.py"}),
        ("from lib import *", (), BASE | SHAPES | {"lib/squares.py"}),
        ("from lib import inner\nprint(inner.deep.depth)", (), BASE | INNER),
        ("def f():\n    import lib.unused", (), BASE | {"lib/unused.py"}),
        ("from lib.models import build", (), BASE | MODELS),
        ("from lib.models import build\nbuild('fast')", (), BASE | MODELS | FAST),
        ("from lib.models import build\nbuild(name)", ("slow",), BASE | MODELS | SLOW),
        ("from lib.models import build\nx['fast']; y: 'fast' = {'fast': 1}", (), BASE | MODELS),
        ("from lib.models import MODELS\nMODELS['fast']", (), BASE | MODELS | FAST),
        ("from lib.models import build\nbuild('two-part')", (), BASE | MODELS | SLOW | FAST),
        ("from lib.models import MODELS\nlist(MODELS)", (), BASE | MODELS),
        ("from lib.models import MODELS\nfor name, where in MODELS.items(): pass", (), BASE | MODELS | FAST | SLOW),
        ("import lib.detect", (), BASE | {"lib/detect.py"} | INNER),
        ("import lib.launch", (), BASE | {"lib/launch.py", "lib/worker.py"} | MODELS | FAST),
        ("from lib.eager import deep", (), BASE | {"lib/eager.py"} | INNER),
        ("import importlib\nimportlib.import_module('lib.unused')", (), BASE | {"lib/unused.py"}),
        ("load_object('lib.models.slow:Slow')", (), BASE | MODELS | SLOW),
        ("from lib.nothing import x\nimport lib.absent", (), BASE),
    ],
)
def test_closure(packages, source, names, expected):
    assert set(find_closure(source, packages, names).files) == expected


def test_code_that_is_no_python_is_a_clear_error(packages):
    with pytest.raises(ParameterError, match=r"^code cells, line 2: "):
        find_closure("a = 1\nb = = 2", packages)


NOTEBOOK_LINES = [
    "from pmgs_lib import Cameras, Gaussians; Cameras; Gaussians",
    "import pmgs_lib; pmgs_lib.Views",
    "from pmgs_lib.geometry import inverse_pose",
    "from pmgs_lib.rasterizers import rasterize; from pmgs_lib.suite import current_run",
]


def test_what_this_library_loads_is_in_its_closure():
    """Static reading against the interpreter itself, in a process without the tests' import hooks."""
    packages = {"pmgs_lib": LIBRARY_FOLDER}
    source = "\n".join(NOTEBOOK_LINES)
    listing = "\nimport sys; print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'pmgs_lib'))"
    done = subprocess.run(
        [sys.executable, "-c", source + listing], capture_output=True, text=True, check=True, cwd=LIBRARY_FOLDER.parent
    )
    loaded = {Path(path) for path in done.stdout.split()}
    closure = set(find_closure(source, packages).files.values())
    assert loaded <= closure
    assert len(loaded) > 5
    assert LIBRARY_FOLDER / "cli.py" not in closure


def test_a_project_sees_packages_beside_its_notebooks(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("")
    assert Project(tmp_path).packages == {"pmgs_lib": LIBRARY_FOLDER, "mine": tmp_path / "mine"}
