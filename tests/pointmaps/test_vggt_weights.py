"""From an address to a pointmap: licence, download, verification, loading by name, over a real server on loopback."""

import logging
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from safetensors.torch import load_file, save_file
from scenes import TINY, random_views

from pmgs_lib.data.downloads import RemoteFile
from pmgs_lib.data.files import file_digest
from pmgs_lib.errors import CheckpointError, DataError, ParameterError
from pmgs_lib.pointmaps import build_pointmap_source, licence_notice, reduced_weights_server
from pmgs_lib.pointmaps.vggt import rehearsal, weights
from pmgs_lib.pointmaps.vggt.config import SIZES
from pmgs_lib.pointmaps.vggt.weights import WEIGHTS, VggtSettings, load_vggt


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A weights file of the released layout at a size that takes milliseconds; "reduced" means that size."""
    monkeypatch.setattr(rehearsal, "REDUCED", TINY)
    monkeypatch.setattr(weights, "SIZES", SIZES | {"reduced": TINY})
    return rehearsal.write_reduced_weights(tmp_path / "tiny.safetensors", seed=3)


@pytest.fixture
def server(tmp_path):
    """A folder served on loopback; `requests` keeps what was asked for."""
    requests: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            requests.append(self.path)

    folder = tmp_path / "served"
    folder.mkdir()
    running = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    Thread(target=running.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{running.server_port}", requests
    running.shutdown()
    running.server_close()


def settings(path, **changes):
    return VggtSettings(**{"weights": str(path), "size": "reduced"} | changes)


def changed(path: Path, change) -> Path:
    """The weights after `change(state)`, in another file."""
    state = load_file(path)
    change(state)
    other = path.with_name("other.safetensors")
    save_file(state, other)
    return other


def test_download_verify_load_and_pointmap(tmp_path, rng):
    """The whole way at the reduced size; nothing about it is replaced."""
    views = random_views(2, rng=rng)
    with reduced_weights_server(tmp_path / "served", seed=5) as address:
        digest = file_digest(tmp_path / "served" / "vggt-reduced.safetensors")
        options = {"weights": address, "size": "reduced", "sha256": digest, "folder": str(tmp_path / "kept")}
        source = build_pointmap_source("vggt", **options)
        by_depth = build_pointmap_source("vggt-depth", **options)
    # The server is gone: the kept file serves, verified again.
    again = build_pointmap_source("vggt", **options)
    assert source.identity["weights_sha256"] == digest
    assert source.report.path.parent == tmp_path / "kept"
    points = source(views)
    assert points.shape == (2, 2, 30, 45, 3)
    assert points.isfinite().all()
    assert points.flatten(0, -2).std(0).min() > 1e-3
    assert not points.requires_grad
    assert torch.equal(again(views), points)
    found = by_depth.with_confidence(views)
    assert found.points.isfinite().all()
    assert found.confidence.shape == (2, 2, 30, 45)
    assert (found.confidence >= 1).all()
    assert source(views[0]).shape == (2, 30, 45, 3)
    with pytest.raises(DataError, match="SHA-256"):
        build_pointmap_source("vggt", **options | {"sha256": "0" * 64})


def test_the_rehearsal_file_is_the_same_each_time(tiny, tmp_path):
    assert file_digest(rehearsal.write_reduced_weights(tmp_path / "b", seed=3)) == file_digest(tiny)
    assert file_digest(rehearsal.write_reduced_weights(tmp_path / "c", seed=4)) != file_digest(tiny)


def test_what_is_skipped_is_named_and_counted(tiny, caplog):
    whole = {name: value.numel() for name, value in load_file(tiny).items()}
    with caplog.at_level(logging.INFO):
        model, report = load_vggt(settings(tiny))
    assert set(report.skipped) == {
        "track_head.",
        "aggregator.patch_embed.mask_token",
        "depth_head.",
        "camera_head.",
    }
    for prefix, count in report.skipped.items():
        assert count == sum(n for name, n in whole.items() if name.startswith(prefix)) > 0
    assert report.loaded + sum(report.skipped.values()) == sum(whole.values())
    assert "left in the file: {'track_head.'" in caplog.text
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    _, everything = load_vggt(settings(tiny), ("point", "depth", "camera"))
    assert set(everything.skipped) == {"track_head.", "aggregator.patch_embed.mask_token"}


def test_weights_of_a_pickled_file_are_the_same(tiny, tmp_path):
    torch.save(load_file(tiny), tmp_path / "model.pt")
    (first, one), (second, other) = load_vggt(settings(tiny)), load_vggt(settings(tmp_path / "model.pt"))
    assert one.skipped == other.skipped
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_loaded_model_does_not_follow_later_changes_of_its_file(tiny):
    model, _ = load_vggt(settings(tiny))
    before = [p.clone() for p in model.parameters()]
    with tiny.open("r+b") as file:
        file.seek(-tiny.stat().st_size // 2, 2)
        file.write(b"\0" * (tiny.stat().st_size // 2))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("point_head.norm.weight"), "1 missing: point_head.norm.weight"),
        (lambda s: s.update({"aggregator.extra": torch.ones(2)}), "1 unknown: aggregator.extra"),
        (
            lambda s: s.update({"point_head.norm.bias": torch.ones(7)}),
            r"1 of another shape: point_head.norm.bias \(7,\) for \(64,\)",
        ),
        (
            lambda s: s.update({"aggregator.camera_tokens": s.pop("aggregator.camera_token")}),
            "1 missing: aggregator.camera_token; 1 unknown: aggregator.camera_tokens",
        ),
        (lambda s: s.clear(), "missing"),
    ],
    ids=["missing", "unknown", "shape", "renamed", "empty"],
)
def test_names_and_shapes_must_agree_exactly(tiny, change, words):
    with pytest.raises(CheckpointError, match=words):
        load_vggt(settings(changed(tiny, change)))


def test_a_file_of_another_size_is_named_as_such(tiny):
    with pytest.raises(CheckpointError, match=r"do not fit the published size .*size= \(reduced\)"):
        load_vggt(settings(tiny, size="published"))


def test_damaged_files_and_files_that_run_code_are_refused(tiny, tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(tiny.read_bytes()[:-100])
    page = tmp_path / "page.pt"
    page.write_text("<html>not found</html>")

    class Malicious:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    torch.save({"aggregator.camera_token": Malicious()}, tmp_path / "malicious.pt")
    torch.save({"step": 3}, tmp_path / "numbers.pt")
    for path in (cut, page, tmp_path / "malicious.pt", tmp_path / "numbers.pt"):
        with pytest.raises(CheckpointError, match=path.name):
            load_vggt(settings(path))
    assert not (tmp_path / "ran").exists()
    with pytest.raises(ParameterError, match=r"are no file; expected one of vggt-1b, vggt-1b-commercial, a path or an"):
        load_vggt(settings(tmp_path / "nowhere.safetensors"))


def licensed(monkeypatch, tiny, server):
    """`vggt-1b` at our own address instead of its authors', under its own licence."""
    folder, address, requests = server
    (folder / "file.safetensors").write_bytes(tiny.read_bytes())
    remote = RemoteFile(name="vggt-1b.safetensors", address=f"{address}/file.safetensors")
    monkeypatch.setitem(weights.WEIGHTS, "vggt-1b", remote)
    return requests


