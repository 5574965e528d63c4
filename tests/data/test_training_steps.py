"""A training with a schedule draws by its steps, its batches collate, and it resumes in the middle of an epoch."""

import pytest
import torch

from pmgs_lib.data import TrainingDataset, load_protocol, open_dataset
from pmgs_lib.data.folders import write_scenes
from pmgs_lib.data.loading import training_loader
from pmgs_lib.data.sampling import build_sampler
from pmgs_lib.data.sampling.schedule import GapRange
from pmgs_lib.errors import DataError
from pmgs_lib.evaluation import evaluate
from pmgs_lib.evaluation.lpips import LpipsUnavailable
from pmgs_lib.evaluation.methods import NearestInput

GROWING = GapRange((9, 10), (20, 21), 10)
BATCH = 3


@pytest.fixture
def scenes(tmp_path, plane_scene):
    write_scenes(
        tmp_path,
        "train",
        [plane_scene(f"s{number}", frames=24, height=24, width=32, depth=False) for number in range(4)],
        scenes_per_chunk=2,
    )
    return open_dataset(tmp_path, "train", near=0.5, far=9.0)


def training(scenes, **options):
    sampler = build_sampler("bounded-v2", gap=GROWING, views=(2, 4), targets=2, **options)
    return TrainingDataset(scenes, sampler, 24, 32, length=20 * BATCH, seed=4, flip=False, batch_size=BATCH)


def gaps(views) -> torch.Tensor:
    """Distance in frames between the first and the last context view: the plane's cameras are 0.15 apart."""
    x = views.cameras.world_from_camera[..., 0, 3]
    return ((x.amax(-1) - x.amin(-1)) / 0.15).round().int()


def test_batches_have_one_number_of_views_and_gaps_of_their_step(scenes):
    seen = set()
    for step, batch in enumerate(training_loader(training(scenes), BATCH)):
        count = batch.context.count
        low, high = (bound // max(4 // count, 1) for bound in GROWING.at(step))
        assert torch.all(gaps(batch.context) <= high)
        assert count > 2 or torch.all(gaps(batch.context) >= low)
        seen.add(count)
    assert step == 19
    assert seen == {2, 3, 4}


def test_a_resumed_training_sees_the_same_batches_with_and_without_workers(scenes):
    whole = list(training_loader(training(scenes), BATCH))
    rest = list(training_loader(training(scenes), BATCH, first_step=7, workers=2))
    assert len(rest) == 13
    for first, second in zip(whole[7:], rest, strict=True):
        assert first.key == second.key
        for name in ("context", "target"):
            a, b = getattr(first, name), getattr(second, name)
            assert torch.equal(a.images, b.images)
            assert torch.equal(a.cameras.world_from_camera, b.cameras.world_from_camera)


def test_a_published_protocol_runs_on_files_of_the_released_size(shared, tmp_path, plane_scene):
    """Two of the 140 scenes are there: refused, then scored with the mark, on exactly the pixels of the patch shim."""
    protocol = load_protocol("depthsplat-dl3dv-zero-shot", indexes=shared / "assets" / "indexes")
    stored = [protocol.keys[3], "dl3dv_" + protocol.keys[0]]
    write_scenes(
        tmp_path,
        "test",
        [plane_scene(key, frames=10, height=270, width=480, depth=False) for key in stored],
        scenes_per_chunk=2,
    )
    dataset = open_dataset(tmp_path, near=protocol.near, far=protocol.far, images=protocol.images)
    no_lpips = LpipsUnavailable("not here", "put it there")
    with pytest.raises(DataError, match="lacks 138 of the 140 scenes of protocol depthsplat-dl3dv-zero-shot"):
        evaluate(NearestInput(), dataset, protocol, lpips_network=no_lpips)
    seen = {}
    result = evaluate(
        NearestInput(),
        dataset,
        protocol,
        lpips_network=no_lpips,
        allow_missing=True,
        on_scene=lambda key, example, output: seen.update({key: example}),
    )
    assert result.ledger.scored == [protocol.keys[0], protocol.keys[3]]
    assert result.settings.not_comparable == "2 of 140 scenes scored"
    whole = dataset[dataset.keys.index(stored[0])]
    example = seen[protocol.keys[3]]
    context = list(protocol.views_of(protocol.keys[3]).context)
    assert torch.equal(example.context.images, whole.images[context][..., 7:263, 16:464])
    assert (example.context.near.item(), example.context.far.item()) == (0.5, 200.0)
