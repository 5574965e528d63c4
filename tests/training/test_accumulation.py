"""One step in parts is the same step; averages follow their formula; a state is all that a training needs."""

import pytest
import torch
from wall_training import config, same, tiny_model, walls, weights_of

from pmgs_lib.errors import CheckpointError, ParameterError
from pmgs_lib.models import build_model
from pmgs_lib.training import Trainer
from pmgs_lib.training.averaging import WeightAverage

BATCH, STEPS = 4, 5


def parts(accumulate: int, steps: int = STEPS) -> list:
    size = BATCH // accumulate
    return [walls(size, first).to(torch.float64) for first in range(0, BATCH, size)] * steps


@pytest.fixture(scope="module")
def whole():
    """Training without parts: history, and weights of a model and its average."""
    return trained(1)


def trained(accumulate: int) -> Trainer:
    objective = {"largest_squared_error": 0.2, "depth_weight": 0.1}
    described = config(STEPS, batch_size=BATCH, accumulate=accumulate, objective=objective, average_decay=0.9)
    trainer = Trainer(tiny_model().double(), described, accelerator="cpu")
    trainer.fit(parts(accumulate))
    return trainer


@pytest.mark.parametrize("accumulate", [2, 4])
def test_parts_of_a_batch_give_the_step_of_the_whole(whole, accumulate):
    """Terms are means over scenes also where pixels are left out, so masks make no difference."""
    found = trained(accumulate)
    for mine, other in ((whole.model, found.model), (whole.trained_model, found.trained_model)):
        for name, value in mine.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], value, rtol=1e-7, atol=1e-10, msg=name)
    assert not same(weights_of(tiny_model().double()), weights_of(found.model))
    for row, expected in zip(found.history.rows, whole.history.rows, strict=True):
        assert row == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("clip_norm", [None, 1e-3])
def test_the_norm_is_told_before_the_cut(clip_norm):
    optimizer = {"learning_rate": 1e-2, "clip_norm": clip_norm}
    trainer = Trainer(tiny_model(), config(1, optimizer=optimizer), accelerator="cpu")
    seen = []
    trainer.optimizer.register_step_pre_hook(
        lambda *_: seen.append(torch.stack([p.grad.square().sum() for p in trainer.model.parameters()]).sum().sqrt())
    )
    told = trainer.fit([walls(1)]).rows[0]["gradient_norm"]
    assert told > 1e-3
    assert seen[0].item() == pytest.approx(clip_norm or told, rel=1e-3)


def test_an_average_is_its_closed_formula():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).double()
    decay, states = 0.8, []
    average = WeightAverage(model, decay)
    for step in range(6):
        with torch.no_grad():
            for value in model.parameters():
                value.copy_(torch.randn_like(value))
            model[1].running_mean.fill_(step)
        average.update(model)
        states.append(weights_of(model))
    shares = [decay**5] + [(1 - decay) * decay ** (5 - age) for age in range(1, 6)]
    assert sum(shares) == pytest.approx(1)
    for name, _ in model.named_parameters():
        expected = sum(share * state[name] for share, state in zip(shares, states, strict=True))
        torch.testing.assert_close(average.model.state_dict()[name], expected, rtol=1e-12, atol=1e-12)
    assert (average.model[1].running_mean == 5).all()


def test_an_average_is_what_is_used_and_the_trained_weights_stay():
    trainer = Trainer(tiny_model(), config(2, average_decay=0.9), accelerator="cpu")
    trainer.fit([walls(1)] * 2)
    own, used = weights_of(trainer.model), trainer.trained_model
    assert not same(own, weights_of(used))
    assert not used.training
    with torch.no_grad():
        next(used.parameters()).zero_()
    assert same(own, weights_of(trainer.model))
    assert not same(weights_of(used), weights_of(trainer.trained_model))


def copied(nest):
    if isinstance(nest, dict):
        return {name: copied(value) for name, value in nest.items()}
    return nest.clone() if isinstance(nest, torch.Tensor) else nest


