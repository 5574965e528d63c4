"""Recipes: every published number from a table of its own, and every recipe runs, small, with its switches kept."""

import csv
from pathlib import Path

import pytest
import torch
import yaml
from recipe_facts import FACTS, MEASURED, PAPER_VALUES, RATES

from pmgs_lib.data.catalogue import CATALOGUE
from pmgs_lib.data.protocols import protocol_names, published_names
from pmgs_lib.errors import CheckpointError, ParameterError
from pmgs_lib.models import INITIALISATIONS, MODELS, build_model
from pmgs_lib.training import TrainingRun, run_training
from pmgs_lib.training.recipes import RECIPES, load_recipe, rehearsal
from pmgs_lib.training.recipes.base import flattened
from pmgs_lib.training.schedules import build_optimizer, learning_rate_factor

PAPERS = [name for name in RECIPES if not name.endswith("-embedded")]


def value_of(name: str, field: str):
    """A value by dotted name; the last part may be a place in a pair."""
    recipe = load_recipe(name)
    fields = dict(flattened(recipe.model_dump(mode="json") | {"scenes_per_gpu": recipe.scenes_per_gpu}))
    whole, _, place = field.rpartition(".")
    return fields[whole][int(place)] if place.isdigit() else fields[field]


@pytest.mark.parametrize(("name", "field", "value", "source"), FACTS)
def test_published_values(name, field, value, source):
    assert value_of(name, field) == value, source
    assert load_recipe(name).source_of(field).trust in ("paper", "released code"), field


