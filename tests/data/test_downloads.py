"""Downloads against a real server that drops, lies, changes its mind and stalls."""

import hashlib
import importlib.util
import json
import logging
import multiprocessing
import socket
import sys
import threading
from pathlib import Path

import pytest

from pmgs_lib.data import transfer
from pmgs_lib.data.downloads import RemoteFile, cache_folder, fetch_file, record_path
from pmgs_lib.errors import DataError

specification = importlib.util.spec_from_file_location("web", Path(__file__).with_name("web.py"))
web = importlib.util.module_from_spec(specification)
sys.modules["web"] = web  # dataclasses look their module up
specification.loader.exec_module(web)

CONTENT = bytes(range(256)) * 4096  # 1 MiB
PART = 18 << 14  # whole chunks of the tests: what arrived of one that did not is asked for again
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(transfer, "WAIT_S", 0.0)
    monkeypatch.setattr(transfer, "CHUNK_BYTES", 1 << 14)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with web.serving(CONTENT) as site:
        yield site


def remote(site, **facts) -> RemoteFile:
    return RemoteFile(**({"name": "weights.pth", "address": site.address, "sha256": DIGEST} | facts))


def fetch(site, folder, **facts):
    return fetch_file(remote(site, **facts), folder, progress=False)


def left_in(folder) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".weights.pth.lock"}


@pytest.mark.parametrize("digest", [DIGEST, DIGEST[:8], None])
def test_fetched_once_and_recorded(site, tmp_path, digest):
    path = fetch(site, tmp_path / "deep", sha256=digest, size=len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert json.loads(record_path(path).read_text()) == {
        "address": site.address,
        "bytes": len(CONTENT),
        "sha256": DIGEST,
    }
    assert fetch(site, tmp_path / "deep", sha256=digest) == path
    assert len(site.asked) == 1
    assert left_in(path.parent) == {"weights.pth", "weights.pth.record.json"}


@pytest.mark.parametrize("ranges", [True, False], ids=["resumes", "server ignores Range"])
def test_a_drop_is_continued_or_started_over(site, tmp_path, ranges, caplog):
    site.drops, site.ranges = [PART, PART], ranges
    assert fetch(site, tmp_path).read_bytes() == CONTENT
    first, second, third = site.asked
    assert "Range" not in first
    assert second["Range"] == f"bytes={PART}-"
    assert second["If-Range"] == '"one"'
    assert third["Range"] == (f"bytes={2 * PART}-" if ranges else f"bytes={PART}-")
    assert "the connection failed after 294,912 bytes" in caplog.text
    assert "attempt 2 of 5 follows" in caplog.text


def test_a_later_call_continues(site, tmp_path):
    site.drops = [6 << 14] * transfer.ATTEMPTS
    with pytest.raises(DataError, match=r"at attempt 5 of 5; what has arrived is kept, call again to continue"):
        fetch(site, tmp_path)
    assert fetch(site, tmp_path).read_bytes() == CONTENT
    assert site.asked[-1]["Range"] == f"bytes={30 << 14}-"


@pytest.mark.parametrize("honours", [True, False], ids=["If-Range honoured", "If-Range ignored"])
def test_content_that_changed_in_between_starts_over(site, tmp_path, honours):
    site.drops, site.honours_if_range = [100_000] * transfer.ATTEMPTS, honours
    old, site.content = site.content, b"old" * 200_000
    with pytest.raises(DataError, match="call again"):
        fetch(site, tmp_path)
    site.content, site.tag, site.drops = old, '"two"', []
    assert fetch(site, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("spoil", ["wrong_start", "tag", "notes"])
def test_a_partial_file_that_cannot_be_trusted_starts_over(site, tmp_path, spoil):
    site.drops = [300_000]
    if spoil == "wrong_start":
        site.wrong_start = 7
    if spoil == "tag":
        site.tag = 'W/"weak"'  # says nothing about bytes
    if spoil == "notes":
        (tmp_path / ".weights.pth.part").write_bytes(b"x" * 400_000)
        (tmp_path / ".weights.pth.part.json").write_text("{")
    assert fetch(site, tmp_path).read_bytes() == CONTENT
    assert "Range" not in site.asked[0 if spoil == "notes" else -1]


def test_a_partial_file_longer_than_the_file_starts_over(site, tmp_path):
    site.drops = [100_000] * transfer.ATTEMPTS
    with pytest.raises(DataError, match="call again"):
        fetch(site, tmp_path)
    site.content = CONTENT[:1000]
    path = fetch(site, tmp_path, sha256=hashlib.sha256(site.content).hexdigest())
    assert path.read_bytes() == CONTENT[:1000]


def test_busy_servers_are_asked_again_and_stalled_ones_given_up(site, tmp_path, monkeypatch):
    site.statuses = [503, 429]
    assert fetch(site, tmp_path).is_file()
    assert len(site.asked) == 3
    monkeypatch.setattr(transfer, "TIMEOUT_S", (1.0, 0.1))
    monkeypatch.setattr(transfer, "ATTEMPTS", 2)
    site.gate = threading.Event()
    with pytest.raises(DataError, match=r"ReadTimeout, also at attempt 2 of 2"):
        fetch(site, tmp_path / "other")
    site.gate.set()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "refuses access .HTTP 403.*licence"),
        (404, "no such file on the server"),
        (401, "login"),
        (418, "HTTP 418"),
    ],
)
def test_refusals_end_at_once(site, tmp_path, status, message):
    site.statuses = [status]
    with pytest.raises(DataError, match=rf"weights\.pth: cannot be fetched from http.*{message}.*place the file as"):
        fetch(site, tmp_path)
    assert len(site.asked) == 1


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_page_instead_of_the_file(site, tmp_path, kind):
    site.kind, site.content = kind, b"\n<!DOCTYPE HTML><p>Accept the terms"
    with pytest.raises(DataError, match="web page instead of the file"):
        fetch(site, tmp_path, sha256=None)
    assert not (tmp_path / "weights.pth").exists()


