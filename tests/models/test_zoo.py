"""The zoo: every entry complete, its facts in agreement with each other and with where they come from."""

import csv
import re

import pytest
import torch

from pmgs_lib import cli
from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import CheckpointError, ParameterError
from pmgs_lib.models import MODELS, build_model, load_checkpoint, named_config
from pmgs_lib.models.depthsplat.gaussian_adapter import GaussianAdapter
from pmgs_lib.models.zoo import ARCHITECTURES, named_entry, zoo_table
from pmgs_lib.models.zoo_entry import ReleasedFile
from pmgs_lib.suite.closure import find_closure
from pmgs_lib.suite.project import LIBRARY_FOLDER

RELEASED = [name for name in MODELS if isinstance(MODELS[name].weights, ReleasedFile)]
# Counts in millions as the two states of DepthSplat's MODEL_ZOO.md print them, where they are of that architecture.
PUBLISHED_MILLIONS = {
    "depthsplat-depth-small-352x640": 36,
    "depthsplat-depth-base-352x640": 111,
    "depthsplat-depth-small-3d79dd5e": 36,
    "depthsplat-depth-base-f57113bd": 111,
    "depthsplat-depth-large-50d3d7cf": 338,
    "depthsplat-gs-small-re10k-256x256-49b2d15c": 37,
    "depthsplat-gs-base-re10k-256x256-044fdb17": 117,
    "depthsplat-gs-large-re10k-256x256-288d9b26": 360,
    "mvsplat-re10k-256x256": 12,
}


def test_what_the_three_projects_released_is_there():
    by_release = {}
    for name in RELEASED:
        by_release.setdefault((name.partition("-")[0], MODELS[name].released), []).append(name)
    assert {key: len(names) for key, names in by_release.items()} == {
        ("depthsplat", "2025-04"): 7,
        ("depthsplat", "2025-03"): 9,
        ("depthsplat", "2024-10"): 7,
        ("pmloss", "2025-09"): 2,
        ("mvsplat", "2024-03"): 4,
    }
    files = [MODELS[name].weights.name for name in RELEASED]
    assert len(set(files)) == len(files)


@pytest.mark.parametrize("name", list(MODELS))
def test_an_entry_agrees_with_itself(name):
    entry = MODELS[name]
    assert entry.config.kind in ARCHITECTURES
    assert entry.near < entry.far
    assert entry.context_views[0] <= entry.context_views[1]
    size = re.search(r"(\d+)x(\d+)", name)
    if size:
        assert entry.image_size == (int(size[1]), int(size[2]))
    assert all(side % entry.config.multiple == 0 for side in entry.image_size)
    assert name.startswith(("mvsplat", "pmloss", "gslrm")) or ("depth" in name.split("-")) == (
        entry.config.color is None
    )
    digits = re.search(r"-([0-9a-f]{8})$", name)
    if digits:
        assert entry.weights.name.endswith(f"-{digits[1]}.pth")
    text = str(entry)
    for fact in (entry.licence, entry.source, entry.protocol, entry.note, entry.inferred):
        assert fact in text


@pytest.mark.parametrize("name", RELEASED)
def test_digests_are_claimed_only_where_they_are_published(name):
    file = MODELS[name].weights
    assert isinstance(file, ReleasedFile)
    published = MODELS[name].released in ("2025-03", "2025-04")
    assert file.sha256 == (file.name[-12:-4] if published else None)
    assert ("recorded" in file.digest_rule) == (not published)
    assert file.by_hand == name.startswith("mvsplat")


@pytest.mark.parametrize("name", PUBLISHED_MILLIONS)
def test_parameter_counts_are_the_published_ones(name):
    with torch.device("meta"):
        model = build_model(name)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert abs(millions - PUBLISHED_MILLIONS[name]) < 1


@pytest.mark.parametrize("name", [name for name in MODELS if MODELS[name].paper])
def test_published_numbers_are_those_of_the_collection(shared, name):
    with (shared / "papers" / "published_results.csv").open(newline="") as file:
        collected = list(csv.DictReader(file))
    for row in MODELS[name].paper:
        trust = set()
        for metric, value in row.metrics.items():
            wanted = {"table": row.table, "dataset": row.dataset, "context_views": str(row.context_views)}
            wanted |= {"metric": metric, "paper": row.paper.split()[0]}
            found = [each for each in collected if all(each[key] == text for key, text in wanted.items())]
            found = [each for each in found if each["method"].startswith(wanted["paper"])]
            found = [each for each in found if float(each["value"]) == value]
            assert found, (row, metric)
            trust |= {each["confidence"] for each in found}
        assert trust == {row.trust}


