"""Whatever is wrong with files on disk, the user gets one clear error, and nothing is written by halves."""

import contextlib
import json
import pickle
import random

import pytest
import torch

from pmgs_lib.data import inspect_scene, open_dataset
from pmgs_lib.data.chunks import encode_jpeg, read_chunk, write_chunk
from pmgs_lib.data.folders import write_scenes
from pmgs_lib.errors import DataError, PmgsError

DEFAULT_MUTATIONS, PROVEN_MUTATIONS = 60, 2000


@pytest.fixture
def dataset(tmp_path, plane_scene):
    """A dataset of two scenes in one chunk: its root and the chunk's path."""
    write_scenes(tmp_path / "data", "test", [plane_scene("a"), plane_scene("b")])
    return tmp_path / "data", tmp_path / "data" / "test" / "000000.torch"


def edit(chunk, change) -> None:
    """Apply `change` to the first raw scene of a chunk and store it again."""
    entries = torch.load(chunk, weights_only=True)
    change(entries[0])
    torch.save(entries, chunk)


def nan_pose(entry) -> None:
    entry["cameras"][1, 9] = torch.nan


def infinite_intrinsics(entry) -> None:
    entry["cameras"][0, 0] = torch.inf


def mirrored_rotation(entry) -> None:
    rows = entry["cameras"][2, 6:].view(3, 4)
    rows[:, 0] *= -1


def scaled_rotation(entry) -> None:
    entry["cameras"][2, 6:].view(3, 4)[:, :3] *= 2


def negative_focal_length(entry) -> None:
    entry["cameras"][0, 1] = -1


def other_picture_size(entry) -> None:
    entry["images"][3] = torch.frombuffer(
        bytearray(encode_jpeg(torch.zeros(40, 64, 3, dtype=torch.uint8))), dtype=torch.uint8
    )


def all_pictures_of_another_size(entry) -> None:
    small = torch.frombuffer(bytearray(encode_jpeg(torch.zeros(40, 64, 3, dtype=torch.uint8))), dtype=torch.uint8)
    entry["images"] = [small] * len(entry["images"])


def no_picture(entry) -> None:
    entry["images"][0] = torch.arange(50, dtype=torch.uint8)


def pictures_of_floats(entry) -> None:
    entry["images"] = [image.float() for image in entry["images"]]


def too_few_pictures(entry) -> None:
    entry["images"].pop()


def no_cameras(entry) -> None:
    del entry["cameras"]


def narrow_cameras(entry) -> None:
    entry["cameras"] = entry["cameras"][:, :12]


def cameras_as_list(entry) -> None:
    entry["cameras"] = entry["cameras"].tolist()


def depth_of_other_size(entry) -> None:
    entry["depth"] = entry["depth"][:, :40]


def nan_depth(entry) -> None:
    entry["depth"][0, 0, 0] = torch.nan


def numeric_key(entry) -> None:
    entry["key"] = 7


EDITS = {
    nan_pose: "'a': camera 1 has a NaN or infinite pose",
    infinite_intrinsics: "'a': camera 0 has a NaN or infinite pose",
    mirrored_rotation: "'a': camera 2 is mirrored",
    scaled_rotation: "'a': camera 2 has no rotation",
    negative_focal_length: "'a': camera 0 has a focal length that is not positive",
    other_picture_size: "'a': frame 3 is 40x64 .height x width., the chunk lists 48x64",
    all_pictures_of_another_size: "'a': frame 0 is 40x64 .height x width., the chunk lists 48x64",
    no_picture: "'a', frame 0: 50 bytes that are no picture",
    pictures_of_floats: "'a': images is no list of flat uint8 tensors",
    too_few_pictures: "'a': 10 cameras for 9 pictures",
    no_cameras: "scene number 0 lacks cameras",
    narrow_cameras: r"'a': cameras is \(10, 12\), expected a tensor \[any, 18\]",
    cameras_as_list: "'a': cameras is list, expected a tensor",
    depth_of_other_size: "'a': frame 0 is 48x64 .height x width., the chunk lists|'a': depth is",
    nan_depth: "'a': depth is not positive and finite",
    numeric_key: "scene number 0 has a key that is no text",
}


