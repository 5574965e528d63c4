"""Weights in files: round trips, released layouts, and one clear error for whatever is wrong."""

import json

import pytest
import torch
from safetensors.torch import save_file

from pmgs_lib.errors import CheckpointError
from pmgs_lib.models import MODELS, build_model, load_checkpoint, save_checkpoint
from pmgs_lib.models.checkpoints import embedded_weights

SMALL = {"transformer_blocks": 1, "unet_levels": 2, "candidates": 16}


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(7)
    return build_model("depthsplat-tiny", **SMALL)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_written_and_read_back(model, tmp_path, dtype):
    path = save_checkpoint(tmp_path / "deep" / "model.safetensors", model, {"seed": 7, "command": "train"}, dtype=dtype)
    back = load_checkpoint(path)
    assert not back.training
    assert back.config == model.config
    for key, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[key], value.to(getattr(torch, dtype)).float()), key
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["seed"] == 7
    assert card["dtype"] == dtype
    assert card["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.json", "model.safetensors"]


def test_not_finite_weights_are_not_written(model, tmp_path):
    broken = build_model(model.config)
    broken.load_state_dict(model.state_dict())
    with torch.no_grad():
        broken.gaussian_head[0].weight[0, 0] = 1e6
    with pytest.raises(CheckpointError, match=r"gaussian_head\.0\.weight not finite as float16"):
        save_checkpoint(tmp_path / "model.safetensors", broken, {}, dtype="float16")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layout", ["flat", "lightning", "unprefixed"])
def test_released_layouts(model, tmp_path, layout):
    state = {("" if layout == "unprefixed" else "encoder.") + key: value for key, value in model.state_dict().items()}
    path = tmp_path / "weights.ckpt"
    torch.save({"state_dict": state, "epoch": 3} if layout == "lightning" else state, path)
    back = load_checkpoint(path, config=model.config)
    assert all(torch.equal(back.state_dict()[key], value) for key, value in model.state_dict().items())


def test_released_depth_layout(tmp_path):
    model = build_model("depthsplat-tiny", color=None, **SMALL)
    path = tmp_path / "depth.pth"
    state = {key.removeprefix("depth_predictor."): value for key, value in model.state_dict().items()}
    torch.save({"model": state}, path)
    back = load_checkpoint(path, config=model.config)
    assert all(torch.equal(back.state_dict()[key], value) for key, value in model.state_dict().items())


def test_released_file_names_tell_the_configuration(tmp_path):
    path = tmp_path / "depthsplat-gs-small-re10k-256x256-view2-cfeab6b1.pth"
    torch.save({"encoder.nothing": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"567 missing: .* and 561 more; 1 unexpected: nothing"):
        load_checkpoint(path)


def altered(model, key: str, change) -> dict[str, torch.Tensor]:
    state = dict(model.state_dict())
    change(state, key)
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, k: s.pop(k), r"1 missing: gaussian_head\.2\.bias\)"),
        (lambda s, k: s.update({"renamed": s.pop(k)}), r"1 missing: gaussian_head\.2\.bias; 1 unexpected: renamed\)"),
        (
            lambda s, k: s.update({k: torch.zeros(9)}),
            r"1 of the wrong shape: gaussian_head\.2\.bias \(9,\) for \(22,\)",
        ),
    ],
    ids=["missing", "renamed", "misshapen"],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_weights_are_refused_with_the_difference(model, tmp_path, change, message, suffix):
    path, state = tmp_path / f"weights{suffix}", altered(model, "gaussian_head.2.bias", change)
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path, config=model.config)


@pytest.mark.parametrize("kept", [0, 100, 0.5])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_files_are_refused(model, tmp_path, kept, suffix):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(model.state_dict(), path)
    else:
        save_checkpoint(path, model, {})
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path, config=model.config)


def test_a_card_of_other_weights_is_refused(model, tmp_path):
    path = save_checkpoint(tmp_path / "model.safetensors", model, {})
    other = build_model(model.config)
    card = path.with_suffix(".json").read_text()
    save_checkpoint(path, other, {})
    path.with_suffix(".json").write_text(card)
    with pytest.raises(CheckpointError, match=r"SHA-256 is .* its card says"):
        load_checkpoint(path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(CheckpointError, match="not readable as JSON"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], "holds a list"),
        ({"state_dict": {"a": 3}}, "a no tensors"),
        ({"state_dict": 3}, "holds a int"),
    ],
)
def test_files_that_hold_something_else(tmp_path, content, message):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "weights.pth", config="depthsplat-tiny")


def test_missing_files_and_unknown_names(tmp_path):
    with pytest.raises(CheckpointError, match=r"no such file, nor a model name; models: .*depthsplat-tiny"):
        load_checkpoint(tmp_path / "absent.safetensors")
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"suffix '\.bin'"):
        load_checkpoint(tmp_path / "weights.bin")
    torch.save({}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"neither the file nor its name says which model it is; pass config="):
        load_checkpoint(tmp_path / "weights.pth")


def test_embedded_names_find_their_weights(model, tmp_path, monkeypatch):
    monkeypatch.setattr("pmgs_lib.models.checkpoints.PACKAGE_WEIGHTS", tmp_path)
    path = embedded_weights("depthsplat-tiny")
    assert path == tmp_path / "depthsplat-tiny.safetensors"
    with pytest.raises(CheckpointError, match="missing from this installation"):
        load_checkpoint("depthsplat-tiny")
    save_checkpoint(path, model, {})
    assert load_checkpoint("depthsplat-tiny").config == model.config
    assert "depthsplat-tiny" in MODELS