def test_offline(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "WAIT_S", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/weights.pth"
    with pytest.raises(DataError, match=r"before the first byte .offline\?.*place the file as .*weights\.pth yourself"):
        fetch_file(RemoteFile(name="weights.pth", address=address), tmp_path, progress=False)


@pytest.mark.parametrize("digest", ["0" * 64, "0" * 8])
def test_another_content_is_refused_and_forgotten(site, tmp_path, digest):
    with pytest.raises(DataError, match=rf"what was fetched is {DIGEST[:16]}\.\.\., its authors publish 0000"):
        fetch(site, tmp_path, sha256=digest)
    assert left_in(tmp_path) == set()


def test_a_change_after_the_first_download_is_refused(site, tmp_path):
    path = fetch(site, tmp_path, sha256=None)
    path.unlink()
    site.content = b"changed"
    with pytest.raises(DataError, match=rf"{DIGEST[:16]}\.\.\. was recorded at the first download.* delete weights"):
        fetch(site, tmp_path, sha256=None)
    assert left_in(tmp_path) == {"weights.pth.record.json"}
    record_path(path).unlink()
    assert fetch(site, tmp_path, sha256=None).read_bytes() == b"changed"
    path.write_bytes(b"changed on disk")
    with pytest.raises(DataError, match=r"SHA-256 of the file is .* recorded at the first download"):
        fetch(site, tmp_path, sha256=None)


def test_a_damaged_record_is_named(site, tmp_path):
    path = fetch(site, tmp_path)
    record_path(path).write_text('{"sha256": 3}')
    with pytest.raises(DataError, match=r"record of a download .* holds no SHA-256"):
        fetch(site, tmp_path)


def test_size_disk_and_unknown_length(site, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"offers 1,048,576 bytes, expected 12: another file"):
        fetch(site, tmp_path, size=12)
    monkeypatch.setattr(transfer, "SPARE_BYTES", 1 << 60)
    with pytest.raises(DataError, match=r"has [\d,]+ bytes free, [\d,]+ are needed"):
        fetch(site, tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    site.announces_length = False
    assert fetch(site, tmp_path).read_bytes() == CONTENT


def test_by_hand(site, tmp_path):
    page = remote(site, by_hand=True, sha256=DIGEST[:8])
    with pytest.raises(DataError, match=r"must be fetched by hand from http.*place it as .*weights\.pth"):
        fetch_file(page, tmp_path)
    (tmp_path / "weights.pth").write_bytes(CONTENT)
    assert fetch_file(page, tmp_path).is_file()
    assert site.asked == []
    record_path(tmp_path / "weights.pth").unlink()
    (tmp_path / "weights.pth").write_bytes(CONTENT[1:])
    with pytest.raises(DataError, match="its authors publish"):
        fetch_file(page, tmp_path)


def test_a_folder_that_cannot_be_used(site, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be kept .* PMGS_CACHE"):
        fetch(site, tmp_path / "file")


def fetch_in_a_process(address: str, folder: str) -> None:
    fetch_file(RemoteFile(name="weights.pth", address=address, sha256=DIGEST), folder, progress=False)


def test_a_second_process_waits_and_does_not_fetch(site, tmp_path, caplog):
    site.gate = threading.Event()
    first = threading.Thread(target=fetch_in_a_process, args=(site.address, str(tmp_path)))
    first.start()
    second = multiprocessing.get_context("fork").Process(target=fetch_in_a_process, args=(site.address, str(tmp_path)))
    with caplog.at_level(logging.WARNING):
        second.start()
    threading.Timer(0.3, site.gate.set).start()
    first.join()
    second.join()
    assert second.exitcode == 0
    assert len(site.asked) == 1


def test_progress_is_shown_on_request(site, tmp_path, capsys):
    fetch_file(remote(site), tmp_path)
    assert "weights" in capsys.readouterr().err


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("PMGS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("PMGS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "pmgs"


@pytest.mark.parametrize(
    "facts", [{"name": "../escape"}, {"name": ".hidden"}, {"address": "ftp://x/y"}, {"sha256": "xyz"}, {"size": 0}]
)
def test_facts_that_cannot_be(facts):
    with pytest.raises(ValueError, match=next(iter(facts))):
        RemoteFile(**({"name": "weights.pth", "address": "https://example.org/weights.pth"} | facts))
