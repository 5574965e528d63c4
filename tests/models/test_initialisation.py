"""New models started from UniMatch and Depth Anything V2: what is taken, what is left, what stays fresh."""

import re

import pytest
import torch

from pmgs_lib.errors import CheckpointError, ParameterError
from pmgs_lib.models import INITIALISATIONS, build_model, initialise

TINY = "depthsplat-tiny"
SMALL = {"transformer_blocks": 2, "unet_levels": 2, "candidates": 16}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of the two layouts for the tiny model, with parts that no model takes."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(3)
    state = {
        key.removeprefix("depth_predictor."): value for key, value in build_model(TINY, **SMALL).state_dict().items()
    }
    matching = {key: value for key, value in state.items() if key.startswith(("backbone.", "transformer."))}
    vit = {key: value for key, value in state.items() if key.startswith("pretrained.")}
    further = {"feature_flow_attn.q_proj.weight": torch.ones(3, 3), "upsampler.0.weight": torch.ones(2)}
    torch.save({"model": matching | further}, folder / "unimatch.pth")
    head = {"pretrained.mask_token": torch.zeros(1, 64), "depth_head.projects.0.weight": torch.ones(2, 2)}
    torch.save(vit | head, folder / "depth_anything.pth")
    torch.save({"state_dict": vit | head}, folder / "depth_anything_wrapped.pth")
    return folder, matching, vit


@pytest.mark.parametrize("name", ["depth_anything", "depth_anything_wrapped"])
def test_what_is_taken_left_and_fresh(files, name):
    folder, matching, vit = files
    torch.manual_seed(4)
    model = build_model(TINY, **SMALL)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    report = initialise(model, unimatch=folder / "unimatch.pth", depth_anything=folder / f"{name}.pth")
    first, second = report.files
    assert set(first.taken) == set(matching)
    assert set(second.taken) == set(vit)
    assert len(first.taken) > 40
    assert len(second.taken) > 40
    assert set(first.left) == {"feature_flow_attn.q_proj.weight", "upsampler.0.weight"}
    assert set(second.left) == {"pretrained.mask_token", "depth_head.projects.0.weight"}
    after = model.state_dict()
    for given, taken in ((matching, first), (vit, second)):
        assert all(torch.equal(after[name], given[key]) for key, name in taken.taken.items())
        assert taken.parameters == sum(value.numel() for value in given.values())
    assert set(report.fresh) == set(after) - set(first.taken.values()) - set(second.taken.values())
    assert all(torch.equal(after[name], before[name]) for name in report.fresh)
    assert report.fresh_parameters + first.parameters + second.parameters == sum(p.numel() for p in model.parameters())
    assert re.search(r"unimatch\.pth: \d+ tensors, [\d,]+ parameters taken; left: feature_flow_attn", str(report))
    assert re.search(r"fresh: \d+ tensors", str(report))


def test_mvsplat_takes_unimatch_and_has_no_place_for_depth_anything(files, tmp_path):
    folder, _, _ = files
    model = build_model("mvsplat-re10k-256x256")
    matching = {
        key.removeprefix("backbone."): torch.full_like(value, 0.5)
        for key, value in model.state_dict().items()
        if key.startswith("backbone.")
    }
    torch.save({"model": matching}, tmp_path / "unimatch.pth")
    report = initialise(model, unimatch=tmp_path / "unimatch.pth")
    assert len(report.files[0].taken) == len(matching) == 115
    assert all((value == 0.5).all() for key, value in model.state_dict().items() if key.startswith("backbone."))
    assert all(name.startswith("depth_predictor.") for name in report.fresh)
    with pytest.raises(CheckpointError, match=r"gives pretrained\.\*, of which the model has nothing"):
        initialise(model, depth_anything=folder / "depth_anything.pth")


def test_another_size_is_a_clear_error_and_changes_nothing(files, tmp_path):
    folder, _, vit = files
    model = build_model(TINY, **SMALL)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    wide = {key: value.repeat(*(2 for _ in value.shape)) for key, value in vit.items()}
    torch.save(wide, tmp_path / "wide.pth")
    with pytest.raises(
        CheckpointError, match=r"of another shape: .*width 128, the model's 64, for which none is released"
    ):
        initialise(model, unimatch=folder / "unimatch.pth", depth_anything=tmp_path / "wide.pth")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with torch.device("meta"):
        large = build_model("depthsplat-gs-base-re10k-256x256")
    with pytest.raises(CheckpointError, match=r"width 64, the model's 768; pass depth-anything-v2-vitb"):
        initialise(large, depth_anything=folder / "depth_anything.pth")


def test_a_file_that_lacks_tensors(files, tmp_path):
    matching = files[1]
    torch.save({"model": dict(list(matching.items())[1:])}, tmp_path / "unimatch.pth")
    with pytest.raises(CheckpointError, match=r"1 lacking: backbone\.conv1\.weight"):
        initialise(build_model(TINY, **SMALL), unimatch=tmp_path / "unimatch.pth")


def test_names_and_their_parts(files, tmp_path):
    model = build_model(TINY, **SMALL)
    with pytest.raises(ParameterError, match="pass unimatch= or depth_anything="):
        initialise(model)
    with pytest.raises(ParameterError, match="gives pretrained, expected backbone, transformer; exchange the two"):
        initialise(model, unimatch="depth-anything-v2-vits")
    with pytest.raises(CheckpointError, match=r"no such file, nor one of unimatch-gmflow-things, "):
        initialise(model, unimatch=tmp_path / "absent.pth")


@pytest.mark.parametrize("name", list(INITIALISATIONS))
def test_entries(name):
    entry = INITIALISATIONS[name]
    assert entry.weights.address.endswith("/" + entry.weights.name)
    assert entry.weights.sha256 is None  # nobody publishes one
    assert entry.licence in str(entry)
    assert all(part in str(entry) for part in entry.parts)
