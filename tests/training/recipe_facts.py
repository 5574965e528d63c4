"""What the authors publish about their trainings, typed from the specifications and not from the recipes.

Sources: S8 and S9 are sections of the specification of DepthSplat and PM-Loss; G1.6 to G1.8 and G4 of that of GS-LRM
and MVSplat; P1 to P4 of the notes on the papers; MV is MVSplat's own config/ and src/ at 175b17a.
"""

DEPTHSPLAT_SHARED = {
    "training.optimizer.kind": ("adamw", "S8"),
    "training.optimizer.learning_rate": (2e-4, "S8"),
    "training.optimizer.pretrained_learning_rate": (2e-6, "S8"),
    "training.optimizer.weight_decay": (0.01, "S8"),
    "training.optimizer.decayed": ("all", "S8: norms and biases too"),
    "training.optimizer.clip_norm": (0.5, "S8"),
    "training.schedule.kind": ("one-cycle", "S8"),
    "training.schedule.warmup": (0.01, "S8: pct_start"),
    "training.objective.photometric_weight": (1.0, "S8"),
    "training.objective.perceptual": ("lpips", "S8"),
    "training.objective.perceptual_weight": (0.05, "S8"),
    "training.objective.perceptual_schedule.start": (0, "S8: from step 0"),
    "training.objective.intermediate_decay": (0.9, "S8"),
    "training.precision": ("32-true", "S8: no AMP"),
    "training.matmul_precision": ("high", "S8"),
    "training.seed": (111123, "S8"),
}
RE10K = {
    "training.steps": (150_000, "S8, P2"),
    "views.kind": ("bounded", "S9.1"),
    "views.first_gap": ([25, 45], "S9.1"),
    "views.last_gap": ([45, 135], "S9.1"),
    "views.steps": (30_000, "S9.1"),
    "views.targets": (4, "S9.1"),
}
DL3DV = {
    "training.steps": (100_000, "S8, P2"),
    "training.batch_size": (8, "P2: 8 GPUs x 1"),
    "gpus": (8, "P2"),
    "views.kind": ("bounded-v2", "S9.1"),
    "views.first_gap": ([15, 30], "S9.1"),
    "views.last_gap": ([20, 50], "S9.1"),
    "views.steps": (10_000, "S9.1"),
    "views.targets": (8, "P2"),
    "views.views": ([2, 6], "P2"),
    "weights": ("depthsplat-gs-base-re10k-256x448", "S8: from the RE10K checkpoint"),
}
FOUR_GPUS = {"training.batch_size": (32, "P2: 4 x 8"), "gpus": (4, "P2")}
PM_LOSS_SHARED = {
    "training.steps": (100_001, "P1"),
    "training.objective.largest_squared_error": (0.2, "P1, S8"),
    "weights": ("depthsplat-gs-base-dl3dv-256x448-75cc0183", "P1"),
    "views.first_gap": ([20, 50], "P1"),
    "views.last_gap": ([20, 50], "P1"),
    "views.targets": (8, "P1"),
    "views.views": ([2, 6], "P1"),
    "model_changes.nearest_views": (None, "S11: trains with null"),
    "protocol": ("pm-loss-dl3dv", "P1: near 1, far 200, 256x448"),
}
PM_LOSS = {
    "training.objective.pointmap_weight": (0.005, "P1"),
    "training.objective.pointmap_loss.threshold": (100.0, "P1"),
    "training.objective.pointmap_loss.above_threshold_factor": (1e-5, "P1"),
    "training.objective.pointmap_schedule.start": (0, "G3.1: from step 0"),
    "pointmap": ("vggt", "P1"),
    "model": ("pmloss-unconstrained-256x448", "P1"),
}
MVSPLAT = {
    "training.steps": (300_001, "MV: config/experiment"),
    "training.batch_size": (14, "P4"),
    "gpus": (1, "P4"),
    "training.optimizer.kind": ("adam", "G4"),
    "training.optimizer.learning_rate": (2e-4, "G4"),
    "training.optimizer.weight_decay": (0.0, "MV: model_wrapper.py"),
    "training.optimizer.clip_norm": (0.5, "G4"),
    "training.schedule.kind": ("one-cycle", "G4"),
    "training.schedule.warmup": (0.01, "G4"),
    "training.objective.perceptual_weight": (0.05, "G4"),
    "views.targets": (4, "P4"),
    "views.first_gap": ([25, 45], "MV: bounded_re10k.yaml"),
    "views.last_gap": ([45, 192], "MV: bounded_re10k.yaml"),
    "views.steps": (150_000, "MV: bounded_re10k.yaml"),
    "initialisation.unimatch": ("unimatch-gmdepth-scannet", "MV: README.md"),
}
GSLRM = {
    "training.optimizer.kind": ("adamw", "P3"),
    "training.optimizer.betas": ([0.9, 0.95], "P3"),
    "training.optimizer.weight_decay": (0.05, "P3"),
    "training.optimizer.decayed": ("matrices", "P3: not on LayerNorm"),
    "training.schedule.kind": ("warmup-cosine", "P3"),
    "training.objective.perceptual": ("vgg19", "P3"),
    "training.objective.perceptual_weight": (0.5, "P3"),
    "training.objective.rendering": ("deferred", "P3"),
    "training.precision": ("bf16-mixed", "P3"),
    "model_changes.checkpoint_blocks": (True, "P3: gradient checkpointing"),
    "views.targets": (6, "P3"),
}
STAGE1 = {
    **GSLRM,
    "training.steps": (80_000, "P3"),
    "training.batch_size": (512, "P3"),
    "gpus": (64, "P3"),
    "training.optimizer.learning_rate": (4e-4, "P3"),
    "training.schedule.warmup": (2_000, "P3"),
}
STAGE2 = {
    **{name: fact for name, fact in GSLRM.items() if not name.startswith("model_changes")},
    "training.steps": (20_000, "P3"),
    "training.optimizer.learning_rate": (1e-4, "P3"),
    "training.schedule.warmup": (500, "P3"),
    "size": ([512, 512], "P3"),
    "stage_before": ("gslrm-paper-stage1", "P3"),
}
UNOFFICIAL = {
    "training.steps": (800_001, "G1.8"),
    "training.batch_size": (8, "G1.8"),
    "training.optimizer.kind": ("adam", "G1.8"),
    "training.optimizer.learning_rate": (2e-4, "G1.8"),
    "training.optimizer.betas": ([0.9, 0.95], "G1.8"),
    "training.optimizer.weight_decay": (0.05, "G1.8"),
    "training.optimizer.decayed": ("all", "G1.8: LN too"),
    "training.optimizer.clip_norm": (0.5, "G1.8"),
    "training.schedule.warmup": (2_000, "G1.8"),
    "training.objective.perceptual": ("lpips", "G1.7"),
    "training.objective.perceptual_weight": (0.5, "G1.7"),
    "training.matmul_precision": ("highest", "G1.2: TF32 is not switched on"),
    "training.seed": (111123, "G1.8"),
    "views.first_gap": ([25, 25], "G1.6"),
    "views.last_gap": ([45, 45], "G1.6"),
    "views.steps": (150_000, "G1.6"),
    "views.targets": (4, "G1.6"),
}
DEPTH = {
    "training.steps": (100_000, "P2"),
    "training.batch_size": (32, "P2"),
    "training.objective.depth_weight": (20.0, "P2"),
    "training.objective.depth_gradient_weight": (20.0, "P2"),
    "training.objective.depth_space": ("inverse", "P2"),
    "size": ([352, 640], "S13 and the zoo"),
    "views.views": ([2, 8], "the zoo"),
}
BY_RECIPE = {
    "depthsplat-small-re10k": DEPTHSPLAT_SHARED | RE10K | FOUR_GPUS,
    "depthsplat-base-re10k": DEPTHSPLAT_SHARED | RE10K | FOUR_GPUS,
    "depthsplat-large-re10k": DEPTHSPLAT_SHARED | RE10K | FOUR_GPUS,
    "depthsplat-base-re10k-256x448": {
        **DEPTHSPLAT_SHARED,
        **RE10K,
        "training.batch_size": (256, "P2: 32 x 8"),
        "gpus": (32, "P2"),
        "size": ([256, 448], "P2"),
    },
    "depthsplat-base-dl3dv": DEPTHSPLAT_SHARED | DL3DV,
    "depthsplat-depth": DEPTH,
    "pm-loss-dl3dv": DEPTHSPLAT_SHARED | PM_LOSS_SHARED | PM_LOSS,
    "pm-loss-baseline": DEPTHSPLAT_SHARED | PM_LOSS_SHARED | {"model": ("pmloss-ori-256x448", "P1")},
    "mvsplat-re10k": MVSPLAT,
    "mvsplat-acid": MVSPLAT,
    "gslrm-paper-stage1": STAGE1,
    "gslrm-paper-stage2": STAGE2,
    "gslrm-unofficial": UNOFFICIAL,
}
FACTS = [(recipe, field, *fact) for recipe, facts in BY_RECIPE.items() for field, fact in facts.items()]

