"""DepthSplat's trainings (Xu et al., CVPR 2025).

Facts are from the repository cvg/depthsplat at commit 2dad25a: scripts/, config/, src/model/model_wrapper.py and
src/main.py, MODEL_ZOO.md. What the third version of the paper says otherwise is named.
"""

from typing import Any

from pmgs_lib.data.protocols import ScheduledViews
from pmgs_lib.data.published_protocols import DL3DV_TRAINING, RE10K_TRAINING
from pmgs_lib.training.config import ObjectiveConfig, OptimizerConfig, ScheduleConfig, TrainingConfig
from pmgs_lib.training.recipes.base import Recipe, Source

REPOSITORY = "cvg/depthsplat 2dad25a"


def code(where: str) -> Source:
    return Source(trust="released code", where=f"{REPOSITORY}: {where}")


RE10K_SCRIPT = code("scripts/re10k_depthsplat_train.sh")
DL3DV_SCRIPT = code("scripts/dl3dv_depthsplat_train.sh")
CONFIGURATION = code("config/main.yaml")
TRAINING_CODE = code("src/model/model_wrapper.py: configure_optimizers")
GMFLOW = "unimatch-gmflow-things"
# The configured warm-up of 2000 steps is read by nothing: the peak lies at 1 % of the training.
OPTIMIZER = OptimizerConfig(
    kind="adamw", learning_rate=2e-4, pretrained_learning_rate=2e-6, betas=(0.9, 0.999), weight_decay=0.01,
    decayed="all", clip_norm=0.5,
)  # fmt: skip
SCHEDULE = ScheduleConfig(kind="one-cycle", warmup=0.01)
OBJECTIVE = ObjectiveConfig(
    photometric_weight=1.0, photometric_error="mse", perceptual="lpips", perceptual_weight=0.05, intermediate_decay=0.9
)
SOURCES = {
    "": CONFIGURATION,
    "training.optimizer": CONFIGURATION,
    "training.optimizer.kind": TRAINING_CODE,
    "training.optimizer.betas": TRAINING_CODE,
    "training.optimizer.decayed": TRAINING_CODE,
    "training.schedule": TRAINING_CODE,
    "training.objective": CONFIGURATION,
    "training.objective.perceptual_weight": code("config/experiment/re10k.yaml, dl3dv.yaml"),
    "training.precision": code("src/main.py"),
    "training.matmul_precision": code("src/main.py"),
    "protocol": code("config/experiment/re10k.yaml: size, near, far"),
    "views": code("config/dataset/view_sampler_dataset_specific_config/bounded_re10k.yaml"),
}


def training(steps: int, batch_size: int, **changes: Any) -> TrainingConfig:
    shared = {"optimizer": OPTIMIZER, "schedule": SCHEDULE, "objective": OBJECTIVE, "seed": 111123}
    shared |= {"precision": "32-true", "matmul_precision": "high"}
    return TrainingConfig(steps=steps, batch_size=batch_size, **(shared | changes))


def re10k(name: str, model: str, depth_anything: str, gpus: int, script: Source, **changes: Any) -> Recipe:
    """Two views of RE10K from Depth Anything's and UniMatch's weights: 150,000 steps, eight scenes on each GPU."""
    told = dict.fromkeys(("model", "initialisation", "gpus", "training.steps", "training.batch_size"), script)
    fields: dict[str, Any] = {
        "description": "DepthSplat on RE10K at 256x256, two views, from pretrained depth and matching features",
        "initialisation": {"unimatch": GMFLOW, "depth_anything": depth_anything},
        "protocol": "depthsplat-re10k-256",
    }
    return Recipe(
        name=name, model=model, views=ScheduledViews(**RE10K_TRAINING), data=("pixelsplat-full",), gpus=gpus,
        training=training(150_000, 8 * gpus), sources=SOURCES | told, **(fields | changes),
    )  # fmt: skip


SMALL_RE10K = re10k(
    "depthsplat-small-re10k", "depthsplat-gs-small-re10k-256x256", "depth-anything-v2-vits", 4, RE10K_SCRIPT
)
BASE_RE10K = re10k(
    "depthsplat-base-re10k", "depthsplat-gs-base-re10k-256x256", "depth-anything-v2-vitb", 4, RE10K_SCRIPT
)
LARGE_RE10K = re10k(
    "depthsplat-large-re10k", "depthsplat-gs-large-re10k-256x256", "depth-anything-v2-vitl", 4, RE10K_SCRIPT
)
BASE_RE10K_256X448 = re10k(
    "depthsplat-base-re10k-256x448", "depthsplat-gs-base-re10k-256x448", "depth-anything-v2-vitb", 32, DL3DV_SCRIPT,
    description="First stage of the training on DL3DV: RE10K at 256x448, two views", size=(256, 448),
)  # fmt: skip

