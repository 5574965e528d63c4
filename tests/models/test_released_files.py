"""Files of the released layouts for every model of the zoo, and files that lie, lack or act."""

import os
import pickle
import subprocess
import zipfile
import zlib

import pytest
import torch
from foreign_objects import foreign_module, training_checkpoint

from pmgs_lib.errors import CheckpointError
from pmgs_lib.models import MODELS, build_model, load_checkpoint
from pmgs_lib.models.checkpoint_fit import shapes_of
from pmgs_lib.models.released_weights import read_released

SMALL = {"transformer_blocks": 1, "unet_levels": 2, "candidates": 16}
RELEASED = [name for name in MODELS if not isinstance(MODELS[name].weights, str)]
WRAPPINGS = ["flat", "unprefixed", "state_dict", "model", "training"]


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(7)
    return build_model("depthsplat-tiny", **SMALL)


def number_of(key: str) -> float:
    """A value that tells a tensor by its name."""
    return float(zlib.crc32(key.encode()) % 100_003)


def write(path, state: dict, wrapping: str, depth_only: bool = False) -> list[str]:
    """Write a file as a released project would; returns the list where all that is executed in reading is noted.

    Names of depth models start at the depth network where no prefix stands before them.
    """
    executed: list[str] = []
    prefixed = {f"encoder.{key}": value for key, value in state.items()}
    relative = {key.removeprefix("depth_predictor.") if depth_only else key: value for key, value in state.items()}
    plain = {
        "flat": prefixed,
        "unprefixed": relative,
        "state_dict": {"state_dict": prefixed},
        "model": {"model": relative},
    }
    with foreign_module(executed) as module:
        torch.save(training_checkpoint(prefixed, module) if wrapping == "training" else plain[wrapping], path)
    executed.clear()  # making the objects is no reading
    return executed


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("name", RELEASED)
def test_every_layout_of_every_model_is_read(tmp_path, name, wrapping):
    """Full shapes, one number for each tensor: what is tested are names, shapes and that no tensor is another's."""
    config = MODELS[name].config
    shapes = shapes_of(config)
    state = {key: torch.tensor(number_of(key)).expand(shape) for key, shape in shapes.items()}
    depth_only = getattr(config, "color", True) is None
    executed = write(tmp_path / "weights.ckpt", state, wrapping, depth_only)
    read = read_released(tmp_path / "weights.ckpt")
    assert {key: tuple(value.shape) for key, value in read.items()} == dict(shapes)
    assert all(value[(0,) * value.dim()].item() == number_of(key) for key, value in read.items())
    assert executed == []


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_every_wrapping_loads_strictly(model, tmp_path, wrapping):
    executed = write(tmp_path / "weights.ckpt", model.state_dict(), wrapping)
    random_state = torch.get_rng_state()
    back = load_checkpoint(tmp_path / "weights.ckpt", config=model.config)
    assert all(torch.equal(back.state_dict()[key], value) for key, value in model.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(back.buffers(), model.buffers(), strict=True))
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in back.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert executed == []


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, k: s.pop(k), r"\(1 missing: gaussian_head\.2\.bias\); no model of the zoo and no single field"),
        (lambda s, k: s.update({"other": s.pop(k)}), r"1 missing: gaussian_head\.2\.bias; 1 unexpected: other\)"),
        (
            lambda s, k: s.update({k: torch.zeros(9)}),
            r"1 of the wrong shape: gaussian_head\.2\.bias \(9,\) for \(22,\)",
        ),
    ],
    ids=["missing", "renamed", "misshapen"],
)
def test_one_wrong_tensor_is_named(model, tmp_path, wrapping, change, message):
    state = dict(model.state_dict())
    change(state, "gaussian_head.2.bias")
    write(tmp_path / "weights.ckpt", state, wrapping)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "weights.ckpt", config=model.config)


def changed(config, **fields):
    """The configuration with fields of the adapter, or of the whole, replaced."""
    values = config.model_dump()
    for name, value in fields.items():
        (values["color"]["adapter"] if name in values["color"]["adapter"] else values)[name] = value
    return type(config).model_validate(values)


@pytest.mark.parametrize(
    ("of_file", "of_model", "message"),
    [
        ({"harmonics_degree": 3}, {}, r"color\.adapter\.harmonics_degree 3 would explain it"),
        ({"confidence": "softplus"}, {}, r"color\.adapter\.confidence softplus would explain it"),
        ({}, {"confidence": "softplus"}, r"color\.adapter\.confidence None would explain it"),
        ({"feed_forward_factor": 3}, {}, r"feed_forward_factor 3 would explain it"),
        ({"upsample": 8}, {}, r"upsample 8 would explain it"),
        ({"transformer_blocks": 2}, {}, r"transformer_blocks 2 would explain it"),
        ({"color": None}, {}, r"color None would explain it"),
        ({"candidates": 32}, {}, r"candidates 32 would explain it"),
    ],
)
def test_the_field_that_explains_a_mismatch_is_named(model, tmp_path, of_file, of_model, message):
    shapes = shapes_of(changed(model.config, **of_file))
    torch.save({key: torch.zeros(1).expand(shape) for key, shape in shapes.items()}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "weights.pth", config=changed(model.config, **of_model))


