"""The doctor names what is wrong with a scene, exactly that and nothing else, by what the pictures show."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from pmgs_lib.data import make_scene
from pmgs_lib.data.chunks import ChunkScene, decode_image, encode_jpeg
from pmgs_lib.data.folders import add_scene
from pmgs_lib.data.inspection import (
    Requirements,
    check_pictures,
    diagnose_cameras,
    inspect_scene,
    judge,
    matched_pairs,
)
from pmgs_lib.data.inspection.numbers import check_cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.geometry.pose import inverse_pose, opengl_from_opencv

HEIGHT, WIDTH, FRAMES = 144, 240, 14
SHUFFLE = [8, 3, 12, 0, 6, 10, 1, 13, 5, 2, 9, 4, 11, 7]


class Sound:
    """A sound scene: cameras, pictures, and the matches between them."""

    def __init__(self, seed: int) -> None:
        scene = make_scene(seed, frames=FRAMES, height=HEIGHT, width=WIDTH)
        self.scene, self.cameras, self.images = scene, scene.cameras, list(scene.images)
        self.poses, self.intrinsics = scene.cameras.world_from_camera.double(), scene.cameras.intrinsics.double()
        self.pairs = matched_pairs(self.images)

    def checks(self, poses=None, intrinsics=None) -> set[str]:
        poses = self.poses if poses is None else poses
        intrinsics = self.intrinsics if intrinsics is None else intrinsics
        return {f.check for f in diagnose_cameras(poses, intrinsics, self.images, pairs=self.pairs).findings}


@pytest.fixture(scope="module")
def sound():
    return Sound(7)


def in_pixels(k, factor):
    return k * k.new_tensor([WIDTH * factor, HEIGHT * factor, 1.0])[:, None]


def test_a_sound_scene_has_nothing_wrong(sound):
    diagnosis = diagnose_cameras(sound.poses, sound.intrinsics, sound.images, pairs=sound.pairs)
    assert diagnosis.findings == ()
    assert diagnosis.shares[diagnosis.reading] > 0.7
    assert diagnosis.residual_px < 0.5
    assert diagnosis.parallax_deg > 0.3
    torch.testing.assert_close(diagnosis.cameras.world_from_camera, sound.poses, atol=1e-6, rtol=0)
    assert check_pictures(sound.images) == []
    assert check_cameras(sound.cameras) == []


@pytest.mark.prove
@pytest.mark.parametrize("seed", [4, 12, 15, 30001, 30002])
def test_other_scenes_are_told_apart_as_well(seed):
    other = Sound(seed)
    assert other.checks() == set()
    for name, change in BREAKS.items():
        (found,) = other.checks(*change(other.poses, other.intrinsics))
        assert name.startswith(found)


FLIPS = {"x": (-1.0, 1.0, 1.0, 1.0), "y": (1.0, -1.0, 1.0, 1.0), "z": (1.0, 1.0, -1.0, 1.0)}
BREAKS = {
    "camera-from-world": lambda p, k: (inverse_pose(p), k),
    "OpenGL axes": lambda p, k: (opengl_from_opencv(p), k),
    "pixel intrinsics": lambda p, k: (p, in_pixels(k, 1)),
    "pixel intrinsics of the original picture": lambda p, k: (p, in_pixels(k, 4)),
    "mirrored in x": lambda p, k: (p * p.new_tensor(FLIPS["x"]), k),
    "mirrored in y": lambda p, k: (p * p.new_tensor(FLIPS["y"]), k),
    "mirrored in z": lambda p, k: (p * p.new_tensor(FLIPS["z"]), k),
    "mirrored world": lambda p, k: (p.new_tensor(FLIPS["z"])[:, None] * p, k),
    "scaled rotation": lambda p, k: (p * p.new_tensor([1.7, 1.7, 1.7, 1.0]), k),
}


@pytest.mark.parametrize("name", BREAKS)
def test_numbers_that_mean_something_else_are_named_and_read_rightly(sound, name):
    poses, intrinsics = BREAKS[name](sound.poses, sound.intrinsics)
    diagnosis = diagnose_cameras(poses, intrinsics, sound.images, pairs=sound.pairs)
    (finding,) = diagnosis.findings
    assert name.startswith(finding.check)
    assert finding.unsound
    if "mirrored world" not in name:  # which of the two worlds is real, no picture tells
        torch.testing.assert_close(diagnosis.cameras.world_from_camera, sound.poses, atol=1e-6, rtol=0)
        torch.testing.assert_close(diagnosis.cameras.intrinsics, sound.intrinsics, atol=1e-6, rtol=0)


def test_several_faults_at_once_are_all_named(sound):
    poses = inverse_pose(opengl_from_opencv(sound.poses)) * torch.tensor([0.5, 0.5, 0.5, 1.0])
    found = sound.checks(poses, in_pixels(sound.intrinsics, 1))
    assert found == {"camera-from-world", "OpenGL axes", "pixel intrinsics", "scaled rotation"}


def test_matrices_that_are_no_poses_are_named_with_their_frames(sound):
    poses = sound.poses.clone()
    poses[3, 0, 3], poses[5, 1, 1] = torch.nan, torch.inf
    (finding,) = diagnose_cameras(poses, sound.intrinsics, sound.images, pairs=sound.pairs).findings
    assert (finding.check, finding.frames) == ("not finite", (3, 5))
    poses = sound.poses.clone()
    poses[4, :3, 0] += 0.2 * poses[4, :3, 1]
    (finding,) = diagnose_cameras(poses, sound.intrinsics, sound.images, pairs=sound.pairs).findings
    assert (finding.check, finding.frames) == ("not a rotation", (4,))


def test_pictures_beside_the_poses_of_others_are_mixed_up(sound):
    images = [sound.images[frame] for frame in SHUFFLE]
    (finding,) = diagnose_cameras(sound.poses, sound.intrinsics, images).findings
    assert finding.check == "frames mixed up"


def test_frames_out_of_order_with_their_own_poses_are_only_that(sound):
    images = [sound.images[frame] for frame in SHUFFLE]
    assert diagnose_cameras(sound.poses[SHUFFLE], sound.intrinsics, images).findings == ()
    assert [finding.check for finding in check_cameras(sound.cameras[SHUFFLE])] == ["out of order"]


def test_poses_of_another_scene_do_not_fit(sound, rng):
    """Random rotations about random places: no reading and no other frame explains the matches."""
    axes = torch.linalg.qr(torch.randn(FRAMES, 3, 3, generator=rng, dtype=torch.float64)).Q
    axes = axes * torch.linalg.det(axes)[:, None, None]
    poses = sound.poses.clone()
    poses[:, :3, :3], poses[:, :3, 3] = axes, torch.randn(FRAMES, 3, generator=rng, dtype=torch.float64)
    assert sound.checks(poses) == {"poses do not fit"}


def blurred(image, radius=1.2):
    return torch.from_numpy(np.array(Image.fromarray(image.numpy()).filter(ImageFilter.GaussianBlur(radius))))


def test_blurred_frames_and_duplicates_are_found_and_nothing_else(sound):
    images = list(sound.images)
    images[5] = blurred(images[5])
    (finding,) = check_pictures(images)
    assert (finding.check, finding.frames) == ("blurred", (5,))
    images = list(sound.images)
    images[9] = decode_image(encode_jpeg(images[8], 80))  # the same picture, saved again
    (finding,) = check_pictures(images)
    assert (finding.check, finding.frames) == ("duplicate", (9,))


def test_a_sideways_camera_gets_the_benefit_of_the_doubt(plane_world):
    """Moving along x without turning, OpenCV and OpenGL poses say the same: the library's own reading is taken."""
    moving_cameras, photograph = plane_world
    cameras = moving_cameras(9, 96, 160)
    straight = cameras.world_from_camera.double().clone()
    straight[:, :3, :3] = torch.eye(3)
    cameras = type(cameras)(straight.float(), cameras.intrinsics)
    images = list(photograph(cameras, 96, 160, cells=120)[0])
    diagnosis = diagnose_cameras(straight, cameras.intrinsics, images)
    assert diagnosis.findings == ()
    assert len([share for share in diagnosis.shares.values() if share > 0.9]) >= 2