# Parameters of the models, for those that the authors' checkpoints have (S13: manifests) or that ship with the library.
MEASURED = {
    "depthsplat-gs-small-re10k-256x256": 38_346_416,
    "depthsplat-gs-base-re10k-256x256": 120_747_896,
    "depthsplat-gs-large-re10k-256x256": 354_337_760,
    "depthsplat-gs-base-re10k-256x448": 120_877_016,
    "depthsplat-gs-base-dl3dv-256x448": 120_877_016,
    "depthsplat-depth-base-352x640": 111_229_753,
    "pmloss-unconstrained-256x448": 118_140_194,
    "pmloss-ori-256x448": 118_140_194,
    "mvsplat-re10k-256x256": 11_955_734,
    "mvsplat-acid-256x256": 11_955_734,
    "gslrm-paper-256x256": 303_416_320,
    "gslrm-paper-512x512": 303_416_320,
    "gslrm-unofficial-256x256": 303_416_320,
    "depthsplat-tiny": 1_895_669,
    "gslrm-tiny": 2_915_136,
}

# Rates at a step: of the pretrained group where there is one, and of the others.
RATES = [
    ("depthsplat-small-re10k", 0, (8e-8, 8e-6), "S8: a 25th of the peak"),
    ("depthsplat-base-dl3dv", 0, (8e-8, 8e-6), "S8"),
    ("pm-loss-dl3dv", 0, (8e-8, 8e-6), "S8"),
    ("depthsplat-small-re10k", 150_009, (8e-12, 8e-10), "S8: 1 / (25 x 10,000) of the peak, ten steps after the last"),
    ("mvsplat-re10k", 0, (8e-6,), "G4"),
    ("gslrm-paper-stage1", 0, (0.0,), "P3"),
    ("gslrm-paper-stage1", 1_000, (2e-4,), "P3: linear warm-up of 2,000 steps"),
    ("gslrm-paper-stage1", 2_000, (4e-4,), "P3: peak"),
    ("gslrm-paper-stage1", 41_000, (2e-4,), "P3: half of the cosine"),
    ("gslrm-paper-stage1", 80_000, (0.0,), "P3"),
    ("gslrm-paper-stage2", 500, (1e-4,), "P3: peak"),
    ("gslrm-unofficial", 1_000, (1e-4,), "G1.8"),
    ("gslrm-unofficial", 2_000, (2e-4,), "G1.8"),
    ("gslrm-unofficial", 800_001, (0.0,), "G1.8"),
]

