"""VGGT against the recorded runs of the released code (tests/parity/vggt): stages, outputs, names, PM-Loss with it."""

import json

import pytest
import torch
from torch import nn
from torch.nn import functional
from vggt_parity import ALL_HEADS, FOLDER, LIMIT, Walk, load, manifest, recorded_model, relative

from pmgs_lib.cameras import Cameras
from pmgs_lib.losses import PointmapLoss
from pmgs_lib.pointmaps.base import Pointmap, at_full_size
from pmgs_lib.pointmaps.vggt.config import PUBLISHED, REDUCED
from pmgs_lib.pointmaps.vggt.dense_head import ResidualUnit
from pmgs_lib.pointmaps.vggt.model import Vggt
from pmgs_lib.pointmaps.vggt.source import VggtPointmap, resized_images
from pmgs_lib.pointmaps.vggt.weights import NEVER_BUILT
from pmgs_lib.views import Views

CASES = ["small_2x70x98", "small_3x56x42_b2", "small_1x140x140"]


@pytest.fixture(scope="module")
def model():
    return recorded_model()


def outputs(prediction):
    return {
        "world_points": prediction.points,
        "world_points_conf": prediction.points_confidence,
        "depth": prediction.depth[..., None],
        "depth_conf": prediction.depth_confidence,
        "pose_enc": prediction.pose_encodings[-1],
        "pose_enc_iters": torch.stack(prediction.pose_encodings),
        "extrinsics_w2c": prediction.cameras.camera_from_world,
    }


def assert_equals_recording(model, path):
    recorded = load(path)
    walk = Walk(model)
    prediction = model(recorded["in_images"])
    found = walk.differences(recorded)
    made = {name: value for name, value in outputs(prediction).items() if name in recorded}
    assert len(made) >= 6
    found |= {name: relative(value, recorded[name]) for name, value in made.items()}
    wrong = [f"{name}: {value:.2g}" for name, value in found.items() if not value < LIMIT]
    assert not wrong, f"first stage that differs: {wrong[0]}; all of them: {wrong}"
    # Pixels per tangent; where the released ReLU clips the field of view to 0, both are infinite.
    height, width = recorded["in_images"].shape[-2:]
    focal = torch.diagonal(recorded["intrinsics_px"], dim1=-2, dim2=-1)[..., :2]
    torch.testing.assert_close(
        torch.tensor([width, height]) / 2 / prediction.cameras.tangents, focal, rtol=1e-4, atol=0
    )
    return found


@pytest.mark.parametrize("name", CASES)
def test_reduced_model_equals_the_released_code(model, name):
    assert_equals_recording(model, FOLDER / f"{name}.npz")


def test_stages_are_walked(model):
    recorded = load(FOLDER / "small_2x70x98.npz")
    walk = Walk(model)
    model(recorded["in_images"])
    names = ["dino_tokens", "frame0_out", "global0_out", "dpt_point_refine4", "dpt_point_prehead"]
    assert list(walk.differences(recorded)) == [*names, "dpt_point_refine1_ch0to7"]


@pytest.mark.parametrize("name", ["small_10x42x56", "small_2x70x98"])
def test_recordings_too_large_to_commit(model, shared, name):
    found = assert_equals_recording(model, shared / "parity" / "vggt" / f"{name}.npz")
    if name == "small_2x70x98":
        assert "dpt_point_refine1" in found


@pytest.mark.prove
def test_the_published_size_equals_the_released_code(shared):
    """1.2 billion parameters: 5 GB of memory, half a minute."""
    model = recorded_model("published")
    recorded = load(shared / "parity" / "vggt" / "full_2x70x98.npz")
    tokens = recorded.pop("dino_tokens")  # rounded to half precision in the recording
    walk = Walk(model)
    prediction = model(recorded["in_images"])
    assert relative(walk.stages["dino_tokens"], tokens) < 3e-4
    found = walk.differences(recorded)
    assert set(found) == {"frame0_out", "global23_out"}
    found |= {name: relative(value, recorded[name]) for name, value in outputs(prediction).items()}
    assert {name: value for name, value in found.items() if not value < LIMIT} == {}
    assert (prediction.cameras.tangents == 0).any()
    assert prediction.points.isfinite().all()


