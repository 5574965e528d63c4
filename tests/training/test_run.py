"""A training from its description to weights that load again, with a card that says how they came about."""

import json

import pytest
import torch
from pydantic import ValidationError

from pmgs_lib.data import load_protocol, make_scenes
from pmgs_lib.data.protocols import Protocol, save_protocol
from pmgs_lib.errors import ParameterError
from pmgs_lib.models import load_checkpoint, named_config, read_card
from pmgs_lib.training import TrainingRun, run_training
from pmgs_lib.training.commands import train

HEIGHT, WIDTH = 32, 48


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two scenes to train on and one to validate on, with a protocol of their small size."""
    folder = tmp_path_factory.mktemp("training")
    size = {"frames": 12, "height": HEIGHT, "width": WIDTH}
    make_scenes(1, count=2, folder=folder / "scenes", split="train", **size)
    keys = make_scenes(2, count=1, folder=folder / "scenes", split="test", **size)
    content = load_protocol("embedded-smoke").model_dump()
    views = {"context": (3, 8), "inside": (5,), "outside": (2,)}
    changes = {"name": "small", "keys": keys, "views": views, "test": None, "height": HEIGHT, "width": WIDTH}
    counts = {"expected": {"scenes": 1, "inside": 1, "outside": 1}}
    save_protocol(Protocol.model_validate(content | changes | counts), folder / "small.json")
    return folder


def described(place, **changes) -> dict:
    training = {"steps": 2, "batch_size": 1, "objective": {"pointmap_weight": 0.05}}
    common = {"model": "depthsplat-tiny", "scenes": str(place / "scenes"), "protocol": str(place / "small.json")}
    return {**common, "training": training, "accelerator": "cpu", **changes}


def test_weights_history_and_card_are_written(place, tmp_path):
    run = TrainingRun.model_validate(described(place, validation_scenes=str(place / "scenes")))
    history = run_training(run, tmp_path)
    card = read_card(tmp_path / "model.safetensors")
    assert (card["trained_steps"], card["seed"], len(history.rows)) == (2, 0, 2)
    assert card["validation"]["scenes"] == 1
    assert card["validation"]["means"]["overall"]["psnr"] > 3
    assert (tmp_path / "history.csv").read_text().count("\n") == 3
    assert load_checkpoint(tmp_path / "model.safetensors").config.kind == "depthsplat"


def test_steps_add_up_over_stages(place, tmp_path):
    first = TrainingRun.model_validate(described(place))
    run_training(first, tmp_path / "first")
    weights = str(tmp_path / "first" / "model.safetensors")
    run_training(TrainingRun.model_validate(described(place, weights=weights)), tmp_path / "second")
    assert read_card(tmp_path / "second" / "model.safetensors")["trained_steps"] == 4
    before, after = (load_checkpoint(tmp_path / stage / "model.safetensors") for stage in ("first", "second"))
    moved = [not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    assert any(moved)


def test_depth_alone_is_trained_and_scored(place, tmp_path):
    model = named_config("depthsplat-tiny").model_dump(mode="json") | {"color": None}
    training = {"steps": 1, "objective": {"photometric_weight": 0, "depth_weight": 1}}
    run = described(place, model=model, training=training, validation_scenes=str(place / "scenes"))
    run_training(TrainingRun.model_validate(run), tmp_path)
    validation = read_card(tmp_path / "model.safetensors")["validation"]
    assert validation["scenes"] == 1
    assert validation["means"]["context_abs_rel"] > 0


def test_validation_without_scenes_is_refused(place):
    with pytest.raises(ValidationError, match="validate_every is given but validation_scenes is not"):
        TrainingRun.model_validate(described(place, validate_every=1))


def test_a_misspelt_field_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "train.yaml").write_text(
        json.dumps({"model": "depthsplat-tiny", "scens": "x", "training": {"steps": 1}})
    )
    with pytest.raises(ParameterError, match="scens"):
        train(str(tmp_path / "train.yaml"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