# Rows of the collected table of published results (paper, dataset, resolution, method, metric) beside recipe and field.
PM = ("PM-Loss", "DL3DV-480P", "256x448", "DepthSplat-base (ViT-B 2-scale; Oct-2024 code) + PM-Loss")
PM_FIELDS = {
    "loss_weight_pm": "training.objective.pointmap_weight",
    "loss_weight_mse": "training.objective.photometric_weight",
    "loss_weight_lpips": "training.objective.perceptual_weight",
    "pm_ignore_large_loss_threshold": "training.objective.pointmap_loss.threshold",
    "pm_large_loss_scale_factor": "training.objective.pointmap_loss.above_threshold_factor",
    "render_ignore_large_loss": "training.objective.largest_squared_error",
    "max_steps": "training.steps",
    "batch_per_gpu": "scenes_per_gpu",
    "context_views_min": "views.views.0",
    "context_views_max": "views.views.1",
    "target_views": "views.targets",
    "context_gap_min": "views.last_gap.0",
    "context_gap_max": "views.last_gap.1",
    "lr": "training.optimizer.learning_rate",
    "lr_monodepth": "training.optimizer.pretrained_learning_rate",
    "weight_decay": "training.optimizer.weight_decay",
    "grad_clip": "training.optimizer.clip_norm",
    "seed": "training.seed",
}
RUN_FIELDS = {"max_steps": "training.steps", "gpus": "gpus", "batch_per_gpu": "scenes_per_gpu"}
GS = "GS small/base/large"
MV = ("MVSplat", "RE10K", "256x256", "MVSplat")
MV_FIELDS = {
    "max_steps": "training.steps",
    "batch_total": "training.batch_size",
    "loss_weight_lpips": "training.objective.perceptual_weight",
    "lr": "training.optimizer.learning_rate",
    "gpus": "gpus",
}
STAGE_FIELDS = {
    "iterations": "training.steps",
    "warmup_steps": "training.schedule.warmup",
    "lr_peak": "training.optimizer.learning_rate",
    "batch_per_gpu": "scenes_per_gpu",
}
ADAM_FIELDS = {
    "beta1": "training.optimizer.betas.0",
    "beta2": "training.optimizer.betas.1",
    "weight_decay": "training.optimizer.weight_decay",
}
USES = [
    *((PM, metric, "pm-loss-dl3dv", field) for metric, field in PM_FIELDS.items()),
    *(
        (("DepthSplat", "RE10K", "256x256", GS), metric, f"depthsplat-{size}-re10k", field)
        for size in ("small", "base", "large")
        for metric, field in (RUN_FIELDS | {"batch_total": "training.batch_size"}).items()
    ),
    *(
        (("DepthSplat", "RE10K", "256x448", "GS base (init for DL3DV)"), metric, "depthsplat-base-re10k-256x448", field)
        for metric, field in RUN_FIELDS.items()
    ),
    *(
        (("DepthSplat", "DL3DV", "256x448", "GS base randview2-6"), metric, "depthsplat-base-dl3dv", field)
        for metric, field in (RUN_FIELDS | {"target_views": "views.targets"}).items()
    ),
    (("DepthSplat", "ScanNet", "", "depth"), "max_steps", "depthsplat-depth", "training.steps"),
    (("DepthSplat", "ScanNet", "", "depth"), "batch_total", "depthsplat-depth", "training.batch_size"),
    *((MV, metric, "mvsplat-re10k", field) for metric, field in MV_FIELDS.items()),
    *(
        (("GS-LRM", "", "", method), metric, name, field)
        for method, name in (
            ("stage 1 (256x256)", "gslrm-paper-stage1"),
            ("stage 2 (512x512)", "gslrm-paper-stage2"),
        )
        for metric, field in STAGE_FIELDS.items()
    ),
    *(
        (("GS-LRM", "", "", "optimizer AdamW"), metric, name, field)
        for name in ("gslrm-paper-stage1", "gslrm-paper-stage2")
        for metric, field in ADAM_FIELDS.items()
    ),
    (("GS-LRM", "", "", "loss"), "loss_weight_perceptual_vgg19", "gslrm-paper-stage1",
     "training.objective.perceptual_weight"),
    (("GS-LRM", "", "", "scene-level"), "supervision_views", "gslrm-paper-stage1", "views.targets"),
]  # fmt: skip
PAPER_VALUES = [((*key, metric), name, field) for key, metric, name, field in USES]
