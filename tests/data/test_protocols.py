"""A protocol is fixed before training, agrees with itself, and its digest changes with every part of it."""

import json

import pytest

from pmgs_lib.data import load_protocol, open_dataset
from pmgs_lib.data.capture_protocols import capture_protocol
from pmgs_lib.data.folders import add_scene
from pmgs_lib.data.protocols import PACKAGE_FILES, Protocol, protocol_names, save_protocol
from pmgs_lib.errors import DataError, ParameterError

# Frozen: numbers in reports were measured by it. A change is a decision, and asks for a new name.
SMOKE_DIGEST = "c6a9f01b0baf9649f44184d5fd15b7fc1e655af329209a2fd08dbdfd9b2a53c1"


@pytest.fixture
def content() -> dict:
    return json.loads((PACKAGE_FILES / "embedded-smoke.json").read_text())


def test_the_smoke_protocol_is_what_it_was():
    protocol = load_protocol("embedded-smoke")
    assert protocol.digest == SMOKE_DIGEST
    assert protocol.evaluation_views(protocol.keys[3]) == ((7, 13), (9, 10, 11), (4, 6, 14, 16))
    assert protocol.expected.model_dump() == {"scenes": 6, "inside": 18, "outside": 24}
    assert (protocol.height, protocol.width, protocol.near, protocol.far) == (128, 224, 0.5, 40.0)
    assert protocol.training_views.sampler().max_gap == 9


def test_every_protocol_of_the_package_opens_under_its_own_name():
    assert "embedded-smoke" in protocol_names()
    for name in protocol_names():
        assert load_protocol(name).name == name


def test_training_and_test_scenes_of_the_package_are_apart_and_their_keys_are_the_generators():
    from pmgs_lib.data.scenes import scene_key, scene_seed

    for name in protocol_names():
        protocol = load_protocol(name)
        made = {
            part: [scene_key(scene_seed(scenes.seed, number)) for number in range(scenes.count)]
            for part, scenes in (("test", protocol.test), ("train", protocol.train))
        }
        assert made["test"] == list(protocol.keys)
        assert not set(made["test"]) & set(made["train"])


