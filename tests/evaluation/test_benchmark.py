"""An evaluation loses no scene, hides no number, and gives the same file twice."""

import json
import math

import pytest
import torch

from pmgs_lib.errors import RunError
from pmgs_lib.evaluation import evaluate, psnr
from pmgs_lib.evaluation.lpips import LpipsUnavailable
from pmgs_lib.evaluation.methods import ExactDepth, Method, MethodOutput, NearestInput

NO_LPIPS = LpipsUnavailable("LPIPS not computed: weights are absent", "put them there")


class Oracle(Method):
    """The truth plus a known error, except for what a test changes of it."""

    name = "oracle"

    def __init__(self, change=lambda output, example: output) -> None:
        self.change = change

    def __call__(self, example):
        centers = example.context.cameras.unproject(example.context.depth).reshape(-1, 3) + torch.tensor([0, 0, 0.02])
        color = example.target.images * 0.9
        return self.change(
            MethodOutput(color, 1.1 * example.target.depth, 1.2 * example.context.depth, centers), example
        )


def changed(**values):
    return Oracle(lambda output, example: MethodOutput(**(vars(output) | {k: v(output) for k, v in values.items()})))


@pytest.fixture
def run(dataset, protocol):
    def run(method, keys=("a", "b"), lpips_network=NO_LPIPS, on_scene=None, **faults):
        return evaluate(method, dataset(**faults), protocol(*keys), lpips_network=lpips_network, on_scene=on_scene)

    return run


def test_every_target_of_every_scene_has_a_row_with_its_split(run):
    frame = run(Oracle()).to_frame()
    assert list(zip(frame.scene, frame["view"], frame.split, strict=True)) == [
        (scene, view, split) for scene in "ab" for view, split in ((1, "inside"), (2, "inside"), (6, "outside"))
    ]
    assert frame.psnr.notna().all()
    assert frame.lpips.isna().all()


def test_the_numbers_are_those_of_the_metrics(run, dataset):
    result = run(Oracle())
    target = dataset().example("a", (0, 4), (1, 2, 6), 24, 32).target
    expected = psnr(target.images * 0.9, target.images)
    torch.testing.assert_close(torch.tensor([r.metrics["psnr"] for r in result.scores[0].targets]), expected)
    means = result.means["overall"]
    assert means["abs_rel"] == pytest.approx(0.1, rel=1e-4)
    assert means["context_abs_rel"] == pytest.approx(0.2, rel=1e-4)
    assert means["accuracy_m"] == pytest.approx(0.02, rel=1e-3)
    assert means["delta1"] == 1


def test_means_are_taken_over_views_and_then_over_scenes(run):
    result = run(Oracle())
    frame = result.to_frame()
    assert result.means["overall"]["psnr"] == pytest.approx(frame.groupby("scene").psnr.mean().mean())
    for split in ("inside", "outside"):
        expected = frame[frame.split == split].groupby("scene").psnr.mean().mean()
        assert result.means[split]["psnr"] == pytest.approx(expected)
    assert "accuracy_m" not in result.means["inside"]


def test_a_damaged_scene_is_skipped_with_its_reason_and_without_the_machines_path(run):
    result = run(Oracle(), keys=("a", "b", "c"), damaged=("b",))
    assert result.to_json()["ledger"] == {
        "listed": 3,
        "scored": ["a", "c"],
        "skipped": [{"scene": "b", "reason": "<dataset>/test/000000.torch: scene b is cut short; import it again"}],
    }
    assert set(result.to_frame().scene) == {"a", "c"}


def test_only_data_faults_are_skipped(run):
    with pytest.raises(ZeroDivisionError):
        run(Oracle(lambda output, example: 1 / 0))


def test_a_control_that_needs_depth_is_skipped_where_there_is_none(run):
    result = run(ExactDepth("reference"), damaged=(), blind=("b",))
    assert result.ledger.skipped == {"b": "the data has no exact depth to unproject"}


def test_what_a_metric_lacks_is_counted_by_reason(run):
    result = run(NearestInput(), blind=("b",))
    assert result.missing["lpips"] == {NO_LPIPS.reason: 2}
    assert result.missing["abs_rel"] == {"the method predicts no depth here": 1, "the data has no exact depth": 1}
    assert result.missing["overall_m"] == {"the method predicts no points": 1, "the data has no exact depth": 1}
    assert result.means["overall"]["abs_rel"] is None
    assert "psnr" not in result.missing


def test_lpips_is_reported_when_there_is_a_network(run):
    class Difference(torch.nn.Module):
        def forward(self, image, reference, normalize):
            assert normalize
            return (image - reference).abs().mean().reshape(1, 1, 1, 1)

    result = run(Oracle(), lpips_network=Difference())
    assert 0 < result.means["overall"]["lpips"] < 0.1
    assert "lpips" not in result.missing


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (changed(color=lambda o: o.color.index_fill(0, torch.tensor([1]), torch.nan)), "a, view 2: psnr is nan"),
        (changed(depth=lambda o: o.depth * torch.inf), "a, view 1: abs_rel is inf"),
        (changed(context_depth=lambda o: o.context_depth * torch.nan), "a, all context views: context_abs_rel is nan"),
        (changed(centers=lambda o: o.centers * torch.nan), "a: point_cloud_errors: a predicted point is NaN"),
        (changed(color=lambda o: o.color / 0.9), r"a, view \d: psnr is inf"),
        (
            changed(color=lambda o: o.color[:, :, 1:], depth=lambda o: None),
            r"a: the method's color has shape \(3, 3, 23, 32",
        ),
        (
            changed(context_depth=lambda o: o.context_depth[:, 1:]),
            r"a: the method's context_depth has shape \(2, 23, 32",
        ),
    ],
)
def test_a_number_that_is_none_stops_the_evaluation_and_says_where(run, method, message):
    if "psnr is inf" in message:
        method = Oracle(lambda output, example: MethodOutput(example.target.images))
    with pytest.raises(RunError, match=message):
        run(method)


def test_the_file_has_finite_numbers_no_paths_and_compares_to_the_last_digit(run):
    first, second = (json.dumps(run(ExactDepth("reference")).to_json(), allow_nan=False) for _ in range(2))
    assert first == second
    assert "/" not in first
    content = json.loads(first)
    assert content["settings"]["limit_m"] == 20
    assert (content["settings"]["height"], content["settings"]["width"]) == (24, 32)
    assert len(content["settings"]["protocol_digest"]) == 64
    assert content["control"] is True
    assert math.isfinite(content["means"]["overall"]["overall_m"])


def test_the_caller_sees_each_scored_scene(run):
    seen = []
    run(
        NearestInput(),
        ("a", "b", "c"),
        on_scene=lambda key, example, output: seen.append((key, example.key)),
        damaged=("b",),
    )
    assert seen == [("a", "a"), ("c", "c")]


def test_the_exact_depth_control_has_exact_geometry(run):
    means = run(ExactDepth("reference")).means["overall"]
    assert means["overall_m"] < 1e-6
    assert means["context_abs_rel"] == 0
    assert means["context_delta1"] == 1