def rows(model):
    return {name: (tuple(value.shape), str(value.dtype)) for name, value in model.state_dict().items()}


@pytest.mark.parametrize(("name", "config"), [("small", REDUCED), ("vggt1b", PUBLISHED)])
def test_names_shapes_and_dtypes_are_those_of_the_manifest(name, config):
    listed = manifest(name)["state_dict"]
    built = {row[0]: (tuple(row[1]), f"torch.{row[2]}") for row in listed if not row[0].startswith(tuple(NEVER_BUILT))}
    with torch.device("meta"):
        assert rows(Vggt(config.model_copy(update={"heads": ALL_HEADS}))) == built
        # By default the aggregator and the point head only.
        default = {k: v for k, v in built.items() if not k.startswith(("camera_head.", "depth_head."))}
        assert rows(Vggt(config)) == default


def test_every_parameter_of_the_published_file_is_accounted_for():
    whole = manifest("vggt1b")
    with torch.device("meta"):
        model = Vggt(PUBLISHED.model_copy(update={"heads": ALL_HEADS}))
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert count.pop("aggregator") == 909_112_320 - 1024  # less the mask token
    assert count == {"camera_head": 216_174_610, "point_head": 32_654_628, "depth_head": 32_654_562}
    never = {
        prefix: sum(torch.Size(row[1]).numel() for row in whole["state_dict"] if row[0].startswith(prefix))
        for prefix in NEVER_BUILT
    }
    assert never == {"track_head.": 65_941_396, "aggregator.patch_embed.mask_token": 1024}
    total = sum(p.numel() for p in model.parameters()) + sum(never.values())
    assert total == whole["n_params"] == 1_256_537_516


def test_the_skip_of_the_residual_unit_carries_the_rectified_input(model, monkeypatch):
    """The in-place ReLU of the released code is no accident that may be repaired: weights depend on it."""
    recorded = load(FOLDER / "small_2x70x98.npz")

    def repaired(unit: ResidualUnit, x: torch.Tensor) -> torch.Tensor:
        return x + unit.conv2(functional.relu(unit.conv1(functional.relu(x))))

    monkeypatch.setattr(ResidualUnit, "forward", repaired)
    moved = relative(model(recorded["in_images"]).points, recorded["world_points"])
    assert moved == pytest.approx(2.6, abs=0.1)


def test_the_floor_is_below_the_limit():
    spread = json.loads((FOLDER / "float64_spread.json").read_text())
    floor = max(output["rel_l2"] for name in CASES for output in spread[name].values())
    assert 5 * floor < LIMIT


class FromModel(VggtPointmap):
    """The source with a network that is already there."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model


def pm_loss_case(path, model):
    recorded = load(path)
    batch, views, _, height, width = recorded["images"].shape
    assert relative(resized_images(recorded["images"], 14), recorded["model_input_resized"]) < 1e-6
    context = Views(
        recorded["images"],
        Cameras(torch.eye(4).expand(batch, views, 4, 4), torch.eye(3).expand(batch, views, 3, 3)),
        torch.ones(batch),
        torch.ones(batch),
    )
    pointmap = FromModel(model)(context)
    expected = at_full_size(Pointmap(recorded["world_points_model_res"]), height, width).points
    assert relative(pointmap, expected) < LIMIT
    means = recorded["pred"].requires_grad_()
    details = PointmapLoss().details(means, pointmap.flatten(1, 3))
    (gradient,) = torch.autograd.grad(details.loss.sum(), means)
    torch.testing.assert_close(details.loss, recorded["loss"], rtol=LIMIT, atol=0)
    error = (gradient - recorded["grad"]).norm(dim=-1) / recorded["grad"].norm(dim=-1).mean()
    # Neighbours of a few points flip where float32 cannot tell two distances apart, so a quantile, and the norm.
    assert error.flatten().quantile(0.99) < 1e-3
    assert relative(gradient, recorded["grad"]) < 0.02


def test_pm_loss_on_resized_images_equals_the_released_one(model):
    pm_loss_case(FOLDER / "e2e_resize.npz", model)


def test_pm_loss_without_resizing_equals_the_released_one(model, shared):
    pm_loss_case(shared / "parity" / "pmloss" / "e2e_noresize.npz", model)
