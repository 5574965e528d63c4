"""The real experiments under changes of the real library: what re-runs is what uses the changed file, and no more.

Nothing is executed: keys before and after tell. That a key's closure holds all that a run really loads is checked at
the end of every run (`evidence.unplanned_module`), and here for some notebooks in a fresh interpreter.
"""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.suite.experiment import read_experiment
from pmgs_lib.suite.plan import Plan, make_plan
from pmgs_lib.suite.project import Project

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Project:
    """Library, notebooks, reports and experiments in a folder of their own."""
    folder = tmp_path_factory.mktemp("real")
    for name in ("pmgs_lib", "notebooks", "experiments", "reports"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.part"))
    shutil.copy(ROOT / "constraints.txt", folder)
    return Project(folder)


def plans_of(project: Project, pattern: str = "smoke.yaml") -> list[Plan]:
    """The smoke plans of the experiments that need no argument and nothing from outside."""
    plans = []
    for file in sorted((project.root / "experiments").glob(pattern)):
        try:
            experiment = read_experiment(file)
        except ParameterError:
            continue  # wants an argument, or is a training's configuration
        try:
            plans.append(make_plan(project, experiment, "smoke"))
        except DataError:
            continue  # weights or data that this machine lacks
    return plans


def keys_of(plans: list[Plan]) -> dict[str, str]:
    return {f"{plan.experiment}/{run.id}": run.key for plan in plans for run in plan.runs}


def users_of(plans: list[Plan], label: str) -> set[str]:
    """Runs whose closure holds a file, and those that need such a run."""
    users = set()
    for plan in plans:
        using: set[str] = set()
        for run in plan.runs:  # needed ones first
            if label in run.parts["library"] or using.intersection(run.needs):
                using.add(run.id)
        users |= {f"{plan.experiment}/{name}" for name in using}
    return users


@pytest.fixture(scope="module")
def plans(copied) -> list[Plan]:
    return plans_of(copied)


TUNED_WITH_IT = {f"{run}@pm_loss=0.005,seed={seed}" for run in ("train", "evaluate") for seed in range(3)}
# A file; runs of smoke.yaml that use it, by their subject; runs that have nothing to do with it.
CHANGES = {
    "plot helper": (
        "pmgs_lib/ui/depth_plots.py",
        {"reconstruct", "predict_depth", "photos_to_splats"},
        {"test_scenes", "train@pm_loss=0.0,seed=0", "evaluate_tiny", "compare", "report"},
    ),
    "loss": (
        "pmgs_lib/losses/pointmap.py",
        {"use_pm_loss", "understand_pm_loss", *TUNED_WITH_IT, "compare", "report"},
        {"test_scenes", "convert_dl3dv", "convert_re10k", "predict_depth", "evaluate_tiny", "inspect_scene"},
    ),
    "model of three": (
        "pmgs_lib/models/depthsplat/model.py",
        {"start", "evaluate_tiny", "predict_depth", "train@pm_loss=0.0,seed=2", "compare"},
        {"test_scenes", "train_scenes", "convert_dl3dv", "convert_re10k"},
    ),
    "another model of three": (
        "pmgs_lib/models/gslrm/model.py",
        set(),
        {"start", "evaluate_tiny", "predict_depth", "reconstruct", "test_scenes", "use_pm_loss", "benchmark"},
    ),
}


def rerun_by(project: Project, plans: list[Plan], label: str, pattern: str) -> set[str]:
    """Runs whose keys change when a library file does."""
    path = project.root / label
    original = path.read_text()
    try:
        path.write_text(f"{original}\n# another line\n")
        after = keys_of(plans_of(project, pattern))
    finally:
        path.write_text(original)
    before = keys_of(plans)
    assert after.keys() == before.keys()
    return {name for name in before if after[name] != before[name]}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_reruns_what_uses_the_file_and_nothing_else(copied, plans, change):
    label, using, aside = CHANGES[change]
    rerun = rerun_by(copied, plans, label, "smoke.yaml")
    assert rerun == users_of(plans, label)
    assert {f"smoke/{name}" for name in using} <= rerun
    assert rerun.isdisjoint({f"smoke/{name}" for name in aside})


@pytest.mark.prove
def test_so_it_is_for_files_of_every_room_in_every_experiment(copied):
    plans = plans_of(copied, "*.yaml")
    labels = sorted(path.relative_to(copied.root).as_posix() for path in (copied.root / "pmgs_lib").rglob("*.py"))
    some = [*labels[:: len(labels) // 20], *(label for label, _, _ in CHANGES.values())]
    rerun = {label: rerun_by(copied, plans, label, "*.yaml") for label in some}
    assert rerun == {label: users_of(plans, label) for label in some}
    assert len({frozenset(names) for names in rerun.values()}) > 3


def test_undone_nothing_reruns(copied, plans):
    assert keys_of(plans_of(copied)) == keys_of(plans)


def imports_of(notebook: Path) -> str:
    """The import statements of a notebook's code, and the lazy names they take, touched."""
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    tree = ast.parse("\n".join("".join(cell["source"]) for cell in cells))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join(dict.fromkeys(ast.unparse(node) for node in found))


def loaded_by(source: str) -> set[str]:
    ours = "[m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'pmgs_lib']"
    listing = f"import sys, json; print(json.dumps({ours}))"
    done = subprocess.run(
        [sys.executable, "-c", f"{source}\n{listing}"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return {Path(path).relative_to(ROOT).as_posix() for path in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize(
    "notebook",
    [
        "24_use_pm_loss",
        "40_evaluate",
        *(
            pytest.param(path.stem, marks=pytest.mark.prove)
            for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
            if path.stem not in ("24_use_pm_loss", "40_evaluate")
        ),
    ],
)
def test_what_a_notebook_imports_is_in_its_closure(plans, notebook):
    runs = [run for plan in plans for run in plan.runs if Path(run.notebook).stem == notebook]
    if not runs:
        pytest.skip(f"no smoke run of {notebook} could be planned here")
    loaded = loaded_by(imports_of(ROOT / "notebooks" / f"{notebook}.ipynb"))
    assert len(loaded) > 5
    for run in runs:
        assert loaded <= set(run.parts["library"])