def test_a_training_goes_on_from_its_state_exactly():
    described = config(
        5, batch_size=2, accumulate=2, average_decay=0.9, schedule={"kind": "one-cycle"}, non_finite={"action": "skip"}
    )
    broken = walls(1)
    broken.target.images[0, 0, 0, 0, 0] = float("nan")
    batches = [walls(1, number) for number in range(10)]
    batches[3] = broken  # of step 2
    first = Trainer(tiny_model(), described, accelerator="cpu")
    states = {}
    first.fit(batches, on_step=lambda step, history: states.update({step: copied(first.state_dict())}))
    for step in (1, 2, 4):
        second = Trainer(tiny_model(), described, accelerator="cpu")
        second.load_state_dict(states[step])
        torch.manual_seed(step)  # what was drawn elsewhere makes no difference
        second.fit(batches[2 * step :], first_step=step)
        assert second.history == first.history
        mine, other = first.state_dict(), second.state_dict()
        assert same(mine["model"], other["model"])
        assert same(mine["average"]["model"], other["average"]["model"])
        assert all(same(parts, other["optimizer"][name]) for name, parts in mine["optimizer"].items())
    assert [row["skipped"] for row in first.history.rows] == [0, 1, 0, 0, 0]


def test_random_numbers_of_a_step_are_its_own_and_the_users_stay():
    class Noisy(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model, self.drawn = model, []

        def forward(self, context):
            self.drawn.append(torch.rand(()).item())
            return self.model(context)

    torch.manual_seed(5)
    expected = torch.rand(3)
    drawn = []
    for before in (1, 2):
        noisy = Noisy(tiny_model())
        trainer = Trainer(noisy, config(2, seed=before), accelerator="cpu")
        torch.manual_seed(5)
        trainer.fit([walls(1)] * 2)
        assert torch.equal(torch.rand(3), expected)
        drawn += noisy.drawn
    assert len(set(drawn)) == 4


def test_precision_of_products_is_that_of_the_training_only_inside_it():
    trainer = Trainer(tiny_model(), config(1, matmul_precision="high"), accelerator="cpu")
    seen = []
    trainer.fit([walls(1)], on_step=lambda *_: seen.append(torch.get_float32_matmul_precision()))
    assert seen == ["high"]
    assert torch.get_float32_matmul_precision() == "highest"


def test_half_precision_trains_with_losses_in_float32():
    model = build_model("gslrm-tiny", width=32, layers=1, head_width=16, normalise_queries=False)
    trainer = Trainer(model, config(2, precision="bf16-mixed"), accelerator="cpu")
    seen = []
    trainer.model.attn_processor.register_forward_hook(lambda *parts: seen.append(parts[2].dtype))
    before = weights_of(trainer.model)
    trainer.fit([walls(1)] * 2)
    assert trainer.step_module.last.total.dtype == torch.float32
    assert not same(before, weights_of(trainer.model))
    assert all(value.dtype == torch.float32 for value in trainer.model.parameters())


# --- states of other trainings ---


def test_a_state_of_another_training_is_refused_by_name():
    trainer = Trainer(tiny_model(), config(2), accelerator="cpu")
    trainer.fit([walls(1)], until=1)
    state = trainer.state_dict()

    def other(model=None, **changes) -> Trainer:
        return Trainer(model or tiny_model(), config(2, **changes), accelerator="cpu")

    with pytest.raises(CheckpointError, match=r"model does not fit .*attn_processor"):
        other(build_model("gslrm-tiny", width=32, layers=2, head_width=16)).load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"model does not fit .*wrong shape: .*tokenizer"):
        other(build_model("gslrm-tiny", width=16, layers=1, head_width=16)).load_state_dict(state)
    with pytest.raises(CheckpointError, match="no average of the weights"):
        other(average_decay=0.5).load_state_dict(state)
    with pytest.raises(CheckpointError, match="1 missing: history"):
        other().load_state_dict({name: value for name, value in state.items() if name != "history"})
    forgetful = state | {"optimizer": dict(list(state["optimizer"].items())[1:])}
    with pytest.raises(CheckpointError, match=f"the optimizer: 1 missing: {next(iter(state['optimizer']))}"):
        other().load_state_dict(forgetful)
    name = next(iter(state["optimizer"]))
    bent = state["optimizer"] | {name: state["optimizer"][name] | {"exp_avg": torch.zeros(3)}}
    with pytest.raises(CheckpointError, match=f"optimizer at {name} does not fit .*exp_avg"):
        other().load_state_dict(state | {"optimizer": bent})


def test_a_fit_begins_where_the_trainer_stands():
    trainer = Trainer(tiny_model(), config(3), accelerator="cpu")
    trainer.fit([walls(1)], until=1)
    for first, until in ((0, None), (2, None), (1, 4)):
        with pytest.raises(ParameterError, match=r"with 1 done"):
            trainer.fit([walls(1)], first_step=first, until=until)
    assert len(trainer.fit([walls(1)] * 2, first_step=1).rows) == 3