def test_nothing_is_fetched_before_the_licence_is_accepted(monkeypatch, tiny, server, tmp_path):
    requests = licensed(monkeypatch, tiny, server)
    monkeypatch.delenv("PMGS_ACCEPT_LICENCES", raising=False)
    wanted = settings("vggt-1b", folder=str(tmp_path / "kept"))
    with pytest.raises(ParameterError, match=r"CC-BY-NC-4\.0 .*accept_licence=True or set PMGS_ACCEPT_LICENCES=CC-BY"):
        load_vggt(wanted)
    monkeypatch.setenv("PMGS_ACCEPT_LICENCES", "MIT")
    with pytest.raises(ParameterError, match="Nothing was fetched"):
        load_vggt(wanted)
    assert requests == []
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("way", ["argument", "variable"])
def test_an_accepted_licence_is_shown_and_the_file_fetched_once(monkeypatch, tiny, server, tmp_path, caplog, way):
    requests = licensed(monkeypatch, tiny, server)
    monkeypatch.setenv("PMGS_ACCEPT_LICENCES", "mit, cc-by-nc-4.0" if way == "variable" else "")
    wanted = settings("vggt-1b", accept_licence=way == "argument", folder=str(tmp_path / "kept"))
    for _ in range(2):
        _, report = load_vggt(wanted)
    assert len(requests) == 1
    assert report.path == tmp_path / "kept" / "vggt-1b.safetensors"
    assert licence_notice("vggt-1b") in caplog.text


def test_a_kept_file_that_changed_is_refused(monkeypatch, tiny, server, tmp_path):
    licensed(monkeypatch, tiny, server)
    wanted = settings("vggt-1b", accept_licence=True, folder=str(tmp_path / "kept"))
    _, report = load_vggt(wanted)
    content = bytearray(report.path.read_bytes())
    content[-1] ^= 1
    report.path.write_bytes(content)
    with pytest.raises(DataError, match="was recorded at the first download"):
        load_vggt(wanted)


def test_the_commercial_variant_is_fetched_by_hand(tmp_path):
    with pytest.raises(DataError, match=r"must be fetched by hand from .*VGGT-1B-Commercial"):
        load_vggt(VggtSettings(weights="vggt-1b-commercial", accept_licence=True, folder=str(tmp_path)))


def test_entries_point_to_their_authors_by_a_fixed_revision():
    address = WEIGHTS["vggt-1b"].address
    assert address.startswith("https://huggingface.co/facebook/VGGT-1B/resolve/")
    assert len(address.split("/")[-2]) == 40
    assert "commercial" in licence_notice("vggt-1b-commercial")
    assert "not known here" in licence_notice("somewhere.pt")


@pytest.mark.parametrize("options", [{"precision": "fp8"}, {"sha256": "xyz"}, {"size": "huge"}])
def test_unusable_options_are_refused(options):
    with pytest.raises(ParameterError, match=f"VggtPointmap: {next(iter(options))}"):
        build_pointmap_source("vggt", **options)
