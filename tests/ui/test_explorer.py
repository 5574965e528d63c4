"""The explorer without a browser: its pictures, its scores, its camera, and what hands do to it."""

import io
from dataclasses import replace

import numba
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.scenes.embedded import make_scene
from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.methods import ExactDepth, GaussianMethod, MethodOutput, render_output
from pmgs_lib.evaluation.metrics import psnr
from pmgs_lib.export.images import color_error, depth_colors, error_colors, image_to_uint8
from pmgs_lib.geometry.pose import inverse_pose, transform_points
from pmgs_lib.models.base import Prediction
from pmgs_lib.models.sized import load_for_size
from pmgs_lib.rasterizers.base import RenderingSettings
from pmgs_lib.ui.explorer import Explorer, ExplorerState, Stage, Subject, explore, render_frame
from pmgs_lib.ui.explorer.gestures import state_after
from pmgs_lib.ui.explorer.maps import ERROR_SCALE, depth_scale
from pmgs_lib.ui.explorer.subjects import as_subject, predicted_subject
from pmgs_lib.ui.explorer.viewpoint import camera_on_path, step_away
from pmgs_lib.views import Example, Views

HEIGHT, WIDTH = 48, 80
HOME = ExplorerState("room", "truth")


@pytest.fixture(scope="module")
def scene() -> Example:
    return make_scene(6, frames=20, height=HEIGHT, width=WIDTH).example([7, 13], [8, 10, 16])


@pytest.fixture(scope="module")
def outputs(scene) -> dict[str, MethodOutput]:
    exact = ExactDepth()(scene)
    faint = replace(exact.gaussians, opacities=exact.gaussians.opacities * torch.linspace(0, 1, exact.gaussians.count))
    return {"truth": exact, "faint": render_output(faint, scene.target, RenderingSettings(), "auto")}


@pytest.fixture
def stage(scene, outputs) -> Stage:
    makers = {name: (lambda _, source=output: as_subject("given", source)) for name, output in outputs.items()}
    return Stage({"room": scene}, makers, "cpu")


@pytest.fixture
def explorer(stage) -> Explorer:
    return Explorer(stage, HOME)


def pixels_of(frame) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(frame.data)))


def decibels(values):
    """The same number of the same pixels: the mean of one picture is summed in another order than that of several."""
    return pytest.approx(values, abs=1e-5, rel=0)


def set_to(name, value) -> dict:
    return {"kind": "set", "name": name, "value": value}


# ---- scores and pixels


@pytest.mark.parametrize("target", [0, 1, 2])
def test_the_score_and_the_pixels_are_those_of_the_evaluation(stage, scene, outputs, target):
    frame = render_frame(stage, replace(HOME, right="faint", split="side by side", target=target))
    assert frame.at_target
    assert frame.target == target
    for name, output in outputs.items():
        assert frame.psnr[name] == decibels(psnr(output.color, scene.target.images)[target].item())
    seen = pixels_of(frame)
    assert np.array_equal(seen[:, :WIDTH], image_to_uint8(outputs["truth"].color[target]))
    assert np.array_equal(seen[:, -WIDTH:], image_to_uint8(outputs["faint"].color[target]))


def test_a_model_is_drawn_and_scored_as_the_evaluation_does_it(scene):
    model = load_for_size("depthsplat-tiny", HEIGHT, WIDTH)
    expected = psnr(GaussianMethod(model)(scene).color, scene.target.images).tolist()
    assert explore(scene, {"tiny": model}, device="cpu").psnr("tiny") == decibels(expected)


def test_settings_of_a_model_are_kept(scene, outputs):
    settings = RenderingSettings(background=(0.2, 0.7, 0.4), near_plane_factor=0.2)
    subject = Subject(outputs["faint"].gaussians, settings)
    frame = explore(scene, gaussians={"x": subject}, device="cpu").frame()
    exact = render_output(subject.gaussians, scene.target, settings, "auto").color
    assert frame.psnr["x"] == decibels(psnr(exact, scene.target.images)[frame.target].item())
    prediction = Prediction(outputs["faint"].gaussians, None, settings)
    assert as_subject("x", prediction).settings == settings


