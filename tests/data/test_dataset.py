"""Examples are what the files hold, sized by exact rules, and a training example is a function of its number alone."""

import os

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pmgs_lib.cameras import Cameras
from pmgs_lib.data import BoundedSampler, TrainingDataset, decode_image, open_dataset
from pmgs_lib.data.dataset import mirrored
from pmgs_lib.data.folders import write_scenes
from pmgs_lib.data.loading import training_loader
from pmgs_lib.data.resize import Fit, fit, resize_depth, resize_image, resize_intrinsics
from pmgs_lib.data.sampling import draw_generator
from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.views import Example, Views


@pytest.fixture
def root(tmp_path, plane_scene):
    write_scenes(tmp_path, "train", [plane_scene(f"s{number}") for number in range(5)], scenes_per_chunk=2)
    return tmp_path


@pytest.fixture
def training(root):
    dataset = open_dataset(root, "train", near=0.5, far=9.0)
    return TrainingDataset(dataset, BoundedSampler(2, 6, 3), height=32, width=48, length=23, seed=4)


def same(first: Example, second: Example) -> bool:
    pairs = [(first.context, second.context), (first.target, second.target)]
    return first.key == second.key and all(
        torch.equal(a.images, b.images)
        and torch.equal(a.cameras.world_from_camera, b.cameras.world_from_camera)
        and torch.equal(a.cameras.intrinsics, b.cameras.intrinsics)
        and torch.equal(a.depth, b.depth)
        for a, b in pairs
    )


# --- size ---


@pytest.mark.parametrize("size", [(64, 64), (64, 112)])
def test_resized_pixels_and_intrinsics_equal_the_released_code(parity, size):
    """Recorded from DepthSplat's `rescale_and_crop`, bit for bit; it leaves the principal point where it was."""
    recorded = np.load(parity / "depthsplat" / "units_main.npz")
    name = f"{size[0]}x{size[1]}"
    image = torch.from_numpy(recorded["resize/in_u8"][0]).permute(1, 2, 0).contiguous()
    how = fit(image.shape[:2], size)
    expected = torch.from_numpy(recorded[f"resize/out_u8_{name}"][0]).permute(1, 2, 0)
    assert torch.equal(resize_image(image, how), expected)
    k_in, k_out = (torch.from_numpy(recorded[f"resize/K_{which}"]) for which in ("in", name))
    torch.testing.assert_close(resize_intrinsics(k_in, how, "kept"), k_out, atol=0, rtol=1e-6)
    assert not torch.equal(resize_image(image, how, "bilinear"), expected)


def test_resized_pixels_equal_those_of_pm_loss(parity):
    recorded = np.load(parity / "depthsplat" / "units_pmloss.npz")
    image = torch.from_numpy(recorded["resize/in_u8"][0]).permute(1, 2, 0).contiguous()
    for size in ((64, 64), (64, 112)):
        name, how = f"{size[0]}x{size[1]}", fit(image.shape[:2], size)
        expected = torch.from_numpy(recorded[f"resize/out_u8_{name}"][0]).permute(1, 2, 0)
        assert torch.equal(resize_image(image, how, "bilinear"), expected)
        k_in, k_out = (torch.from_numpy(recorded[f"resize/K_{which}"]) for which in ("in", name))
        torch.testing.assert_close(resize_intrinsics(k_in, how, "kept"), k_out, atol=0, rtol=1e-6)


@pytest.mark.parametrize("state", ["main", "pmloss"])
def test_cropped_intrinsics_and_mirrored_poses_equal_the_released_code(parity, state):
    recorded = np.load(parity / "depthsplat" / f"units_{state}.npz")
    crop = Fit(270, 480, 7, 16, 256, 448)
    k_in, k_out = (torch.from_numpy(recorded[f"patch/K_{which}"]) for which in ("in_270x480", "out_p64"))
    torch.testing.assert_close(resize_intrinsics(k_in, crop, "kept"), k_out, atol=0, rtol=1e-6)
    poses, expected = (torch.from_numpy(recorded[f"reflect/extrinsics_{which}"]) for which in ("in", "out"))
    cameras = Cameras(poses, torch.eye(3).repeat(len(poses), 1, 1))
    views = Views(torch.rand(len(poses), 3, 4, 6), cameras, torch.tensor(1.0), torch.tensor(2.0))
    assert torch.equal(mirrored(Example(views, views, "scene")).target.cameras.world_from_camera, expected)