DL3DV_SOURCES = SOURCES | {
    "model": DL3DV_SCRIPT,
    "weights": DL3DV_SCRIPT,
    "training.steps": DL3DV_SCRIPT,
    # The script's comment: 8 GPUs, one scene each; it sets two nodes, as it sets eight for 32 GPUs.
    "gpus": DL3DV_SCRIPT,
    "training.batch_size": Source(
        trust="released code", where=f"{DL3DV_SCRIPT.where} (a reader's note of the paper's text says 4)"
    ),
    "protocol": code("config/experiment/dl3dv.yaml: near, far; config/dataset/dl3dv.yaml: size"),
    "views": code("config/dataset/view_sampler/boundedv2_360.yaml, the script's views and targets"),
}
BASE_DL3DV = Recipe(
    name="depthsplat-base-dl3dv",
    description="DepthSplat on DL3DV at 256x448, two to six views, from its training on RE10K at that size",
    model="depthsplat-gs-base-dl3dv-256x448",
    weights="depthsplat-gs-base-re10k-256x448",
    stage_before="depthsplat-base-re10k-256x448",
    protocol="depthsplat-dl3dv-6v",
    views=ScheduledViews(**DL3DV_TRAINING),
    data=("dl3dv-480p",),
    training=training(100_000, 8),
    gpus=8,
    sources=DL3DV_SOURCES,
)
LIKE_BASE = Source(
    trust="inferred", where="nobody released this training: the base model's settings with the small model of RE10K"
)
SMALL_DL3DV = BASE_DL3DV.model_copy(
    update={
        "name": "depthsplat-small-dl3dv",
        "description": "The small DepthSplat on DL3DV at 256x448, as the base model is trained",
        "model": "depthsplat-gs-small-re10k-256x256",
        "weights": "depthsplat-gs-small-re10k-256x256",
        "stage_before": "depthsplat-small-re10k",
        "size": (256, 448),
        "sources": {"": LIKE_BASE},
    }
)

DEPTH_PAPER = Source(trust="paper", where="arXiv 2410.13862v3, depth training (alpha = beta = 20 in inverse depth)")
DEPTH_NOTE = Source(trust="paper", where="arXiv 2410.13862v3, ScanNet, in one reader's transcription")
DEPTH_ZOO = code("MODEL_ZOO.md: 352x640, 2-8 views, on ScanNet, TartanAir and VKITTI2")
DEPTH = Recipe(
    name="depthsplat-depth",
    description="Depth only, with known depth, from a DepthSplat trained for splatting",
    model="depthsplat-depth-base-352x640",
    weights="depthsplat-gs-base-re10kdl3dv-448x768",
    part="depth_predictor",
    protocol="embedded-smoke",
    size=(352, 640),
    views=ScheduledViews(**(DL3DV_TRAINING | {"views": (2, 8), "targets": 1})),
    training=training(
        100_000,
        32,
        objective=ObjectiveConfig(
            photometric_weight=0.0, depth_weight=20.0, depth_gradient_weight=20.0, depth_space="inverse",
            intermediate_decay=0.9,
        ),
    ),
    sources={
        "": Source(trust="inferred", where="depth training was not released: as for splatting"),
        "model": DEPTH_ZOO,
        "weights": DEPTH_ZOO,
        "part": DEPTH_ZOO,
        "size": DEPTH_ZOO,
        "views.views": DEPTH_ZOO,
        "views": Source(trust="inferred", where="gaps as on DL3DV; nothing is rendered, so one target"),
        "protocol": Source(
            trust="inferred", where="embedded scenes have exact depth; the depth range is theirs"
        ),
        "training.steps": DEPTH_NOTE,
        "training.batch_size": DEPTH_NOTE,
        "training.objective": DEPTH_PAPER,
        "training.objective.intermediate_decay": Source(trust="inferred", where="as for splatting"),
    },
)  # fmt: skip