def test_the_model_of_the_zoo_that_fits_is_named(model, tmp_path):
    shapes = shapes_of(MODELS["mvsplat-re10k-256x256"].config)
    torch.save(
        {f"encoder.{key}": torch.zeros(1).expand(shape) for key, shape in shapes.items()}, tmp_path / "re10k.ckpt"
    )
    with pytest.raises(CheckpointError, match=r"it fits mvsplat-re10k-256x256 and .* which differs in kind"):
        load_checkpoint(tmp_path / "re10k.ckpt", config=model.config)
    with pytest.raises(CheckpointError, match=r"pass config=, its tensors fit mvsplat-re10k-256x256, mvsplat-acid"):
        load_checkpoint(tmp_path / "re10k.ckpt")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("depthsplat-gs-small-re10k-256x256-view2-cfeab6b1.pth", "depthsplat-gs-small-re10k-256x256"),
        ("depthsplat-gs-small-re10k-256x256-view2-20f39ed8.pth", "depthsplat-gs-small-re10k-256x256-20f39ed8"),
        ("depthsplat-gs-small-re10k-256x256-49b2d15c.pth", "depthsplat-gs-small-re10k-256x256-49b2d15c"),
        ("pmloss.ckpt", "pmloss-unconstrained-256x448"),
        ("mvsplat-acid.ckpt", "mvsplat-acid-256x256"),
        ("depthsplat-tiny.pth", "depthsplat-tiny"),
    ],
)
def test_released_names_are_told_apart(tmp_path, monkeypatch, file, name):
    torch.save({"encoder.nothing": torch.zeros(1)}, tmp_path / file)
    asked = []
    monkeypatch.setattr("pmgs_lib.models.checkpoints.filled", lambda config, *_: asked.append(config) or build_tiny())
    load_checkpoint(tmp_path / file)
    assert asked == [MODELS[name].config]


def build_tiny() -> torch.nn.Module:
    return build_model("depthsplat-tiny", **SMALL)


def test_an_unknown_file_that_is_named_like_a_known_one_is_not_taken_for_it(tmp_path):
    torch.save({"encoder.nothing": torch.zeros(1)}, tmp_path / "depthsplat-gs-small-re10k-256x256-view2-01234567.pth")
    with pytest.raises(CheckpointError, match="neither the file nor its name says which model it is"):
        load_checkpoint(tmp_path / "depthsplat-gs-small-re10k-256x256-view2-01234567.pth")


class Asking:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


COMMAND = "touch executed"
ACTIONS = {
    "os.system": (os.system, COMMAND),
    "eval": (eval, "open('executed', 'w')"),
    "exec": (exec, "open('executed', 'w')"),
    "open": (open, "executed", "w"),
    "subprocess": (subprocess.Popen, COMMAND.split()),
    "os.mkdir": (os.mkdir, "executed"),
}


@pytest.mark.parametrize("place", ["weights", "beside them"])
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("form", ["zip", "legacy", "plain pickle"])
def test_a_malicious_pickle_is_refused_and_not_executed(model, tmp_path, monkeypatch, action, place, form):
    monkeypatch.chdir(tmp_path)
    bad = Asking(*ACTIONS[action])
    state = dict(model.state_dict())
    content = {"state_dict": bad} if place == "weights" else {"state_dict": state, "hyper_parameters": bad}
    if form == "plain pickle":
        (tmp_path / "weights.ckpt").write_bytes(pickle.dumps({"state_dict": bad}, protocol=2))
    else:
        torch.save(content, tmp_path / "weights.ckpt", _use_new_zipfile_serialization=form == "zip")
    message = "which no file of weights needs" if form == "zip" else "holds no plain tensors or is damaged"
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "weights.ckpt", config=model.config)
    assert os.listdir(tmp_path) == ["weights.ckpt"]


def test_the_malicious_files_do_act_when_they_are_trusted(tmp_path, monkeypatch):
    """What the test above shows is shown by something only if reading them in the common way executes them."""
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Asking(os.mkdir, "executed")}, tmp_path / "weights.ckpt")
    torch.load(tmp_path / "weights.ckpt", weights_only=False)
    assert (tmp_path / "executed").is_dir()


def test_what_this_process_trusts_is_not_trusted_in_a_file(model, tmp_path):
    executed: list[str] = []
    with foreign_module(executed) as module:
        torch.serialization.add_safe_globals([module.Noting, module.acting])
        try:
            trusted = set(torch.serialization.get_safe_globals())
            torch.save(training_checkpoint(dict(model.state_dict()), module), tmp_path / "weights.ckpt")
            executed.clear()
            load_checkpoint(tmp_path / "weights.ckpt", config=model.config)
            assert set(torch.serialization.get_safe_globals()) == trusted
        finally:
            torch.serialization.clear_safe_globals()
    assert executed == []


@pytest.mark.parametrize("kept", [1, 0.3, 0.9, -1])
def test_truncated_training_checkpoints_are_refused(model, tmp_path, kept):
    write(tmp_path / "weights.ckpt", model.state_dict(), "training")
    content = (tmp_path / "weights.ckpt").read_bytes()
    (tmp_path / "weights.ckpt").write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(tmp_path / "weights.ckpt", config=model.config)


def test_an_archive_of_something_else(model, tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        archive.writestr("readme.txt", "no weights")
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(tmp_path / "weights.pth", config=model.config)
    torch.save({"weight": torch.ones(3, device="meta")}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="weight no tensors"):
        load_checkpoint(tmp_path / "weights.pth", config=model.config)


def test_half_precision_is_widened(model, tmp_path):
    torch.save({key: value.bfloat16() for key, value in model.state_dict().items()}, tmp_path / "weights.pth")
    back = load_checkpoint(tmp_path / "weights.pth", config=model.config)
    assert {value.dtype for value in back.state_dict().values()} == {torch.float32}
