"""Which process takes which examples, and what a loader says when they cannot be taken."""

import itertools

import pytest
import torch

from pmgs_lib.data import TrainingDataset, open_dataset
from pmgs_lib.data.folders import write_scenes
from pmgs_lib.data.loading import Share, training_loader
from pmgs_lib.data.sampling import BoundedSampler, build_sampler
from pmgs_lib.data.sampling.schedule import GapRange
from pmgs_lib.errors import DataError, ParameterError


@pytest.fixture
def scenes(tmp_path, plane_scene):
    """Five scenes, the second too short for what samplers ask here."""
    made = [plane_scene(f"s{i}", frames=2 if i == 1 else 10, height=24, width=32, depth=False) for i in range(5)]
    write_scenes(tmp_path, "train", made, scenes_per_chunk=2)
    return open_dataset(tmp_path, "train", near=0.5, far=9.0)


def examples(scenes, sampler=None, **changes) -> TrainingDataset:
    sampler = sampler or BoundedSampler(2, 6, 3)
    return TrainingDataset(scenes, sampler, 24, 32, length=40, seed=4, batch_size=8, unusable="replace", **changes)


@pytest.mark.parametrize(("ranks", "accumulate"), list(itertools.product([1, 2, 4], [1, 2])))
def test_processes_and_parts_share_each_step_without_rest(ranks, accumulate):
    shares = [Share(8, accumulate, rank, ranks) for rank in range(ranks)]
    for step in range(3):
        parts = [share.numbers(step * accumulate + part) for share in shares for part in range(accumulate)]
        assert [number for part in parts for number in part] == list(range(8 * step, 8 * step + 8))
        assert {len(part) for part in parts} == {8 // (ranks * accumulate)}


@pytest.mark.parametrize("bad", [(8, 3, 0, 1), (8, 1, 2, 2), (6, 2, 0, 2), (8, 0, 0, 1), (8, 1, -1, 1)])
def test_a_batch_that_does_not_divide(bad):
    with pytest.raises(ParameterError, match="expected a multiple of"):
        Share(*bad)


def test_parts_of_all_processes_are_the_batches_of_one(scenes):
    data = examples(scenes)
    whole = list(training_loader(data, 8))
    assert len(whole) == 5
    split = [list(training_loader(data, 8, accumulate=2, rank=rank, ranks=2, first_step=1)) for rank in (0, 1)]
    assert [len(own) for own in split] == [8, 8]
    for step in range(1, 5):
        own = [part for parts in split for part in parts[2 * step - 2 : 2 * step]]
        assert tuple(key for part in own for key in part.key) == whole[step].key
        assert torch.equal(torch.cat([part.context.images for part in own]), whole[step].context.images)


@pytest.mark.parametrize("workers", [0, 2])
def test_replaced_scenes_are_known_whichever_worker_met_them(scenes, workers):
    batches = training_loader(examples(scenes), 8, workers=workers)
    assert len(list(batches)) == len(batches) == 5
    assert list(batches.replaced) == ["s1"]
    assert "too few" in batches.replaced["s1"]


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_come_in_one_line_from_workers_too(scenes, workers):
    data = TrainingDataset(scenes, BoundedSampler(2, 6, 3), 24, 32, length=40, seed=4, batch_size=8)
    with pytest.raises(DataError, match=r"scene 's1'.* too few") as caught:
        list(training_loader(data, 8, workers=workers))
    assert "\n" not in str(caught.value)


def test_views_of_different_numbers_ask_for_micro_batches_of_one(scenes):
    """The number is drawn once a step: a batch over several steps has several."""
    sampler = build_sampler("bounded-v2", gap=GapRange((6, 8), (6, 8)), views=(2, 4), targets=2)
    data = TrainingDataset(scenes, sampler, 24, 32, length=40, seed=4, batch_size=1, unusable="replace")
    with pytest.raises(DataError, match=r"contexts and targets of .* micro-batches of one scene"):
        list(training_loader(data, 8))
    counts = {batch.context.count for batch in training_loader(data, 8, accumulate=8)}
    assert len(counts) > 1