def test_a_model_without_published_weights_can_be_built_and_says_that_it_has_none():
    without = [name for name in MODELS if MODELS[name].weights == "none"]
    assert [name for name in MODELS if name.startswith("gslrm-")] == without
    for name in without:
        assert "none published: train it" in str(MODELS[name])
        assert tuple(zoo_table().loc[name, ["file", "digest", "released"]]) == ("none", "", "never")
        with pytest.raises(
            CheckpointError, match=f"model '{name}': nobody published weights; train it, or pass a file"
        ):
            load_checkpoint(name)
    assert build_model("gslrm-tiny").config == named_config("gslrm-tiny")


def test_large_images_bound_scales_where_the_commands_do():
    entry = MODELS["depthsplat-gs-small-re10kdl3dv-448x768"]
    assert entry.config_for(448, 768) == entry.config
    large = entry.config_for(512, 960)
    assert large.color.adapter.scale_max == 0.1
    changed = large.color.adapter.model_copy(update={"scale_max": entry.config.color.adapter.scale_max})
    assert changed == entry.config.color.adapter
    other = MODELS["depthsplat-gs-base-dl3dv-256x448"]
    assert other.config_for(512, 960) == other.config


def test_the_scale_map_of_march_2025():
    """0.1 (1 / fx + 1 / fy) depth (0.5 + 14.5 sigmoid), as the code at 51b7cbd has it, against two pixels' mean."""
    config = named_config("depthsplat-gs-small-re10k-256x256-20f39ed8").color.adapter
    height, width, normalised = 8, 16, (0.9, 1.4)
    intrinsics = torch.tensor([[normalised[0], 0, 0.5], [0, normalised[1], 0.5], [0, 0, 1]]).expand(1, 1, 3, 3)
    cameras = Cameras(torch.eye(4).expand(1, 1, 4, 4), intrinsics)
    raw, depth = torch.randn(1, 1, height * width, 3), torch.rand(1, 1, height * width) + 1
    ours = GaussianAdapter(config).scales(raw, depth, cameras, height, width)
    multiplier = 0.1 * (1 / (normalised[0] * width) + 1 / (normalised[1] * height))
    theirs = (0.5 + 14.5 * raw.sigmoid()) * depth[..., None] * multiplier
    torch.testing.assert_close(ours, theirs)


def test_table_and_names():
    table = zoo_table()
    assert list(table.index) == list(MODELS)
    assert table.loc["depthsplat-gs-large-re10k-256x256", "published"] == "27.47 dB, RE10K (verified)"
    assert table.loc["pmloss-ori-256x448", "digest"] == "recorded at first download"
    assert repr(MODELS).splitlines() == list(MODELS)
    with pytest.raises(ParameterError, match=r"'nothing': is not in the zoo; expected one of .*mvsplat-re10k-256x256"):
        named_entry("nothing")
    with pytest.raises(KeyError):
        MODELS["nothing"]


def test_the_list_on_the_command_line(capsys):
    assert cli.main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(MODELS)
    assert cli.main(["models", "mvsplat-acid-256x256"]) == 0
    assert capsys.readouterr().out == f"{MODELS['mvsplat-acid-256x256']}\n"
    assert cli.main(["models", "nothing"]) == 2


def test_using_one_model_depends_on_the_facts_of_no_other():
    closure = find_closure("from pmgs_lib.models import build_model\nbuild_model('depthsplat-tiny')", packages())
    assert "pmgs_lib.models.depthsplat.embedded" in closure.modules
    assert "pmgs_lib.models.depthsplat.model" in closure.modules
    facts = {"pmgs_lib.models.depthsplat.released", "pmgs_lib.models.depthsplat.released_october"}
    assert not [name for name in closure.modules if "mvsplat" in name or name in facts]
    closure = find_closure("from pmgs_lib.models import MODELS\nMODELS['mvsplat-re10k-256x256']", packages())
    assert "pmgs_lib.models.mvsplat.model" in closure.modules


def packages() -> dict:
    return {"pmgs_lib": LIBRARY_FOLDER}
