"""Two steps of training from a cache that a reduced VGGT filled, and the health of what came out."""

from dataclasses import replace

import pytest
import torch

from pmgs_lib.data import load_protocol, make_scenes
from pmgs_lib.data.protocols import Protocol, save_protocol
from pmgs_lib.errors import DataError
from pmgs_lib.losses import PointmapLoss
from pmgs_lib.models import load_checkpoint
from pmgs_lib.pointmaps import (
    CachedPointmap,
    DepthPointmap,
    build_pointmap_source,
    fill_cache,
    reduced_weights_server,
    training_contexts,
)
from pmgs_lib.training import TrainingRun, pointmap_health, run_training, training_examples, training_health
from pmgs_lib.views import Views

HEIGHT, WIDTH, STEPS = 32, 48, 2


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two small scenes to train on, a protocol of their size, and the pointmaps of every example on disk."""
    folder = tmp_path_factory.mktemp("health")
    make_scenes(1, count=2, folder=folder / "scenes", split="train", frames=12, height=HEIGHT, width=WIDTH)
    rules = load_protocol("embedded-smoke").model_dump() | {"name": "small", "height": HEIGHT, "width": WIDTH}
    save_protocol(Protocol.model_validate(rules), folder / "small.json")
    with reduced_weights_server(folder / "served", seed=1) as address:
        source = build_pointmap_source("vggt", weights=address, size="reduced", folder=str(folder / "kept"))
    report = fill_cache(source, contexts_of(folder), folder / "pointmaps")
    assert (report.listed, report.made) == (STEPS, STEPS)
    return folder


def described(folder, **changes) -> TrainingRun:
    content = {
        "model": "depthsplat-tiny",
        "weights": "depthsplat-tiny",
        "scenes": str(folder / "scenes"),
        "protocol": str(folder / "small.json"),
        "pointmap": "cached",
        "pointmap_options": {"folder": str(folder / "pointmaps")},
        "training": {"steps": STEPS, "objective": {"pointmap_weight": 0.005}},
        "accelerator": "cpu",
    }
    return TrainingRun.model_validate(content | changes)


def contexts_of(folder):
    return training_contexts(training_examples(described(folder), load_protocol(folder / "small.json")))


def test_two_steps_from_the_cache_and_their_health(place, tmp_path):
    run = described(place)
    history = run_training(run, tmp_path)
    assert len(history.rows) == STEPS
    assert all(row["pointmap"] > 0 for row in history.rows)
    assert not history.exclusions
    health = training_health(run, tmp_path / "model.safetensors")
    assert health.listed == len(health.scored) == STEPS
    # The same by hand, for the first example.
    key, views = contexts_of(place)[0]
    with torch.no_grad():
        means = load_checkpoint(tmp_path / "model.safetensors").eval()(Views.stack([views])).gaussians.means
    expected = PointmapLoss()(means, CachedPointmap(place / "pointmaps")(views).reshape(1, -1, 3))
    (scene,) = [scene for scene in health.scored if scene.key == f"{key} (0)"]
    assert scene.chamfer == pytest.approx(expected.item(), rel=1e-4)


def test_the_cache_gives_what_its_source_gives(place, tmp_path):
    """Equal losses from exact depth with noise, asked directly and through a folder."""
    fill_cache(DepthPointmap(noise=0.02), contexts_of(place), tmp_path / "pointmaps")
    direct = described(place, pointmap="depth", pointmap_options={"noise": 0.02})
    cached = described(place, pointmap_options={"folder": str(tmp_path / "pointmaps")})
    rows = [run_training(run, tmp_path / name).rows for name, run in (("direct", direct), ("cached", cached))]
    assert rows[0] == rows[1]


def test_a_training_that_draws_other_views_is_told(place, tmp_path):
    run = described(place, training={"steps": STEPS, "objective": {"pointmap_weight": 0.005}, "seed": 5})
    with pytest.raises(DataError, match="has none for these 2 images"):
        run_training(run, tmp_path)


def test_pointmaps_are_compared_with_exact_surfaces(place):
    contexts = contexts_of(place)
    exact = pointmap_health(DepthPointmap(noise=0.0), contexts, most=1)
    assert exact.listed == 1
    assert exact.scored[0].residual < 1e-4
    noisy = pointmap_health(DepthPointmap(noise=0.1), contexts)
    assert noisy.listed == STEPS
    assert min(scene.residual for scene in noisy.scored) > 0.05


def test_contexts_without_depth_or_that_cannot_be_opened_are_passed_over(place):
    class Damaged(list):
        def __getitem__(self, index):
            if index == 0:
                raise DataError("scene 0: is damaged")
            return super().__getitem__(index)

    contexts = [contexts_of(place)[number] for number in range(STEPS)]
    assert pointmap_health(DepthPointmap(noise=0.0), Damaged(contexts)).listed == STEPS - 1
    bare = [(key, replace(views, depth=None)) for key, views in contexts]
    assert pointmap_health(DepthPointmap(), bare) is None
