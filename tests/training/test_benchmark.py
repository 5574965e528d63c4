"""Counted work, and times of whole steps."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pmgs_lib.errors import ParameterError
from pmgs_lib.models import build_model
from pmgs_lib.models.gslrm.config import GslrmConfig
from pmgs_lib.models.gslrm.transformer import Transformer
from pmgs_lib.training import Trainer, TrainingConfig
from pmgs_lib.training.benchmark import (
    measure_training,
    step_of_recipe,
    synthetic_example,
    time_steps,
    time_trunk,
    transformer_flop,
)
from pmgs_lib.training.memory import MemoryLoad
from pmgs_lib.training.recipes import load_recipe

SMALL = GslrmConfig(width=64, layers=2, head_width=16)


def test_the_formula_counts_what_torch_counts_forwards():
    trunk, tokens = Transformer(SMALL), torch.randn(2, 24, 64)
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        trunk(tokens)
    assert transformer_flop(SMALL, scenes=2, tokens=24) == pytest.approx(3 * counter.get_total_flops())


def test_a_trunk_is_timed_against_products_of_the_same_process():
    found = time_trunk(SMALL, scenes=1, views=2, height=32, width=32, device="cpu", repeats=2, product_size=256)
    assert 0 < found.fraction < 3
    assert found.to_metrics()["fraction"] == found.fraction


def test_steps_are_timed_and_taken():
    model = build_model("gslrm-tiny", width=32, layers=1)
    trainer = Trainer(model, TrainingConfig(steps=4, batch_size=2, schedule={"warmup": 1}), accelerator="cpu")
    timing = time_steps(trainer, synthetic_example(2, 2, 1, 16, 16), warmup=1, repeats=3)
    assert trainer.step == 4
    assert 0 < timing.low_s <= timing.median_s <= timing.high_s
    assert timing.peak_bytes is None
    with pytest.raises(ParameterError, match="expected a training of so many steps"):
        time_steps(trainer, synthetic_example(2, 2, 1, 16, 16))


def test_a_whole_step_is_measured_beside_its_prediction():
    objective = {"perceptual_weight": 0.05, "pointmap_weight": 0.005, "intermediate_decay": None}
    config = TrainingConfig(steps=3, batch_size=2, schedule={"warmup": 1}, objective=objective)
    small = build_model("gslrm-tiny", width=32, layers=1).config
    found = measure_training(small, MemoryLoad(2, 3, 32, 32, 2, config), warmup=1, repeats=2)
    assert found.images_per_second == pytest.approx(2 * 3 / found.timing.median_s)
    assert found.processes == 1
    assert found.predicted_bytes > 0
    assert found.to_metrics()["peak_bytes"] is None


def test_the_step_of_a_recipe_has_its_terms_and_the_asked_size():
    recipe = load_recipe("gslrm-paper-stage1")
    size = {"views": 2, "targets": 4, "height": 256, "width": 256, "scenes": 8}
    model, load = step_of_recipe(recipe, "full", **size, steps=20, processes=4)
    assert model == recipe.config()
    assert (load.micro_batch, load.config.batch_size, load.config.accumulate) == (8, 32, 1)
    assert load.config.objective == recipe.training.objective
    small, _ = step_of_recipe(recipe, "smoke", **size, steps=20)
    assert small.width < model.width