@pytest.mark.parametrize("size", [(48, 64), (32, 48), (40, 30), (24, 32), (17, 64)])
def test_a_point_keeps_its_place_in_the_scene(size, rng):
    """Projecting into the new picture is projecting into the old one, then scaling and cropping pixels."""
    intrinsics = torch.tensor([[0.8, 0, 0.46], [0, 1.1, 0.53], [0, 0, 1]], dtype=torch.float64)
    how = fit((48, 64), size)
    points = torch.rand(50, 3, generator=rng, dtype=torch.float64) + torch.tensor([-0.5, -0.5, 2.0])
    pose = torch.eye(4, dtype=torch.float64)
    before, _ = Cameras(pose, intrinsics).project(points, how.scaled_height, how.scaled_width)
    after, _ = Cameras(pose, resize_intrinsics(intrinsics, how)).project(points, *size)
    torch.testing.assert_close(after, before - torch.tensor([how.left, how.top]), atol=1e-9, rtol=0)


def test_depth_takes_the_nearest_sample_and_never_a_mean():
    depth = torch.tensor([1.0, 100.0]).repeat_interleave(24).expand(32, 48)
    small = resize_depth(depth, fit((32, 48), (16, 20)))
    assert small.shape == (16, 20)
    assert set(small.unique().tolist()) == {1.0, 100.0}
    rows = torch.arange(90.0)[:, None].expand(90, 160)
    assert torch.equal(resize_depth(rows, fit((90, 160), (30, 50)))[:, 0], torch.arange(30.0) * 3 + 1)
    assert torch.equal(resize_depth(rows, fit((90, 160), (90, 160))), rows)


def test_nothing_is_enlarged(root):
    with pytest.raises(DataError, match=r"scene 's0': is 48x64 \(height x width\), too small to fill 64x64"):
        open_dataset(root, "train", near=0.5, far=9.0).example("s0", (0, 4), (2,), 64, 64)


# --- examples by frame number ---


def test_an_example_holds_the_frames_it_was_asked_for(root, plane_scene):
    source = plane_scene("s3")
    example = open_dataset(root, "train", near=0.5, far=9.0).example("s3", (1, 7), (4, 0, 9), 48, 64)
    assert example.key == "s3"
    for views, frames in ((example.context, [1, 7]), (example.target, [4, 0, 9])):
        expected = torch.stack([decode_image(source.images[f]) for f in frames]).permute(0, 3, 1, 2).float() / 255
        assert torch.equal(views.images, expected)
        assert torch.equal(views.depth, source.depth[frames])
        torch.testing.assert_close(
            views.cameras.world_from_camera, source.cameras.world_from_camera[frames], atol=1e-6, rtol=0
        )
        assert views.near.shape == views.far.shape == ()
        assert (views.near.item(), views.far.item()) == (0.5, 9.0)


def test_depth_and_cameras_agree_at_every_size(root):
    """What the plane's depth says stays on the plane, also after scaling and cropping."""
    views = open_dataset(root, "train", near=0.5, far=9.0).example("s1", (1, 7), (4,), 30, 36).context
    points = views.cameras.unproject(views.depth)
    torch.testing.assert_close(points[..., 2], torch.full_like(points[..., 2], 4.0), atol=0.02, rtol=0)


def test_a_dataset_is_a_map_over_its_scenes(root):
    dataset = open_dataset(root, "train", near=0.5, far=9.0)
    assert len(dataset) == 5
    assert dataset.keys == [f"s{number}" for number in range(5)]
    assert dataset[4].images.shape == (10, 3, 48, 64)
    assert same(dataset.example("s2#second", (0, 4), (2,), 48, 64), dataset.example("s2#second", (0, 4), (2,), 48, 64))
    assert dataset.example("s2#second", (0, 4), (2,), 48, 64).key == "s2#second"


def test_frames_and_depth_ranges_that_are_not_there(root):
    dataset = open_dataset(root, "train", near=0.5, far=9.0)
    for frames in ((10,), (-1,), (3, 99)):
        with pytest.raises(DataError, match=r"scene 's0': has no frame -?\d+, it has 0 to 9"):
            dataset.example("s0", (0, 4), frames, 48, 64)
    with pytest.raises(DataError, match="was asked for no frames"):
        dataset.example("s0", (0, 4), (), 48, 64)
    with pytest.raises(DataError, match="near and far are not known; open it with near and far"):
        open_dataset(root, "train").example("s0", (0, 4), (2,), 48, 64)
    for near, far in ((1.0, None), (2.0, 1.0), (0.0, 1.0), (1.0, float("inf"))):
        with pytest.raises(ParameterError, match="expected 0 < near < far"):
            open_dataset(root, "train", near=near, far=far)


# --- the sampler ---


