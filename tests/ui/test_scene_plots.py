"""Epipolar lines by the definition they stand for, and figures that hold what the doctor found."""

import pytest
import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.inspection.base import Finding
from pmgs_lib.data.inspection.diagnosis import Diagnosis
from pmgs_lib.data.inspection.readings import OURS, MatchedPair, Reading
from pmgs_lib.data.inspection.scene import SceneReport
from pmgs_lib.errors import ParameterError
from pmgs_lib.geometry.pose import quaternion_to_matrix
from pmgs_lib.ui import plot_epipolar_lines, plot_readings, plot_walk, style
from pmgs_lib.ui.scene_plots import epipolar_lines

HEIGHT, WIDTH = 60, 90


@pytest.fixture
def two(rng):
    """Two cameras, and points before both."""
    poses = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    small = torch.cat([torch.ones(2, 1), 0.1 * torch.randn(2, 3, generator=rng)], dim=-1).double()
    poses[:, :3, :3] = quaternion_to_matrix(small)
    poses[1, :3, 3] = torch.tensor([0.4, 0.1, 0.2])
    k = torch.tensor([[0.9, 0, 0.5], [0, 1.35, 0.48], [0, 0, 1]], dtype=torch.float64).expand(2, 3, 3)
    points = torch.rand(30, 3, generator=rng).double() * torch.tensor([1.0, 1.0, 3.0]) + torch.tensor([-0.5, -0.5, 3.0])
    return Cameras(poses, k), points


def test_a_point_lies_on_the_line_of_its_ray(two):
    cameras, points = two
    pixels, _ = cameras.project(points[None], HEIGHT, WIDTH)
    lines = epipolar_lines(cameras, pixels[0], HEIGHT, WIDTH)
    torch.testing.assert_close(lines[:, :2].norm(dim=-1), torch.ones(30, dtype=torch.float64))
    distance = (lines[:, :2] * pixels[1]).sum(dim=-1) + lines[:, 2]
    assert distance.abs().max() < 1e-9
    beside = pixels[1] + 5 * lines[:, :2]  # a step of 5 pixels across the line
    assert ((lines[:, :2] * beside).sum(dim=-1) + lines[:, 2] - 5).abs().max() < 1e-9


@pytest.fixture
def diagnosis(two):
    cameras, points = two
    pixels, _ = cameras.project(points[None], HEIGHT, WIDTH)
    shares = {OURS: 0.9, Reading("camera-from-world", "OpenGL", "shares"): 0.1}
    return Diagnosis((), shares, OURS, (MatchedPair(0, 1, pixels),), (HEIGHT, WIDTH), cameras)


def test_the_pair_is_drawn_with_its_lines_and_says_how_far_off_they_are(diagnosis):
    images = [torch.zeros(2 * HEIGHT, 2 * WIDTH, 3, dtype=torch.uint8) for _ in range(2)]
    figure = plot_epipolar_lines(images, diagnosis)
    left, right = figure.axes
    assert "frame 0: 8 of 30 matched" in left.get_title("left")
    assert "off their lines by 0.00 px" in right.get_title("left")
    assert len(right.lines) == 16
    swapped = diagnosis.cameras[[1, 0]]
    assert "by 0.00" not in plot_epipolar_lines(images, diagnosis, cameras=swapped).axes[1].get_title("left")


def test_readings_are_bars_and_the_right_one_stands_out(diagnosis):
    (panel,) = plot_readings(diagnosis).axes
    assert [round(bar.get_width()) for bar in panel.patches] == [90, 10]
    assert [text.get_text() for text in panel.texts] == ["90 %", "10 %"]
    assert panel.patches[0].get_facecolor() != panel.patches[1].get_facecolor()


def test_nothing_to_draw_is_said(diagnosis):
    empty = Diagnosis((), {}, None, (), (HEIGHT, WIDTH), None)
    with pytest.raises(ParameterError, match="no cameras or no matched pairs"):
        plot_epipolar_lines([], empty)
    with pytest.raises(ParameterError, match="compared no readings"):
        plot_readings(empty)


def test_a_walk_shows_every_camera_and_marks_blurred_frames(two):
    cameras = two[0][[0, 1, 0]]
    facts = dict.fromkeys(["height", "width", "horizontal_fov_deg", "vertical_fov_deg", "step", "span", "turn_deg"], 1)
    report = SceneReport(
        key="a",
        split="test",
        frames=3,
        near=None,
        far=None,
        findings=(Finding("blurred", "frame 1 blurred", (1,)),),
        off_center=0.0,
        sharpness=(1.0, 0.1, 1.0),
        depth_range=None,
        depth_seen=None,
        depth_source="",
        **{name: float(value) if name not in ("height", "width") else value for name, value in facts.items()},
    )
    walk, sharp = plot_walk(cameras, report).axes
    assert len(walk.lines[0].get_xdata()) == 3
    assert [bar.get_height() for bar in sharp.patches] == [1.0, 0.1, 1.0]
    colors = [bar.get_facecolor() for bar in sharp.patches]
    assert colors[0] == colors[2] != colors[1]
    assert style.CYCLE[1] != style.CYCLE[0]