def test_maps_use_the_colours_of_the_figures(stage, scene, outputs):
    at = replace(HOME, target=1)
    low, high = stage.scene("room").depth_range
    expected = {
        "depth": depth_colors(outputs["truth"].depth[1], low, high),
        "error": error_colors(color_error(outputs["truth"].color[1], scene.target.images[1])),
    }
    for mode, colors in expected.items():
        frame = render_frame(stage, replace(at, mode=mode))
        # float32 here, float64 there: a number on the border of two of 256 levels may fall to either side.
        different = (pixels_of(frame) != colors).any(axis=-1)
        assert different.mean() < 0.01
        assert frame.facts()["legend"]["label"]
    alpha = pixels_of(render_frame(stage, replace(at, mode="alpha", left="faint")))
    assert (alpha[..., 0] == alpha[..., 1]).all()
    assert alpha.min() < 30
    assert alpha.max() > 240


def test_scales_are_shared_and_do_not_move(stage):
    first = render_frame(stage, replace(HOME, mode="depth")).facts()["legend"]
    other = render_frame(stage, replace(HOME, mode="depth", left="faint", time=0.7, yaw_deg=9.0)).facts()["legend"]
    assert first == other
    assert ERROR_SCALE.high == 0.5
    white = depth_scale(1.0, 2.0).colors(torch.tensor([[float("nan"), 1.5]]))
    assert white[:, 0, 0].tolist() == [255] * 3
    assert white[:, 0, 1].tolist() != [255] * 3


def test_errors_are_drawn_from_the_nearest_held_out_view(stage):
    frame = render_frame(stage, replace(HOME, mode="error", time=1.0, yaw_deg=2.0))
    same = render_frame(stage, replace(HOME, mode="error", target=frame.target))
    assert frame.at_target
    assert frame.data == same.data


def test_match_probability_of_a_surface_is_that_of_its_pixels(scene):
    model = load_for_size("depthsplat-tiny", HEIGHT, WIDTH)
    subject = predicted_subject("tiny", model, scene)
    assert subject.certainty_label == "match probability"
    assert subject.certainty.shape == (2 * HEIGHT * WIDTH,)
    assert 0 < subject.certainty.min() < subject.certainty.max() <= 1
    # The Gaussians stand in the order of the pixels: each projects to its own.
    x, y = scene.context.cameras[1].project(subject.gaussians.means[HEIGHT * WIDTH :], HEIGHT, WIDTH)[0].unbind(-1)
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    assert (x - columns.flatten() - 0.5).abs().median() < 1
    assert (y - rows.flatten() - 0.5).abs().median() < 1
    stage = Stage({"room": scene}, {"tiny": lambda _: subject}, "cpu")
    seen = pixels_of(render_frame(stage, ExplorerState("room", "tiny", mode="match probability")))
    assert not (seen[..., 0] == seen[..., 1]).all()


def test_what_has_no_match_probability_says_so(stage, explorer):
    frame = render_frame(stage, replace(HOME, mode="match probability"))
    assert frame.missing == ("truth gives no match probability",)
    assert "match probability" not in explorer.controls()["modes"]


def test_confidence_serves_where_there_is_no_match_probability(scene, outputs):
    class Sure(nn.Module):
        def forward(self, context: Views) -> Prediction:
            gaussians = outputs["truth"].gaussians
            shape = (1, 2, HEIGHT, WIDTH)
            rising = torch.linspace(0, 4, gaussians.count).reshape(shape)
            batched = type(gaussians)(*(v[None] for v in vars(gaussians).values()))
            return Prediction(batched, None, RenderingSettings(), confidence=rising)

    subject = predicted_subject("sure", Sure(), scene)
    assert subject.certainty_label == "confidence"
    assert subject.certainty.max() == 1


# ---- cuts, wipe, coarse


