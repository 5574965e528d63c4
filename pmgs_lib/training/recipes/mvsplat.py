"""MVSplat's trainings (Chen et al., ECCV 2024).

Facts are from the repository donydchen/mvsplat at commit 175b17a: README.md, config/, src/.
"""

from pmgs_lib.data.protocols import ScheduledViews
from pmgs_lib.training.config import ObjectiveConfig, OptimizerConfig, ScheduleConfig, TrainingConfig
from pmgs_lib.training.recipes.base import Recipe, Source

REPOSITORY = "donydchen/mvsplat 175b17a"


def code(where: str) -> Source:
    return Source(trust="released code", where=f"{REPOSITORY}: {where}")


TRAINING_CODE = code("src/model/model_wrapper.py: configure_optimizers")
MAIN = code("config/main.yaml")


def training(name: str, dataset: str, model: str) -> Recipe:
    """Two views at 256x256 on one GPU; both data sets are trained alike."""
    experiment = code(f"config/experiment/{dataset}.yaml")
    return Recipe(
        name=name,
        description=f"MVSplat on {dataset.upper()} at 256x256, two views, from UniMatch's features",
        model=model,
        initialisation={"unimatch": "unimatch-gmdepth-scannet"},
        protocol=f"mvsplat-{dataset}-256",
        views=ScheduledViews(kind="bounded", first_gap=(25, 45), last_gap=(45, 192), steps=150_000, targets=4),
        data=("pixelsplat-full",),
        training=TrainingConfig(
            steps=300_001,
            batch_size=14,
            optimizer=OptimizerConfig(kind="adam", learning_rate=2e-4, weight_decay=0.0, clip_norm=0.5),
            schedule=ScheduleConfig(kind="one-cycle", warmup=0.01),
            objective=ObjectiveConfig(photometric_weight=1.0, perceptual="lpips", perceptual_weight=0.05),
            precision="32-true",
            matmul_precision="high",
            seed=111123,
        ),
        gpus=1,
        sources={
            "": experiment,
            "initialisation": code("README.md, training"),
            "gpus": code("README.md, training: a single A100 of 80 GB"),
            "views": code("config/dataset/view_sampler_dataset_specific_config/bounded_re10k.yaml"),
            "training.optimizer": TRAINING_CODE,
            "training.optimizer.learning_rate": MAIN,
            "training.optimizer.clip_norm": MAIN,
            "training.schedule": TRAINING_CODE,
            "training.objective.photometric_weight": code("config/loss/mse.yaml"),
            "training.precision": code("src/main.py"),
            "training.matmul_precision": code("src/main.py"),
            "training.seed": MAIN,
        },
    )


RE10K = training("mvsplat-re10k", "re10k", "mvsplat-re10k-256x256")
ACID = training("mvsplat-acid", "acid", "mvsplat-acid-256x256")
