"""The catalogue says what it knows and no more; fetching ends in files that are whole, or in one line that helps."""

import importlib.util
import sys
import zipfile
from pathlib import Path

import pytest
from huggingface_hub import errors

from pmgs_lib.cli import main
from pmgs_lib.data import acquisition, catalogue_table, dataset_folder, fetch_data
from pmgs_lib.data.acquisition import unpack
from pmgs_lib.data.catalogue import CATALOGUE, DataEntry, data_entry
from pmgs_lib.data.downloads import RemoteFile
from pmgs_lib.data.folders import write_scenes
from pmgs_lib.data.importers import IMPORTERS
from pmgs_lib.errors import DataError, ParameterError

specification = importlib.util.spec_from_file_location("web", Path(__file__).with_name("web.py"))
web = importlib.util.module_from_spec(specification)
sys.modules["web"] = web  # dataclasses look their module up
specification.loader.exec_module(web)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("PMGS_DATA", str(tmp_path / "datasets"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    return tmp_path / "datasets"


@pytest.fixture
def offered(tmp_path, monkeypatch, plane_scene):
    """A function that puts a zip file of chunks on a server and an entry for it into the catalogue."""
    write_scenes(tmp_path / "offered", "test", [plane_scene("a"), plane_scene("b")])
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted((tmp_path / "offered" / "test").glob("[!.]*")):
            archive.write(path, f"test/{path.name}")

    def offer(address: str) -> DataEntry:
        facts = {"what": "two scenes", "dataset": "toy", "licence": "none", "licence_page": "https://x.org"}
        file = RemoteFile(name="set.zip", address=address)
        entry = DataEntry(name="toy", source="https://x.org", files=(file,), **facts)
        monkeypatch.setitem(CATALOGUE, "toy", entry)
        monkeypatch.setattr(acquisition, "ENTRIES", (entry,))
        return entry

    return offer, (tmp_path / "set.zip").read_bytes()


def test_roots_are_one_setting_with_the_released_names(root, monkeypatch):
    assert dataset_folder("re10k") == root / "re10k"
    monkeypatch.delenv("PMGS_DATA")
    assert [str(dataset_folder(name)) for name in ("re10k", "acid", "dl3dv")] == [
        "datasets/re10k",
        "datasets/acid",
        "datasets/DL3DV_480P",
    ]


def test_every_entry_can_be_told_and_acted_on():
    for row in catalogue_table():
        assert all(row.values()), row
        assert row["size"] == (CATALOGUE[row["name"]].size or "not stated")
    for entry in CATALOGUE.values():
        assert entry.kind in ("", *IMPORTERS)
        assert entry.files or entry.repository
        assert entry.gated == (entry.repository is not None)
    with pytest.raises(ParameterError, match="data set 'dl3dv' is not in the catalogue; expected one of re10k-720p"):
        data_entry("dl3dv")


def test_a_set_is_fetched_unpacked_imported_and_listed(root, offered, capsys):
    offer, content = offered
    with web.serving(content) as site:
        offer(site.address.replace("weights.pth", "set.zip"))
        assert main(["data"]) == 0
        assert f"toy  not stated  two scenes; not under {root}" in capsys.readouterr().out
        assert main(["data", "toy"]) == 0
        said = capsys.readouterr().out
        fetch_data("toy")
    assert len(site.asked) == 1  # the second time nothing is fetched
    source, output = root / "sources" / "toy", root / "toy"
    assert f"next: pmgs import {source} --kind chunks --output {output}" in said
    assert main(["import", str(source / "set"), "--kind", "chunks", "--output", str(output), "--set", "workers=1"]) == 0
    assert "chunks, 2 scenes listed = 2 imported + 0 left out" in capsys.readouterr().out
    assert main(["data", "--details"]) == 0
    said = capsys.readouterr().out
    assert f"imported: test in {output}; fetched, whole or in part: {source}" in said
    assert "licence: none" in said


def test_a_drop_is_continued(offered, monkeypatch):
    offer, content = offered
    monkeypatch.setattr("pmgs_lib.data.transfer.WAIT_S", 0.01)
    with web.serving(content) as site:
        site.drops = [1000]
        offer(site.address)
        folder = fetch_data("toy", progress=False)
    assert (folder / "set" / "test" / "index.json").is_file()
    assert len(site.asked) == 2


def test_what_a_person_must_fetch_names_the_page():
    with pytest.raises(DataError, match=r"must be fetched by hand from https://drive.google.com/.*; place it as"):
        fetch_data("dtu")


def test_a_missing_token_names_page_and_variable(monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(
        DataError, match=r"no token; accept the licence on https://huggingface.co/datasets/DL3DV/.*HF_TOKEN"
    ):
        fetch_data("dl3dv-480p", part="1K")
    with pytest.raises(ParameterError, match="part None; expected one of 1K, 2K"):
        fetch_data("dl3dv-480p")
    with pytest.raises(ParameterError, match="part '1K'; expected one of none: it has no parts"):
        fetch_data("indexes", part="1K")


def test_a_licence_not_accepted_and_a_dead_network_are_told_apart(monkeypatch):
    import httpx2

    monkeypatch.setattr("huggingface_hub.get_token", lambda: "token")
    answer = httpx2.Response(403, request=httpx2.Request("GET", "https://huggingface.co"))
    for fault, expected in (
        (errors.GatedRepoError("gated", response=answer), "access is refused; accept the licence on https://hugg"),
        (OSError("no route\nto host"), "cannot be fetched from .*: no route; what has arrived is kept"),
    ):

        def refuse(*_, fault=fault, **__):
            raise fault

        monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
        with pytest.raises(DataError, match=expected) as caught:
            fetch_data("dl3dv-benchmark")
        assert "\n" not in str(caught.value)


def test_a_repository_is_asked_for_what_is_needed_only(root, monkeypatch):
    asked = []

    def download(repository, **options):
        asked.append((repository, options["repo_type"], options["allow_patterns"]))
        place = Path(options["local_dir"]) / "3K"
        place.mkdir(parents=True)
        with zipfile.ZipFile(place / "abc.zip", "w") as archive:
            archive.writestr("abc/transforms.json", "{}")

    monkeypatch.setattr("huggingface_hub.get_token", lambda: "token")
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    folder = fetch_data("dl3dv-480p", part="3K")
    assert asked == [("DL3DV/DL3DV-ALL-480P", "dataset", ["3K/*.zip"])]
    assert (folder / "3K" / "abc" / "abc" / "transforms.json").is_file()


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "a/../../out.txt", "..\\out.txt"])
def test_an_archive_that_leads_out_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("good.txt", "x")
        archive.writestr(name, "x")
    with pytest.raises(DataError, match="leads out of its folder"):
        unpack(tmp_path / "bad.zip", tmp_path / "bad")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.zip"]


def test_a_damaged_archive_leaves_nothing_half(tmp_path, offered):
    content = offered[1]
    flipped = bytes(byte ^ 255 for byte in content[3000:3050])
    for damaged in (content[: len(content) // 2], b"no archive", content[:3000] + flipped + content[3050:]):
        (tmp_path / "bad.zip").write_bytes(damaged)
        with pytest.raises(DataError, match=r"cannot be unpacked .*; delete it and fetch it again"):
            unpack(tmp_path / "bad.zip", tmp_path / "bad")
        assert not (tmp_path / "bad").exists()
        assert not list(tmp_path.glob(".bad*"))


def test_an_archive_that_claims_more_than_the_disk_has_is_refused(tmp_path, monkeypatch, offered):
    (tmp_path / "big.zip").write_bytes(offered[1])
    monkeypatch.setattr(acquisition, "SPARE_BYTES", 1 << 60)
    with pytest.raises(DataError, match=r"bytes to unpack and .* make room"):
        unpack(tmp_path / "big.zip", tmp_path / "big")
