"""The recorded runs of the unofficial GS-LRM are the judge: every stage, gradients, poses, ranges, names and shapes."""

import json

import numpy as np
import pytest
import torch
from gslrm_parity import LARGEST, OUTPUTS, SIZES, Case, functional_weights, recorded_model, recorded_stages
from mvsplat_parity import read_manifest

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.crops import cropped
from pmgs_lib.data.sampling.schedule import GapRange
from pmgs_lib.models import build_model, named_config
from pmgs_lib.models.gslrm.pose_normalisation import mean_camera, unofficial_frame
from pmgs_lib.models.gslrm.rays import baseline_range
from pmgs_lib.views import Views

# How many stages are recorded in each case.
STAGES_OF = {"small_sh1": 13, "patch_crop": 8, "full_width_L3": 8}


def first_beyond(excess: dict[str, float]) -> str | None:
    return next((name for name, value in excess.items() if not value <= 1), None)


@torch.no_grad()
def assert_equals_recording(case: Case, name: str) -> None:
    excess = case.walk(recorded_stages(recorded_model(name).eval(), case.context()))
    assert len(excess) == STAGES_OF[name]
    first = first_beyond(excess)
    assert first is None, f"the first stage that differs is {first}; in units of what is allowed: {excess}"


@pytest.mark.parametrize("name", ["small_sh1", "patch_crop"])
def test_equals_the_unofficial_code(parity, name):
    assert_equals_recording(Case(parity / "gslrm", name), name)


def test_equals_the_unofficial_code_at_full_width(shared):
    folder = shared / "parity" / "gslrm"
    recorded = {path.stem for path in folder.glob("*.npz")} - {"bounds", "pose_normalisation"}
    assert recorded == set(SIZES)
    assert_equals_recording(Case(folder, "full_width_L3"), "full_width_L3")


