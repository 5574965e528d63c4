"""A model of the zoo by its name: fetched, verified, converted once, never trusted over its source."""

import hashlib
import importlib.util
import sys
import types
from pathlib import Path

import pytest
import torch
from depthsplat_parity import recipe_model

from pmgs_lib.data import transfer
from pmgs_lib.data.downloads import cache_folder, downloads_folder, record_path
from pmgs_lib.errors import DataError
from pmgs_lib.models import MODELS, build_model, load_checkpoint, read_card
from pmgs_lib.models.zoo_entry import ModelEntry, ReleasedFile

specification = importlib.util.spec_from_file_location("web", Path(__file__).parents[1] / "data" / "web.py")
web = importlib.util.module_from_spec(specification)
sys.modules["web"] = web  # dataclasses look their module up
specification.loader.exec_module(web)

NAME, FILE = "of-this-test", "released.pth"


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(5)
    return build_model("depthsplat-tiny", transformer_blocks=1, unet_levels=2, candidates=16)


@pytest.fixture
def content(model, tmp_path) -> bytes:
    torch.save({f"encoder.{key}": value for key, value in model.state_dict().items()}, tmp_path / "made.pth")
    return (tmp_path / "made.pth").read_bytes()


@pytest.fixture
def site(monkeypatch, tmp_path, model, content):
    monkeypatch.setenv("PMGS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(transfer, "WAIT_S", 0.0)
    with web.serving(content) as site:
        offer(monkeypatch, site, model.config, hashlib.sha256(content).hexdigest()[:8])
        yield site


def offer(monkeypatch, site, config, sha256) -> ModelEntry:
    """Put a model into the zoo whose file the server has."""
    entry = ModelEntry(
        config=config,
        weights=ReleasedFile(name=FILE, address=site.address, sha256=sha256, layout="flat"),
        near=1,
        far=2,
        image_size=(64, 64),
        context_views=(2, 2),
        training_data="none",
        released="now",
        licence="none",
        source="this test",
    )
    monkeypatch.setitem(sys.modules, "zoo_of_this_test", types.SimpleNamespace(ENTRY=entry))
    monkeypatch.setitem(MODELS._addresses, NAME, "zoo_of_this_test:ENTRY")
    return entry


def assert_loads(model, **options) -> torch.nn.Module:
    back = load_checkpoint(NAME, **options)
    assert all(torch.equal(back.state_dict()[key], value) for key, value in model.state_dict().items())
    return back


def test_fetched_converted_and_used_again_without_the_source(site, model, content, monkeypatch):
    assert_loads(model)
    copy = cache_folder() / "converted" / f"{NAME}.safetensors"
    card = read_card(NAME)
    digest = hashlib.sha256(content).hexdigest()
    assert card["source"] == {"file": FILE, "address": site.address, "sha256": digest}
    assert card["config"] == model.config.model_dump(mode="json")
    written = copy.stat().st_mtime_ns
    monkeypatch.setattr("pmgs_lib.models.checkpoints.read_released", None)  # the source is not parsed again
    assert_loads(model)
    (downloads_folder() / FILE).unlink()
    site.statuses = [500] * 100
    assert_loads(model)
    assert len(site.asked) == 1
    assert copy.stat().st_mtime_ns == written


def test_another_configuration_for_the_same_weights(site, model):
    fields = model.config.model_dump()
    fields["color"]["adapter"]["scale_max"] = 4.0
    other = type(model.config).model_validate(fields)
    assert assert_loads(model, config=other).config == other
    assert assert_loads(model).config == model.config


@pytest.mark.parametrize("spoil", ["copy", "card", "card's source", "configuration"])
def test_a_copy_that_is_not_one_of_the_source_is_made_again(site, model, monkeypatch, spoil):
    assert_loads(model)
    copy = cache_folder() / "converted" / f"{NAME}.safetensors"
    card = copy.with_suffix(".json")
    if spoil == "copy":
        altered = bytearray(copy.read_bytes())
        altered[-1] ^= 1
        copy.write_bytes(altered)
    elif spoil == "card":
        card.write_text("{")
    elif spoil == "card's source":
        card.write_text(card.read_text().replace(read_card(NAME)["source"]["sha256"], "0" * 64))
    else:
        config = model.config.model_copy(update={"nearest_views": 1})
        offer(monkeypatch, site, config, MODELS[NAME].weights.sha256)
    assert_loads(model)
    assert len(site.asked) == 1
    assert read_card(NAME)["source"]["sha256"].startswith(MODELS[NAME].weights.sha256)


def test_a_source_that_changed_is_refused_although_there_is_a_copy(site, model):
    assert_loads(model)
    (downloads_folder() / FILE).write_bytes(b"changed")
    with pytest.raises(DataError, match="its authors publish"):
        load_checkpoint(NAME)


@pytest.mark.parametrize("fault", ["wrong hash", "truncated", "page", "absent"])
def test_what_cannot_be_had_is_a_clear_error(site, model, monkeypatch, fault):
    if fault == "wrong hash":
        offer(monkeypatch, site, model.config, "01234567")
    elif fault == "truncated":
        site.content = site.content[:-1000]
    elif fault == "page":
        site.content, site.kind = b"<html>", "text/html"
    else:
        site.statuses = [404]
    message = {"page": "web page", "absent": "no such file on the server"}.get(fault, "its authors publish")
    with pytest.raises(DataError, match=rf"{message}.*"):
        load_checkpoint(NAME)
    assert not (downloads_folder() / FILE).exists()
    assert not (cache_folder() / "converted").exists()


def test_without_a_published_digest_the_first_one_counts(site, model, monkeypatch):
    offer(monkeypatch, site, model.config, None)
    assert_loads(model)
    (downloads_folder() / FILE).unlink()
    (cache_folder() / "converted" / f"{NAME}.safetensors").unlink()
    site.content = site.content + b" "
    with pytest.raises(DataError, match="was recorded at the first download"):
        load_checkpoint(NAME)
    record_path(downloads_folder() / FILE).unlink()
    assert_loads(model)  # a change that is meant


def test_by_hand_says_where(monkeypatch, tmp_path):
    monkeypatch.setenv("PMGS_CACHE", str(tmp_path))
    with pytest.raises(
        DataError, match=r"must be fetched by hand from https://drive.*place it as .*mvsplat-re10k\.ckpt"
    ):
        load_checkpoint("mvsplat-re10k-256x256")


@pytest.mark.prove
@pytest.mark.parametrize("name", [name for name in MODELS if not isinstance(MODELS[name].weights, str)])
def test_recipe_weights_of_every_model_load_by_name(monkeypatch, tmp_path, name):
    """Real sizes, real values: through the server, the check, the conversion and back, equal to the last bit."""
    monkeypatch.setenv("PMGS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    entry = MODELS[name]
    expected = recipe_model(entry.config).state_dict()
    depth_only = getattr(entry.config, "color", True) is None
    prefix = "depth_predictor." if depth_only else ""
    state = {("" if depth_only else "encoder.") + key.removeprefix(prefix): value for key, value in expected.items()}
    torch.save({"model" if depth_only else "state_dict": state}, tmp_path / "made")
    with web.serving((tmp_path / "made").read_bytes()) as site:
        digest = hashlib.sha256(site.content).hexdigest()
        file = entry.weights.model_copy(update={"address": site.address, "by_hand": False, "sha256": digest})
        changed = entry.model_copy(update={"weights": file})
        monkeypatch.setitem(sys.modules, "zoo_of_this_test", types.SimpleNamespace(ENTRY=changed))
        monkeypatch.setitem(MODELS._addresses, name, "zoo_of_this_test:ENTRY")
        for _ in ("converted", "from the copy"):
            back = load_checkpoint(name)
            assert back.config == entry.config
            assert all(torch.equal(value, expected[key]) for key, value in back.state_dict().items())