def test_values_of_the_papers_table(shared):
    """The collected table is another transcription of the same sources."""
    with (shared / "papers" / "published_results.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    for (*key, metric), name, field in PAPER_VALUES:
        columns = dict(zip(("paper", "dataset", "resolution", "method"), key, strict=True)) | {"metric": metric}
        found = [float(row["value"]) for row in rows if all(row[column] == value for column, value in columns.items())]
        assert found == [pytest.approx(value_of(name, field))], (columns, name, field)


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_is_whole(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.protocol in (*protocol_names(), *published_names())
    assert recipe.weights is None or recipe.weights in MODELS
    assert recipe.stage_before is None or recipe.stage_before in RECIPES
    assert set(recipe.data) <= set(CATALOGUE)
    assert set(recipe.initialisation.values()) <= set(INITIALISATIONS)
    with torch.device("meta"):
        model = build_model(recipe.config())
    assert sum(parameter.numel() for parameter in model.parameters()) == MEASURED[recipe.model]
    assert recipe.training.batch_size == recipe.scenes_per_gpu * (recipe.gpus or 1)
    assert len(recipe.table()) > 10
    assert not recipe.table().isna().any(axis=None)


@pytest.mark.parametrize("name", [name for name in PAPERS if load_recipe(name).weights])
def test_first_weights_have_the_shapes_of_the_model(name):
    """What a stage starts from fits it exactly, though its configuration may differ."""
    recipe = load_recipe(name)
    with torch.device("meta"):
        model, start = build_model(recipe.config()), build_model(recipe.weights)
    if recipe.part:
        model, start = model.get_submodule(recipe.part), start.get_submodule(recipe.part)
    shapes, given = ({key: value.shape for key, value in m.state_dict().items()} for m in (model, start))
    assert shapes == given


@pytest.mark.parametrize(("name", "step", "rates", "source"), RATES)
def test_published_rates(name, step, rates, source):
    """Rates of the parameters called pretrained, where they have their own, and of all others."""
    training = load_recipe(name).training
    model = torch.nn.ModuleDict({"pretrained": torch.nn.Linear(1, 1), "other": torch.nn.Linear(1, 1)})
    groups = build_optimizer(model, training.optimizer).param_groups
    factor = learning_rate_factor(step, training)
    assert sorted({group["lr"] * factor for group in groups}) == pytest.approx(rates, rel=1e-6, abs=1e-15), source


@pytest.mark.parametrize("devices", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("name", list(RECIPES))
def test_a_device_never_holds_more_scenes_than_one_of_the_original(name, devices):
    recipe = load_recipe(name)
    if recipe.training.batch_size % devices:
        with pytest.raises(ParameterError, match="do not divide over"):
            recipe.accumulate_on(devices)
        return
    parts = recipe.accumulate_on(devices)
    held, rest = divmod(recipe.training.batch_size, devices * parts)
    assert rest == 0
    assert 1 <= held <= recipe.scenes_per_gpu


def test_changes_are_checked_and_say_so():
    recipe = load_recipe("pm-loss-dl3dv", training={"steps": 7, "objective": {"pointmap_weight": 0.0}})
    assert (recipe.training.steps, recipe.training.objective.pointmap_weight) == (7, 0.0)
    assert recipe.training.optimizer == load_recipe("pm-loss-dl3dv").training.optimizer
    trust = recipe.table().set_index("what")["trust"]
    assert trust["training.steps"] == trust["training.objective.pointmap_weight"] == "changed"
    assert trust["training.objective.perceptual_weight"] == "released code"
    assert load_recipe("pm-loss-dl3dv").overridden({"training.steps": None}) == load_recipe("pm-loss-dl3dv")
    with pytest.raises(ParameterError, match=r"recipe mvsplat-re10k: training\.stepz"):
        load_recipe("mvsplat-re10k", training={"stepz": 7})
    with pytest.raises(ParameterError, match="there is none; expected one of depthsplat-small-re10k"):
        load_recipe("mvsplat")


def test_the_missing_cell_differs_from_either_neighbour_in_one_thing():
    loss, cell, baseline = (
        load_recipe(name).model_dump(exclude={"name", "description", "sources"})
        for name in ("pm-loss-dl3dv", "pm-loss-unconstrained-without-loss", "pm-loss-baseline")
    )

    def changed(first, second):
        first, second = dict(flattened(first)), dict(flattened(second))
        return {name for name in first | second if first.get(name) != second.get(name)}

    assert changed(loss, cell) == {"training.objective.pointmap_weight", "pointmap"}
    assert changed(cell, baseline) == {"model"}


def test_what_has_to_be_there_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r"starts from the result of gslrm-paper-stage1.*pass weights="):
        load_recipe("gslrm-paper-stage2").run("scenes")
    assert load_recipe("gslrm-paper-stage2").run("scenes", weights="mine.safetensors").weights == "mine.safetensors"
    with pytest.raises(ParameterError, match=r"dl3dv-480p: DL3DV-10K.*pass scenes"):
        load_recipe("pm-loss-dl3dv").make_scenes(tmp_path, count=1)


def test_a_perceptual_term_without_weights_is_left_out_aloud(monkeypatch):
    def missing(objective):
        raise CheckpointError("no such file")

    monkeypatch.setattr(rehearsal, "build_perceptual", missing)
    left = rehearsal.leave_out_missing(load_recipe("gslrm-paper-stage1"))
    assert left.training.objective.perceptual_weight == 0
    assert left.left_out[-1].startswith("perceptual term (vgg19, weight 0.5)")
    monkeypatch.setattr(rehearsal, "build_perceptual", lambda objective: object())
    kept = load_recipe("gslrm-paper-stage1").smoke()
    assert (kept.training.objective.perceptual_weight, kept.left_out) == (0.5, ())


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_rehearsal_keeps_the_switches(name):
    recipe, small = load_recipe(name), load_recipe(name).smoke()
    keep = ("precision", "matmul_precision", "non_finite", "average_decay", "seed")
    assert all(getattr(small.training, field) == getattr(recipe.training, field) for field in keep)
    same = {"perceptual_weight"}
    assert small.training.objective.model_dump(exclude=same) == recipe.training.objective.model_dump(exclude=same)
    assert (small.training.schedule.kind, small.views.targets) == (recipe.training.schedule.kind, recipe.views.targets)
    assert small.training.optimizer == recipe.training.optimizer
    expected = 2 if recipe.scenes_per_gpu == 1 and recipe.training.batch_size > 1 else 1
    assert small.accumulate_on(1) == expected
    behaviour = ("scrambled_window_mask", "reference_intrinsics", "supervise_last_scale", "nearest_views", "scales")
    behaviour += ("upsample", "pose_normalisation", "inputs", "distance_range", "checkpoint_blocks", "unit_rays")
    for field in behaviour:
        assert getattr(small.config(), field, None) == getattr(recipe.config(), field, None)
    left = bool(recipe.weights) + bool(recipe.stage_before and not recipe.weights) + len(recipe.initialisation)
    assert sum(part.startswith("weights") for part in small.left_out) == left


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    recipe = load_recipe("gslrm-tiny-embedded").smoke().overridden({"size": (64, 96)})
    recipe.make_scenes(folder, count=1)
    return folder


@pytest.mark.parametrize(
    ("file", "name"),
    [("train_gslrm_tiny", "gslrm-tiny-embedded"), ("train_depthsplat_tiny", "depthsplat-tiny-embedded")],
)
def test_the_file_for_the_command_line_is_the_recipe(file, name):
    content = yaml.safe_load((Path(__file__).parents[2] / "experiments" / f"{file}.yaml").read_text())
    found, recipe = TrainingRun.model_validate(content), load_recipe(name)
    assert (found.model, found.protocol, found.training) == (recipe.model, recipe.protocol, recipe.training)


def test_every_recipe_has_its_rehearsal_in_the_experiment():
    content = yaml.safe_load((Path(__file__).parents[2] / "experiments" / "recipes.yaml").read_text())
    assert {run["parameters"].get("recipe") for run in content["runs"]} - {None} == set(RECIPES)


# The others are longer; experiments/recipes.yaml runs them all.
KINDS = ["depthsplat-small-re10k", "mvsplat-re10k", "gslrm-paper-stage1"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in KINDS else pytest.mark.prove) for name in RECIPES]
)
def test_a_rehearsal_trains(name, scenes, tmp_path):
    recipe = load_recipe(name).smoke()
    recipe = recipe.overridden({"size": tuple(min(sides) for sides in zip(recipe.size, (64, 96), strict=True))})
    history = run_training(recipe.run(str(scenes), loggers=("csv",), accelerator="cpu"), tmp_path)
    assert len(history.rows) == 2
    assert (tmp_path / "model.safetensors").is_file()