def test_a_saved_protocol_is_the_same_protocol(tmp_path, content):
    protocol = load_protocol("embedded-smoke")
    save_protocol(protocol, tmp_path / "copy.json")
    assert load_protocol(tmp_path / "copy.json") == protocol
    shuffled = tmp_path / "shuffled.json"
    shuffled.write_text(json.dumps(dict(reversed(content.items()))))
    assert load_protocol(shuffled).digest == protocol.digest


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"height": 64},
        {"near": 0.6},
        {"metrics": {"limit_m": 21.0}},
        {"views": {"context": [7, 13], "inside": [8, 10, 11], "outside": [4, 6, 14, 16]}},
        {"train": {"seed": 1002, "count": 400, "frames": 20, "height": 128, "width": 224}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_digest_changes_with_the_content(content, change):
    assert Protocol.build({**content, **change}, "p").digest != load_protocol("embedded-smoke").digest


def test_single_scenes_may_have_views_of_their_own(content):
    key = content["keys"][1]
    own = {"context": [0, 5], "inside": [2], "outside": [6]}
    expected = {"scenes": 6, "inside": 16, "outside": 21}
    protocol = Protocol.build({**content, "scene_views": {key: own}, "expected": expected}, "p")
    assert protocol.evaluation_views(key) == ((0, 5), (2,), (6,))
    assert protocol.evaluation_views(content["keys"][0])[0] == (7, 13)
    with pytest.raises(ParameterError, match="has no scene 'nowhere'"):
        protocol.evaluation_views("nowhere")


FAULTS = {
    "inside target outside": ({"views": {"context": [7, 13], "inside": [14]}}, "are not all strictly between 7 and 13"),
    "inside target is context": ({"views": {"context": [7, 13], "inside": [13]}}, "are not all strictly between"),
    "outside target inside": ({"views": {"context": [7, 13], "inside": [8], "outside": [9]}}, "are not all beyond"),
    "frame twice": ({"views": {"context": [7, 13], "inside": [9, 9], "outside": [4]}}, "is used twice"),
    "no targets": ({"views": {"context": [7, 13], "inside": []}}, "at least two context frames and one target"),
    "negative frame": ({"views": {"context": [-1, 13], "inside": [9]}}, "greater than or equal to 0"),
    "key twice": ({"keys": ["a", "a"]}, "a key is listed twice"),
    "counts": ({"expected": {"scenes": 6, "inside": 18, "outside": 23}}, "expected counts"),
    "views for a stranger": ({"scene_views": {"x": {"context": [0, 2], "inside": [1]}}}, "views for unknown scenes"),
    "no views": ({"views": None}, "no views for"),
    "near without far": ({"far": None}, "are no range"),
    "near beyond far": ({"near": 50.0}, "are no range"),
    "infinite far": ({"far": float("inf")}, "finite number"),
    "frame beyond the scene": (
        {"test": {"seed": 20001, "count": 6, "frames": 16, "height": 128, "width": 224}},
        "frame 16",
    ),
    "train is test": ({"train": {"seed": 20003, "count": 4, "frames": 20, "height": 8, "width": 8}}, "the same seeds"),
    "train runs into test": (
        {"train": {"seed": 19990, "count": 12, "frames": 20, "height": 8, "width": 8}},
        "the same seeds",
    ),
    "unknown field": ({"colour": "red"}, "colour: Extra inputs are not permitted"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_protocol_that_contradicts_itself_is_refused(tmp_path, content, case):
    change, expected = FAULTS[case]
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps({**content, **change}))
    with pytest.raises(DataError, match=expected) as caught:
        load_protocol(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_protocols_that_are_not_there(tmp_path):
    with pytest.raises(ParameterError, match=r"protocol 'embeded-smoke' is unknown; expected one of .*embedded-smoke"):
        load_protocol("embeded-smoke")
    with pytest.raises(DataError, match="cannot be read"):
        load_protocol(tmp_path / "absent.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(DataError, match="expected an object"):
        load_protocol(tmp_path / "list.json")


def test_a_capture_gets_cases_spread_over_its_frames(tmp_path, plane_scene):
    add_scene(tmp_path, "test", plane_scene("walk", frames=30))
    dataset = open_dataset(tmp_path, near=0.5, far=9.0)
    protocol = capture_protocol(dataset, "walk", height=32, width=40, gap=4, beyond=2, cases=5)
    assert protocol.keys == ("walk#4-8", "walk#8-12", "walk#12-16", "walk#17-21", "walk#21-25")
    assert protocol.evaluation_views("walk#8-12") == ((8, 12), (9, 10, 11), (6, 7, 13, 14))
    assert protocol.expected.model_dump() == {"scenes": 5, "inside": 15, "outside": 20}
    assert (protocol.near, protocol.far) == (0.5, 9.0)
    for key in protocol.keys:
        context, inside, outside = protocol.evaluation_views(key)
        example = dataset.example(key, context, (*inside, *outside), protocol.height, protocol.width)
        assert example.key == key
        assert example.target.count == 7
    save_protocol(protocol, tmp_path / "walk.json")
    assert load_protocol(tmp_path / "walk.json") == protocol


def test_a_capture_too_short_for_its_gap_is_refused(tmp_path, plane_scene):
    add_scene(tmp_path, "test", plane_scene("walk", frames=8))
    dataset = open_dataset(tmp_path, near=0.5, far=9.0)
    assert capture_protocol(dataset, "walk", height=32, width=40, gap=3, beyond=2).keys == ("walk#2-5",)
    for arguments in ({"gap": 4}, {"gap": 1}, {"gap": 3, "beyond": 3}, {"gap": 3, "cases": 0}):
        with pytest.raises(DataError, match="capture 'walk': 8 frames"):
            capture_protocol(dataset, "walk", height=32, width=40, **arguments)