def test_pictures_without_texture_tell_nothing():
    images = [torch.full((48, 64, 3), 90 + n, dtype=torch.uint8) for n in range(4)]
    poses, intrinsics = torch.eye(4).repeat(4, 1, 1), torch.tensor([[0.9, 0, 0.5], [0, 1.2, 0.5], [0, 0, 1]])
    diagnosis = diagnose_cameras(poses, intrinsics.repeat(4, 1, 1), images)
    assert (diagnosis.findings, diagnosis.reading) == ((), None)
    assert "do not tell" in str(diagnosis)
    with pytest.raises(ParameterError, match="4 pictures"):
        diagnose_cameras(poses[:3], intrinsics.repeat(3, 1, 1), images)


# --- a whole scene, and whom it is fit for ---

TINY = Requirements("tiny", multiple=16, height=128, width=224, fewest_views=2, near=0.5, far=40.0)


@pytest.fixture(scope="module")
def stored(sound, tmp_path_factory):
    """The report of the scene as it is stored, without its exact depth."""
    root = tmp_path_factory.mktemp("stored")
    encoded = [encode_jpeg(image) for image in sound.images]
    add_scene(root, "test", ChunkScene("walk", sound.cameras, encoded, torch.arange(FRAMES)))
    return inspect_scene(root, "walk", matching=True)


def test_a_sound_scene_is_fit_and_its_depth_is_estimated_and_explained(sound, stored):
    assert stored.findings == ()
    near, far = stored.depth_range
    low, high = (sound.scene.depth[:, ::4, ::4].quantile(q).item() for q in (0.02, 0.9))
    assert low / 4 < near < low * 1.5
    assert high < far < 6 * high
    assert "matched points" in stored.depth_source
    assert "explains" in str(stored)
    fitness = judge(stored, TINY)
    assert fitness.fit, str(fitness)
    assert str(fitness).startswith("fit for tiny")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fewest_views": 14}, "needs 14 context views"),
        ({"max_fov_deg": 40.0}, "it takes up to 40"),
        ({"near": 20.0, "far": 900.0}, "multiply positions by about"),
        ({"multiple": 256}, "smaller than its multiple of 256"),
    ],
)
def test_what_a_model_asks_for_and_a_scene_lacks_is_said(stored, change, reason):
    from dataclasses import replace

    fitness = judge(stored, replace(TINY, **change))
    assert not fitness.fit
    (problem,) = fitness.problems
    assert reason in problem


def test_an_unsound_scene_is_fit_for_nothing(sound, tmp_path):
    encoded = [encode_jpeg(image) for image in sound.images]
    cameras = type(sound.cameras)(inverse_pose(sound.cameras.world_from_camera), sound.cameras.intrinsics)
    add_scene(tmp_path, "test", ChunkScene("walk", cameras, encoded, torch.arange(FRAMES)))
    report = inspect_scene(tmp_path, "walk", matching=True)
    assert "camera-from-world" in {finding.check for finding in report.findings}
    fitness = judge(report, TINY)
    assert not fitness.fit
    assert "invert them" in str(fitness)
