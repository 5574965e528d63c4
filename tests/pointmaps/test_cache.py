"""The cache on disk: it serves exactly what was stored, for exactly these views, and says what is wrong with a file."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from scenes import random_views
from torch.testing import assert_close

from pmgs_lib.cameras import Cameras
from pmgs_lib.data import load_protocol, make_scenes, open_dataset
from pmgs_lib.data.dataset import TrainingDataset
from pmgs_lib.data.sampling import BoundedSampler
from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.pointmaps import (
    CachedPointmap,
    DepthPointmap,
    Pointmap,
    PointmapSource,
    build_pointmap_source,
    fill_cache,
    protocol_contexts,
    training_contexts,
)
from pmgs_lib.pointmaps.cache_files import FLOAT16_ERROR, FLOAT16_SMALLEST_NORMAL
from pmgs_lib.training.config import TrainingConfig
from pmgs_lib.training.run import TrainingRun
from pmgs_lib.views import Views


class Colours(PointmapSource):
    """Points that are functions of the colours, counted; `scale` is its setting."""

    def __init__(self, scale=1.0, confident=True):
        self.scale, self.confident, self.calls = scale, confident, []

    @property
    def identity(self):
        return {"source": "colours", "scale": self.scale}

    def pointmap(self, context, key):
        self.calls.append(key)
        points = self.scale * context.images.movedim(-3, -1) ** 2
        return Pointmap(points, points.sum(-1) if self.confident else None)


def with_images(views, images):
    return Views(images, views.cameras, views.near, views.far, views.depth)


def files(folder):
    return sorted(folder.glob("*.safetensors"))


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 2)], ids=str)
@pytest.mark.parametrize("confident", [True, False])
def test_it_serves_what_the_source_made_and_makes_it_once(batch, confident, rng, tmp_path):
    views, source = random_views(*batch, rng=rng), Colours(confident=confident)
    cache = CachedPointmap(tmp_path, source)
    for served in (cache, cache, CachedPointmap(tmp_path), CachedPointmap(tmp_path, source, remember=0)):
        found = served.with_confidence(views, "kitchen")
        assert torch.equal(found.points, source.with_confidence(views).points)
        assert (found.confidence is not None) == confident
        if confident:
            assert torch.equal(found.confidence, source.with_confidence(views).confidence)
    scenes = max(1, torch.Size(batch).numel())
    assert source.calls.count("kitchen") == scenes == len(files(tmp_path))


def test_a_scene_is_found_wherever_it_stands_in_a_batch(rng, tmp_path):
    views, source = random_views(3, rng=rng), Colours()
    CachedPointmap(tmp_path, source)(views, ("a", "b", "c"))
    assert source.calls == ["a", "b", "c"]
    alone = CachedPointmap(tmp_path)
    assert torch.equal(alone(views[1]), source(views[1]))
    assert torch.equal(alone(views[[2, 0]]), source(views[[2, 0]]))


def test_never_for_other_images(rng, tmp_path):
    views = random_views(rng=rng)
    CachedPointmap(tmp_path, Colours())(views)
    alone, images = CachedPointmap(tmp_path), views.images
    one_level, a_hair = images.clone(), images.clone()
    one_level[0, 0, 0, 0] = ((images[0, 0, 0, 0] * 255 + 1) % 256) / 255
    a_hair[0, 0, 0, 0] += 1e-6
    others = [images.flip(0), images.flip(-1), images[:1], images[..., :-1], one_level, a_hair]
    for other in others:
        cameras = views.cameras[: len(other)]
        changed = Views(other, cameras, views.near, views.far)
        with pytest.raises(DataError, match=r"has none for these \d images of bath; fill it with fill_cache"):
            alone(changed, "bath")
    # Cameras and depth play no part for a source that does not look at them.
    turned = Cameras(views.cameras.world_from_camera.flip(0), views.cameras.intrinsics)
    assert torch.equal(alone(Views(images, turned, views.near, views.far)), Colours()(views))


def test_images_that_are_no_whole_bytes_have_files_of_their_own(rng, tmp_path):
    views = random_views(rng=rng)
    fine = with_images(views, torch.rand(views.images.shape, generator=rng))
    cache = CachedPointmap(tmp_path, Colours())
    assert torch.equal(cache(fine), Colours()(fine))
    assert torch.equal(cache(views), Colours()(views))
    assert len(files(tmp_path)) == 2


def test_a_source_of_depth_is_found_by_depth_and_cameras(rng, tmp_path):
    views, source = random_views(rng=rng), DepthPointmap(seed=4)
    assert torch.equal(CachedPointmap(tmp_path, source)(views), source(views))
    alone = CachedPointmap(tmp_path)
    assert torch.equal(alone(with_images(views, 1 - views.images)), source(views))
    with pytest.raises(DataError, match="has none"):
        alone(Views(views.images, views.cameras, views.near, views.far, views.depth + 1))
    with pytest.raises(DataError, match="needs known depth"):
        alone(Views(views.images, views.cameras, views.near, views.far))


@pytest.mark.parametrize(
    ("other", "options", "words"),
    [
        (Colours(2.0), {}, "scale 1.0 instead of 2.0"),
        (DepthPointmap(), {}, "source 'colours' instead of 'depth'"),
        (Colours(), {"stored_type": "float16"}, "stored_type 'float32' instead of 'float16'"),
    ],
)
def test_a_folder_belongs_to_one_source_with_one_setting(other, options, words, tmp_path):
    CachedPointmap(tmp_path, Colours())
    with pytest.raises(DataError, match=f"holds pointmaps made otherwise .*{words}.*; name another folder"):
        CachedPointmap(tmp_path, other, **options)


def damage_bytes(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def damage_shape(path):
    state = load_file(path)
    save_file({"points": state["points"][:1].clone()}, path, metadata={"digest": path.stem})


DAMAGES = {
    "bit": damage_bytes,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-50]),
    "empty": lambda path: path.write_bytes(b""),
    "shape": damage_shape,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_named_and_refused_or_made_again(damage, rng, tmp_path, caplog):
    views, source = random_views(rng=rng), Colours()
    expected = CachedPointmap(tmp_path, source)(views)
    (path,) = files(tmp_path)
    damage(path)
    with pytest.raises(DataError, match=f"pointmap .*{path.name}.*; delete it and fill the cache again"):
        CachedPointmap(tmp_path)(views, "hall")
    assert torch.equal(CachedPointmap(tmp_path, source)(views, "hall"), expected)
    assert "hall" in caplog.text
    assert path.name in caplog.text
    assert torch.equal(CachedPointmap(tmp_path)(views), expected)


def test_a_file_under_another_name_is_not_believed(rng, tmp_path):
    views = random_views(rng=rng)
    cache = CachedPointmap(tmp_path, Colours())
    cache(views)
    (path,) = files(tmp_path)
    other = with_images(views, 1 - views.images)
    path.rename(cache.folder.path(other))
    with pytest.raises(DataError, match="does not hold what it was written with"):
        CachedPointmap(tmp_path)(other)


def test_float16_stays_within_its_stated_error(rng, tmp_path):
    views = random_views(rng=rng)
    source = Colours(100.0)
    exact = source.with_confidence(views)
    found = CachedPointmap(tmp_path, source, "float16").with_confidence(views)
    for stored, value in ((found.points, exact.points), (found.confidence, exact.confidence)):
        assert stored.dtype == torch.float32
        assert ((stored - value).abs() <= FLOAT16_ERROR * value.abs().clamp_min(FLOAT16_SMALLEST_NORMAL)).all()
        assert not torch.equal(stored, value)
    # A second cache serves the very numbers that the first one did.
    assert torch.equal(CachedPointmap(tmp_path)(views), found.points)
    full = CachedPointmap(tmp_path / "full", source)
    full(views)
    assert files(tmp_path)[0].stat().st_size < 0.55 * files(tmp_path / "full")[0].stat().st_size
    with pytest.raises(ParameterError, match=r"pointmap of loft: has values up to .*fill the cache as float32"):
        CachedPointmap(tmp_path / "far", Colours(1e6), "float16")(views, "loft")
    assert not files(tmp_path / "far")


def test_only_the_last_used_stay_in_memory(rng, tmp_path):
    cache = CachedPointmap(tmp_path, Colours(), remember=2)
    views = random_views(3, rng=rng)
    cache(views)
    for path in files(tmp_path):
        damage_bytes(path)
    assert torch.equal(cache(views[1:]), Colours()(views[1:]))  # from memory
    assert cache.source.calls == ["", "", ""]
    cache(views[0])  # from disk, where it is damaged by now
    assert len(cache.source.calls) == 4


def test_folders_that_are_no_cache(tmp_path):
    with pytest.raises(DataError, match=r"has no manifest.json; fill it first with fill_cache"):
        build_pointmap_source("cached", folder=str(tmp_path))
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 7}))
    with pytest.raises(DataError, match=r"manifest .*format"):
        CachedPointmap(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(DataError, match="expected an object"):
        CachedPointmap(tmp_path)


def test_a_source_that_does_not_say_what_it_depends_on_cannot_be_cached(tmp_path):
    class Nameless(PointmapSource):
        def pointmap(self, context, key):
            return Pointmap(context.images.movedim(-3, -1))

    with pytest.raises(ParameterError, match="Nameless: does not say what its points depend on"):
        CachedPointmap(tmp_path, Nameless())


def test_a_cached_source_has_the_identity_of_what_it_holds(tmp_path):
    cache = CachedPointmap(tmp_path, Colours(3.0), "float16")
    assert cache.identity == {"source": "colours", "scale": 3.0, "stored_type": "float16"}
    assert CachedPointmap(tmp_path).identity == cache.identity


def test_a_training_may_name_a_cache(rng, tmp_path):
    CachedPointmap(tmp_path, Colours())
    options = {"folder": str(tmp_path), "remember": 3}
    run = TrainingRun(
        model="any", scenes="any", training=TrainingConfig(steps=1), pointmap="cached", pointmap_options=options
    )
    assert run.pointmap_options == options
    assert build_pointmap_source(run.pointmap, **run.pointmap_options).remember == 3


class TestFilling:
    def test_every_case_is_counted_and_an_interrupted_call_is_continued(self, rng, tmp_path):
        views = random_views(4, rng=rng)
        contexts = [(f"room{i}", views[i]) for i in range(4)]
        told, source = [], Colours()

        def stop_at_three(done, listed, key):
            told.append((done, listed, key))
            if done == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fill_cache(source, contexts, tmp_path, progress=stop_at_three)
        assert told == [(1, 4, "room0"), (2, 4, "room1"), (3, 4, "room2")]
        damage_bytes(files(tmp_path)[0])
        report = fill_cache(source, contexts, tmp_path)
        assert (report.listed, report.made, report.found, report.remade, report.failed) == (4, 1, 2, 1, ())
        assert fill_cache(source, contexts, tmp_path).found == 4
        assert torch.equal(CachedPointmap(tmp_path)(views), source(views))

    def test_data_that_cannot_be_opened_is_told_with_its_reason(self, rng, tmp_path):
        class Broken(list):
            def __getitem__(self, index):
                if index == 1:
                    raise DataError("scene 'cellar': is damaged")
                return super().__getitem__(index)

        views = random_views(3, rng=rng)
        report = fill_cache(Colours(), Broken((str(i), views[i]) for i in range(3)), tmp_path)
        assert report.made + report.found + report.remade + len(report.failed) == report.listed == 3
        assert report.failed == (("number 1", "scene 'cellar': is damaged"),)
        with pytest.raises(ParameterError, match="there are no contexts"):
            fill_cache(Colours(), [], tmp_path)

    def test_a_data_set_by_protocol_and_for_training(self, tmp_path):
        protocol = load_protocol("embedded-smoke").model_copy(update={"height": 28, "width": 42})
        make_scenes(20001, count=1, folder=tmp_path / "scenes", frames=18, height=28, width=42)
        dataset = open_dataset(tmp_path / "scenes", "test", near=protocol.near, far=protocol.far)
        key = dataset.keys[0]
        protocol = protocol.model_copy(update={"keys": (key,)})
        source = Colours()
        report = fill_cache(source, protocol_contexts(dataset, protocol), tmp_path / "cache")
        assert (report.listed, report.made) == (1, 1)
        context, inside, outside = protocol.evaluation_views(key)
        example = dataset.example(key, context, (*inside, *outside), 28, 42)
        assert_close(CachedPointmap(tmp_path / "cache")(example.context, key), source(example.context))
        training = TrainingDataset(dataset, BoundedSampler(3, 5, 2), 28, 42, length=4, seed=1)
        assert fill_cache(source, training_contexts(training), tmp_path / "cache").listed == 4
        alone = CachedPointmap(tmp_path / "cache")
        for number in range(4):  # mirrored ones too
            assert torch.equal(alone(training[number].context), source(training[number].context))
        with pytest.raises(IndexError):
            training_contexts(training)[4]
