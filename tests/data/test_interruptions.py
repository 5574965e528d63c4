"""Killed while writing, the disk full, two writers: what was finished is valid, the rest is redone, nothing is half.

The writers are processes of their own, killed and starved by the system itself.
"""

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pmgs_lib.data import chunks, folders
from pmgs_lib.data.chunks import read_chunk, write_chunk
from pmgs_lib.data.folders import ChunkFolder, add_scene, update_index, write_scenes
from pmgs_lib.data.sidecars import sidecar_path
from pmgs_lib.data.writing import JOURNAL_NAME, writer
from pmgs_lib.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from Python 3.12 on


class Child:
    """A process that does `work(say)` and ends; `say` sends a line back. Forked: importing torch anew takes seconds."""

    def __init__(self, work: Callable[[Callable[[str], None]], None]) -> None:
        reading, writing = os.pipe()
        self.number = os.fork()
        if self.number == 0:
            status = 1
            torch.set_num_threads(1)  # threads of the parent's pool are not here: waiting for them would never end
            try:
                work(lambda text: os.write(writing, f"{text}\n".encode()))
                status = 0
            finally:
                os._exit(status)
        os.close(writing)
        self.lines = os.fdopen(reading)

    def line(self) -> str:
        """The next line that it says; waits for it."""
        return self.lines.readline().strip()

    def end(self, *, kill: bool = False) -> int:
        """Its exit status, or less than zero for a signal."""
        if kill:
            os.kill(self.number, signal.SIGKILL)
        self.lines.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.number, 0)[1])


def assert_nothing_is_half(folder: Path) -> None:
    """Every chunk is whole with its sidecar, and there is nothing beside chunks, sidecars, index and hidden notes."""
    for chunk in folder.glob("*.torch"):
        assert read_chunk(chunk)
        assert sidecar_path(chunk).is_file()
    allowed = (".torch", ".torch.offsets.json", "index.json", ".index.lock", JOURNAL_NAME)
    assert [path.name for path in folder.iterdir() if not path.name.endswith(allowed)] == []


def killed_before_the_last_scene(root: Path, make) -> None:
    """A writer of six scenes in three chunks that is killed while it waits for the last one."""

    def scenes(say):
        for key in "abcde":
            yield make(key, frames=4)
        say("waiting")
        time.sleep(600)

    child = Child(lambda say: write_scenes(root, "train", scenes(say), scenes_per_chunk=2))
    assert child.line() == "waiting"
    assert child.end(kill=True) == -signal.SIGKILL


def test_killed_between_chunks(tmp_path, plane_scene):
    """Of three chunks two are finished: they are valid, can be saved, and else are written anew."""
    folder = tmp_path / "train"
    killed_before_the_last_scene(tmp_path, plane_scene)
    assert_nothing_is_half(folder)
    assert sorted(scene.key for chunk in folder.glob("*.torch") for scene in read_chunk(chunk)) == list("abcd")
    with pytest.raises(DataError, match=r"2 chunk files but no index.json: it was not finished"):
        ChunkFolder(tmp_path, "train")
    finished = {path.name: path.read_bytes() for path in folder.glob("*.torch")}
    assert list(update_index(folder)) == list("abcd")
    assert {path.name: path.read_bytes() for path in folder.glob("*.torch")} == finished
    assert ChunkFolder(tmp_path, "train").scene("d").frames == 4


def test_after_a_kill_the_next_writing_leaves_none_of_the_old_chunks(tmp_path, plane_scene):
    killed_before_the_last_scene(tmp_path, plane_scene)
    write_scenes(tmp_path, "train", [plane_scene("x")])
    assert [path.name for path in (tmp_path / "train").glob("*.torch")] == ["000000.torch"]
    assert list(update_index(tmp_path / "train")) == ["x"]
    assert not (tmp_path / "train" / JOURNAL_NAME).exists()
    assert_nothing_is_half(tmp_path / "train")


STEPS = {"save": (torch, "save"), "sidecar": (chunks, "write_sidecar"), "index": (folders, "write_index")}


def killed_at(step: str, root: Path, scene) -> None:
    """A process that adds a scene is killed at `step`: half a chunk is written, a whole one, or its sidecar, too."""

    def work(say):
        def killed(*given):
            if step == "save":
                given[1].write(b"half of a chunk")
                given[1].flush()
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(*STEPS[step], killed)
        add_scene(root, "train", scene, overwrite=True)

    assert Child(work).end() == -signal.SIGKILL


@pytest.mark.parametrize("step", ["save", "sidecar", "index"])
@pytest.mark.parametrize("key", ["old", "new"], ids=["a further scene", "a scene written again"])
def test_killed_within_the_writing_of_a_chunk(tmp_path, plane_scene, step, key):
    """At every step the folder opens as it was before, and the next writer clears away what was left."""
    add_scene(tmp_path, "train", plane_scene(key, frames=2))
    killed_at(step, tmp_path, plane_scene("new"))
    folder = ChunkFolder(tmp_path, "train")
    assert (folder.keys, folder.scene(key).frames) == ([key], 2)
    add_scene(tmp_path, "train", plane_scene("third"))
    assert_nothing_is_half(tmp_path / "train")
    assert ChunkFolder(tmp_path, "train").keys == [key, "third"]
    assert list(update_index(tmp_path / "train")) == [key, "third"]  # and no chunk is there that nobody lists


