"""Six frames of a scene cost six frames, not a chunk: in bytes, in time, and in the memory of a worker."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pmgs_lib.data.folders import ChunkFolder, write_scenes
from pmgs_lib.data.pieces import HEADER_BYTES, OpenFile

SCRIPT = Path(__file__).with_name("reading_cost.py")
ROOT = Path(__file__).parents[2]


def run(*arguments: object) -> dict:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_only_the_frames_asked_for_are_read(tmp_path, plane_scene, monkeypatch):
    """Twelve scenes in a chunk; of one, the headers of its pictures once, and then two pictures."""
    write_scenes(tmp_path, "train", [plane_scene(f"s{n}", height=96, width=128, depth=False) for n in range(12)])
    read = []
    whole = OpenFile.read
    monkeypatch.setattr(
        OpenFile, "read", lambda file, offset, count: read.append(count) or whole(file, offset, count), raising=True
    )
    folder = ChunkFolder(tmp_path, "train")
    opened = folder.scene("s7")
    directory = read.pop(0)  # its digest tells whether the offsets are the chunk's
    assert directory < 0.2 * (tmp_path / "train" / "000000.torch").stat().st_size
    assert read.count(HEADER_BYTES) == 10
    assert sum(read) < 10 * HEADER_BYTES + 2000 + 4 * len(opened.images[0])  # the shape checker looks at some, too
    assert folder.openings == {"beside": 1}
    read.clear()
    pictures = [opened.images[frame] for frame in (2, 5)]
    assert read == [len(picture) for picture in pictures]
    read.clear()
    folder.scene("s7")
    assert HEADER_BYTES not in read
    assert sum(read) < 2000 + 4 * len(pictures[0])  # cameras, times and size; and the shape checker's looks


@pytest.mark.prove
@pytest.mark.timing
def test_random_access_to_a_large_chunk_is_five_times_faster_than_unpickling(tmp_path, record_property):
    written = run("write", tmp_path / "data", 100)
    assert written["bytes"] > 100e6
    found = run("time", tmp_path / "data")
    for name, value in found.items():
        record_property(name, value)
    assert found["openings"] == {"beside": 1}
    assert found["ratio_fresh"] >= 5, found
    assert found["ratio_open"] >= 5, found


@pytest.mark.prove
@pytest.mark.parametrize("sidecar", [True, False], ids=["sidecar", "no sidecar"])
@pytest.mark.parametrize("megabytes", [40, 330])
def test_the_memory_of_a_worker_does_not_grow_with_the_chunk(
    tmp_path, monkeypatch, record_property, megabytes, sidecar
):
    monkeypatch.setenv("PMGS_CACHE", str(tmp_path / "cache"))
    run("write", tmp_path / "data", megabytes)
    if not sidecar:
        (tmp_path / "data" / "train" / "000000.torch.offsets.json").unlink()
    found = run("memory", tmp_path / "data", 2)
    for name, value in found.items():
        record_property(name, value)
    assert found["grown"] < 100 << 20, found
    assert 0 < found["workers"] < 300 << 20, found
