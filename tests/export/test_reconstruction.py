"""One scene through a model, and pictures along a path whose length does not decide the memory."""

from dataclasses import fields

import pytest
import torch
from torch.testing import assert_close

from pmgs_lib.errors import ParameterError
from pmgs_lib.export import reconstruction
from pmgs_lib.export.reconstruction import camera_path, reconstruct, render_path
from pmgs_lib.geometry.trajectories import stabilize_poses
from pmgs_lib.rasterizers import RenderingSettings, render_with_settings
from pmgs_lib.rasterizers.base import Rendering
from pmgs_lib.views import Views

SIZE = (24, 32)


def test_a_scene_with_and_without_a_batch_axis_is_the_same(model, views):
    context = views([0.0, 0.5])
    plain, batched = (reconstruct(model(), given) for given in (context, Views.stack([context])))
    for made in (plain, batched):
        assert made.context.batch_shape == made.gaussians.batch_shape == ()
        assert made.model == "PlaneModel"
        assert made.device == "cpu"
        assert made.seconds > 0
    assert_close(plain.gaussians.means, batched.gaussians.means, rtol=0, atol=0)
    assert_close(plain.depth, context.depth, rtol=0, atol=0)  # without dropout: in evaluation mode


def test_the_model_comes_back_in_its_mode_and_nothing_holds_a_gradient(model, views):
    network = model()
    network.dropout.eval()
    made = reconstruct(network, views([0.0, 0.5]))
    assert (network.training, network.dropout.training) == (True, False)
    assert not made.depth.requires_grad


def test_several_scenes_are_refused(model, views):
    with pytest.raises(ParameterError, match=r"a batch of \(2,\) scenes, expected one"):
        reconstruct(model(), Views.stack([views([0.0, 0.5])] * 2))


def path_of(made, frames=7):
    return camera_path("interpolate", made, frames=frames)


def whole(renderings) -> Rendering:
    parts = list(renderings)
    return Rendering(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Rendering)))


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_chunked_rendering_equals_rendering_at_once(chunk, backend, made):
    cameras = path_of(made)
    at_once = render_with_settings(made.gaussians, cameras, *SIZE, made.settings, near=1.0, backend=backend)
    chunked = whole(render_path(made, cameras, *SIZE, chunk=chunk, backend=backend))
    for field in fields(Rendering):
        assert torch.equal(getattr(chunked, field.name), getattr(at_once, field.name)), field.name
    assert chunked.color.std() > 0.05


def test_only_one_chunk_is_drawn_before_it_is_asked_for(made, monkeypatch):
    drawn = []

    def counted(gaussians, cameras, *arguments, **options):
        drawn.append(len(cameras.world_from_camera))
        return render_with_settings(gaussians, cameras, *arguments, **options)

    monkeypatch.setattr(reconstruction, "render_with_settings", counted)
    pictures = render_path(made, path_of(made, 8), *SIZE, chunk=3)
    assert drawn == []
    next(pictures)
    assert drawn == [3]
    assert [len(part.color) for part in pictures] == [3, 2]
    assert drawn == [3, 3, 2]


def test_rendering_follows_the_settings_of_the_model(model, views):
    settings = RenderingSettings(near_plane_factor=4.5, background=(0.2, 0.4, 0.6))
    made = reconstruct(model(settings), views([0.0, 0.5]))
    (picture,) = render_path(made, made.context.cameras, *SIZE)
    # near is 1, so everything at z = 4 lies before the near plane of 4.5.
    assert_close(picture.color[0], torch.tensor([0.2, 0.4, 0.6])[:, None, None].expand(3, *SIZE))
    assert picture.alpha.max() == 0


def test_rendering_keeps_no_gradient_and_leaves_the_callers_alone(made):
    for part in render_path(made, path_of(made), *SIZE, chunk=4):
        assert torch.is_grad_enabled()
        assert not part.color.requires_grad


def test_what_is_no_path_is_refused_at_once(made, depth_only):
    with pytest.raises(ParameterError, match="plane predicts depth only"):
        render_path(depth_only, path_of(depth_only), *SIZE)
    with pytest.raises(ParameterError, match="0 at a time"):
        render_path(made, path_of(made), *SIZE, chunk=0)
    with pytest.raises(ParameterError, match=r"cameras of shape \(\)"):
        render_path(made, made.context.cameras[0], *SIZE)


def test_the_interpolated_path_passes_the_context_cameras(made):
    cameras = camera_path("interpolate", made, frames=5)
    assert_close(cameras.world_from_camera[::2], made.context.cameras.world_from_camera)
    assert_close(cameras.intrinsics[::2], made.context.cameras.intrinsics)


@pytest.mark.parametrize("kind", ["wobble", "spin"])
def test_paths_around_the_middle_start_there_and_look_at_the_surface(kind, made):
    cameras = camera_path(kind, made, frames=6)
    middle = made.context.cameras[1]
    assert_close(cameras.world_from_camera[0], middle.world_from_camera)
    assert_close(cameras.intrinsics, middle.intrinsics.expand(6, 3, 3))
    surface = middle.centers + 4.0 * middle.world_from_camera[:3, 2]
    pixels, depth = cameras.project(surface.expand(6, 1, 3), *SIZE)
    assert_close(pixels, torch.tensor([16.0, 12.0]).expand(6, 1, 2), atol=1e-4, rtol=0)
    assert bool((depth > 0).all())


def test_the_wobble_is_a_quarter_of_the_span_wide(made):
    path = camera_path("wobble", made, frames=4).centers
    assert (path - path[0]).norm(dim=-1).max().item() == pytest.approx(0.25, rel=1e-5)


def test_target_paths_are_the_targets_and_their_steady_version(made, views):
    target = views([0.0, 0.1, 0.3, 0.35, 0.6]).cameras
    assert camera_path("target", made, target) is target
    steady = camera_path("stabilized", made, target, window=3)
    assert_close(steady.world_from_camera, stabilize_poses(target.world_from_camera, 3))
    assert_close(steady.intrinsics, target.intrinsics)
    with pytest.raises(ParameterError, match="a stabilized path needs target cameras"):
        camera_path("stabilized", made)
    with pytest.raises(ParameterError, match="0 frames"):
        camera_path("wobble", made, frames=0)


def test_without_a_depth_the_paths_look_into_the_middle_of_the_range(model, views):
    made = reconstruct(model(depth=False), views([0.0, 1.0]))
    cameras = camera_path("spin", made, frames=2)
    # Middle of 1 and 10 in inverse depth: 2 / 1.1, so the opposite camera is twice that far.
    assert (cameras.centers[1] - cameras.centers[0]).norm().item() == pytest.approx(4 / 1.1, rel=1e-5)
