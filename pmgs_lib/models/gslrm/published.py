"""The zoo's entries of GS-LRM: configurations to be trained, and the paper's numbers. Nobody published weights.

Sources: the paper, and README.md and config/ of the repository Intern-Nexus/gs-lrm-unofficial. What the latter's README
measures (28.42 dB) is on part of the index with other targets, as it says itself, so it is no row here.
"""

from typing import Any

from pmgs_lib.models.gslrm import variants
from pmgs_lib.models.zoo_entry import ModelEntry, PaperRow

PAPER = "https://arxiv.org/abs/2404.19702"
UNOFFICIAL = "https://github.com/Intern-Nexus/gs-lrm-unofficial: README.md, config/"
RANGE_UNUSED = "near and far are RE10K's as in MVSplat's commands; this model has a range of its own"
SHARED: dict[str, Any] = {
    "weights": "none",
    "near": 1.0,
    "far": 100.0,
    "context_views": (2, 2),
    "training_data": "RE10K",
    "protocol": "evaluation_index_re10k",
    "released": "never",
    "licence": "none needed: no weights",
}

PAPER_256X256 = ModelEntry(
    config=variants.GSLRM_PAPER,
    image_size=(256, 256),
    paper=(
        PaperRow(
            paper="GS-LRM (ECCV 2024)",
            table="1 (right)",
            dataset="RE10K",
            protocol="evaluation_index_re10k",
            context_views=2,
            metrics={"PSNR": 28.10, "SSIM": 0.892, "LPIPS": 0.114},
            trust="verified",
            source=PAPER,
        ),
    ),
    source=PAPER,
    inferred=RANGE_UNUSED,
    **SHARED,
)
UNOFFICIAL_256X256 = ModelEntry(
    config=variants.GSLRM_UNOFFICIAL,
    image_size=(256, 256),
    source=UNOFFICIAL,
    inferred=RANGE_UNUSED,
    note="The unofficial code's model; its pose normalisation multiplies where it should divide.",
    **SHARED,
)
PAPER_512X512 = ModelEntry(
    config=variants.GSLRM_PAPER_512,
    image_size=(512, 512),
    source=PAPER,
    inferred=f"{RANGE_UNUSED}; the paper prints no number for scenes at this size",
    note="The paper's second stage: starts from weights of gslrm-paper-256x256.",
    **SHARED | {"context_views": (2, 4)},
)
TINY = ModelEntry(
    config=variants.GSLRM_TINY,
    weights="none",
    near=0.5,
    far=40.0,
    image_size=(128, 224),
    context_views=(2, 2),
    training_data="embedded scenes",
    protocol="embedded-smoke",
    released="never",
    licence="Apache-2.0",
    source="this library's own",
)
