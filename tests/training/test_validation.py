"""Scores and pictures of a model while it trains: the same as an evaluation gives, and the training knows nothing."""

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pmgs_lib.data import load_protocol, make_scenes, open_dataset
from pmgs_lib.data.protocols import Protocol, save_protocol
from pmgs_lib.errors import DataError, ParameterError, RunError
from pmgs_lib.evaluation.methods import GaussianMethod
from pmgs_lib.export.images import depth_colors, image_to_uint8
from pmgs_lib.models import build_model, load_checkpoint
from pmgs_lib.models.base import Prediction
from pmgs_lib.rasterizers.base import RenderingSettings
from pmgs_lib.training import comparison_pictures, validation
from pmgs_lib.training.history import TrainingHistory
from pmgs_lib.training.run import TrainingRun, run_training
from pmgs_lib.training.validation import BEST_FILE, TABLE_FILE, Validator, evaluate_model

HEIGHT, WIDTH, SCENES = 32, 48, 3


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> tuple[Path, Protocol]:
    """Three scenes and the protocol that scores them."""
    folder = tmp_path_factory.mktemp("validation")
    keys = make_scenes(2, count=SCENES, folder=folder, split="test", frames=12, height=HEIGHT, width=WIDTH)
    content = load_protocol("embedded-smoke").model_dump()
    views = {"context": (3, 8), "inside": (5,), "outside": (2,)}
    changes = {"name": "small", "keys": keys, "views": views, "test": None, "height": HEIGHT, "width": WIDTH}
    counts = {"expected": {"scenes": SCENES, "inside": SCENES, "outside": SCENES}}
    return folder, Protocol.model_validate(content | changes | counts)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model("depthsplat-tiny", transformer_blocks=2, candidates=32)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def picture_at(grid: np.ndarray, row: int, column: int) -> np.ndarray:
    """One of the pictures of a grid, at its own size again."""
    scale = -(-comparison_pictures.LEAST_WIDTH // WIDTH)
    width, height = scale * WIDTH, scale * HEIGHT + comparison_pictures.TITLE_HEIGHT
    left, top = column * (width + comparison_pictures.GAP), row * (height + comparison_pictures.GAP)
    return grid[top + comparison_pictures.TITLE_HEIGHT : top + height : scale, left : left + width : scale]


def test_scores_are_those_of_an_evaluation(scenes, model, tmp_path):
    folder, protocol = scenes
    values = Validator(folder, protocol, tmp_path)(100, model)
    result = evaluate_model(model, folder, protocol)
    expected = {name: value for name, value in result.means["overall"].items() if value is not None}
    assert values == expected | {"scored": SCENES, "skipped": 0}
    assert {"psnr", "ssim", "abs_rel", "context_abs_rel"} <= set(values)


def test_pictures_show_truth_rendering_error_and_depth_of_the_first_scenes(scenes, model, tmp_path):
    folder, protocol = scenes
    validator = Validator(folder, protocol, tmp_path, pictures=2)
    validator(100, model)
    assert list(validator.last_pictures) == [f"validation/{key}" for key in protocol.keys[:2]]
    assert sorted((tmp_path / "step-000100").iterdir()) == sorted(validator.last_pictures.values())
    dataset = open_dataset(folder, "test", near=protocol.near, far=protocol.far)
    for key in protocol.keys[:2]:
        example = dataset.example(key, (3, 8), (5, 2), HEIGHT, WIDTH)
        output = GaussianMethod(model)(example)
        grid = pixels(validator.last_pictures[f"validation/{key}"])
        low, high = comparison_pictures.depth_scale(example.target)
        for row in range(2):
            np.testing.assert_array_equal(picture_at(grid, row, 0), image_to_uint8(example.target.images[row]))
            np.testing.assert_array_equal(picture_at(grid, row, 1), image_to_uint8(output.color[row]))
            np.testing.assert_array_equal(picture_at(grid, row, 3), depth_colors(output.depth[row], low, high))
            np.testing.assert_array_equal(picture_at(grid, row, 4), depth_colors(example.target.depth[row], low, high))
        assert picture_at(grid, 0, 2).astype(int).sum() > 0
    validator(200, model)
    assert (tmp_path / "step-000200").is_dir()


def states() -> list:
    """Python's generator is left out: the shape checks of these tests draw from it themselves."""
    return [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()]


class Drawing(torch.nn.Module):
    """A model that draws from every generator whenever it is asked, as dropout or sampling would."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, views):
        torch.rand(3)
        np.random.rand()
        random.random()
        return self.inner(views)


def test_nothing_of_the_model_or_the_generators_moves(scenes, model, tmp_path):
    folder, protocol = scenes
    drawing = Drawing(model).train()
    drawing.inner.get_submodule("gaussian_head").eval()  # a frozen part stays in its mode, too
    modes = [module.training for module in drawing.modules()]
    weights = {name: value.clone() for name, value in drawing.state_dict().items()}
    for parameter in drawing.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = states()
    Validator(folder, protocol, tmp_path)(1, drawing)
    assert states() == before
    assert [module.training for module in drawing.modules()] == modes
    assert all(torch.equal(value, weights[name]) for name, value in drawing.state_dict().items())
    assert all((parameter.grad == 1).all() and parameter.requires_grad for parameter in drawing.parameters())
    model.eval().zero_grad(set_to_none=True)
    python = random.getstate()
    with validation._random_state_kept(torch.device("cpu")):
        random.random()
    assert random.getstate() == python


class Chosen(torch.nn.Module):
    """Known depth times a factor, alone or beside what another model draws."""

    def __init__(self, factor: float, inner: torch.nn.Module | None = None) -> None:
        super().__init__()
        self.factor, self.inner = torch.nn.Parameter(torch.tensor(factor)), inner

    def forward(self, views):
        gaussians = None if self.inner is None else self.inner(views).gaussians
        return Prediction(gaussians, views.depth * self.factor, RenderingSettings())


def test_the_table_has_a_row_a_validation_and_the_best_step_is_noted(scenes, model, tmp_path):
    folder, protocol = scenes
    validator = Validator(folder, protocol, tmp_path, pictures=0)
    fresh = build_model("depthsplat-tiny", transformer_blocks=2, candidates=32)
    rows = [{"step": step, **validator(step, net)} for step, net in ((2, model), (4, fresh), (6, model))]
    frame = pd.read_csv(tmp_path / TABLE_FILE)
    pd.testing.assert_frame_equal(frame, pd.DataFrame(rows), check_exact=True)
    best = max(rows, key=lambda row: row["psnr"])
    assert validator.best == (best["step"], "psnr", best["psnr"])
    assert json.loads((tmp_path / BEST_FILE).read_text()) == {
        "step": best["step"], "metric": "psnr", "value": best["psnr"],
    }  # fmt: skip


def test_a_resumed_training_continues_the_table_and_knows_the_best_step_before(scenes, tmp_path):
    folder, protocol = scenes
    tables = []
    for name, parts in (("whole", [(0, (2, 4, 6))]), ("parts", [(0, (2, 4)), (3, (4, 6))])):
        for first_step, steps in parts:
            validator = Validator(folder, protocol, tmp_path / name, pictures=0, first_step=first_step)
            for step in steps:
                validator(step, Chosen(1 + step / 10))
        tables.append((tmp_path / name / TABLE_FILE).read_bytes())
        assert validator.best[:2] == (2, "context_abs_rel")
    assert tables[0] == tables[1]


def test_a_model_of_depth_is_scored_by_the_depth_of_its_context(scenes, model, tmp_path):
    folder, protocol = scenes
    validator = Validator(folder, protocol, tmp_path)
    values = validator(1, Chosen(1.1))
    assert values["context_abs_rel"] == pytest.approx(0.1, rel=1e-4)
    assert (values["context_delta1"], values["scored"], values["skipped"]) == (1.0, SCENES, 0)
    assert "psnr" not in values
    whole = Validator(folder, protocol, tmp_path / "whole", pictures=0)(1, Chosen(1.1, model))
    depth_scores = {name: value for name, value in values.items() if name.startswith("context_")}
    assert depth_scores == pytest.approx({name: whole[name] for name in depth_scores})
    grid = pixels(validator.last_pictures[f"validation/{protocol.keys[0]}"])
    dataset = open_dataset(folder, "test", near=protocol.near, far=protocol.far)
    context = dataset.example(protocol.keys[0], (3, 8), (5,), HEIGHT, WIDTH).context
    np.testing.assert_array_equal(picture_at(grid, 1, 0), image_to_uint8(context.images[1]))
    scale = comparison_pictures.depth_scale(context)
    np.testing.assert_array_equal(picture_at(grid, 1, 2), depth_colors(context.depth[1], *scale))


def test_depth_that_is_not_finite_is_named(scenes, tmp_path):
    folder, protocol = scenes
    validator = Validator(folder, protocol, tmp_path)
    with pytest.raises(RunError, match=f"{protocol.keys[0]}: .*nan.*look at the predicted depth"):
        validator(1, Chosen(float("nan")))
    assert not (tmp_path / TABLE_FILE).exists()


def test_fewer_scenes_are_spread_over_the_protocol(scenes, tmp_path):
    folder, protocol = scenes
    validator = Validator(folder, protocol, tmp_path, most=2)
    assert validator(1, Chosen(1.1))["scored"] == 2
    assert list(validator.last_pictures) == [f"validation/{key}" for key in (protocol.keys[0], protocol.keys[2])]
    assert Validator(folder, protocol, tmp_path, most=1).protocol.keys == protocol.keys[:1]
    assert Validator(folder, protocol, tmp_path, most=9).protocol == protocol


def test_mistakes_are_found_before_the_first_step(scenes, tmp_path):
    folder, protocol = scenes
    with pytest.raises(ParameterError, match="at most 0 scenes"):
        Validator(folder, protocol, tmp_path, most=0)
    with pytest.raises(DataError, match="there is no such folder"):
        Validator(tmp_path / "nowhere", protocol, tmp_path)
    with pytest.raises(DataError, match="lacks 6 of the 6 scenes"):
        Validator(folder, load_protocol("embedded-smoke"), tmp_path)


def test_a_full_disk_costs_pictures_and_rows_and_says_so_once(scenes, tmp_path, caplog, full_disk):
    folder, protocol = scenes
    validator = Validator(folder, protocol, tmp_path)
    with full_disk(20):
        first = validator(1, Chosen(1.1))
        assert validator(2, Chosen(1.1)) == first
    assert validator.unwritten == 2 * (2 + 1 + 1)  # two pictures, the table and the best step
    assert len(caplog.records) == 1
    assert validator.last_pictures == {}
    validator(3, Chosen(1.2))
    assert list(pd.read_csv(tmp_path / TABLE_FILE)["step"]) == [3]
    assert json.loads((tmp_path / BEST_FILE).read_text())["step"] == 1
    assert len(validator.last_pictures) == 2


@pytest.fixture(scope="module")
def trained(scenes, tmp_path_factory) -> dict[str, tuple[Path, TrainingHistory]]:
    """The same training without validation, and with one every two steps and all logs."""
    folder, protocol = scenes
    place = tmp_path_factory.mktemp("trained")
    make_scenes(1, count=2, folder=folder, split="train", frames=12, height=HEIGHT, width=WIDTH)
    save_protocol(protocol, place / "small.json")
    common = {
        "model": "depthsplat-tiny",
        "scenes": str(folder),
        "protocol": str(place / "small.json"),
        "training": {"steps": 4, "objective": {"depth_weight": 0.1}},
        "accelerator": "cpu",
    }
    runs = {
        "plain": {"loggers": []},
        "validated": {"validation_scenes": str(folder), "validate_every": 2, "loggers": ["csv", "tensorboard"]},
    }
    return {
        name: (place / name, run_training(TrainingRun.model_validate(common | changes), place / name))
        for name, changes in runs.items()
    }


def test_training_with_validation_and_logs_equals_training_without(trained):
    (plain, first), (validated, second) = trained.values()
    assert first.rows == second.rows
    weights = [load_checkpoint(folder / "model.safetensors").state_dict() for folder in (plain, validated)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_training_leaves_its_history_in_every_log_and_pictures_that_open(trained):
    folder, history = trained["validated"]
    table = pd.read_csv(folder / "logs" / "steps.csv")
    expected = history.to_frame()
    pd.testing.assert_frame_equal(table[list(expected)], expected, check_exact=True)
    assert (table[["images_per_second", "memory_gib"]] > 0).all(axis=None)
    np.testing.assert_allclose(table["images_per_second"] / table["scenes_per_second"], 4)
    reader = EventAccumulator(str(folder / "logs" / "tensorboard")).Reload()
    losses = {event.step: event.value for event in reader.Scalars("training/photometric")}
    assert losses == pytest.approx(dict(zip(expected["step"], expected["photometric"], strict=True)))
    scores = pd.read_csv(folder / "validation" / TABLE_FILE)
    assert [event.step for event in reader.Scalars("validation/psnr")] == list(scores["step"]) == [2, 4]
    np.testing.assert_allclose(table.dropna()["validation/psnr"], scores["psnr"], rtol=0)
    pictures = [path for step in (2, 4) for path in sorted((folder / "validation" / f"step-{step:06d}").iterdir())]
    assert len(pictures) == 4
    assert all(pixels(path).std() > 10 for path in pictures)
    shown = [event.encoded_image_string for tag in reader.Tags()["images"] for event in reader.Images(tag)]
    assert sorted(shown) == sorted(path.read_bytes() for path in pictures)
