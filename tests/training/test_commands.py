"""`pmgs train`: the file, its changes, and where it may be called."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_training import small_place, small_run

from pmgs_lib.errors import ParameterError
from pmgs_lib.models import read_card
from pmgs_lib.training import commands
from pmgs_lib.training.stopping import TrainingStoppedError


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Path]:
    with small_place(tmp_path_factory.mktemp("commands")) as place:
        yield place


def test_the_command_trains_stops_and_goes_on(place, tmp_path):
    file = tmp_path / "run.json"
    file.write_text(small_run(place).model_dump_json())
    given = {"set_": ["training.steps=3", "save_every=1"], "stop_after": 2}
    with pytest.raises(TrainingStoppedError, match="stopped after step 2 of 3"):
        commands.train(str(file), str(tmp_path / "out"), **given)
    told = commands.train(str(file), str(tmp_path / "out"), set_=given["set_"])
    assert f"{tmp_path / 'out'}: 3 steps, photometric " in told
    card = read_card(tmp_path / "out" / "model.safetensors")
    assert card["command"].endswith("out --set training.steps=3 --set save_every=1")
    assert card["training"]["training"]["steps"] == 3


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["training.steps"], "expected NAME=VALUE"),
        (["training.steps=many"], r"training.steps Input should be a valid integer"),
        (["training.stepps=1"], "stepps"),
        (["training.objective.photometric_weight=-1"], "photometric_weight"),
        (["training.steps=[1"], "is no YAML"),
        (["protocol.name=3"], "lies within protocol, which is a plain value"),
    ],
)
def test_a_change_that_cannot_be_is_refused_before_anything_is_read(place, tmp_path, changes, told):
    file = tmp_path / "run.json"
    file.write_text(small_run(place).model_dump_json())
    with pytest.raises(ParameterError, match=told):
        commands.train(str(file), str(tmp_path / "out"), set_=[*changes, "scenes=nowhere"])
    assert not (tmp_path / "out").exists()


def test_devices_inside_a_task_are_refused(place, tmp_path, monkeypatch):
    file = tmp_path / "run.json"
    file.write_text(small_run(place).model_dump_json())
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ParameterError, match="--devices 2 inside one of several tasks"):
        commands.train(str(file), str(tmp_path / "out"), devices=2)
