"""GS-LRM's trainings: both stages of the paper (Zhang et al., ECCV 2024), and that of the unofficial code.

The paper (arXiv 2404.19702) was read in full; what it leaves open is inferred and says from what. Facts of the other
are from the repository Intern-Nexus/gs-lrm-unofficial at commit 2c2b68d. The paper's model for scenes sees two
views, its model for objects four; the second stage with four views of scenes is ours.
"""

from typing import Any

from pmgs_lib.data.protocols import ScheduledViews
from pmgs_lib.data.published_protocols import RE10K_TRAINING
from pmgs_lib.training.config import (
    NonFinitePolicy,
    ObjectiveConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainingConfig,
)
from pmgs_lib.training.recipes.base import Recipe, Source


def paper(where: str) -> Source:
    return Source(trust="paper", where=f"arXiv 2404.19702, {where}")


def inferred(where: str) -> Source:
    return Source(trust="inferred", where=where)


def code(where: str) -> Source:
    return Source(trust="released code", where=f"Intern-Nexus/gs-lrm-unofficial 2c2b68d: {where}")


NOT_SEEN = inferred("a reader's memory of the paper; not seen in its text")
PAPER_SOURCES = {
    "": paper("section A.3"),
    "model": paper("sections 4.2 and A.4"),
    "model_changes": paper("section A.3: gradient checkpointing"),
    "protocol": inferred(
        "pictures as in pixelSplat's protocol, on which it is measured; the depth range is the model's"
    ),
    "views": inferred("two views are the paper's (section 4.2), gaps are not stated: DepthSplat's on RE10K"),
    "views.targets": paper("section 4.2: 6 supervision views between the inputs"),
    "training.optimizer.clip_norm": NOT_SEEN,
    "training.non_finite": NOT_SEEN,
    "training.matmul_precision": inferred("products outside of bfloat16 are few"),
    "training.seed": inferred("not stated"),
}


def stage(
    name: str, *, description: str, rate: float, steps: int, warmup: int, batch_size: int, **fields: Any
) -> Recipe:
    """One stage of the paper on scenes, on 64 GPUs."""
    training = TrainingConfig(
        steps=steps,
        batch_size=batch_size,
        optimizer=OptimizerConfig(
            kind="adamw", learning_rate=rate, betas=(0.9, 0.95), weight_decay=0.05, decayed="matrices", clip_norm=1.0
        ),
        schedule=ScheduleConfig(kind="warmup-cosine", warmup=warmup),
        objective=ObjectiveConfig(
            photometric_weight=1.0, photometric_error="mse", perceptual="vgg19", perceptual_weight=0.5,
            intermediate_decay=None, rendering="deferred",
        ),
        non_finite=NonFinitePolicy(action="skip", largest_norm=20.0),
        precision="bf16-mixed",
        matmul_precision="high",
        seed=0,
    )  # fmt: skip
    views = ScheduledViews(**(RE10K_TRAINING | {"targets": 6}))
    shared: dict[str, Any] = {"views": views, "data": ("pixelsplat-full",), "gpus": 64, "sources": PAPER_SOURCES}
    return Recipe(name=name, description=description, training=training, **(shared | fields))


PAPER_STAGE1 = stage(
    "gslrm-paper-stage1",
    description="GS-LRM on RE10K at 256x256, two views, from scratch: the stage whose numbers the paper prints",
    rate=4e-4,
    steps=80_000,
    warmup=2_000,
    batch_size=512,
    model="gslrm-paper-256x256",
    model_changes={"checkpoint_blocks": True},
    protocol="mvsplat-re10k-256",
)
STAGE2: dict[str, Any] = {
    "rate": 1e-4,
    "steps": 20_000,
    "warmup": 500,
    "batch_size": 128,
    "model": "gslrm-paper-512x512",
    "stage_before": "gslrm-paper-stage1",
    "protocol": "depthsplat-re10k-video-6v",  # RE10K's pictures of 720x1280: those of 360x640 are too small
    "size": (512, 512),
    "data": ("re10k-720p-subset",),
}
STAGE2_SOURCES = PAPER_SOURCES | {
    "gpus": inferred("as in stage 1; the paper gives two scenes a GPU"),
    "training.batch_size": inferred("two scenes a GPU (section A.3), as many GPUs as in stage 1"),
    "protocol": inferred("RE10K from its files of 720p, where 512 pixels need no enlarging"),
    "data": inferred("only a part of RE10K at 720p is offered; fetch the videos for the whole"),
}
PAPER_STAGE2 = stage(
    "gslrm-paper-stage2",
    description="GS-LRM fine-tuned at 512x512, two views, from the first stage's weights",
    sources=STAGE2_SOURCES,
    **STAGE2,
)
STAGE2_4VIEWS = stage(
    "gslrm-stage2-4views",
    description="GS-LRM fine-tuned at 512x512 with four views, from the first stage's weights",
    sources=STAGE2_SOURCES
    | {"views": Source(trust="ours", where="four views spread over DepthSplat's gaps; the paper has two for scenes")},
    views=ScheduledViews(**(RE10K_TRAINING | {"kind": "bounded-v2", "views": (4, 4), "targets": 6})),
    **STAGE2,
)

UNOFFICIAL = Recipe(
    name="gslrm-unofficial",
    description="The unofficial code's only stage: RE10K at 256x256, two views, its pose normalisation with its fault",
    model="gslrm-unofficial-256x256",
    protocol="mvsplat-re10k-256",
    views=ScheduledViews(kind="bounded", first_gap=(25, 25), last_gap=(45, 45), steps=150_000, targets=4),
    data=("pixelsplat-full",),
    training=TrainingConfig(
        steps=800_001,
        batch_size=8,
        optimizer=OptimizerConfig(
            kind="adam", learning_rate=2e-4, betas=(0.9, 0.95), weight_decay=0.05, decayed="all", clip_norm=0.5
        ),
        schedule=ScheduleConfig(kind="warmup-cosine", warmup=2_000),
        objective=ObjectiveConfig(
            photometric_weight=1.0, perceptual="lpips", perceptual_weight=0.5, intermediate_decay=None
        ),
        precision="bf16-mixed",
        matmul_precision="highest",
        seed=111123,
    ),
    gpus=1,
    sources={
        "": code("config/main.yaml, config/experiment/re10k.yaml"),
        "model": code("config/model/encoder/lrm.yaml, src/model/encoder"),
        "protocol": inferred("pictures as in pixelSplat's protocol; the depth range follows from each pair's distance"),
        "views": code("config/dataset/view_sampler_dataset_specific_config/bounded_re10k.yaml"),
        "gpus": code("README.md: one GPU of 80 GB"),
        "training.optimizer": code("src/model/model_wrapper.py: configure_optimizers"),
        "training.optimizer.clip_norm": code("config/main.yaml"),
        "training.schedule": code("src/model/model_wrapper.py: configure_optimizers"),
        "training.objective": code("config/loss"),
        "training.precision": code("src/model/encoder: the blocks run in bfloat16, all else in float32"),
    },
)
