"""The zoo's entries of MVSplat as released: files, settings and published numbers.

Facts are from the repository donydchen/mvsplat: README.md, more_commands.sh and config/. The files lie in a shared
folder that programs cannot list or fetch from without a key, and no digests are published. Names there: `re10k.ckpt`,
`acid.ckpt`, and in `ablations/` the two others below. The further files in `ablations/` (re10k_worefine,
re10k_worefine_wocv, re10k_worefine_wobbcrossattn_best, re10k_worefine_wounet, re10k_worefine_wepitrans, re10k_gpp3) are
of other architectures, which this library does not build.
"""

from typing import Any

from pmgs_lib.models.mvsplat import variants
from pmgs_lib.models.zoo_entry import ModelEntry, PaperRow, ReleasedFile

FOLDER = "https://drive.google.com/drive/folders/14_E_5R6ojOWnLSrSVLVEMHnTiKsfddjU"
PAPER = "https://arxiv.org/abs/2403.14627"
LAYOUT = "a Lightning checkpoint: under 'state_dict', names with prefix 'encoder.'"
SHARED: dict[str, Any] = {
    "near": 1.0,
    "far": 100.0,
    "image_size": (256, 256),
    "context_views": (2, 2),
    "released": "2024-03",
    "licence": "MIT (the repository's)",
    "source": "https://github.com/donydchen/mvsplat: README.md, more_commands.sh, config/",
}
RE10K: dict[str, Any] = SHARED | {"training_data": "RE10K", "protocol": "evaluation_index_re10k"}


def file_of(released_name: str) -> ReleasedFile:
    """A file of the shared folder, kept under a name that says whose it is: others call theirs re10k.ckpt too."""
    name = "mvsplat-" + released_name.rpartition("/")[2].replace("_", "-")
    return ReleasedFile(name=name, address=FOLDER, by_hand=True, layout=LAYOUT)


def row(table: str, dataset: str, protocol: str, metrics: tuple[float, float, float]) -> PaperRow:
    return PaperRow(
        paper="MVSplat (ECCV 2024)",
        table=table,
        dataset=dataset,
        protocol=protocol,
        context_views=2,
        metrics=dict(zip(("PSNR", "SSIM", "LPIPS"), metrics, strict=True)),
        trust="verified",
        source=PAPER,
    )


RE10K_256X256 = ModelEntry(
    config=variants.RE10K_256X256,
    weights=file_of("re10k.ckpt"),
    paper=(
        row("1", "RE10K", "evaluation_index_re10k", (26.39, 0.869, 0.128)),
        row("2", "ACID", "evaluation_index_acid", (28.15, 0.841, 0.147)),
        row("2", "DTU", "evaluation_index_dtu_nctx2", (13.94, 0.473, 0.385)),
    ),
    note="Called re10k.ckpt in the folder.",
    **RE10K,
)
ACID_256X256 = ModelEntry(
    config=variants.RE10K_256X256,
    weights=file_of("acid.ckpt"),
    paper=(row("1", "ACID", "evaluation_index_acid", (28.25, 0.843, 0.144)),),
    training_data="ACID",
    protocol="evaluation_index_acid",
    note="Called acid.ckpt in the folder.",
    **SHARED,
)
RE10K_RANDOM_START_256X256 = ModelEntry(
    config=variants.RE10K_256X256,
    weights=file_of("ablations/re10k_wopretrained.ckpt"),
    note="Called ablations/re10k_wopretrained.ckpt in the folder: not initialised from UniMatch.",
    **RE10K,
)
RE10K_RANDOM_START_450K_256X256 = ModelEntry(
    config=variants.RE10K_256X256,
    weights=file_of("ablations/re10k_wopretrained_450k.ckpt"),
    note="Called ablations/re10k_wopretrained_450k.ckpt in the folder: not initialised from UniMatch, 450k steps.",
    **RE10K,
)
