"""Scores of a model that predicts depth only: depth of the context views of a protocol's scenes, none lost."""

import math
from collections.abc import Callable
from statistics import fmean

import torch
from torch import Tensor, nn

from pmgs_lib.data.dataset import SceneDataset
from pmgs_lib.data.protocols import Protocol
from pmgs_lib.errors import DataError, RunError
from pmgs_lib.evaluation.benchmark import DEPTH_METRICS, NO_EXACT_DEPTH
from pmgs_lib.evaluation.ledger import Ledger
from pmgs_lib.evaluation.methods import evaluation_mode
from pmgs_lib.evaluation.metrics import depth_errors
from pmgs_lib.views import Views


def evaluate_depth(
    model: nn.Module,
    dataset: SceneDataset,
    protocol: Protocol,
    device: torch.device,
    *,
    on_scene: Callable[[str, Views, Tensor], None] | None = None,
) -> tuple[dict[str, float], Ledger]:
    """Means over scenes of the errors of context depth, named as `evaluate` names them, and the closed ledger.

    A scene is skipped for a DataError only, no exact depth being one. Raises RunError for an error that is not finite.
    `on_scene` sees key, context views and predicted z-depth (view h w) of each scored scene.
    """
    ledger, scores = Ledger.of(protocol.keys), []
    for key in ledger.listed:
        try:
            context = _context(dataset, protocol, key).to(device)
            if context.depth is None:
                raise DataError(NO_EXACT_DEPTH)
            with torch.no_grad(), evaluation_mode(model):
                depth = model(Views.stack([context])).depth[0]
            errors = depth_errors(depth, context.depth)
        except DataError as fault:
            ledger.skip(key, str(fault))
            continue
        score = {f"context_{name}": getattr(errors, name).double().mean().item() for name in DEPTH_METRICS}
        if not all(map(math.isfinite, score.values())):
            raise RunError(f"validation: {key}: {score}, expected finite numbers; look at the predicted depth")
        if on_scene is not None:
            on_scene(key, context, depth)
        scores.append(score)
        ledger.score(key)
    names = scores[0] if scores else ()
    return {name: fmean(score[name] for score in scores) for name in names}, ledger.close()


def first_context(dataset: SceneDataset, protocol: Protocol) -> Views:
    """The context views, as a batch of one, of the first scene that can be read. Raises the last scene's DataError."""
    for number, key in enumerate(protocol.keys, start=1):
        try:
            return Views.stack([_context(dataset, protocol, key)])
        except DataError:
            if number == len(protocol.keys):
                raise
    raise RunError(f"validation: protocol {protocol.name} lists no scene")


def _context(dataset: SceneDataset, protocol: Protocol, key: str) -> Views:
    return dataset.views(dataset.scene(key), protocol.views_of(key).context, protocol.height, protocol.width)
