"""The learning rates of every recorded step of the released training."""

import json

import pytest
import torch
from torch import nn

from pmgs_lib.training import TrainingConfig
from pmgs_lib.training.schedules import build_optimizer, build_schedule, learning_rate_factor, warmup_steps


class TwoParts(nn.Module):
    def __init__(self):
        super().__init__()
        self.pretrained, self.head = nn.Linear(2, 2), nn.Linear(2, 2)


@pytest.fixture
def recorded(parity):
    return json.loads((parity / "depthsplat" / "units_main.json").read_text())["lr_schedule_max_steps_100000"]


def test_learning_rates_are_those_of_the_released_training(recorded):
    config = TrainingConfig(steps=100_000, optimizer={"learning_rate": 2e-4, "pretrained_learning_rate": 2e-6})
    optimizer = build_optimizer(TwoParts(), config.optimizer)
    schedule = build_schedule(optimizer, config)
    last = max(map(int, recorded["lr"]))
    found = {}
    optimizer.step()
    for step in range(last + 1):
        if str(step) in recorded["lr"]:
            found[str(step)] = [group["lr"] for group in optimizer.param_groups]
        schedule.step()
    assert found.keys() == recorded["lr"].keys()
    for step, rates in recorded["lr"].items():
        assert found[step] == pytest.approx(rates, rel=1e-9), f"step {step}"


def test_without_an_own_rate_all_parameters_share_one_group():
    optimizer = build_optimizer(TwoParts(), TrainingConfig(steps=1).optimizer)
    assert [len(group["params"]) for group in optimizer.param_groups] == [4]
    assert torch.optim.AdamW is type(optimizer)


def test_warm_up_and_cosine_are_those_of_the_unofficial_gslrm(parity):
    rates = json.loads((parity / "gslrm" / "schedules.json").read_text())["lr"]
    schedule = {"kind": "warmup-cosine", "warmup": 2000}
    config = TrainingConfig(steps=800_001, optimizer={"learning_rate": 2e-4}, schedule=schedule)
    for step, rate in rates.items():
        # Near the end the cosine's own rounding, 1e-16 of the peak, is all that is left.
        assert 2e-4 * learning_rate_factor(int(step), config) == pytest.approx(rate, rel=1e-12, abs=1e-19), step
    assert warmup_steps(config) == 2000


@pytest.mark.parametrize("warmup", [0, 1, 30, 0.0, 0.01, 0.3])
def test_one_cycle_is_that_of_torch(warmup):
    config = TrainingConfig(steps=100, schedule={"kind": "one-cycle", "warmup": warmup})
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    share = warmup / 110 if isinstance(warmup, int) else warmup
    if warmup == 1:  # torch divides by nothing there: the first step is the peak
        assert learning_rate_factor(0, config) == 1.0
        return
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, 110, pct_start=share, cycle_momentum=False)
    optimizer.step()
    for step in range(110):
        assert learning_rate_factor(step, config) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12), step
        if step < 109:
            schedule.step()
    if isinstance(warmup, int) and warmup:
        assert learning_rate_factor(warmup - 1, config) == 1.0


def test_a_constant_rate_after_a_warm_up_and_a_part_of_a_longer_schedule():
    constant = TrainingConfig(steps=10, schedule={"kind": "constant", "warmup": 4})
    assert [learning_rate_factor(step, constant) for step in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
    part = TrainingConfig(steps=10, schedule={"kind": "warmup-cosine", "warmup": 0.25, "length": 20})
    assert warmup_steps(part) == 5
    assert learning_rate_factor(10, part) == pytest.approx(0.75)


def test_decay_of_matrices_leaves_norms_and_biases_alone():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    described = TrainingConfig(steps=1, optimizer={"decayed": "matrices", "weight_decay": 0.05, "kind": "adam"})
    optimizer = build_optimizer(model, described.optimizer)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert [decays[id(p)] for p in model.parameters()] == [0.05, 0.0, 0.0, 0.0]
    assert type(optimizer) is torch.optim.Adam
