"""PM-Loss (arXiv 2506.05327): fine-tuning of DepthSplat's code of October 2024, with and without the loss.

Facts are from the repository aim-uofa/PM-Loss at commit 080edee. The released comparison changes two things at once:
the baseline keeps offsets within the pixel, the other model frees them and adds the loss. The third recipe is the
missing cell between them. Not reproduced: steps whose loss is made all but zero (the optimizer moved all the same),
losses of zero after an error, and a second LPIPS term that the code adds by a slip.
"""

from typing import Any

from pmgs_lib.data.protocols import ScheduledViews
from pmgs_lib.data.published_protocols import PM_LOSS_TRAINING
from pmgs_lib.losses import PointmapLossSettings
from pmgs_lib.training.config import ObjectiveConfig, OptimizerConfig, ScheduleConfig, TrainingConfig
from pmgs_lib.training.recipes.base import Recipe, Source

REPOSITORY = "aim-uofa/PM-Loss 080edee"


def code(where: str) -> Source:
    return Source(trust="released code", where=f"{REPOSITORY}: {where}")


SCRIPT = code("scripts/train.sh")
EXPERIMENT = code("config/experiment/dl3dv.yaml")
CONFIGURATION = code("config/main.yaml")
TRAINING_CODE = code("src/model/model_wrapper.py: configure_optimizers")
OPTIMIZER = OptimizerConfig(
    kind="adamw", learning_rate=2e-4, pretrained_learning_rate=2e-6, betas=(0.9, 0.999), weight_decay=0.01,
    decayed="all", clip_norm=0.5,
)  # fmt: skip
OBJECTIVE: dict[str, Any] = {
    "photometric_weight": 1.0,
    "photometric_error": "mse",
    "largest_squared_error": 0.2,
    "perceptual": "lpips",
    "perceptual_weight": 0.05,
    "intermediate_decay": 0.9,
}
LOSS: dict[str, Any] = {
    "pointmap_weight": 0.005,
    "pointmap_loss": PointmapLossSettings(threshold=100.0, above_threshold_factor=1e-5),
}
SOURCES = {
    "": SCRIPT,
    "weights": EXPERIMENT,
    "model": EXPERIMENT,
    "model_changes": code("config/model/encoder/depthsplat.yaml: no nearest views in training"),
    "protocol": EXPERIMENT,
    "training.batch_size": Source(
        trust="inferred", where=f"one scene a GPU ({SCRIPT.where}); how many GPUs is not stated"
    ),
    "training.optimizer": CONFIGURATION,
    "training.optimizer.kind": TRAINING_CODE,
    "training.optimizer.betas": TRAINING_CODE,
    "training.optimizer.decayed": TRAINING_CODE,
    "training.schedule": TRAINING_CODE,
    "training.objective": CONFIGURATION,
    "training.objective.photometric_weight": code("config/loss/mse.yaml"),
    "training.objective.perceptual_weight": EXPERIMENT,
    "training.precision": code("src/main.py"),
    "training.matmul_precision": code("src/main.py"),
    "training.seed": CONFIGURATION,
}
LOSS_SOURCES = {
    "pointmap": SCRIPT,
    "training.objective.pointmap_weight": SCRIPT,
    "training.objective.pointmap_loss": code("src/loss and scripts/train.sh: ignore_large_loss"),
}


def fine_tuning(name: str, description: str, model: str, loss: bool, sources: dict[str, Source]) -> Recipe:
    """The released command on DL3DV, with or without its third term."""
    objective = ObjectiveConfig(**OBJECTIVE, **(LOSS if loss else {}))
    schedule = ScheduleConfig(kind="one-cycle", warmup=0.01)
    return Recipe(
        name=name,
        description=description,
        model=model,
        model_changes={"nearest_views": None},
        weights="depthsplat-gs-base-dl3dv-256x448-75cc0183",
        protocol="pm-loss-dl3dv",
        views=ScheduledViews(**PM_LOSS_TRAINING),
        data=("dl3dv-480p",),
        training=TrainingConfig(
            steps=100_001, batch_size=1, optimizer=OPTIMIZER, schedule=schedule, objective=objective,
            precision="32-true", matmul_precision="high", seed=111123,
        ),
        sources=SOURCES | sources,
        **({"pointmap": "vggt"} if loss else {}),
    )  # fmt: skip


PM_LOSS = fine_tuning(
    "pm-loss-dl3dv",
    "Fine-tuning with PM-Loss and free offsets, the released setting",
    "pmloss-unconstrained-256x448",
    loss=True,
    sources=LOSS_SOURCES,
)
BASELINE = fine_tuning(
    "pm-loss-baseline",
    "The released baseline: the same fine-tuning without the loss, offsets within the pixel",
    "pmloss-ori-256x448",
    loss=False,
    sources={"": code("README.md names the tuned baseline, not its command: the released one without the loss")},
)
UNCONSTRAINED_WITHOUT_LOSS = fine_tuning(
    "pm-loss-unconstrained-without-loss",
    "The missing cell: free offsets without the loss, which separates the two changes of the comparison",
    "pmloss-unconstrained-256x448",
    loss=False,
    sources={
        "": Source(trust="ours", where="the released setting without the loss; nobody published it"),
        "training.objective.pointmap_weight": Source(trust="ours", where="the point of this recipe: no loss"),
    },
)
