"""A report says what is in a scene, in numbers one can check by hand, and warns of what would waste hours."""

import math

import pytest
import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.data import ChunkScene, inspect_scene
from pmgs_lib.data.folders import add_scene


@pytest.fixture
def report_of(tmp_path, plane_scene):
    """The report of a plane scene whose cameras a function has changed."""

    def make(change=lambda poses, intrinsics: None, **options):
        scene = plane_scene("s", **options)
        poses, intrinsics = scene.cameras.world_from_camera.clone(), scene.cameras.intrinsics.clone()
        change(poses, intrinsics)
        changed = ChunkScene("s", Cameras(poses, intrinsics), scene.images, scene.timestamps, "", scene.depth)
        add_scene(tmp_path, "train", changed, overwrite=True)
        return inspect_scene(tmp_path, "s")

    return make


def test_a_report_tells_the_truth(report_of, plane_scene):
    report = report_of()
    depth = plane_scene("s").depth
    assert (report.key, report.split, report.frames, report.height, report.width) == ("s", "train", 10, 48, 64)
    assert report.horizontal_fov_deg == pytest.approx(2 * math.degrees(math.atan(0.5 / 0.9)), abs=1e-3)
    assert report.vertical_fov_deg == pytest.approx(2 * math.degrees(math.atan(0.5 / (0.9 * 64 / 48))), abs=1e-3)
    assert report.step == pytest.approx(0.15, abs=1e-5)
    assert report.span == pytest.approx(1.35, abs=1e-5)
    assert report.turn_deg == pytest.approx(math.degrees(0.12), abs=1e-3)
    assert (report.near, report.far) == (depth.min().item(), depth.max().item())
    assert report.warnings == ()


def test_a_report_reads_as_text(report_of):
    text = str(report_of(depth=False))
    assert "scene s (train): 10 frames of 48x64 (height x width)" in text
    assert "exact depth    not stored" in text
    assert "warning" not in text
    assert "warning: only 4 frames" in str(report_of(frames=4))


def wide(poses, intrinsics):
    intrinsics[:, 0, 0] = 0.4


def off_center(poses, intrinsics):
    intrinsics[3, 1, 2] = 0.55


def far_away(poses, intrinsics):
    poses[:, 2, 3] -= 5000


def standing_still(poses, intrinsics):
    poses[4] = poses[3]


def out_of_order(poses, intrinsics):
    poses[5, 0, 3] += 30


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (wide, "10 frames see more than 100 degrees"),
        (off_center, "principal point 5.0% of the picture off its middle"),
        (far_away, "a camera is more than 1000 units from the origin"),
        (standing_still, "1 frames stand where the one before stood"),
        (out_of_order, "2 steps are over 10 times the median one"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_oddity_has_its_warning_and_no_other(report_of, change, warning):
    (found,) = report_of(change).warnings
    assert found.startswith(warning)


def test_a_single_frame_can_be_looked_at(report_of):
    report = report_of(frames=1)
    assert (report.step, report.span, report.frames) == (0.0, 0.0, 1)
    assert torch.isfinite(torch.tensor(report.turn_deg))