def assert_clear(caught: pytest.ExceptionInfo, place: str) -> None:
    """One line that names the place and what to do, and no story of inner exceptions behind it."""
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    assert place in message
    assert any(mark in message for mark in (";", ": "))
    assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, OSError | ValueError)


@pytest.mark.parametrize("change", EDITS, ids=lambda change: change.__name__)
def test_a_damaged_scene_is_one_clear_error_at_every_door(dataset, change):
    root, chunk = dataset
    edit(chunk, change)
    doors = (
        lambda: read_chunk(chunk),
        lambda: open_dataset(root, near=0.5, far=9.0).example("a", (0, 4), (2,), 48, 64),
        lambda: inspect_scene(root, "a"),
    )
    for door in doors:
        with pytest.raises(DataError, match=EDITS[change]) as caught:
            door()
        assert_clear(caught, str(chunk))


@pytest.mark.parametrize("change", [e for e in EDITS if e not in (no_cameras, numeric_key)], ids=lambda c: c.__name__)
def test_a_sound_neighbour_in_a_damaged_chunk_is_still_served(dataset, change):
    root, chunk = dataset
    edit(chunk, change)
    assert open_dataset(root, near=0.5, far=9.0).example("b", (0, 4), (2,), 48, 64).key == "b"


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.999])
def test_truncated_chunk(dataset, kept):
    root, chunk = dataset
    content = chunk.read_bytes()
    chunk.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    for door in (lambda: read_chunk(chunk), lambda: inspect_scene(root, "a")):
        with pytest.raises(DataError, match="truncated, damaged or holds more than plain tensors") as caught:
            door()
        assert_clear(caught, str(chunk))


class Trap:
    """An object whose unpickling would run a command of the file's choice."""

    def __reduce__(self):
        return exec, ("raise SystemExit('the chunk ran code')",)


@pytest.mark.parametrize("content", [[{"key": Trap()}], {"key": "a"}, [], "text", [3], torch.zeros(3)])
def test_a_pickle_that_is_no_list_of_plain_scenes(tmp_path, content):
    chunk = tmp_path / "x.torch"
    torch.save(content, chunk)
    with pytest.raises(DataError, match=r"more than plain tensors|expected a list of scenes") as caught:
        read_chunk(chunk)
    assert_clear(caught, str(chunk))


def test_a_plain_pickle_never_runs(tmp_path):
    chunk = tmp_path / "x.torch"
    chunk.write_bytes(pickle.dumps([{"key": Trap()}]))
    with pytest.raises(DataError, match="more than plain tensors"):
        read_chunk(chunk)


def _mutate(content: bytes, random_state: random.Random) -> bytes:
    """A few bytes changed, or a piece cut out or doubled."""
    start = random_state.randrange(len(content))
    kind = random_state.choice(("flip", "cut", "double"))
    if kind == "flip":
        mutated = bytearray(content)
        for _ in range(random_state.choice((1, 4, 64))):
            mutated[random_state.randrange(len(mutated))] = random_state.randrange(256)
        return bytes(mutated)
    end = start + random_state.choice((1, 16, 1000))
    return content[:start] + (content[end:] if kind == "cut" else content[start:end] + content[start:])


def _check_mutations(chunk, count: int) -> None:
    content = chunk.read_bytes()
    random_state = random.Random(11)
    for _ in range(count):
        chunk.unlink()  # the old bytes may still be mapped
        chunk.write_bytes(_mutate(content, random_state))
        with contextlib.suppress(PmgsError):  # anything else is what this test is there to catch
            for scene in read_chunk(chunk):
                scene.validate("mutated")


def _small_chunk(tmp_path, plane_scene):
    write_chunk(tmp_path / "x.torch", [plane_scene("a", frames=2, height=8, width=8)])
    return tmp_path / "x.torch"


