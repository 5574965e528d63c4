"""Evaluation of one method on the scenes of a protocol, with no scene lost on the way."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol as Interface
from typing import runtime_checkable

from torch import Tensor, nn

from pmgs_lib.data.protocols import Protocol
from pmgs_lib.errors import DataError, ParameterError, RunError
from pmgs_lib.evaluation.admission import comparability, left_out, require_depth_range
from pmgs_lib.evaluation.ledger import Ledger
from pmgs_lib.evaluation.lpips import LpipsUnavailable, load_lpips, lpips
from pmgs_lib.evaluation.methods import Method, MethodOutput
from pmgs_lib.evaluation.metrics import depth_errors, psnr, ssim
from pmgs_lib.evaluation.point_clouds import point_cloud_errors
from pmgs_lib.evaluation.results import EvaluationResult, EvaluationSettings, SceneScore, Split, TargetRow
from pmgs_lib.views import Example, Views

DEPTH_METRICS = ("abs_rel", "rmse_m", "delta1")
POINT_METRICS = ("accuracy_m", "completeness_m", "overall_m")
NO_EXACT_DEPTH = "the data has no exact depth"
COPIED = "their targets at context frames, which are copied exactly (infinite)"


@runtime_checkable
class Dataset(Interface):
    """What the benchmark asks of a data set."""

    def example(
        self, key: str, context_indices: Sequence[int], target_indices: Sequence[int], height: int, width: int
    ) -> Example: ...


def evaluate(
    method: Method,
    dataset: Dataset,
    protocol: Protocol,
    *,
    device: str = "cpu",
    lpips_network: nn.Module | LpipsUnavailable | None = None,
    on_scene: Callable[[str, Example, MethodOutput], None] | None = None,
    allow_missing: bool = False,
) -> EvaluationResult:
    """Score `method` on every scene of `protocol`, at the protocol's image size and point-cloud range.

    Data that lacks scenes is refused before anything is computed; with `allow_missing` the others are scored, and the
    result is marked as not comparable. A scene is skipped, with its reason in the ledger, only for a `DataError`;
    anything else is raised. A metric that is not finite raises `RunError` naming scene, view and metric, but for a
    context frame that is copied exactly. `lpips_network` comes from `load_lpips` (the default); `on_scene` sees each
    scored scene, e.g. to keep pictures.
    """
    known = left_out(dataset, protocol, allow_missing)
    network = load_lpips() if lpips_network is None else lpips_network
    ledger, scores = Ledger.of(protocol.listed), []
    for key in ledger.listed:
        if key in known:
            ledger.skip(key, known[key])
            continue
        try:
            scene = _open_scene(dataset, protocol, key, device)
            output = method(scene.example)
            score = _score_scene(scene, output, network, protocol.metrics.limit_m)
        except DataError as error:
            ledger.skip(key, _without_paths(str(error), dataset))
            continue
        if on_scene is not None:
            on_scene(key, scene.example, output)
        scores.append(score)
        ledger.score(key)
    settings = _settings(protocol, device, comparability(protocol, len(scores)))
    return EvaluationResult(method.name, method.control, settings, tuple(scores), ledger.close())


def _settings(protocol: Protocol, device: str, not_comparable: str | None) -> EvaluationSettings:
    return EvaluationSettings(
        protocol=protocol.name,
        protocol_digest=protocol.digest,
        height=protocol.height,
        width=protocol.width,
        limit_m=protocol.metrics.limit_m,
        device=device,
        not_comparable=not_comparable,
    )


@dataclass(frozen=True)
class _Scene:
    key: str
    example: Example
    frames: tuple[int, ...]
    splits: tuple[Split, ...]


def _open_scene(dataset: Dataset, protocol: Protocol, key: str, device: str) -> _Scene:
    views = protocol.views_of(key)
    frames, splits = zip(*views.targets, strict=True)
    example = dataset.example(key, views.context, frames, protocol.height, protocol.width)
    require_depth_range(example, protocol)
    return _Scene(key, example.to(device), frames, splits)


def _score_scene(
    scene: _Scene, output: MethodOutput, network: nn.Module | LpipsUnavailable, limit_m: float | None
) -> SceneScore:
    context, target = scene.example.context, scene.example.target
    _require_shape(scene.key, "color", output.color, target.images)
    missing: dict[str, str] = {}
    by_target = {"psnr": psnr(output.color, target.images), "ssim": ssim(output.color, target.images)}
    distance = lpips(output.color, target.images, network)
    if isinstance(distance, LpipsUnavailable):
        missing["lpips"] = distance.reason
    else:
        by_target["lpips"] = distance
    by_target |= _depth_metrics(scene.key, output.depth, target, missing, prefix="")
    by_context = _depth_metrics(scene.key, output.context_depth, context, missing, prefix="context_")
    by_scene = {name: values.double().mean().item() for name, values in by_context.items()}
    by_scene |= _point_metrics(scene.key, output, context, limit_m, missing)
    rows = tuple(
        _target_row(scene, number, {name: values[number].item() for name, values in by_target.items()}, missing)
        for number in range(len(scene.frames))
    )
    for row in rows:
        _require_finite(f"{scene.key}, view {row.view}", row.metrics)
    _require_finite(f"{scene.key}, all context views", by_scene)
    return SceneScore(scene.key, rows, by_scene, missing)


def _target_row(scene: _Scene, number: int, metrics: dict[str, float], missing: dict[str, str]) -> TargetRow:
    split = scene.splits[number]
    if split == "at_context" and metrics["psnr"] == math.inf:
        del metrics["psnr"]
        missing["psnr"] = COPIED
    return TargetRow(scene.key, scene.frames[number], split, metrics)


def _depth_metrics(
    key: str, depth: Tensor | None, views: Views, missing: dict[str, str], *, prefix: str
) -> dict[str, Tensor]:
    names = [prefix + name for name in DEPTH_METRICS]
    if depth is None or views.depth is None:
        reason = NO_EXACT_DEPTH if views.depth is None else "the method predicts no depth here"
        missing |= dict.fromkeys(names, reason)
        return {}
    _require_shape(key, prefix + "depth", depth, views.depth)
    errors = depth_errors(depth, views.depth)
    return {prefix + name: getattr(errors, name) for name in DEPTH_METRICS}


def _point_metrics(
    key: str, output: MethodOutput, context: Views, limit_m: float | None, missing: dict[str, str]
) -> dict[str, float]:
    if output.centers is None or context.depth is None:
        reason = NO_EXACT_DEPTH if context.depth is None else "the method predicts no points"
        missing |= dict.fromkeys(POINT_METRICS, reason)
        return {}
    try:
        return point_cloud_errors(output.centers, context, limit_m)._asdict()
    except ParameterError as error:
        raise RunError(f"evaluate: {key}: {error}") from error


def _require_shape(key: str, what: str, predicted: Tensor, expected: Tensor) -> None:
    if predicted.shape != expected.shape:
        raise RunError(
            f"evaluate: {key}: the method's {what} has shape {tuple(predicted.shape)}, "
            f"expected {tuple(expected.shape)}; render at the example's size"
        )


def _require_finite(where: str, metrics: Mapping[str, float]) -> None:
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise RunError(
                f"evaluate: {where}: {name} is {value}, expected a finite number; look at the prediction of this view "
                "(an infinite psnr means the target was among the inputs)"
            )


def _without_paths(reason: str, dataset: Dataset) -> str:
    """Results compare between machines, so the place of the data set on this one must not be in them."""
    root = getattr(dataset, "root", None)
    return reason if root is None else reason.replace(str(root), "<dataset>")
