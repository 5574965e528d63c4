"""Costs are measured at the points asked for, in evaluation mode; growth is fitted exactly where it is exact."""

import math

import pandas as pd
import pytest
import torch
from torch import nn

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.scaling import Load, fit_growth, growth, loads, synthetic_context, time_model


class Counting(nn.Module):
    """Counts its calls and looks at how it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.training_seen, self.gradients = [], False, False

    def forward(self, context):
        self.seen.append((context.count, context.height, context.width))
        self.training_seen |= self.training
        self.gradients |= torch.is_grad_enabled()
        return context


def test_points_share_the_first_size_and_the_first_number_of_views():
    found = loads([2, 4], [[32, 48], [64, 96]])
    assert found == [Load(2, 32, 48), Load(4, 32, 48), Load(2, 64, 96)]
    assert found[-1].pixels == 64 * 96
    for views, sizes in [([], [[32, 48]]), ([2], []), ([2], [[32]])]:
        with pytest.raises(ParameterError, match="some numbers of views and some"):
            loads(views, sizes)


def test_synthetic_views_are_usable_and_the_same_each_time():
    first, second = (synthetic_context(Load(5, 16, 32)) for _ in range(2))
    assert first.images.shape == (1, 5, 3, 16, 32)
    assert torch.equal(first.images, second.images)
    first.cameras.validate("synthetic")
    steps = first.cameras.centers[0].diff(dim=0).norm(dim=-1)
    torch.testing.assert_close(steps, torch.full_like(steps, 0.1))
    turn = first.cameras.world_from_camera[0, 0, :3, :3].mT @ first.cameras.world_from_camera[0, 4, :3, :3]
    assert math.acos((turn.trace().item() - 1) / 2) == pytest.approx(4 * 0.03, abs=1e-3)
    # Both ends look towards the middle.
    assert first.cameras.world_from_camera[0, 0, 0, 2] > 0 > first.cameras.world_from_camera[0, 4, 0, 2]


def test_every_setting_is_timed_at_every_point():
    models, lines = {"one": Counting().train(), "two": Counting().eval()}, []
    points = [Load(2, 16, 16), Load(3, 16, 16)]
    table = time_model(models, points, repeats=3, warmup=1, progress=lines.append)
    assert table[["setting", "views"]].to_numpy().tolist() == [["one", 2], ["two", 2], ["one", 3], ["two", 3]]
    assert len(lines) == 4
    for model, was_training in zip(models.values(), (True, False), strict=True):
        assert model.seen == [(2, 16, 16)] * 4 + [(3, 16, 16)] * 4
        assert not model.training_seen
        assert not model.gradients
        assert model.training is was_training
    assert (table["low_s"] <= table["median_s"]).all()
    assert (table["median_s"] <= table["high_s"]).all()
    assert table["peak_bytes"].isna().all()


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, -0.5])
def test_a_power_law_is_found_exactly(exponent):
    amounts = [1.0, 3.0, 10.0, 11.0]
    law = growth(amounts, [0.7 * amount**exponent for amount in amounts])
    assert law.exponent == pytest.approx(exponent, abs=1e-12)
    assert law.coefficient == pytest.approx(0.7)
    assert law.residual < 1e-12
    assert growth([1, 2, 4], [1, 4, 4]).residual == pytest.approx(math.log(4) / 3)


@pytest.mark.parametrize(("amounts", "costs"), [([2, 2], [1, 1]), ([1, 2], [1]), ([1, 2], [0, 1]), ([0, 2], [1, 1])])
def test_a_power_law_through_nothing_is_refused(amounts, costs):
    with pytest.raises(ParameterError, match="growth: amounts"):
        growth(amounts, costs)


def test_growth_of_a_table_keeps_the_other_amount_fixed():
    points = loads([2, 4, 8], [[10, 10], [20, 20], [40, 40]])
    rows = [{"setting": "s", **vars(p), "pixels": p.pixels, "median_s": p.views**2 * p.pixels**1.5} for p in points]
    table = pd.DataFrame(rows).assign(peak_bytes=None)
    (row,) = fit_growth(table).to_dict("records")
    assert row["views"] == pytest.approx(2)
    assert row["pixels"] == pytest.approx(1.5)
    assert fit_growth(table, "peak_bytes")["views"].isna().all()
    assert fit_growth(table[:3])["pixels"].isna().all()