@pytest.mark.parametrize(
    ("changed", "first"),
    [
        ({"inputs": "paper"}, "tokenizer_input"),
        ({"head_width": 64}, "tokens_block0"),
        ({"distance_range": "fixed"}, "means"),
        ({"scale_max": 0.29}, "scales"),
        ({"opacity_bias": -1.9}, "opacities"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
@torch.no_grad()
def test_other_behaviour_is_told_from_the_unofficial(parity, changed, first):
    case = Case(parity / "gslrm", "small_sh1")
    assert first_beyond(case.walk(recorded_stages(recorded_model("small_sh1", **changed), case.context()))) == first


@pytest.mark.parametrize("recomputed", [False, True])
def test_gradients(parity, recomputed):
    folder = parity / "gslrm"
    recorded = json.loads((folder / "small_sh1_grads.json").read_text())
    model = recorded_model("small_sh1", checkpoint_blocks=recomputed).train()
    stages = recorded_stages(model, Case(folder, "small_sh1").context())
    loss = sum((stages[name] * functional_weights(name, tuple(stages[name].shape))).mean() for name in OUTPUTS)
    assert loss.item() == pytest.approx(recorded["loss"], rel=1e-5)
    loss.backward()
    gradients = {name: parameter.grad.double() for name, parameter in model.named_parameters()}
    assert gradients.keys() == recorded["grad_norm"].keys() == recorded["grad_sum"].keys()
    for name, gradient in gradients.items():
        norm = recorded["grad_norm"][name]
        assert gradient.norm().item() == pytest.approx(norm, rel=1e-5), name
        # A sum of n numbers of this norm is of size norm * sqrt(n) where they agree in sign.
        rounding = LARGEST * norm * gradient.numel() ** 0.5
        assert gradient.sum().item() == pytest.approx(recorded["grad_sum"][name], abs=rounding), name


@pytest.mark.parametrize("frames", [2, 3, 6])
def test_unofficial_pose_normalisation(parity, frames):
    with np.load(parity / "gslrm" / "pose_normalisation.npz") as arrays:
        given, mean, normalised = (torch.from_numpy(arrays[f"{key}_{frames}"])[None] for key in ("in", "avg", "out"))
        divisor = float(arrays[f"scale_{frames}"])
    torch.testing.assert_close(mean_camera(given), mean, atol=2e-6, rtol=0)
    cameras = Cameras(given, torch.eye(3).expand(1, frames, 3, 3))
    frame = unofficial_frame(cameras)
    assert 1 / frame.scale.item() == pytest.approx(divisor, rel=1e-6)
    torch.testing.assert_close(frame.cameras_inside(cameras).world_from_camera, normalised, atol=5e-6, rtol=1e-5)
    # Its fault: the distance of the first two becomes d (d + 0.01).
    distance = (given[0, 0, :3, 3] - given[0, 1, :3, 3]).norm()
    inside = (normalised[0, 0, :3, 3] - normalised[0, 1, :3, 3]).norm()
    torch.testing.assert_close(inside, distance * (distance + 0.01), atol=0, rtol=1e-5)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_range_from_the_baseline(parity, number):
    with np.load(parity / "gslrm" / "bounds.npz") as arrays:
        poses, intrinsics, near, far = (
            torch.from_numpy(arrays[f"{key}_{number}"]) for key in ("ext", "intr", "near", "far")
        )
    nearest, farthest = baseline_range(Cameras(poses, intrinsics), 256, 256)
    torch.testing.assert_close(nearest[:, None].expand_as(near), near, atol=0, rtol=2e-6)
    torch.testing.assert_close(farthest[:, None].expand_as(far), far, atol=0, rtol=2e-6)
    torch.testing.assert_close(farthest / nearest, torch.full_like(nearest, 6 * 256), atol=0, rtol=1e-5)


def test_crop_is_the_librarys_but_for_the_principal_point(parity):
    """The unofficial code leaves the normalised principal point where it was, which is exact at 0.5 only."""
    arrays = Case(parity / "gslrm", "patch_crop").arrays
    poses, intrinsics = arrays["in_extrinsics"], arrays["raw_intrinsics"]
    raw = Views(arrays["raw_image"], Cameras(poses, intrinsics), torch.ones(1), torch.ones(1))
    window = cropped(raw, 3, 1, 32, 48)
    assert torch.equal(window.images, arrays["in_image"])
    ours, theirs = window.cameras.intrinsics, arrays["in_intrinsics"]
    torch.testing.assert_close(ours[..., :2, :2], theirs[..., :2, :2])
    torch.testing.assert_close(theirs[..., :2, 2], intrinsics[..., :2, 2])
    ratio = torch.tensor([50 / 48, 38 / 32])
    torch.testing.assert_close(ours[..., :2, 2] - 0.5, (intrinsics[..., :2, 2] - 0.5) * ratio, atol=1e-6, rtol=0)


def test_context_gaps_of_its_training(parity):
    recorded = json.loads((parity / "gslrm" / "schedules.json").read_text())["context_gap"]
    gaps = GapRange((25, 25), (45, 45), 150_000)
    assert {step: gaps.at(int(step)) for step in recorded} == {step: (gap, gap) for step, gap in recorded.items()}


@pytest.mark.parametrize("name", ["gslrm-unofficial-256x256", "gslrm-paper-256x256", "gslrm-paper-512x512"])
def test_names_and_shapes_are_those_of_the_full_model(parity, name):
    manifest = read_manifest(parity / "gslrm" / "manifest_published.json.gz")
    with torch.device("meta"):
        model = build_model(name)
    ours = {(key, tuple(value.shape), str(value.dtype)) for key, value in model.state_dict().items()}
    theirs = {(name, tuple(shape), f"torch.{dtype}") for name, shape, dtype, _ in manifest["state_dict"]}
    assert ours == theirs
    assert len(theirs) == manifest["entries"] == 147
    assert sum(parameter.numel() for parameter in model.parameters()) == manifest["n_params"] == 303_416_320
    config, recorded = named_config(name), manifest["config"]
    assert config.heads == (recorded["num_heads"] if "unofficial" in name else 16)
    assert (config.scale_bias, config.scale_max) == (recorded["scale_bias"], recorded["scale_max"])
    assert config.opacity_bias == recorded["opacity_bias"]
