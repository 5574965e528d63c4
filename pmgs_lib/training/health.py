"""How PM-Loss sees a trained model, whether it was trained with it or not."""

from pathlib import Path

import torch

from pmgs_lib.data import load_protocol
from pmgs_lib.losses import PointmapHealth, join_health
from pmgs_lib.models import load_checkpoint
from pmgs_lib.pointmaps import build_pointmap_source, training_contexts
from pmgs_lib.training.objective import Objective
from pmgs_lib.training.run import TrainingRun, training_examples
from pmgs_lib.views import Views


@torch.no_grad()
def training_health(run: TrainingRun, weights: str | Path, *, most: int = 8) -> PointmapHealth:
    """Health of PM-Loss, with the options and the pointmaps of `run`, on its first `most` training examples.

    Scenes are named by their key and the number of the example, since one scene is drawn again and again.
    """
    objective = Objective(run.training, build_pointmap_source(run.pointmap, **run.pointmap_options))
    model = load_checkpoint(str(weights)).eval()
    contexts = training_contexts(training_examples(run, load_protocol(run.protocol)))
    parts = []
    for number in range(min(most, len(contexts))):
        key, views = contexts[number]
        views = Views.stack([views])
        details = objective.pointmap_details(model(views), views, (f"{key} ({number})",), step=0, per_pixel=True)
        parts.append(PointmapHealth.of(details, objective.pointmap_loss.settings))
    return join_health(parts)
