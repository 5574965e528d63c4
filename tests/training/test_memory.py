"""The memory planner: counted against real steps, laws of what needs more, plans, and that nothing is left behind."""

import dataclasses
import resource
import subprocess
import sys

import pytest
import torch
import yaml
from torch import nn

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.models import build_model
from pmgs_lib.models.matching import cost_volume
from pmgs_lib.rasterizers import dispatch
from pmgs_lib.training import TrainingConfig
from pmgs_lib.training.memory import MemoryLoad, measure_memory, plan_memory, predict_memory
from pmgs_lib.training.memory import plan as planning
from pmgs_lib.training.memory.commands import plan as plan_file
from pmgs_lib.training.memory.commands import training_load
from pmgs_lib.training.memory.counter import MemoryCounter
from pmgs_lib.training.memory.prediction import GIB, MemoryPrediction
from pmgs_lib.training.memory.scratch import LIBRARY_WORKSPACE
from pmgs_lib.training.memory.stand_ins import KERNEL_FILE, forward_pass, played_on_gpu
from pmgs_lib.training.run import read_training_file
from pmgs_lib.views import Views

SMALL_GSLRM = {"width": 128, "layers": 3, "head_width": 32}
SIZE = {"views": 2, "targets": 2, "height": 64, "width": 64}
FIRST_MIB = 300  # resident growth that a prediction may cost, imports left out


def config(**fields):
    return TrainingConfig(**{"steps": 10} | fields)


def small_gslrm(**fields):
    return build_model("gslrm-tiny", **SMALL_GSLRM | fields).config


def context(views, height, width, make=torch.rand):
    pose = torch.eye(4).repeat(1, views, 1, 1)
    pose[0, :, 0, 3] = torch.arange(views) * 0.2
    lens = torch.tensor([[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]]).repeat(1, views, 1, 1)
    return Views(make(1, views, 3, height, width), Cameras(pose, lens), torch.full((1,), 0.5), torch.full((1,), 20.0))


# --- the counter ---------------------------------------------------------------------------------------------------


def test_a_storage_counts_once_while_anything_refers_to_it():
    counter = MemoryCounter()
    with counter:
        x = torch.empty(1000)
        view = x[10:].view(10, 99)
        assert counter.held.total() == 4096
        del x
        assert counter.held.total() == 4096
        del view
        assert counter.held.total() == 0
    assert counter.peak == 4096


def test_the_peak_is_that_of_one_moment_and_belongs_to_its_parts():
    counter = MemoryCounter()
    with counter:
        with counter.part("first"):
            x = torch.empty(1024)
        with counter.part("second"):
            y = torch.empty(2048)
        del x
        with counter.part("third"):
            z = torch.empty(512)
    assert dict(counter.at_peak) == {"first": 4096, "second": 8192, "scratch": 0}
    assert +counter.held == {"second": 8192, "third": 2048}
    assert len(y) > len(z)


def test_a_storage_can_change_its_part():
    counter = MemoryCounter()
    with counter, counter.part("backward"):
        x = torch.empty(128)
        counter.hold(x, "gradients")
        assert +counter.held == {"gradients": 512}
        del x
    assert counter.held.total() == 0


# --- a played step against a real one -------------------------------------------------------------------------------


