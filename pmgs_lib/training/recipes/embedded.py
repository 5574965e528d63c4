"""Our own trainings from scratch, on scenes that the library makes: minutes on one GPU."""

from pmgs_lib.data.protocols import TrainingViews
from pmgs_lib.training.config import ObjectiveConfig, OptimizerConfig, ScheduleConfig, TrainingConfig
from pmgs_lib.training.recipes.base import Recipe, Source

OURS = Source(trust="ours", where="chosen for eight minutes on one H200: reports/performance_training_h200.json")
VIEWS = TrainingViews(min_gap=3, max_gap=9, targets=4)  # those of the protocol
# Held-out frames lie beyond the inputs, too, so some of the targets do.
BEYOND = TrainingViews(min_gap=3, max_gap=9, targets=4, beyond=3)

DEPTHSPLAT_TINY = Recipe(
    name="depthsplat-tiny-embedded",
    description="A small DepthSplat from scratch on embedded scenes",
    model="depthsplat-tiny",
    protocol="embedded-smoke",
    views=BEYOND,
    training=TrainingConfig(
        steps=3_720,
        batch_size=16,
        optimizer=OptimizerConfig(kind="adamw", learning_rate=1e-3, weight_decay=0.01, clip_norm=0.5),
        schedule=ScheduleConfig(kind="one-cycle", warmup=0.03),
        objective=ObjectiveConfig(intermediate_decay=0.9),
        matmul_precision="high",
        seed=0,
    ),
    gpus=1,
    sources={"": OURS},
)
GSLRM_TINY = Recipe(
    name="gslrm-tiny-embedded",
    description="A small GS-LRM from scratch on embedded scenes",
    model="gslrm-tiny",
    protocol="embedded-smoke",
    views=BEYOND,
    training=TrainingConfig(
        steps=7_300,
        batch_size=16,
        optimizer=OptimizerConfig(
            kind="adamw", learning_rate=1e-3, betas=(0.9, 0.95), weight_decay=0.05, decayed="matrices", clip_norm=1.0
        ),
        schedule=ScheduleConfig(kind="warmup-cosine", warmup=200),
        objective=ObjectiveConfig(intermediate_decay=None),
        precision="bf16-mixed",
        matmul_precision="high",
        seed=0,
    ),
    gpus=1,
    sources={"": OURS},
)
FINE_TUNING = Recipe(
    name="fine-tuning-embedded",
    description="A few careful steps from the embedded weights: what a training does, in half a minute on a CPU",
    model="depthsplat-tiny",
    weights="depthsplat-tiny",
    protocol="embedded-smoke",
    views=VIEWS,
    training=TrainingConfig(
        steps=20,
        batch_size=1,
        optimizer=OptimizerConfig(kind="adamw", learning_rate=5e-5, weight_decay=0.01, clip_norm=0.5),
        schedule=ScheduleConfig(kind="one-cycle", warmup=0.01),
        objective=ObjectiveConfig(intermediate_decay=0.9),
        seed=0,
    ),
    gpus=1,
    sources={"": Source(trust="ours", where="chosen for a CPU")},
)
