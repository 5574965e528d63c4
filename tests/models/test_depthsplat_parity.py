"""The recorded runs of the released code are the judge: outputs, gradients, names and shapes."""

import pytest
import torch
from depthsplat_parity import (
    Case,
    Tracer,
    config_of,
    fill,
    manifest_entries,
    read,
    recipe,
    recorded_loss,
    released_outputs,
)

from pmgs_lib.models import MODELS, build_model

SMALL = ["gs_small_448x768cfg_v4_nearest_64x96", "gs_small_re10k_v2_64x64_trainmode", "depth_small_v2_64x96"]
LARGE = [
    "gs_base_re10k_v2_64x64",
    "gs_large_re10k_v2_64x64",
    "gs_base_dl3dv_v2_64x96",
    "gs_base_dl3dv_v3_b2_64x64",
    "gs_base_dl3dv_v5_nearest_64x64",
    "gs_base_dl3dv_v2_64x64_trainmode",
    "depth_base_v2_64x96",
    "depth_base_v6_nearest_64x64",
]
RECIPE_VALUES = {
    ("depth_predictor.backbone.conv1.weight", (64, 3, 7, 7)): ([0.01668651, -0.1964496, 0.03290818], -1.3544625),
    ("depth_predictor.pretrained.pos_embed", (1, 1370, 384)): ([-0.4700144, -0.1425012, -0.6366434], -10.867342),
    ("depth_predictor.transformer.layers.0.self_attn.norm1.weight", (128,)): (
        [0.1943746, 0.1927276, 0.2061719],
        25.599524,
    ),
    ("depth_predictor.pretrained.blocks.0.ls1.gamma", (384,)): ([0.9734131, 1.019281, 0.9696025], 384.44259),
    ("gaussian_head.0.bias", (37,)): ([0.3183276, -0.03627886, -0.008185081], 0.43517488),
    ("depth_predictor.upsampler.scratch.output_conv.4.weight", (1, 16, 1, 1)): (
        [0.01989727, -0.02167267, 0.001690856],
        0.00037410,
    ),
}


@pytest.mark.parametrize(("name", "shape"), RECIPE_VALUES)
def test_recipe_gives_the_recorded_weights(name, shape):
    first, total = RECIPE_VALUES[name, shape]
    values = recipe(name, shape)
    torch.testing.assert_close(values.flatten()[:3], torch.tensor(first), rtol=1e-6, atol=0)
    assert values.double().sum().item() == pytest.approx(total, rel=1e-6, abs=1e-8)


def assert_equals_recording(case: Case) -> None:
    model = fill(build_model(config_of(case.facts["config"]))).train(case.facts["train_mode"])
    tracer = Tracer(model)
    with torch.no_grad():
        outputs = released_outputs(model, case.context())
    excess = case.output_excess(outputs)
    assert len(excess) == (1 if model.config.color is None else 5)
    assert max(excess.values()) <= 1, f"{excess}\n{tracer.report(case)}"
    walked = {key: case.sample_excess(key, value) for key, value in tracer.values.items()}
    assert len(walked) > 20
    assert max(walked.values()) <= 1, tracer.report(case)


def test_small_model_equals_the_released_code(parity):
    assert_equals_recording(Case(parity / "depthsplat", "gs_small_re10k_v2_64x64"))


@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=pytest.mark.prove) for name in LARGE)])
def test_every_recorded_case(name, shared):
    assert_equals_recording(Case(shared / "parity" / "depthsplat", name))


def assert_equal_gradients(case: Case, recorded: dict) -> None:
    model = fill(build_model(config_of(case.facts["config"]))).train()
    loss = recorded_loss(case, released_outputs(model, case.context()))
    loss.backward()
    assert loss.item() == pytest.approx(recorded["loss_float64"], abs=1e-6)
    parameters = dict(model.named_parameters())
    assert set(parameters) == set(recorded["grads"])
    for name, facts in recorded["grads"].items():
        ours = parameters[name].grad.flatten().double()
        if facts["structurally_zero"]:
            assert ours.norm() <= 1e-7, name
            continue
        noise = max(20 * facts["rel_noise"], 1e-5) if facts["rel_noise"] < 1e-4 else 3 * facts["rel_noise"]
        assert ours.norm().item() == pytest.approx(facts["l2"], rel=noise), name
        count = len(facts["sample"])
        sample = ours[torch.arange(count) * len(ours) // count]
        allowed = max(5 * facts["abs_noise"], 1e-6 * facts["l2"])
        assert (sample - torch.tensor(facts["sample"])).abs().max() <= allowed, name


def test_small_model_has_the_recorded_gradients(parity):
    name = "gs_small_re10k_v2_64x64_trainmode"
    folder = parity / "depthsplat"
    assert_equal_gradients(Case(folder, name), read(folder / f"{name}.grads.json.gz"))


@pytest.mark.prove
def test_two_scale_model_has_the_recorded_gradients(shared):
    name = "gs_base_dl3dv_v2_64x64_trainmode"
    folder = shared / "parity" / "depthsplat"
    assert_equal_gradients(Case(folder, name), read(folder / f"{name}.grads.json.gz"))


def assert_equals_manifest(manifest: dict) -> None:
    name = "depthsplat-" + manifest["variant"].replace("_", "-")
    assert manifest["checkpoint_file"].startswith(name)
    with torch.device("meta"):
        model = build_model(name)
    ours = {(key, tuple(value.shape), str(value.dtype)) for key, value in model.state_dict().items()}
    assert ours == manifest_entries(manifest)
    assert sum(parameter.numel() for parameter in model.parameters()) == manifest["param_count"]
    assert model.config == config_of(manifest["config"])


def test_small_checkpoint_layout(parity):
    assert_equals_manifest(read(parity / "depthsplat" / "gs_small_re10k_256x256.json.gz"))


def test_every_checkpoint_layout(shared):
    manifests = [read(path) for path in sorted((shared / "parity" / "manifests").glob("*.json.gz"))]
    current = [manifest for manifest in manifests if not manifest["variant"].startswith("pmloss")]
    for manifest in current:
        assert_equals_manifest(manifest)
    released = {"depthsplat-" + manifest["variant"].replace("_", "-") for manifest in current}
    assert released == {name for name in MODELS if name.startswith("depthsplat-")} - {"depthsplat-tiny"}
