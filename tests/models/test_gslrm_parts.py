"""Parts of GS-LRM against slow twins and laws: patches, inputs of a pixel, frames of a scene, norms."""

import math

import pytest
import torch
from gslrm_views import SMALL, context, lively, with_poses

from pmgs_lib.cameras import Cameras
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.models.gslrm.pose_normalisation import (
    FRAMES,
    mean_camera,
    unit_box_frame,
    unofficial_frame,
)
from pmgs_lib.models.gslrm.rays import baseline_range, from_patches, pixel_inputs, to_patches, unit_rays


def test_patches_are_ordered_by_view_row_column_and_pixels_in_them_likewise(rng):
    pixels = torch.randn(2, 3, 8, 12, 5, generator=rng)
    patches = to_patches(pixels, 4)
    slow = [
        pixels[:, view, row : row + 4, column : column + 4].reshape(2, -1)
        for view in range(3)
        for row in range(0, 8, 4)
        for column in range(0, 12, 4)
    ]
    assert torch.equal(patches, torch.stack(slow, dim=1))
    assert torch.equal(from_patches(patches, 4, 3, 8, 12), pixels)


@pytest.mark.parametrize("inputs", ["paper", "unofficial"])
def test_what_is_told_about_a_pixel(inputs):
    views = context(views=3)
    origins, directions = unit_rays(views.cameras, views.height, views.width)
    found = pixel_inputs(views.images, origins, directions, inputs)[0, 2, 5, 7]
    color, origin, direction = views.images[0, 2, :, 5, 7], origins[0, 2], directions[0, 2, 5, 7]
    assert direction.norm().item() == pytest.approx(1)
    moment = torch.linalg.cross(origin, direction)
    parts = [color, origin, moment] if inputs == "paper" else [2 * color - 1, moment, direction]
    assert torch.equal(found, torch.cat(parts))
    # A moment is that of the line: any other point of it has the same.
    torch.testing.assert_close(torch.linalg.cross(origin + 3 * direction, direction), moment, atol=1e-5, rtol=0)


@pytest.mark.parametrize("views", [2, 3, 6])
def test_the_unit_box_holds_all_cameras_around_their_mean(views):
    cameras = context(batch=2, views=views).to(torch.float64).cameras
    frame = unit_box_frame(cameras)
    inside = frame.cameras_inside(cameras)
    torch.testing.assert_close(inside.centers.abs().amax((1, 2)), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(inside.centers.mean(1), torch.zeros(2, 3, dtype=torch.float64))
    identity = torch.eye(4, dtype=torch.float64).expand(2, 4, 4)
    torch.testing.assert_close(mean_camera(inside.world_from_camera), identity)
    assert torch.equal(inside.intrinsics, cameras.intrinsics)


def test_mean_camera_of_one_camera_is_that_camera():
    pose = context(views=1).cameras.world_from_camera
    torch.testing.assert_close(mean_camera(pose), pose[:, 0], atol=1e-6, rtol=0)


def around(degrees: list[float]) -> Cameras:
    """Cameras on a circle, each looking inwards."""
    poses = []
    for angle in map(math.radians, degrees):
        cosine, sine = math.cos(angle), math.sin(angle)
        rows = [[cosine, 0, sine, -sine], [0, 1, 0, 0], [-sine, 0, cosine, -cosine], [0, 0, 0, 1]]
        poses.append(torch.tensor(rows, dtype=torch.float32))
    return Cameras(torch.stack(poses)[None], torch.eye(3).expand(1, len(degrees), 3, 3))


@pytest.mark.parametrize("degrees", [[30, 210], [0, 90, 180, 270]])
def test_cameras_that_look_all_around_have_the_first_ones_orientation(degrees):
    cameras = around(degrees)
    frame = unit_box_frame(cameras)
    torch.testing.assert_close(frame.world_from_frame[:, :3, :3], cameras.world_from_camera[:, 0, :3, :3])
    assert frame.scale.isfinite().all()
    views = context(views=len(degrees))
    assert lively().eval()(with_poses(views, cameras.world_from_camera)).depth.isfinite().all()


def test_only_nearly_opposite_cameras_still_have_a_mean():
    frame = unit_box_frame(around([0, 178]))
    z = frame.world_from_frame[0, :3, 2]
    torch.testing.assert_close(z, torch.tensor([1.0, 0, 0.0]), atol=0.02, rtol=0)


@pytest.mark.parametrize("kind", FRAMES)
def test_gaussians_come_back_as_one_scene_after_the_other_would(kind, rng):
    cameras = context(batch=3, views=2).cameras
    frame = FRAMES[kind](cameras)
    assert torch.equal(frame.scale, torch.ones(3)) == (kind == "none")
    scales = torch.rand(3, 7, 3, generator=rng)
    shapes = {"means": (3, 7, 3), "quaternions": (3, 7, 4), "opacities": (3, 7), "harmonics": (3, 7, 9, 3)}
    inside = Gaussians(scales=scales, **{name: torch.randn(s, generator=rng) for name, s in shapes.items()})
    found = frame.gaussians_in_world(inside)
    for number in range(3):
        own, scale = inside[number], frame.scale[number]
        shrunk = Gaussians(own.means / scale, own.scales / scale, own.quaternions, own.opacities, own.harmonics)
        expected = shrunk.transformed(frame.world_from_frame[number])
        for name, value in vars(expected).items():
            torch.testing.assert_close(vars(found)[name][number], value, atol=1e-5, rtol=1e-4)


def test_cameras_inside_see_the_points_inside(rng):
    cameras = context(batch=2, views=3).to(torch.float64).cameras
    frame = unofficial_frame(cameras)
    points = torch.randn(2, 5, 3, generator=rng, dtype=torch.float64)
    scaled = (points - frame.world_from_frame[:, None, :3, 3]) @ frame.world_from_frame[:, :3, :3]
    inside = frame.cameras_inside(cameras)
    for view in range(3):
        pixels, depth = cameras[:, view].project(points, 20, 30)
        pixels_inside, depth_inside = inside[:, view].project(scaled * frame.scale[:, None, None], 20, 30)
        torch.testing.assert_close(pixels_inside, pixels)
        torch.testing.assert_close(depth_inside, depth * frame.scale[:, None])


def test_range_of_the_baseline_does_not_collapse():
    """The unofficial code's smallest baseline; the model refuses such views, see `test_unusable_views_are_refused`."""
    cameras = context(views=2).cameras
    poses = cameras.world_from_camera.clone()
    poses[:, 1] = poses[:, 0]
    nearest, farthest = baseline_range(Cameras(poses, cameras.intrinsics), 64, 64)
    assert (nearest > 0).all()
    torch.testing.assert_close(farthest / nearest, torch.tensor([6.0 * 64]))


@torch.no_grad()
def test_normalised_queries_do_not_feel_the_length_of_what_makes_them():
    for normed in (False, True):
        model, views = lively(normalise_queries=normed).eval(), context()
        before = model(views).depth
        for block in model.attn_processor.blocks:
            block.attn.qkv.weight[: 2 * SMALL.width] *= 5
        assert torch.allclose(model(views).depth, before, rtol=1e-3) == normed


def test_norms_add_their_weights_and_nothing_else():
    plain, normed = lively().state_dict(), lively(normalise_tokens=True, normalise_queries=True).state_dict()
    added = {"tokenizer.1.weight"} | {
        f"attn_processor.blocks.{block}.attn.norms.{norm}.weight" for block in range(2) for norm in range(2)
    }
    assert normed.keys() - plain.keys() == added
    assert plain.keys() <= normed.keys()
