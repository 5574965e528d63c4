"""The learning rates of every recorded step of the released training."""

import json

import pytest
import torch
from torch import nn

from pmgs_lib.training import TrainingConfig
from pmgs_lib.training.schedules import build_optimizer, build_schedule


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