# --- a full disk ---


def limited(limit: int, root: Path, scenes) -> str:
    """What a process says that writes scenes while no file of its may grow beyond `limit` bytes."""

    def work(say):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then the system answers with an error
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            write_scenes(root, "train", scenes, scenes_per_chunk=1)
            say("written")
        except DataError as error:
            say(str(error))

    child = Child(work)
    said = child.line()
    assert child.end() == 0
    return said


@pytest.mark.parametrize("limit", [1, 100, 700, 3000, 15000])
def test_files_that_may_not_grow_end_in_one_error_and_can_be_written_later(tmp_path, plane_scene, limit):
    """The system refuses bytes beyond `limit` of any file: of journal, chunk or sidecar, whichever reaches it first."""
    scenes = [plane_scene(key, depth=False, height=96, width=128) for key in "ab"]
    assert "cannot be written (File too large)" in limited(limit, tmp_path, scenes)
    assert len(write_scenes(tmp_path, "train", scenes, scenes_per_chunk=1)) == 2
    assert_nothing_is_half(tmp_path / "train")


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 300 KB; needs the right to mount."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system is not allowed here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_fills_up_keeps_what_was_finished(small_disk, plane_scene):
    add_scene(small_disk, "train", plane_scene("first", depth=False))
    small = small_disk / "train" / "000000.torch"
    before = small.read_bytes()
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\); make room"):
        add_scene(small_disk, "train", plane_scene("large", height=96, width=128))
    assert ChunkFolder(small_disk, "train").keys == ["first"]
    assert small.read_bytes() == before
    add_scene(small_disk, "train", plane_scene("second", depth=False))
    assert ChunkFolder(small_disk, "train").scene("second").frames == 10
    assert_nothing_is_half(small_disk / "train")
    (small_disk / "filling").write_bytes(bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize))
    with pytest.raises(DataError, match="No space left on device"):
        write_chunk(small_disk / "other.torch", [plane_scene("third", depth=False)])
    assert not list(small_disk.glob("*other*"))
    assert ChunkFolder(small_disk, "train").keys == ["first", "second"]


# --- two writers ---


def test_two_processes_that_add_scenes_lose_none(tmp_path, plane_scene):
    scenes = {name: [plane_scene(f"{name}{n}", 2, 16, 16, depth=False) for n in range(6)] for name in "ab"}
    children = [Child(lambda say, m=mine: [add_scene(tmp_path, "train", one) for one in m]) for mine in scenes.values()]
    assert [child.end() for child in children] == [0, 0]
    folder = ChunkFolder(tmp_path, "train")
    assert sorted(folder.keys) == [f"{name}{number}" for name in "ab" for number in range(6)]
    assert len(set(folder.chunk_of_key.values())) == 12
    assert [folder.scene(key).key for key in folder.keys] == folder.keys
    assert_nothing_is_half(tmp_path / "train")


def test_a_second_writer_of_a_whole_folder_waits_and_is_then_refused(tmp_path, plane_scene):
    def scenes(say):
        say("writing")
        time.sleep(1.0)
        yield plane_scene("a")

    child = Child(lambda say: write_scenes(tmp_path, "train", scenes(say)))
    assert child.line() == "writing"
    began = time.monotonic()
    with pytest.raises(DataError, match="already holds a dataset"):
        write_scenes(tmp_path, "train", [plane_scene("b")])
    assert time.monotonic() - began > 0.5
    assert child.end() == 0
    assert ChunkFolder(tmp_path, "train").keys == ["a"]


# --- the journal ---


def test_a_writer_cleans_up_only_what_the_journal_names(tmp_path, plane_scene):
    folder = tmp_path / "train"
    write_chunk(folder / "mine.torch", [plane_scene("mine")])
    write_chunk(folder / "000004.torch", [plane_scene("half")])
    (folder / ".000004.torch.12345678.part").write_bytes(b"half")
    (folder / ".mine.torch.12345678.part").write_bytes(b"somebody else's")
    (folder / JOURNAL_NAME).write_text(json.dumps(["000004.torch", "000005.torch"]))
    with writer(folder, set):
        pass
    left = {path.name for path in folder.iterdir()}
    assert left == {"mine.torch", "mine.torch.offsets.json", ".mine.torch.12345678.part", ".index.lock"}


@pytest.mark.parametrize("content", ["{}", '["../a.torch"]', '["/a"]', "[3]", "[", '[".."]'])
def test_a_journal_that_is_none_is_one_clear_error(tmp_path, plane_scene, content):
    (tmp_path / "a.torch").write_bytes(b"")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / JOURNAL_NAME).write_text(content)
    with pytest.raises(DataError, match=r"journal .*unlisted.json: (expected a list of chunk names|is not JSON)"):
        add_scene(tmp_path, "train", plane_scene("a"))
    assert (tmp_path / "a.torch").is_file()


def test_a_folder_that_may_not_be_written(tmp_path, plane_scene):
    (tmp_path / "train").write_text("a file in the way")
    with pytest.raises(DataError, match=r"train: cannot be written \(File exists\); make room or check"):
        add_scene(tmp_path, "train", plane_scene("a"))