@pytest.mark.parametrize(("views", "beyond", "targets"), [(2, 0, 4), (3, 0, 2), (2, 3, 5), (4, 1, 30)])
def test_draws_keep_their_bounds(views, beyond, targets):
    sampler = BoundedSampler(4, 9, targets, context_views=views, beyond=beyond)
    gaps, firsts = set(), set()
    for index in range(400):
        context, target = sampler.sample(15, draw_generator(0, 0, index))
        gaps.add(context[-1] - context[0])
        firsts.add(context[0])
        assert len(context) == views
        assert len(set(context)) == views
        assert list(context) == sorted(context)
        assert 0 <= context[0] <= context[-1] < 15
        assert len(target) == targets
        assert all(max(0, context[0] - beyond) <= frame <= min(14, context[-1] + beyond) for frame in target)
        window = min(14, context[-1] + beyond) - max(0, context[0] - beyond) + 1
        assert len(set(target)) == targets or window < targets
    assert gaps == set(range(4, 10))
    assert firsts == set(range(11))


def test_draws_depend_on_their_three_numbers_only():
    sampler = BoundedSampler(2, 6, 3)

    def draw(*numbers):
        return sampler.sample(20, draw_generator(*numbers))

    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert len({draw(1, 2, index) for index in range(50)}) > 40
    assert [draw(1, 2, i) for i in range(20)] != [draw(1, 3, i) for i in range(20)]
    assert [draw(1, 2, i) for i in range(20)] != [draw(2, 2, i) for i in range(20)]


def test_a_gap_is_cut_to_a_short_scene_and_refused_when_it_cannot_be():
    assert BoundedSampler(2, 50, 1).sample(3, draw_generator(0, 0, 0))[0] == (0, 2)
    with pytest.raises(DataError, match="scene: 3 frames are too few for a context gap of 3"):
        BoundedSampler(3, 50, 1).sample(3, draw_generator(0, 0, 0))
    for arguments in ((0, 4, 1), (5, 4, 1), (2, 4, 0), (2, 4, 1, 1), (2, 4, 1, 4), (2, 4, 1, 2, -1)):
        with pytest.raises(ParameterError, match="BoundedSampler"):
            BoundedSampler(*arguments)


# --- training ---


def test_an_epoch_visits_every_scene_once_in_an_order_of_its_own(training):
    epochs = [[training[5 * epoch + i].key for i in range(5)] for epoch in range(4)]
    assert all(sorted(keys) == training.dataset.keys for keys in epochs)
    assert len({tuple(keys) for keys in epochs}) > 1
    assert len(list(training)) == 23


def test_an_example_is_a_function_of_its_number(root, training):
    again = TrainingDataset(training.dataset, training.sampler, height=32, width=48, length=23, seed=4)
    assert all(same(again[number], training[number]) for number in (22, 3, 11))
    other = TrainingDataset(training.dataset, training.sampler, height=32, width=48, length=23, seed=5)
    assert not all(same(other[number], training[number]) for number in range(10))


def test_half_of_the_examples_are_mirrored_and_none_when_not_asked(training):
    plain = TrainingDataset(training.dataset, training.sampler, height=32, width=48, length=200, seed=4, flip=False)
    flipped = TrainingDataset(training.dataset, training.sampler, height=32, width=48, length=200, seed=4)
    different = [not same(plain[number], flipped[number]) for number in range(40)]
    assert 10 <= sum(different) <= 30
    number = different.index(True)
    assert same(mirrored(plain[number]), flipped[number])


def test_a_mirror_shows_the_mirrored_world_and_undoes_itself(training, rng):
    example = training[0]
    once = mirrored(example)
    assert same(mirrored(once), example)
    points = torch.rand(20, 3, generator=rng) * 2 + torch.tensor([-1.0, -1.0, 3.0])
    pixels, depth = example.context.cameras.project(points[None], 32, 48)
    mirrored_pixels, mirrored_depth = once.context.cameras.project(points[None] * torch.tensor([-1.0, 1, 1]), 32, 48)
    torch.testing.assert_close(mirrored_pixels[..., 0], 48 - pixels[..., 0], atol=1e-3, rtol=0)
    torch.testing.assert_close(mirrored_pixels[..., 1], pixels[..., 1], atol=1e-3, rtol=0)
    torch.testing.assert_close(mirrored_depth, depth, atol=1e-4, rtol=0)
    assert torch.equal(once.context.images[..., 0], example.context.images[..., -1])
    once.context.cameras.validate("mirror")


