"""A recipe in seconds on two CPU cores: the same architecture, terms and switches, small and on embedded scenes.

Everything that decides which code runs stays as it is: precision, parts of a batch, deferred rendering, intermediate
predictions, the policy for bad steps, the sampler. Widths, picture size and steps shrink. What a machine without
weights and data has to go without is listed in `left_out`, never replaced in silence.
"""

from typing import Any

from pmgs_lib.data.protocols import ScheduledViews, TrainingViews
from pmgs_lib.errors import CheckpointError
from pmgs_lib.losses.perceptual import build_perceptual
from pmgs_lib.models import MODELS, ModelConfig
from pmgs_lib.training.recipes.base import Recipe, Source, merged, shortened

REHEARSED = Source(trust="changed", where="rehearsal on two CPU cores")
STEPS, SCENES = 2, 2
SHRINKING = 4  # of the sides of pictures
PROTOCOL = "embedded-smoke"

# By the kind of the configuration and of its parts: as small as their rules allow.
DPT = {"projections": [16, 24, 24, 32], "features": 16}
SMALL_COLOR = {
    "dpt": DPT,
    "resize_conv": {"features": 32},
    "convolutions": {"channels": 16},
    "unet": {"channels": 16, "head_width": 16},
}
SMALL: dict[str, dict[str, Any]] = {
    "depthsplat": {
        "vit": {"width": 48, "depth": 4, "heads": 2, "taps": [0, 1, 2, 3], "position_grid": 16},
        "cnn_channels": [16, 24, 32],
        "transformer_width": 32,
        "transformer_blocks": 2,
        "feed_forward_factor": 2,
        "candidates": 32,
        "unet_channels": 32,
        "unet_head_width": 16,
        "dpt": DPT,
    },
    "mvsplat": {
        "cnn_channels": [16, 24, 32],
        "transformer_width": 32,
        "transformer_blocks": 2,
        "feed_forward_factor": 2,
        "candidates": 32,
        "cost_unet": {"channels": 32},
        "refine_unet": {"channels": 16},
        "unet_head_width": 16,
    },
    "gslrm": {"width": 128, "layers": 2},
}


def rehearsal(recipe: Recipe) -> Recipe:
    """The recipe small, on embedded scenes, from fresh weights."""
    small = merged(recipe.model_changes, small_model(recipe.config()))
    batch_size = min(SCENES, recipe.training.batch_size)
    # A batch that the original's GPUs held scene by scene is taken so here, too.
    gpus = batch_size if recipe.scenes_per_gpu == 1 else 1
    height, width = recipe.size or MODELS[recipe.model].image_size
    multiple = recipe.config().multiple
    changes: dict[str, Any] = shortened(recipe, STEPS, batch_size=batch_size, gpus=gpus) | {
        "model_changes": small,
        "protocol": PROTOCOL,
        "size": tuple(max(side // SHRINKING // multiple, 1) * multiple for side in (height, width)),
        "views": small_views(recipe.views),
        "data": (),
        **{"weights": None, "part": None, "initialisation": {}, "stage_before": None},
        "left_out": recipe.left_out + tuple(started_from(recipe)),
    }
    if recipe.pointmap != "depth":
        changes |= {"pointmap": "depth", "pointmap_options": {"noise": 0.02}}
        changes["left_out"] += (f"pointmaps of {recipe.pointmap}: exact depth with noise stands for them",)
    return leave_out_missing(recipe.replaced(changes, REHEARSED))


def small_model(config: ModelConfig) -> dict[str, Any]:
    """What of a configuration changes for a rehearsal."""
    small = SMALL[config.kind]
    color = getattr(config, "color", None)
    if color is None:
        return small
    return small | {"color": {part: SMALL_COLOR[getattr(color, part).kind] for part in ("features", "regressor")}}


def small_views(views: TrainingViews | ScheduledViews) -> dict[str, Any]:
    """The same choice of frames in scenes of 20 frames."""
    if isinstance(views, TrainingViews):
        return views.model_dump()
    smallest = views.views[1] + 1 if views.views else 3
    fixed = views.first_gap[0] == views.first_gap[1]
    first, last = (smallest, smallest + (0 if fixed else 2)), (smallest + 2, smallest + (2 if fixed else 5))
    return {"first_gap": first, "last_gap": last, "steps": min(views.steps, STEPS - 1)}


def started_from(recipe: Recipe) -> list[str]:
    """What the real training starts from and the rehearsal does not, in words."""
    part = f"{recipe.part} of " if recipe.part else ""
    sources = [f"weights: {part}{recipe.weights}"] if recipe.weights else []
    sources += [f"weights: the result of {recipe.stage_before}"] if recipe.stage_before and not recipe.weights else []
    sources += [f"weights: {name} for {what}" for what, name in recipe.initialisation.items()]
    return [f"{source}: of another size; fresh ones stand for them" for source in sources]


def leave_out_missing(recipe: Recipe) -> Recipe:
    """The recipe without the perceptual term if the weights of its network are not on this machine, saying so."""
    objective = recipe.training.objective
    if objective.perceptual_weight == 0:
        return recipe
    try:
        build_perceptual(objective)
    except CheckpointError:
        term = f"perceptual term ({objective.perceptual}, weight {objective.perceptual_weight:g})"
        told = f"{term}: the weights of its network are not on this machine"
        changes = {"training": {"objective": {"perceptual_weight": 0.0}}, "left_out": (*recipe.left_out, told)}
        return recipe.replaced(changes, Source(trust="changed", where="left out: its weights are not on this machine"))
    return recipe
