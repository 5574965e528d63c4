"""The recorded runs of the released code are the judge: outputs, intermediates, gradients, names and shapes."""

from pathlib import Path

import pytest
import torch
from depthsplat_parity import (
    Case,
    config_of,
    manifest_entries,
    read,
    recipe,
    recipe_model,
    recorded_loss,
    released_outputs,
)
from depthsplat_trace import Tracer

from pmgs_lib.models import MODELS, build_model
from pmgs_lib.models.depthsplat import variants

FOLDER = Path(__file__).parents[1] / "parity" / "depthsplat"
# The first of these run in `make test`, all in `make prove`. Cases in training mode bring their gradients along.
SHORT = [
    "gs_small_re10k_v2_64x64",
    "gs_small_re10k_v2_64x64_trainmode",
    "gs_small_448x768cfg_v4_nearest_64x96",
    "gs_base_dl3dv_v2_64x96",
    "depth_small_v2_64x96",
    "pmloss_ori_v2_64x64",
    "pmloss_pixel_softplus_v2_64x64",
    "pmloss_unconstrained_v4_nearest_64x64",
    "pmloss_unconstrained_v2_64x64_trainmode",
]
LONG = [
    "gs_base_re10k_v2_64x64",
    "gs_large_re10k_v2_64x64",
    "gs_base_dl3dv_v3_b2_64x64",
    "gs_base_dl3dv_v5_nearest_64x64",
    "gs_base_dl3dv_v2_64x64_trainmode",
    "depth_base_v2_64x96",
    "depth_base_v6_nearest_64x64",
    "pmloss_unconstrained_v2_64x96",
    "pmloss_unconstrained_v4_allpairs_64x64",
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


def test_no_recorded_case_is_left_out():
    assert {path.stem for path in FOLDER.glob("*.npz")} - {"units_main", "units_pmloss"} == {*SHORT, *LONG}
    assert {path.name.split(".")[0] for path in FOLDER.glob("*.grads.json.gz")} == {
        name for name in (*SHORT, *LONG) if name.endswith("trainmode")
    }


@pytest.mark.parametrize("name", [*SHORT, *(pytest.param(name, marks=pytest.mark.prove) for name in LONG)])
def test_recorded_case(name):
    case, gradients = Case(FOLDER, name), FOLDER / f"{name}.grads.json.gz"
    model = recipe_model(config_of(case.facts["config"])).train(case.facts["train_mode"])
    tracer = Tracer(model)
    with torch.set_grad_enabled(gradients.exists()):
        outputs = released_outputs(model, case.context(), tracer)
    excess = case.output_excess(outputs)
    assert {f"out/{key}" for key in excess} | {"out/gaussian_index"} >= {k for k in case.arrays if k.startswith("out/")}
    assert all(value <= 1 for value in excess.values()), f"outputs {excess}\n{tracer.report(case)}"
    assert all(value <= 1 for value in tracer.excess(case).values()), tracer.report(case)
    if gradients.exists():
        assert_equal_gradients(model, recorded_loss(case, outputs), read(gradients))


def assert_equal_gradients(model: torch.nn.Module, loss: torch.Tensor, recorded: dict) -> None:
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


DAMAGES = {
    "depth_predictor.transformer.layers.3.cross_attn_ffn.mlp.0.weight": "tr_layer3",
    "depth_predictor.pretrained.blocks.9.attn.proj.weight": "dino_tokens_3",
    "depth_predictor.depth_head.0.2.bias": "depth_logits_0",
    "feature_upsampler.scratch.refinenet1.out_conv.weight": "color_features",
    "gaussian_head.2.bias": "gaussian_head_out",
}


@torch.no_grad()
def test_a_difference_is_named_by_where_it_starts():
    case = Case(FOLDER, "gs_small_re10k_v2_64x64")
    model = recipe_model(config_of(case.facts["config"])).eval()
    for name, first in DAMAGES.items():
        tracer, weights = Tracer(model), model.get_parameter(name)
        kept = weights.clone()
        weights.mul_(1.5)
        released_outputs(model, case.context(), tracer)
        weights.copy_(kept)
        tracer.remove()
        assert f"first to differ is {first} " in tracer.report(case), name


MANIFESTS = {path.name.split(".")[0]: path for path in sorted((FOLDER / "manifests").glob("*.json.gz"))}


@pytest.mark.parametrize("variant", MANIFESTS)
def test_checkpoint_layout(variant):
    manifest = read(MANIFESTS[variant])
    config = getattr(variants, variant.upper())
    with torch.device("meta"):
        model = build_model(config)
    ours = {(key, tuple(value.shape), str(value.dtype)) for key, value in model.state_dict().items()}
    assert ours == manifest_entries(manifest)
    assert sum(parameter.numel() for parameter in model.parameters()) == manifest["param_count"]
    assert config == config_of(manifest["config"])


def test_every_checkpoint_with_a_manifest_is_in_the_zoo():
    current = [variant for variant in MANIFESTS if not variant.startswith("pmloss")]
    assert len(MANIFESTS) == 11
    assert {"depthsplat-" + variant.replace("_", "-") for variant in current} <= set(MODELS)
    for variant in current:
        assert read(MANIFESTS[variant])["checkpoint_file"].startswith("depthsplat-" + variant.replace("_", "-"))


# Parameter counts of the published table that belong to the state of October 2024, in millions, rounded there.
OCTOBER_COUNTS = [
    ({"vit": "vits", "scales": 1, "upsample": 4, "feature_channels": 64, "regressor_channels": 16}, 37),
    ({"vit": "vitb", "scales": 2, "upsample": 2, "feature_channels": 64, "regressor_channels": 32}, 117),
    ({"vit": "vitl", "scales": 2, "upsample": 2, "feature_channels": 64, "regressor_channels": 64}, 360),
]


@pytest.mark.parametrize(("widths", "millions"), OCTOBER_COUNTS)
def test_published_table_counts_models_of_october(widths, millions):
    with torch.device("meta"):
        model = build_model(variants.october_2024(**widths, harmonics_degree=2))
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == millions
