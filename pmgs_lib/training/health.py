"""How PM-Loss sees a trained model, whether it was trained with it or not, and how it sees pointmaps themselves."""

from collections.abc import Sequence
from pathlib import Path

import torch

from pmgs_lib.data import load_protocol
from pmgs_lib.errors import DataError
from pmgs_lib.losses import PointmapHealth, PointmapLoss, join_health, measure_health
from pmgs_lib.models import load_checkpoint
from pmgs_lib.pointmaps import PointmapSource, build_pointmap_source, training_contexts
from pmgs_lib.training.objective import Objective
from pmgs_lib.training.run import TrainingRun, training_examples
from pmgs_lib.views import Views


@torch.no_grad()
def training_health(run: TrainingRun, weights: str | Path, *, most: int = 8) -> PointmapHealth:
    """Health of PM-Loss, with the options and the pointmaps of `run`, on its first `most` training examples.

    Scenes are named by their key and the number of the example, since one scene is drawn again and again.
    """
    config = run.training.objective.model_copy(update={"perceptual_weight": 0.0})  # so that its network is not needed
    objective = Objective(config, build_pointmap_source(run.pointmap, **run.pointmap_options))
    model = load_checkpoint(str(weights)).eval()
    contexts = training_contexts(training_examples(run, load_protocol(run.protocol)))
    parts = []
    for number in range(min(most, len(contexts))):
        key, views = contexts[number]
        views = Views.stack([views])
        details = objective.pointmap_details(model(views), views, (f"{key} ({number})",), step=0, per_pixel=True)
        parts.append(PointmapHealth.of(details, objective.pointmap_loss.settings))
    return join_health(parts)


def pointmap_health(source: PointmapSource, contexts: Sequence, *, most: int = 8) -> PointmapHealth | None:
    """Health of pointmaps against exact surfaces, which take the part of the prediction, for the first `most` contexts.

    contexts: as `fill_cache` takes them. Views without exact depth cannot be compared, and views that cannot be opened
    were named when the cache was filled: both are passed over; None when nothing is left.
    """
    parts = []
    for number in range(min(most, len(contexts))):
        try:
            key, views = contexts[number]
        except DataError:
            continue
        if views.depth is not None:
            surface = views.cameras.unproject(views.depth)[None]
            parts.append(measure_health(PointmapLoss(), surface, source(views, key)[None], [f"{key} ({number})"]))
    return join_health(parts) if parts else None
