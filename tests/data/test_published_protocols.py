"""Published evaluations are what their authors published: scenes, frames, sizes, pictures, digests."""

import hashlib
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

from pmgs_lib.data import load_protocol
from pmgs_lib.data.protocol_indexes import read_index
from pmgs_lib.data.protocol_types import EvaluationViews, Protocol
from pmgs_lib.data.protocols import published_names, save_protocol
from pmgs_lib.data.published_protocols import INDEX_DIGESTS, PUBLISHED, index_file, open_published
from pmgs_lib.data.resize import patch_size
from pmgs_lib.data.sampling import draw_generator
from pmgs_lib.errors import DataError, ParameterError

specification = importlib.util.spec_from_file_location("web", Path(__file__).with_name("web.py"))
web = sys.modules["web"] = importlib.util.module_from_spec(specification)  # dataclasses look their module up
specification.loader.exec_module(web)

# name: (listed, scorable, context views, targets of all scenes, size, image rule, near, far)
FACTS = {
    "depthsplat-re10k-256": (7194, 6474, 2, 3 * 6474, (256, 256), "depthsplat", 0.5, 100),
    "depthsplat-dl3dv-2v": (140, 140, 2, 7000, (256, 448), "depthsplat", 0.5, 200),
    "depthsplat-dl3dv-4v": (140, 140, 4, 7000, (256, 448), "depthsplat", 0.5, 200),
    "depthsplat-dl3dv-6v": (140, 140, 6, 7000, (256, 448), "depthsplat", 0.5, 200),
    "depthsplat-dl3dv-zero-shot": (140, 140, 2, 560, (256, 448), "depthsplat", 0.5, 200),
    "depthsplat-acid-256": (1848, 1595, 2, 3 * 1595, (256, 256), "depthsplat", 0.5, 100),
    "depthsplat-re10k-video-2v": (7194, 6474, 2, 434102, (256, 256), "depthsplat", 0.5, 100),
    "depthsplat-re10k-video-6v": (1600, 1600, 6, 415540, (512, 960), "depthsplat", 0.5, 100),
    "depthsplat-dl3dv-video-12v": (140, 140, 12, 13734, (512, 960), "depthsplat", 0.5, 200),
    "pm-loss-dl3dv": (140, 140, 2, 2800, (256, 448), "pm-loss", 1.0, 200),
    "pm-loss-re10k": (2934, 2934, 2, 58680, (256, 448), "pm-loss", 0.5, 100),
    "pixelsplat-re10k-256": (7194, 6474, 2, 3 * 6474, (256, 256), "depthsplat", None, None),
    "mvsplat-re10k-256": (7194, 6474, 2, 3 * 6474, (256, 256), "depthsplat", 1.0, 100),
    "mvsplat-acid-256": (1848, 1595, 2, 3 * 1595, (256, 256), "depthsplat", 1.0, 100),
}


@pytest.fixture
def indexes(shared) -> Path:
    return shared / "assets" / "indexes"


def small_index(folder: Path, name: str = "depthsplat-dl3dv-2v", **entries) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / index_file(name).name
    path.write_text(json.dumps(entries or {"a": {"context": [0, 9], "target": [1, 3, 9]}, "b": None}))
    return path


def test_the_facts_below_speak_of_every_published_protocol():
    assert published_names() == list(FACTS)
    assert {entry["index"] for entry in PUBLISHED.values()} == set(INDEX_DIGESTS)