@pytest.mark.filterwarnings("ignore")  # damaged bytes may make torch or Pillow warn before they give up
def test_random_damage_never_escapes(tmp_path, plane_scene):
    _check_mutations(_small_chunk(tmp_path, plane_scene), DEFAULT_MUTATIONS)


@pytest.mark.prove
@pytest.mark.filterwarnings("ignore")
def test_much_random_damage_never_escapes(tmp_path, plane_scene):
    _check_mutations(_small_chunk(tmp_path, plane_scene), PROVEN_MUTATIONS)


def _empty(root):
    (root / "test").mkdir(parents=True)


def _chunks_without_index(root):
    (root / "test").mkdir(parents=True)
    (root / "test" / "000000.torch").write_bytes(b"")


def _split_missing(root):
    (root / "train").mkdir(parents=True)


def _index(content: str):
    def write(root):
        (root / "test").mkdir(parents=True)
        (root / "test" / "index.json").write_text(content)

    return write


FOLDERS = {
    "wrong path": (lambda root: None, "there is no such folder; check the path"),
    "empty folder": (_empty, "holds no chunk files"),
    "no split": (_split_missing, "has no split 'test' .folders in it: train."),
    "no index": (_chunks_without_index, "1 chunk files but no index.json"),
    "index no JSON": (_index("{"), "is not JSON"),
    "index a list": (_index("[]"), "expected an object of key -> chunk file name"),
    "index empty": (_index("{}"), "expected an object of key -> chunk file name"),
    "index names a number": (_index('{"a": 3}'), "expected an object of key -> chunk file name"),
    "index leads elsewhere": (_index('{"a": "../000000.torch"}'), "expected an object of key -> chunk file name"),
    "index names a missing chunk": (_index('{"a": "000007.torch"}'), "names 000007.torch, which is not in the folder"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_folders_that_are_no_dataset(tmp_path, case):
    prepare, expected = FOLDERS[case]
    prepare(tmp_path / "data")
    for door in (lambda: open_dataset(tmp_path / "data"), lambda: inspect_scene(tmp_path / "data", "a", "test")):
        with pytest.raises(DataError, match=expected) as caught:
            door()
        assert_clear(caught, str(tmp_path / "data"))


def test_key_that_is_in_no_index_or_only_there(dataset):
    root, chunk = dataset
    with pytest.raises(DataError, match="no scene 'c' among its 2"):
        open_dataset(root, near=0.5, far=9.0).scene("c")
    with pytest.raises(DataError, match="no scene 'c' in test; the first ones are a, b"):
        inspect_scene(root, "c")
    index = chunk.with_name("index.json")
    index.write_text(json.dumps({"a": chunk.name, "c": chunk.name}))
    with pytest.raises(DataError, match=r"says scene 'c' is in 000000.torch, which lacks it; rebuild it"):
        open_dataset(root, near=0.5, far=9.0).scene("c")


@pytest.mark.parametrize("what", ["nan pose", "picture size", "counts"])
def test_an_unsound_scene_is_never_written(tmp_path, plane_scene, what):
    good, bad = plane_scene("good"), plane_scene("bad")
    if what == "nan pose":
        bad.cameras.world_from_camera[1, 0, 3] = torch.nan
    elif what == "picture size":
        bad.images[1] = encode_jpeg(torch.zeros(8, 8, 3, dtype=torch.uint8))
    else:
        bad.images.pop()
    with pytest.raises(DataError, match="'bad'"):
        write_chunk(tmp_path / "new" / "x.torch", [good, bad])
    assert list(tmp_path.rglob("*")) == []


def test_a_picture_damaged_behind_its_header_is_named(dataset):
    root, chunk = dataset

    def cut(entry):
        entry["images"][2] = entry["images"][2][:-400].clone()

    edit(chunk, cut)
    with pytest.raises(DataError, match="scene 'a', frame 2: the picture is damaged"):
        open_dataset(root, near=0.5, far=9.0).example("a", (0, 4), (2,), 48, 64)
    with pytest.raises(DataError, match="scene 'a', frame 2: the picture is damaged"):
        inspect_scene(root, "a")