def test_loaders_give_the_same_batches_with_and_without_workers(training):
    alone = list(training_loader(training, 4))
    helped = list(training_loader(training, 4, workers=2))
    assert len(alone) == len(helped) == 23 // 4
    assert all(same(first, second) for first, second in zip(alone, helped, strict=True))
    assert alone[0].context.images.shape == (4, 2, 3, 32, 48)
    assert alone[0].target.images.shape == (4, 3, 3, 32, 48)
    assert alone[0].context.near.shape == alone[0].target.far.shape == (4,)
    assert len(alone[0].key) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_loader_goes_on_where_it_stopped(training, workers):
    """From the middle of an epoch over its end: batches 2 to 4 hold examples 8 to 19 of epochs of 5 scenes."""
    whole = list(training_loader(training, 4))
    rest = list(training_loader(training, 4, first_step=2, workers=workers))
    assert len(rest) == 3
    assert all(same(first, second) for first, second in zip(whole[2:], rest, strict=True))
    with pytest.raises(ParameterError, match="first_step 6"):
        training_loader(training, 4, first_step=6)


class Noting(TrainingDataset):
    """Notes in a file which process was asked for which example."""

    def __getitem__(self, index: int) -> Example:
        with (self.dataset.root / "asked.txt").open("a") as file:
            file.write(f"{index} {os.getpid()}\n")
        return super().__getitem__(index)


def test_each_example_is_decoded_once_by_one_worker(root, training):
    noting = Noting(training.dataset, training.sampler, height=32, width=48, length=23, seed=4)
    batches = list(training_loader(noting, 4, workers=2, first_step=1))
    asked = [line.split() for line in (root / "asked.txt").read_text().splitlines()]
    assert sorted(int(number) for number, _ in asked) == list(range(4, 20))
    assert len({process for _, process in asked} - {str(os.getpid())}) == 2
    assert [key for batch in batches for key in batch.key] == [training[number].key for number in range(4, 20)]


# --- scenes that cannot give an example ---


@pytest.fixture
def flawed(tmp_path, plane_scene):
    """Six scenes, of which s1 is too short for the sampler and s4 has a camera that is no number."""
    scenes = [plane_scene(f"s{number}", frames=2 if number == 1 else 10) for number in range(6)]
    write_scenes(tmp_path / "flawed", "train", scenes, scenes_per_chunk=2)
    chunk = tmp_path / "flawed" / "train" / "000002.torch"
    entries = torch.load(chunk, weights_only=True)
    entries[0]["cameras"][3, 7] = torch.nan
    torch.save(entries, chunk)
    dataset = open_dataset(tmp_path / "flawed", "train", near=0.5, far=9.0)
    return lambda **how: TrainingDataset(dataset, BoundedSampler(2, 6, 3), 32, 48, length=18, seed=4, **how)


def test_an_unusable_scene_is_an_error_unless_told_otherwise(flawed):
    training = flawed()
    reasons = {}
    for number in range(6):
        try:
            training[number]
        except DataError as error:
            reasons[number] = str(error)
    assert sorted(text.split("scene '")[1][:2] for text in reasons.values()) == ["s1", "s4"]


def test_a_replaced_scene_is_named_and_the_examples_stay_functions_of_their_numbers(flawed, caplog):
    training = flawed(unusable="replace")
    keys = [training[number].key for number in range(18)]
    assert all({"s0", "s2", "s3", "s5"} == set(keys[6 * epoch : 6 * epoch + 6]) for epoch in range(3))
    assert sorted(training.replaced) == ["s1", "s4"]
    assert "2 frames are too few" in training.replaced["s1"]
    assert "camera 3 has a NaN" in training.replaced["s4"]
    told = [record.getMessage() for record in caplog.records if "takes its place" in record.getMessage()]
    assert len(told) == 2  # once a scene, not once an epoch
    assert training.unusable_scenes() == training.replaced
    again = flawed(unusable="replace")
    assert all(same(again[number], training[number]) for number in (17, 5, 11))
    helped = [batch.key for batch in training_loader(again, 3, workers=2)]
    assert [key for batch in helped for key in batch] == keys
    whole = flawed()
    good = [number for number in range(18) if _gives(whole, number)]
    assert 0 < len(good) < 18
    assert all(same(whole[number], training[number]) for number in good)


def _gives(training: TrainingDataset, number: int) -> bool:
    try:
        training[number]
    except DataError:
        return False
    return True


def test_a_dataset_without_a_usable_scene_ends(root):
    dataset = open_dataset(root, "train", near=0.5, far=9.0)
    training = TrainingDataset(dataset, BoundedSampler(40, 50, 3), 32, 48, length=10, unusable="replace")
    with pytest.raises(DataError, match=r"none of its 5 scenes can give an example; the first: .* too few"):
        training[0]
    assert len(training.unusable_scenes()) == 5


def test_a_plain_loader_serves_evaluation_scenes(root):
    dataset = open_dataset(root, "train", near=0.5, far=9.0)
    scenes = list(DataLoader(dataset, batch_size=None, num_workers=2))
    assert [views.count for views in scenes] == [10] * 5