def kept_by_a_real_forward(model, views):
    """Bytes that autograd keeps, weights and images left out, with the prediction itself."""
    own = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers(), views.images]}
    kept = []

    def keep(tensor):
        kept.append(tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        prediction = model(views)
    kept += [prediction.depth, *vars(prediction.gaussians).values()]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    return sum(size for place, size in storages.items() if place not in own)


def kept_by_a_played_forward(build, monkeypatch, make_views):
    counter = MemoryCounter()
    with played_on_gpu(counter), monkeypatch.context() as patched:
        # The plain plane sweep, as the CPU runs it.
        patched.setattr(cost_volume, "fused_sweep_serves", lambda features: False)
        with counter.part("weights"):
            model = build().train()
        views = make_views()
        with counter.part("activations"), forward_pass("32-true"):
            prediction = model(views)
        assert prediction.depth is not None
        return counter.held["activations"]


@pytest.mark.parametrize("name", ["gslrm-small", "depthsplat-tiny"])
def test_a_played_forward_keeps_what_a_real_one_keeps(name, monkeypatch):
    def build():
        return build_model(small_gslrm()) if name == "gslrm-small" else build_model(name)

    real = kept_by_a_real_forward(build().train(), context(2, 64, 64))
    played = kept_by_a_played_forward(build, monkeypatch, lambda: context(2, 64, 64, torch.empty))
    assert played == pytest.approx(real, rel=0.05)


def test_weights_gradients_and_states_are_exact():
    model = build_model("gslrm-tiny")
    blocks = sum(-(-4 * p.numel() // 512) * 512 for p in model.parameters())
    # At so small a load the optimizer's step is the peak: two states and one list of their roots.
    parts = predict_memory(model, MemoryLoad(2, 1, 16, 16, config=config())).parts
    assert parts["weights"] == parts["gradients"] == blocks
    assert parts["optimizer"] == pytest.approx(3 * blocks, rel=0.01)
    assert parts["workspace"] == LIBRARY_WORKSPACE


def test_norms_answer_in_single_precision_and_products_in_half_as_on_a_gpu():
    with played_on_gpu(MemoryCounter()), forward_pass("bf16-mixed"):
        product = nn.Linear(8, 8)(torch.empty(4, 8))
        assert product.dtype is torch.bfloat16
        assert nn.LayerNorm(8)(product).dtype is torch.float32
        assert product.softmax(-1).dtype is torch.float32
        assert nn.functional.gelu(product).dtype is torch.bfloat16
        image = torch.empty(1, 2, 4, 4, dtype=torch.bfloat16)
        assert nn.functional.pad(image, (1, 1, 1, 1), mode="replicate").dtype is torch.bfloat16


def test_attention_keeps_no_weights():
    tokens = 2048
    for precision in ("32-true", "bf16-mixed"):
        counter = MemoryCounter()
        with played_on_gpu(counter), forward_pass(precision):
            query = torch.empty(1, 4, tokens, 32, requires_grad=True)
            nn.functional.scaled_dot_product_attention(query, query, query).sum().backward()
        assert counter.peak < 4 * tokens**2  # of one head


# --- laws -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base():
    return predict_memory(small_gslrm(), MemoryLoad(**SIZE, config=config()))


def changed(model=None, **fields):
    load = MemoryLoad(**SIZE | {"config": config()} | fields)
    return predict_memory(model or small_gslrm(), load)


@pytest.mark.parametrize(
    "more",
    [
        {"micro_batch": 2},
        {"views": 3},
        {"height": 96},
        {"targets": 5},
        {"devices": 2},
        {"config": config(average_decay=0.99)},
        {"config": config(objective={"perceptual_weight": 0.5})},
        {"config": config(objective={"perceptual_weight": 0.5, "perceptual": "vgg19"})},
        {"config": config(objective={"pointmap_weight": 0.005})},
        {"config": config(batch_size=2, accumulate=2)},
    ],
    ids=str,
)
def test_more_work_needs_more_memory(base, more):
    assert changed(**more).bytes > base.bytes


def test_less_is_kept_in_half_precision_deferred_or_recomputed():
    # Pictures of so many patches that activations outweigh the weights, which half precision holds twice.
    model, large = small_gslrm(layers=8), {"targets": 8, "height": 256, "width": 256}
    kept = changed(model, **large)
    assert changed(model, **large, config=config(precision="bf16-mixed")).bytes < kept.bytes
    assert changed(model, **large, config=config(objective={"rendering": "deferred"})).bytes < kept.bytes
    assert changed(small_gslrm(layers=8, checkpoint_blocks=True), **large).bytes < kept.bytes
    assert changed(model, **large, config=None).bytes < kept.bytes


def test_recomputed_blocks_are_played_in_half_precision_too():
    half, large = config(precision="bf16-mixed"), {"height": 256, "width": 256}
    recomputing = small_gslrm(layers=8, checkpoint_blocks=True)
    assert changed(recomputing, **large, config=half).bytes < changed(small_gslrm(layers=8), **large, config=half).bytes


def test_activations_grow_with_the_scenes_of_a_micro_batch():
    one, four = (changed(micro_batch=count).parts["activations"] for count in (1, 4))
    assert four == pytest.approx(4 * one, rel=0.05)


def test_what_a_part_is_called_says_what_holds_it():
    parts = changed(config=config(objective={"perceptual_weight": 0.5}, average_decay=0.9), micro_batch=2).parts
    assert {"weights", "optimizer", "average", "inputs", "activations", "rendering", "perceptual"} <= set(parts)
    assert parts["average"] == parts["weights"]


def test_vggt_within_the_step_counts():
    objective = config(objective={"pointmap_weight": 0.005})
    cached, network = (
        changed(config=objective, pointmap=source, pointmap_options={"size": "reduced", "accept_licence": True} | extra)
        for source, extra in (("cached", {}), ("vggt", {}))
    )
    assert network.bytes > cached.bytes + 4 * 2**20


def test_frozen_weights_have_no_gradient_and_no_state():
    model = build_model("gslrm-tiny", **SMALL_GSLRM)
    model.attn_processor.requires_grad_(False)
    frozen = sum(p.numel() for p in model.attn_processor.parameters()) * 4
    load = MemoryLoad(2, 1, 16, 16, config=config())
    whole, part = predict_memory(model.config, load), predict_memory(model, load)
    assert whole.parts["optimizer"] - part.parts["optimizer"] >= 2 * frozen


# --- nothing is left behind ------------------------------------------------------------------------------------------


def test_a_prediction_changes_nothing():
    model = build_model("gslrm-tiny", **SMALL_GSLRM)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pick, random = dispatch._pick, torch.get_rng_state()
    modules = set(sys.modules)
    predict_memory(model, MemoryLoad(**SIZE, config=config()))
    assert modules <= set(sys.modules)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert dispatch._pick is pick
    assert not torch.compiler.is_compiling()
    assert torch.equal(random, torch.get_rng_state())


def test_a_full_size_model_costs_no_memory():
    predict_memory("gslrm-tiny", MemoryLoad(**SIZE, config=config()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    load = MemoryLoad(2, 4, 256, 256, micro_batch=8, config=config(batch_size=8, precision="bf16-mixed"))
    found = predict_memory("gslrm-paper-256x256", load)
    assert 10 < found.gib < 40
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < FIRST_MIB * 1024


@pytest.mark.prove
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_full_size_depthsplat_is_predicted(precision):
    objective = {"perceptual_weight": 0.05, "pointmap_weight": 0.005}
    load = MemoryLoad(6, 8, 256, 448, config=config(precision=precision, objective=objective))
    assert 5 < predict_memory("depthsplat-gs-base-dl3dv-256x448", load).gib < 25


def test_predictions_repeat_to_the_byte():
    assert changed().parts == changed().parts


def test_real_calls_after_a_first_prediction_are_real():
    """Constants and remembered results of modules that a prediction loads must not stay fake."""
    lines = [
        "import torch",
        "from pmgs_lib.training.memory import MemoryLoad, predict_memory",
        "predict_memory('depthsplat-tiny', MemoryLoad(2, 1, 32, 32))",
        "from pmgs_lib.models.depthsplat.released import GS_BASE_DL3DV_256X448",
        "from pmgs_lib.models import released_harmonics",
        "values = [v for v in vars(released_harmonics).values() if isinstance(v, torch.Tensor)]",
        "assert values and all(type(v) is torch.Tensor for v in values), values",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, timeout=300)


def test_modules_that_are_loaded_meanwhile_stay_loaded():
    sys.modules.pop("this", None)
    with played_on_gpu(MemoryCounter()):
        sys.modules["this"] = sys
        assert sys.modules[KERNEL_FILE].plane_sweep is None
    assert sys.modules.pop("this") is sys
    assert getattr(sys.modules.get(KERNEL_FILE), "plane_sweep", True) is not None


# --- plans ----------------------------------------------------------------------------------------------------------


def budget_for(prediction):
    """The smallest budget in which a prediction fits."""
    return int(prediction.bytes / (1 - planning.FREE_SHARE)) + planning.CONTEXT_BYTES + 2


@pytest.mark.parametrize("scenes", [1, 3, 6])
def test_the_largest_micro_batch_that_fits_is_taken(scenes):
    load = MemoryLoad(**SIZE, config=config())
    fitting = config(batch_size=6, accumulate=6 // scenes)
    budget = budget_for(changed(micro_batch=scenes, config=fitting))
    plan = plan_memory(small_gslrm(), load, budget, 6)
    assert (plan.micro_batch, plan.accumulate, plan.fits) == (scenes, 6 // scenes, True)
    assert plan.prediction.bytes <= planning.usable_bytes(budget)
    assert f"{scenes} of 6 scenes at a time" in plan.reason


def test_devices_share_the_batch():
    plan = plan_memory(small_gslrm(), MemoryLoad(**SIZE, config=config(), devices=2), 80 * GIB, 6)
    assert (plan.micro_batch, plan.accumulate) == (3, 1)
    with pytest.raises(ParameterError, match="5 scenes do not divide over 2 devices"):
        plan_memory(small_gslrm(), MemoryLoad(**SIZE, config=config(), devices=2), 80 * GIB, 5)


def test_if_nothing_fits_the_switches_are_tried_in_their_order():
    plan = plan_memory(small_gslrm(), MemoryLoad(**SIZE, config=config()), planning.CONTEXT_BYTES, 2)
    names = [switch.name for switch in plan.switches]
    assert names == ["rendering: deferred", "checkpoint_blocks: true", "precision: bf16-mixed", "targets: 1"]
    assert (plan.micro_batch, plan.accumulate, plan.fits) == (1, 2, False)
    assert "not even one scene at a time fits" in plan.reason
    assert "no single switch is enough" in plan.reason
    assert all(name in str(plan) for name in names)


def test_a_switch_that_is_enough_is_named(monkeypatch):
    def predict(model, load):
        return MemoryPrediction({"activations": (2 if load.config.precision == "32-true" else 1) * GIB})

    monkeypatch.setattr(planning, "predict_memory", predict)
    plan = plan_memory("gslrm-tiny", MemoryLoad(**SIZE, config=config()), 2 * GIB, 1)
    assert not plan.fits
    assert plan.reason.endswith("enough each for itself: precision: bf16-mixed")


def test_plans_ask_for_few_predictions(monkeypatch):
    asked = []

    def predict(model, load):
        asked.append(load.micro_batch)
        return MemoryPrediction({"activations": load.micro_batch * GIB})

    monkeypatch.setattr(planning, "predict_memory", predict)
    plan = plan_memory("gslrm-tiny", MemoryLoad(**SIZE, config=config()), int(7.8 * GIB), 64)
    assert plan.micro_batch == 4
    assert len(asked) <= 4


def test_a_training_file_is_planned_at_its_largest_examples(tmp_path):
    file = tmp_path / "training.yaml"
    frames = {"kind": "bounded-v2", "first_gap": [10, 20], "last_gap": [10, 20], "targets": 3, "views": [2, 4]}
    training = {"steps": 10, "batch_size": 4, "accumulate": 2}
    fields = {"model": "gslrm-tiny", "scenes": "anywhere", "training": training, "size": [32, 64], "views": frames}
    file.write_text(yaml.safe_dump(fields), encoding="utf-8")
    load = training_load(read_training_file(file))
    assert (load.views, load.targets, load.height, load.width, load.micro_batch) == (4, 3, 32, 64, 2)
    assert "4 views, 3 targets, 32 x 64, 32-true" in plan_file(str(file))
    assert plan_file(str(file)).endswith("accumulate: 1")
    with pytest.raises(ParameterError, match="batch_size 4 does not divide into accumulate 2 parts on 3 devices"):
        training_load(read_training_file(file), devices=3)


# --- faces -----------------------------------------------------------------------------------------------------------


def test_table_and_card_say_the_same(base):
    last = base.table().splitlines()[-1]
    assert f"{base.gib:.3f}" in last
    card = base.card(measured_bytes=GIB)
    assert card["predicted_gib"] == pytest.approx(base.gib, abs=1e-4)
    assert card["measured_gib"] == 1.0
    assert sum(card["parts"].values()) == pytest.approx(base.gib, abs=1e-3)
    assert base.card()["measured_gib"] is None


def test_nothing_is_measured_on_a_cpu():
    with measure_memory("cpu") as measured:
        torch.ones(8)
    assert measured.bytes is None


@pytest.mark.parametrize(("field", "value"), [("views", 0), ("height", 0), ("micro_batch", 0), ("targets", -1)])
def test_impossible_loads_are_refused(field, value):
    with pytest.raises(ParameterError, match=f"{field} {value}"):
        MemoryLoad(**SIZE | {field: value})


def test_a_load_that_the_model_does_not_take_is_refused_in_its_own_words():
    with pytest.raises(ParameterError, match="multiples of"):
        changed(height=63)
    with pytest.raises(ParameterError, match="a plan is for training"):
        plan_memory("gslrm-tiny", MemoryLoad(**SIZE), GIB, 1)


def test_loads_are_changed_by_copies():
    load = MemoryLoad(**SIZE, config=config())
    assert load.with_objective(rendering="deferred").config.objective.rendering == "deferred"
    assert load.with_config(precision="bf16-mixed").config.precision == "bf16-mixed"
    assert load == MemoryLoad(**SIZE, config=config())
    assert dataclasses.replace(load, targets=1).targets == 1