@pytest.mark.parametrize("name", FACTS)
def test_a_published_protocol_has_the_published_facts(indexes, name):
    listed, scenes, views, targets, size, rule, near, far = FACTS[name]
    protocol = load_protocol(name, indexes=indexes)
    expected = protocol.expected
    assert (protocol.name, len(protocol.listed), len(protocol.keys)) == (name, listed, scenes)
    assert (expected.listed, expected.scenes) == (listed, scenes)
    assert expected.inside + expected.outside + expected.at_context == targets
    assert {len(protocol.views_of(key).context) for key in protocol.keys} == {views}
    assert (protocol.height, protocol.width) == size
    assert (protocol.image_rule, protocol.near, protocol.far) == (rule, near, far)
    assert protocol.not_comparable is None
    # Every file of the published size gets the protocol's size without being enlarged.
    how = protocol.images.fit(protocol.source_size, size)
    assert (how.height, how.width) == size
    if protocol.image_shape is not None:
        assert patch_size(*protocol.image_shape, 64) == size
        assert how[:2] == protocol.image_shape


@pytest.mark.parametrize("name", ["depthsplat-re10k-256", "depthsplat-dl3dv-6v", "pm-loss-dl3dv", "pm-loss-re10k"])
def test_frames_are_those_of_the_index_file_and_lie_where_they_are_said_to(indexes, name):
    content = json.loads((indexes / index_file(name).name).read_text())
    protocol = load_protocol(name, indexes=indexes)
    assert set(protocol.unscorable) == {key for key, entry in content.items() if entry is None}
    assert list(protocol.keys) == [key for key, entry in content.items() if entry is not None]
    sampler = protocol.sampler()
    for key in protocol.keys[:: max(1, len(protocol.keys) // 200)]:
        views, entry = protocol.views_of(key), content[key]
        assert list(views.context) == entry["context"]
        assert sorted(frame for frame, _ in views.targets) == entry["target"]
        assert all((split == "at_context") == (frame in entry["context"]) for frame, split in views.targets)
        assert sampler.sample(300, draw_generator(0, 0, 0), key=key)[0] == tuple(entry["context"])


def test_the_papers_of_one_benchmark_ask_about_the_same_scenes_by_other_pictures(indexes):
    ours, theirs = (load_protocol(name, indexes=indexes) for name in ("depthsplat-dl3dv-2v", "pm-loss-dl3dv"))
    assert {key.removeprefix("dl3dv_") for key in theirs.keys} == set(ours.keys)
    assert ours.images != theirs.images
    assert ours.near != theirs.near


def test_training_views_are_the_released_samplers(indexes):
    sampler = load_protocol("depthsplat-re10k-256", indexes=indexes).training_views.sampler()
    assert sampler.gap.at(1500) == (26, 49)
    sampler = load_protocol("depthsplat-dl3dv-2v", indexes=indexes).training_views.sampler()
    assert (sampler.gap.at(2000), sampler.views, sampler.targets) == ((16, 34), (2, 6), 8)
    assert load_protocol("pm-loss-dl3dv", indexes=indexes).training_views.sampler().gap.at(0) == (20, 50)


# Frozen: what a protocol means may not change under its name.
DIGESTS = {
    "depthsplat-re10k-256": "69ea238d2dc64fe06972423bf78ae1a36c8f5e91c3d6dd50bb9171dd31960dad",
    "depthsplat-dl3dv-2v": "2c2624aea8ca9aca23e338060a291881592972343453c24e90801347a8ae24fb",
    "pm-loss-dl3dv": "34459b7e81726a1c99cd748bdf912e04e715b2c74ea4a163cc562e2fd1c38e79",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_digests_are_stable_and_survive_a_file(indexes, tmp_path, name):
    protocol = load_protocol(name, indexes=indexes)
    assert protocol.digest == DIGESTS[name]
    save_protocol(protocol, tmp_path / "copy.json")
    assert load_protocol(tmp_path / "copy.json") == protocol
    assert load_protocol(tmp_path / "copy.json").digest == protocol.digest


@pytest.mark.parametrize(("every", "scenes", "reason"), [(10, 648, "every 10th scene"), (2, 3237, "every 2nd scene")])
def test_a_fraction_is_every_nth_scene_and_says_that_it_does_not_compare(indexes, every, scenes, reason):
    whole = load_protocol("depthsplat-re10k-256", indexes=indexes)
    part = load_protocol("depthsplat-re10k-256", indexes=indexes, every=every)
    assert part.keys == whole.keys[::every]
    assert len(part.keys) == part.expected.scenes == scenes
    assert part.unscorable == whole.unscorable[::every]
    assert part.not_comparable == reason
    assert part.digest != whole.digest
    assert part.views_of(part.keys[5]) == whole.views_of(part.keys[5])
    assert whole.every(1) is whole
    with pytest.raises(ParameterError, match="every=0"):
        whole.every(0)


def test_embedded_protocols_have_fractions_too():
    part = load_protocol("embedded-smoke", every=4)
    assert part.keys == load_protocol("embedded-smoke").keys[::4]
    assert part.not_comparable == "every 4th scene"
    assert part.expected.model_dump() == {"scenes": 2, "inside": 6, "outside": 8}
    assert part.every(2).not_comparable == "every 4th scene, of these every 2nd scene"
    for number, word in ((3, "3rd"), (11, "11th"), (22, "22nd"), (112, "112th"), (21, "21st")):
        assert part.model_copy(update={"not_comparable": None}).every(number).not_comparable == f"every {word} scene"


# --- where index files come from ---


def test_an_index_comes_from_the_folder_of_the_setting_and_only_if_it_is_the_published_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PMGS_INDEXES", str(tmp_path / "indexes"))
    with pytest.raises(
        DataError, match=r"is not there; place https://raw\.githubusercontent\.com/cvg/depthsplat/2dad25"
    ):
        load_protocol("depthsplat-dl3dv-2v")
    small_index(tmp_path / "indexes")
    with pytest.raises(DataError, match=r"SHA-256 is [0-9a-f]{16}\.\.\., the published one 434c3e1bd9395cf7"):
        load_protocol("depthsplat-dl3dv-2v")


def test_the_argument_goes_before_the_setting(indexes, tmp_path, monkeypatch):
    monkeypatch.setenv("PMGS_INDEXES", str(tmp_path))
    assert load_protocol("pm-loss-dl3dv", indexes=indexes).expected.scenes == 140
    shutil.copy(indexes / "dl3dv_bound_aware.json", tmp_path)
    assert load_protocol("pm-loss-dl3dv") == load_protocol("pm-loss-dl3dv", indexes=indexes)


def test_an_index_is_fetched_once_and_verified(tmp_path, monkeypatch):
    """A real server stands for the public one; the counts are then not the published ones, and that is refused."""
    monkeypatch.delenv("PMGS_INDEXES", raising=False)
    monkeypatch.setenv("PMGS_CACHE", str(tmp_path / "cache"))
    content = json.dumps({"a": {"context": [0, 9], "target": [1, 3, 9]}, "b": None}).encode()
    with web.serving(content) as site:
        entry = {**PUBLISHED["depthsplat-dl3dv-2v"], "index": site.address}
        monkeypatch.setitem(PUBLISHED, "depthsplat-dl3dv-2v", entry)
        monkeypatch.setitem(INDEX_DIGESTS, site.address, hashlib.sha256(content).hexdigest())
        with pytest.raises(DataError, match=r"protocol depthsplat-dl3dv-2v: values: .*expected counts"):
            open_published("depthsplat-dl3dv-2v")
        counts = {"scenes": 1, "inside": 2, "outside": 0, "at_context": 1, "unscorable": 1}
        monkeypatch.setitem(PUBLISHED, "depthsplat-dl3dv-2v", {**entry, "expected": counts})
        protocol = open_published("depthsplat-dl3dv-2v")
        assert (protocol.listed, protocol.unscorable) == (("a", "b"), ("b",))
        assert protocol.views_of("a").targets == ((1, "inside"), (3, "inside"), (9, "at_context"))
        assert len(site.asked) == 1
        (tmp_path / "cache" / "downloads" / "weights.pth").write_bytes(content + b" ")
        with pytest.raises(DataError, match="SHA-256 of the file is"):
            open_published("depthsplat-dl3dv-2v")


def test_unknown_names_are_told_the_published_ones():
    with pytest.raises(ParameterError, match=r"'depthsplat-re10k' is unknown; expected one of .*depthsplat-re10k-256"):
        load_protocol("depthsplat-re10k")


# --- index files that are none ---

BROKEN = {
    "no json": ("{", "is not JSON"),
    "a list": ("[]", "expected an object, found list"),
    "no scenes": ("{}", "gives no scene any frames"),
    "only nulls": ('{"a": null}', "gives no scene any frames"),
    "no target": ('{"a": {"context": [0, 1]}}', "scene 'a': expected context and target frames"),
    "a number": ('{"a": 3}', "scene 'a': expected context and target frames"),
    "text frames": ('{"a": {"context": ["0", 1], "target": [2]}}', "scene 'a': context and target are not lists of"),
    "true": ('{"a": {"context": [true, 3], "target": [2]}}', "are not lists of frame numbers"),
    "half": ('{"a": {"context": [0, 3], "target": [1.5]}}', "are not lists of frame numbers"),
    "negative": ('{"a": {"context": [-1, 3], "target": [2]}}', "scene 'a': context.0: Input should be greater than or"),
    "one context": ('{"a": {"context": [3], "target": [2]}}', "at least two context frames"),
    "no context": ('{"a": {"context": [], "target": [2]}}', "at least two context frames"),
    "no targets": ('{"a": {"context": [0, 3], "target": []}}', "at least two context frames and one target"),
    "target twice": ('{"a": {"context": [0, 3], "target": [2, 2]}}', "is used twice"),
    "context twice": ('{"a": {"context": [0, 0], "target": [2]}}', "is used twice"),
    "context target twice": ('{"a": {"context": [0, 3], "target": [3, 3]}}', "is used twice"),
    "deep": ("[" * 100_000, "nested too deeply|is not JSON"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_index_file_that_is_none_is_told_in_one_line(tmp_path, case):
    text, message = BROKEN[case]
    path = tmp_path / "index.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_index(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_index_file_that_is_absent_or_endless_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_index(tmp_path / "absent.json")
    with (tmp_path / "endless.json").open("wb") as endless:
        endless.truncate(2**31)
    with pytest.raises(DataError, match="it is no index file"):
        read_index(tmp_path / "endless.json")


# --- targets at context frames ---


def test_targets_at_context_frames_are_context_frames_and_counted_apart():
    views = EvaluationViews(context=(0, 4, 9), inside=(2,), outside=(11,), at_context=(4, 9))
    assert views.targets == ((2, "inside"), (11, "outside"), (4, "at_context"), (9, "at_context"))
    assert views.frames == (0, 4, 9, 2, 11)
    for wrong in ((3,), (4, 4), (11,)):
        with pytest.raises(ValueError, match=r"used twice|not all among"):
            EvaluationViews(context=(0, 4, 9), inside=(2,), outside=(11,), at_context=wrong)
    assert EvaluationViews(context=(0, 9), inside=(), at_context=(9,)).targets == ((9, "at_context"),)


def test_a_scene_listed_without_frames_is_counted_and_not_listed_twice():
    content = {
        **{"name": "p", "description": "", "keys": ("a",), "height": 8, "width": 8},
        **{"views": {"context": (0, 2), "inside": (1,)}, "unscorable": ("b",)},
    }
    expected = {"scenes": 1, "inside": 1, "outside": 0, "unscorable": 1}
    protocol = Protocol.build({**content, "expected": expected}, "p")
    assert protocol.listed == ("a", "b")
    assert protocol.expected.listed == 2
    for change, message in (({"unscorable": ("a",)}, "listed twice"), ({"unscorable": ()}, "expected counts")):
        with pytest.raises(ParameterError, match=message):
            Protocol.build({**content, "expected": expected, **change}, "p")
    with pytest.raises(ParameterError, match="has no scene 'b'"):
        protocol.views_of("b")