def test_cuts_leave_out_what_they_say_and_change_the_score(stage, outputs):
    g = outputs["faint"].gaussians
    whole = render_frame(stage, replace(HOME, left="faint", target=0))
    cut = render_frame(stage, replace(HOME, left="faint", target=0, opacity_from=0.5))
    assert cut.kept["faint"] == (int((g.opacities >= 0.5).sum()), g.count)
    assert whole.kept["faint"] == (g.count, g.count)
    assert cut.psnr["faint"] != whole.psnr["faint"]
    middle = g.scales.amax(-1).median().item()
    small = render_frame(stage, replace(HOME, left="faint", scale_to=middle))
    assert small.kept["faint"][0] == int((g.scales.amax(-1) <= middle).sum())
    nothing = render_frame(stage, replace(HOME, opacity_from=1.0))
    assert nothing.kept["truth"][0] == 0
    assert not pixels_of(nothing).any()


def test_the_wipe_joins_both_at_its_seam(stage):
    left, right = (pixels_of(render_frame(stage, replace(HOME, left=name))) for name in ("truth", "faint"))
    wiped = pixels_of(render_frame(stage, replace(HOME, right="faint", wipe=0.25)))
    seam = WIDTH // 4
    assert np.array_equal(wiped[:, :seam], left[:, :seam])
    assert (wiped[:, seam] == 255).all()
    assert np.array_equal(wiped[:, seam + 1 :], right[:, seam + 1 :])
    for wipe, whole in ((0.0, right), (1.0, left)):
        assert np.array_equal(pixels_of(render_frame(stage, replace(HOME, right="faint", wipe=wipe))), whole)


def test_coarse_is_smaller_like_the_whole_and_without_a_score(stage, monkeypatch):
    monkeypatch.setattr("pmgs_lib.ui.explorer.stage.COARSE_GAUSSIANS", 2 * HEIGHT * WIDTH // 3)
    full, coarse = (render_frame(stage, HOME, coarse=coarse) for coarse in (False, True))
    assert (coarse.height, coarse.width) == (HEIGHT // 2, WIDTH // 2)
    assert (coarse.mime, full.mime) == ("image/jpeg", "image/png")
    assert coarse.psnr == {}
    assert coarse.kept == full.kept
    halved = Image.fromarray(pixels_of(full)).resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.BOX)
    difference = np.abs(np.asarray(halved, float) - pixels_of(coarse)).mean() / 255
    assert difference < 0.05


def test_a_coarse_picture_leaves_the_number_of_threads_as_it_was(stage):
    before = numba.get_num_threads(), torch.get_num_threads()
    render_frame(stage, HOME, coarse=True)
    with pytest.raises(ParameterError):
        render_frame(stage, replace(HOME, left="nobody"), coarse=True)
    assert (numba.get_num_threads(), torch.get_num_threads()) == before


# ---- the camera


def test_without_a_step_the_camera_is_its_anchor(stage, scene):
    for view in range(2):
        camera = stage.camera(replace(HOME, time=float(view)))
        assert torch.equal(camera.world_from_camera, scene.context.cameras.world_from_camera[view])
        assert torch.equal(camera.intrinsics, scene.context.cameras.intrinsics[view])
    camera = stage.camera(replace(HOME, target=2))
    assert torch.equal(camera.world_from_camera, scene.target.cameras.world_from_camera[2])


@pytest.mark.parametrize("yaw_deg", [-120.0, 0.0, 35.0])
@pytest.mark.parametrize("pitch_deg", [-60.0, 20.0])
@pytest.mark.parametrize("closer", [-0.5, 0.0, 1.0])
def test_an_orbit_keeps_its_centre_in_the_middle_and_its_distance(stage, scene, yaw_deg, pitch_deg, closer):
    anchor, focus = scene.context.cameras[0].to(torch.float64), 3.0
    moved = step_away(anchor, focus, replace(HOME, yaw_deg=yaw_deg, pitch_deg=pitch_deg, closer=closer))
    centre = transform_points(anchor.world_from_camera, torch.tensor([[0.0, 0.0, focus]], dtype=torch.float64))
    seen = transform_points(inverse_pose(moved.world_from_camera), centre)[0]
    expected = torch.tensor([0.0, 0.0, focus * np.exp(-closer)], dtype=torch.float64)
    torch.testing.assert_close(seen, expected, atol=1e-6, rtol=0)
    moved[None].validate("orbit")
    # The horizon does not tilt: the camera's x axis stays square to the anchor's vertical.
    assert abs(moved.world_from_camera[:3, 0] @ anchor.world_from_camera[:3, 1]) < 1e-6


def test_hands_move_the_scene_their_way(stage):
    anchor = stage.camera(HOME)

    def place(change):
        camera = stage.camera(state_after(stage, HOME, change))
        return transform_points(anchor.camera_from_world, camera.centers[None])[0]

    right_up = place({"kind": "orbit", "dx": -0.1, "dy": 0.1})
    assert right_up[0] > 0  # dragged to the left, the scene turns and we look from the right
    assert right_up[1] < 0  # dragged down, we look from above
    panned = place({"kind": "pan", "dx": -0.1, "dy": 0.1})
    assert panned[0] > 0
    assert panned[1] < 0
    assert abs(panned[2]) < 1e-5
    assert place({"kind": "dolly", "dz": 0.3})[2] > 0


def test_a_pan_keeps_what_is_in_focus_under_the_hand(stage):
    share = 0.1
    state = state_after(stage, HOME, {"kind": "pan", "dx": share, "dy": 0.0})
    focus = stage.scene("room").focus
    centre = transform_points(stage.camera(HOME).world_from_camera, torch.tensor([[0.0, 0.0, focus]]))
    before, after = (stage.camera(s).project(centre, HEIGHT, WIDTH)[0][0, 0].item() for s in (HOME, state))
    assert after - before == pytest.approx(share * WIDTH, abs=0.01)


def test_the_path_runs_through_all_inputs_and_stops_at_its_ends():
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 0, 3] = torch.tensor([0.0, 1.0, 4.0])
    cameras = Cameras(poses, torch.eye(3).repeat(3, 1, 1))
    for time, expected in ((0.0, 0.0), (1.0, 1.0), (2.0, 4.0), (-3.0, 0.0), (9.0, 4.0)):
        assert camera_on_path(cameras, time).centers[0] == expected
    assert 1 < camera_on_path(cameras, 1.5).centers[0] < 4


