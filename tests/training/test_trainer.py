"""The loop: it learns, it is deterministic, and nothing non-finite reaches the weights."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from pmgs_lib import Cameras, Example, Views
from pmgs_lib.errors import ParameterError, TrainingError
from pmgs_lib.losses import PointmapLossSettings
from pmgs_lib.models import build_model
from pmgs_lib.pointmaps import build_pointmap_source
from pmgs_lib.pointmaps.base import Pointmap, PointmapSource
from pmgs_lib.training import Trainer, TrainingConfig, WeightSchedule

HEIGHT, WIDTH = 32, 48


def plane_example(key: str = "plane", spoil: bool = False) -> Example:
    """A textured wall two metres ahead, seen by a camera that steps to the right."""
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 0, 3] = torch.tensor([0.0, 0.2, 0.1])
    intrinsics = torch.tensor([[0.8, 0, 0.5], [0, 1.2, 0.5], [0, 0, 1.0]]).expand(3, 3, 3)
    cameras = Cameras(poses, intrinsics)
    depth = torch.full((3, HEIGHT, WIDTH), 2.0)
    points = cameras.unproject(depth)
    images = (torch.sin(points * torch.tensor([9.0, 7.0, 3.0])).movedim(-1, 1) + 1) / 2
    if spoil:
        images = images.clone()
        images[2, 0, 0, 0] = float("nan")

    def views(chosen):
        near, far = torch.tensor(0.5), torch.tensor(20.0)
        return Views(images[chosen], cameras[chosen], near, far, depth[chosen])

    return Example.collate([Example(views([0, 1]), views([2]), key)])


def small_model() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model("depthsplat-tiny", transformer_blocks=2, candidates=32)


def config(steps: int, changes: dict | None = None, **objective) -> TrainingConfig:
    return TrainingConfig(
        steps=steps, optimizer={"learning_rate": 1e-3}, schedule={"warmup": 0.2}, objective=objective, **(changes or {})
    )


def test_training_lowers_the_loss_and_fills_the_history():
    trainer = Trainer(small_model(), config(12), accelerator="cpu")
    history = trainer.fit([plane_example()] * 12)
    frame = history.to_frame()
    assert list(frame["step"]) == list(range(1, 13))
    assert frame["photometric"].iloc[-1] < 0.7 * frame["photometric"].iloc[0]
    assert not trainer.model.training


def test_the_same_seed_gives_the_same_weights():
    runs = []
    for _ in range(2):
        trainer = Trainer(small_model(), config(2), accelerator="cpu")
        trainer.fit([plane_example()] * 2)
        runs.append(trainer.model.state_dict())
    assert all(torch.equal(first, second) for first, second in zip(runs[0].values(), runs[1].values(), strict=True))


def test_pm_loss_and_depth_are_terms_of_their_own():
    pointmaps = build_pointmap_source("depth", noise=0.01)
    settings = config(2, pointmap_weight=0.05, depth_weight=0.1)
    history = Trainer(small_model(), settings, pointmaps=pointmaps, accelerator="cpu").fit([plane_example()] * 2)
    assert {"photometric", "pointmap", "depth"} <= set(history.to_frame())
    assert history.excluded == {}


class BrokenPointmap(PointmapSource):
    """A pointmap that is NaN everywhere, and the number of times it was asked for."""

    asked = 0

    def pointmap(self, context, key):
        self.asked += 1
        shape = (*context.batch_shape, context.count, context.height, context.width)
        return Pointmap(torch.full((*shape, 3), float("nan")), torch.ones(shape))


def test_scenes_that_pm_loss_leaves_out_are_counted_and_named():
    settings = config(2, pointmap_weight=0.05)
    history = Trainer(small_model(), settings, pointmaps=BrokenPointmap(), accelerator="cpu").fit([plane_example()] * 2)
    reason = f"{2 * HEIGHT * WIDTH} of {2 * HEIGHT * WIDTH} points of the pointmap are NaN or infinite"
    assert history.excluded == {f"plane: {reason}": 2}
    assert history.exclusions[1] == (2, "plane", reason)
    assert (history.to_frame()["pointmap"] == 0).all()


def test_options_of_pm_loss_reach_it_and_its_weight_follows_the_schedule():
    options = {"compare": "depth", "normalization": "depth", "sampled_points": 100, "confidence_rule": "weights"}
    described = {
        "steps": 3,
        "optimizer": {"learning_rate": 1e-3},
        "objective": {"pointmap_weight": 0.1, "pointmap_loss": options, "pointmap_schedule": {"start": 1, "stop": 2}},
    }
    source = BrokenPointmap()
    trainer = Trainer(small_model(), TrainingConfig.model_validate(described), pointmaps=source, accelerator="cpu")
    history = trainer.fit([plane_example()] * 3)
    assert trainer.step_module.objective.pointmap_loss.settings.compare == "depth"
    assert source.asked == 1
    assert [exclusion.step for exclusion in history.exclusions] == [2]


def test_a_rule_for_confidences_that_the_source_has_not_is_refused():
    settings = config(1, pointmap_weight=0.05, pointmap_loss=PointmapLossSettings(confidence_rule="weights"))
    trainer = Trainer(small_model(), settings, pointmaps=build_pointmap_source("depth"), accelerator="cpu")
    with pytest.raises(ParameterError, match="confidence: none was given"):
        trainer.fit([plane_example()])


def test_factors_of_a_schedule():
    assert [WeightSchedule().factor(step) for step in (0, 10**6)] == [1.0, 1.0]
    schedule = WeightSchedule(start=2, ramp=3, stop=8)
    assert [schedule.factor(step) for step in range(9)] == [0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 0]


@pytest.mark.parametrize("options", [{"treshold": 1.0}, {"penalty": "l2"}, {"penalty": "huber"}])
def test_options_of_pm_loss_are_checked_before_anything_runs(options):
    with pytest.raises((ValidationError, ParameterError), match=r"treshold|penalty"):
        TrainingConfig.model_validate({"steps": 1, "objective": {"pointmap_loss": options}})


def test_pm_loss_without_a_source_is_refused():
    with pytest.raises(ParameterError, match="no pointmap source"):
        Trainer(small_model(), config(1, pointmap_weight=0.05), accelerator="cpu")


def test_a_bad_picture_stops_training_before_the_step():
    trainer = Trainer(small_model(), config(3), accelerator="cpu")
    batches = [plane_example(), plane_example("broken scene", spoil=True)]
    weights_after_first = {}

    def remember(step, history):
        weights_after_first.update({name: value.clone() for name, value in trainer.model.state_dict().items()})

    with pytest.raises(TrainingError, match="step 2, scenes broken scene: target images of view 0 hold nan"):
        trainer.fit(batches, on_step=remember)
    assert all(torch.equal(value, weights_after_first[name]) for name, value in trainer.model.state_dict().items())


def test_a_gradient_that_is_not_finite_stops_before_the_step():
    trainer = Trainer(small_model(), config(1), accelerator="cpu")
    parameter = next(p for n, p in trainer.model.named_parameters() if n.startswith("gaussian_head"))
    parameter.register_hook(lambda gradient: gradient * float("inf"))
    before = parameter.detach().clone()
    with pytest.raises(TrainingError, match="the gradient of 1 parameters is not finite"):
        trainer.fit([plane_example()])
    assert torch.equal(parameter, before)


def test_data_that_ends_early_is_named():
    with pytest.raises(TrainingError, match="the data ended after 1 of 2 steps"):
        Trainer(small_model(), config(2), accelerator="cpu").fit([plane_example()])


@pytest.mark.prove
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs g++")
def test_a_compiled_training_takes_the_same_steps():
    """In a process of its own: the compiler stays in memory, and the tests' shape checks cannot be compiled."""
    script = Path(__file__).with_name("compiled_training.py")
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=500)
    assert ended.returncode == 0, ended.stderr
    difference, moved = map(float, ended.stdout.split())
    assert difference < 1e-4 * moved
    assert moved > 0


def test_graphs_need_compiled_regions():
    with pytest.raises(ValidationError, match="graphs without compile"):
        TrainingConfig(steps=1, graphs=True)
