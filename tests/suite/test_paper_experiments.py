"""The papers' experiments: planned in every profile, cheap in smoke, complete in full, refused on a bare machine."""

from collections import Counter

import pytest

from pmgs_lib.errors import DataError
from pmgs_lib.suite.experiment import read_experiment, references_in
from pmgs_lib.suite.papers import DEPTHSPLAT, GSLRM_MVSPLAT, PM_LOSS
from pmgs_lib.suite.plan import make_plan
from pmgs_lib.suite.project import find_project

NAMES = ("depthsplat", "pm_loss", "gslrm", "mvsplat")
PAGES = {name: f"{name}_tables" for name in NAMES}
MOST_OWN_RUNS = 12  # executed for these four alone, in a smoke run of everything


@pytest.fixture(scope="module")
def project():
    from pathlib import Path

    return find_project(Path(__file__).parents[2])


@pytest.fixture(scope="module")
def plans(project):
    names = (*NAMES, "smoke", "recipes", "goldens")
    return {name: make_plan(project, read_experiment(project.experiment_file(name)), "smoke") for name in names}


def rows_of(name: str) -> dict:
    tables = (*DEPTHSPLAT, *PM_LOSS, *GSLRM_MVSPLAT)
    return {row.id: row for table in tables if table.experiment == name for row in table.rows}


def given_rows(project, name: str, profile: str) -> dict[str, str]:
    experiment = read_experiment(project.experiment_file(name))
    (page,) = [entry for entry in experiment.runs if entry.id == PAGES[name]]
    return page.profiles[profile]["evaluations"]


@pytest.mark.parametrize("name", NAMES)
def test_full_gives_every_row_that_can_be_run_a_run_of_its_own(project, name):
    given = given_rows(project, name, "full")
    rows = rows_of(name)
    assert set(given) == {row for row, entry in rows.items() if entry.required is not None}
    assert all(references_in(reference) == [("runs", row, False)] for row, reference in given.items() if row != "gslrm")


@pytest.mark.parametrize("name", NAMES)
def test_full_runs_are_what_their_rows_require(project, name):
    experiment = read_experiment(project.experiment_file(name))
    entries = {entry.id: entry for entry in experiment.runs}
    for row, required in ((row, entry.required) for row, entry in rows_of(name).items() if entry.required):
        values = entries[row].parameters | entries[row].profiles.get("full", {})
        ((_, protocol, _),) = references_in(values["protocol"])
        assert experiment.data[protocol].protocol == required.protocol, row
        ((kind, weights, _),) = references_in(values["weights"])
        if required.trained:
            assert kind == "runs"
            assert entries[weights].parameters["recipe"] == required.trained.recipe
            assert entries[weights].profiles["full"]["size"] == "full"
        else:
            assert experiment.data[weights].weights == required.weights, row
        assert "every" not in values
        assert "lpips_weights" in values


@pytest.mark.parametrize("name", NAMES)
def test_full_on_a_bare_machine_is_refused_with_everything_it_lacks(project, name, monkeypatch, tmp_path):
    for variable in ("PMGS_CACHE", "PMGS_DATA", "TORCH_HOME", "PMGS_INDEXES"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    experiment = read_experiment(project.experiment_file(name))
    with pytest.raises(DataError, match="things are missing, and nothing was started") as caught:
        make_plan(project, experiment, "full")
    assert f"{len(experiment.data)} things" in str(caught.value)
    for source in experiment.data:
        assert f"\n  {source} " in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_smoke_makes_the_page_and_needs_nothing(plans, name):
    plan = plans[name]
    assert not plan.left_out
    assert plan.run(PAGES[name]).page == f"runs/{name}.html"
    assert all(run.parameters.get("device", "cpu") == "cpu" and run.gpu == 0 for run in plan.runs)


def test_smoke_shares_what_other_experiments_run_anyway(plans):
    others = {run.key for name in ("smoke", "recipes", "goldens") for run in plans[name].runs}
    own = {run.key: run.id for name in NAMES for run in plans[name].runs if run.key not in others}
    assert len(own) <= MOST_OWN_RUNS, sorted(own.values())


def test_an_evaluation_counts_the_code_of_the_model_that_its_needed_run_trained_and_of_no_other(plans):
    counted = {
        run_id: {label.split("/")[2] for label in plans[name].run(run_id).parts["library"] if "/models/" in label}
        for name, run_id in (
            ("mvsplat", "evaluate_mvsplat"),
            ("pm_loss", "evaluate_rehearsed_baseline"),
            ("depthsplat", "evaluate_tiny"),
        )
    }
    families = {"depthsplat", "mvsplat", "gslrm"}
    assert counted["evaluate_mvsplat"] & families == {
        "depthsplat",
        "mvsplat",
    }  # DepthSplat is 40_evaluate's own default
    assert counted["evaluate_rehearsed_baseline"] & families == {"depthsplat"}
    assert counted["evaluate_tiny"] & families == {"depthsplat"}


def test_one_id_is_one_run_in_all_of_them(plans):
    keys = {(run.id, run.key) for name in NAMES for run in plans[name].runs}
    assert max(Counter(run_id for run_id, _ in keys).values()) == 1