# ---- changes


def test_changes_stay_within_their_limits(stage):
    state = state_after(stage, HOME, {"kind": "orbit", "dx": 0.0, "dy": 9.0})
    assert state.pitch_deg == 85.0
    assert -180 <= state_after(stage, HOME, {"kind": "orbit", "dx": 7.3, "dy": 0}).yaw_deg < 180
    assert state_after(stage, HOME, set_to("time", 5.0)).time == 1.0
    assert state_after(stage, HOME, set_to("wipe", -1)).wipe == 0.0
    moved = replace(HOME, yaw_deg=4.0, closer=0.2)
    assert state_after(stage, moved, {"kind": "home"}) == HOME
    snapped = state_after(stage, moved, {"kind": "snap"})
    assert snapped.at_anchor
    following = state_after(stage, snapped, {"kind": "snap", "step": 1})
    assert following.target == (snapped.target + 1) % 3
    assert state_after(stage, following, set_to("time", 0.5)).target is None


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"kind": "jump"}, "jump"),
        ({}, "None"),
        (set_to("mode", "heat"), "heat"),
        (set_to("left", "nobody"), "nobody"),
        (set_to("scene", "nowhere"), "nowhere"),
        (set_to("colour", 1), "colour"),
        (set_to("yaw_deg", "far"), "far"),
        (set_to("opacity_from", float("nan")), "nan"),
        (set_to("target", 3), "target"),
        ({"kind": "orbit", "dx": None, "dy": 0}, "dx"),
    ],
)
def test_changes_that_make_no_sense_are_refused_by_name(stage, change, word):
    with pytest.raises(ParameterError, match=word):
        state_after(stage, HOME, change)
