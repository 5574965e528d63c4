"""The zoo's entries of DepthSplat's first generation (October 2024) and of PM-Loss, which builds on it.

Facts of DepthSplat are from cvg/depthsplat at commit 3e71cff (2024-11-15): MODEL_ZOO.md, scripts/, config/; it does
not say what the digits in the names are. Facts of PM-Loss are from aim-uofa/PM-Loss at commit 080edee: README.md,
scripts/, config/; no table of its paper could be read, so no numbers are given.
"""

from typing import Any

from pmgs_lib.models.depthsplat import variants
from pmgs_lib.models.depthsplat.released import DEPTH_LAYOUT, HOST, LICENCES, SPLATTING_LAYOUT, entry
from pmgs_lib.models.zoo_entry import ReleasedFile

SOURCE = "https://github.com/cvg/depthsplat/tree/3e71cff: MODEL_ZOO.md, scripts/, config/"
REPLACED = "Replaced in March 2025 by another architecture; the paper's numbers are not of this file."
PMLOSS_HOST = "https://huggingface.co/dc-walker/PM-Loss/resolve/main"
PMLOSS_SOURCE = "https://github.com/aim-uofa/PM-Loss: README.md, scripts/, config/"
PMLOSS_ADDRESS = "the address: the file's name in the folder that the README links to"


def file_of(name: str, layout: str = SPLATTING_LAYOUT) -> ReleasedFile:
    """A file of October 2024: digits in its name, but no word on what they are."""
    return ReleasedFile(name=name, address=f"{HOST}/{name}", layout=layout)


OCTOBER: dict[str, Any] = {"released": "2024-10", "source": SOURCE, "note": REPLACED}
RE10K_256X256: dict[str, Any] = OCTOBER | {
    "image_size": (256, 256),
    "training_data": "RE10K",
    "protocol": "evaluation_index_re10k",
}
GS_SMALL_RE10K_256X256 = entry(
    variants.october_2024("vits", 1, 4, feature_channels=64, regressor_channels=16, wide_unet=False),
    file_of("depthsplat-gs-small-re10k-256x256-49b2d15c.pth"),
    "vits",
    **RE10K_256X256,
)
GS_BASE_RE10K_256X256 = entry(
    variants.october_2024("vitb", 2, 2),
    file_of("depthsplat-gs-base-re10k-256x256-044fdb17.pth"),
    "vitb",
    **RE10K_256X256,
)
GS_LARGE_RE10K_256X256 = entry(
    variants.october_2024("vitl", 2, 2, regressor_channels=64),
    file_of("depthsplat-gs-large-re10k-256x256-288d9b26.pth"),
    "vitl",
    **RE10K_256X256,
)
GS_BASE_DL3DV_256X448 = entry(
    variants.october_2024("vitb", 2, 4),
    file_of("depthsplat-gs-base-dl3dv-256x448-75cc0183.pth"),
    "vitb",
    near=1.0,
    far=200.0,
    image_size=(256, 448),
    context_views=(2, 6),
    training_data="RE10K, then DL3DV",
    protocol="dl3dv_start_0_distance_50_ctx_6v_tgt_8v_video_0-50",
    **(OCTOBER | {"note": f"{REPLACED} PM-Loss trains from it and keeps a copy in its folder depthsplat_pretrained."}),
)

DEPTH: dict[str, Any] = OCTOBER | {
    "image_size": (352, 640),
    "training_data": "RE10K, then ScanNet, DeMoN, TartanAir and VKITTI2",
    "protocol": "evaluation_index_re10k",
    "note": "The depth network is that of March 2025. Trained with two views.",
}
DEPTH_SMALL = entry(
    variants.DEPTH_SMALL_352X640, file_of("depthsplat-depth-small-3d79dd5e.pth", DEPTH_LAYOUT), "vits", **DEPTH
)
DEPTH_BASE = entry(
    variants.DEPTH_BASE_352X640, file_of("depthsplat-depth-base-f57113bd.pth", DEPTH_LAYOUT), "vitb", **DEPTH
)
DEPTH_LARGE = entry(
    variants.released("vitl", 2, 4, depth_only=True),
    file_of("depthsplat-depth-large-50d3d7cf.pth", DEPTH_LAYOUT),
    "vitl",
    **DEPTH,
)

PMLOSS: dict[str, Any] = {
    "near": 1.0,
    "far": 200.0,
    "image_size": (256, 448),
    "context_views": (2, 6),
    "training_data": "RE10K, then DL3DV, then DL3DV-480P",
    "protocol": "dl3dv_bound_aware",
    "released": "2025-09",
    "licence": LICENCES["vitb"],
    "source": PMLOSS_SOURCE,
    "inferred": PMLOSS_ADDRESS,
}
PMLOSS_UNCONSTRAINED_256X448 = entry(
    variants.PMLOSS_UNCONSTRAINED_256X448,
    ReleasedFile(name="pmloss.ckpt", address=f"{PMLOSS_HOST}/pmloss.ckpt", layout=SPLATTING_LAYOUT),
    "vitb",
    **PMLOSS,
    note="Fine-tuned with PM-Loss and free offsets. On RE10K: protocol re10k_bound_aware, near 0.5, far 100.",
)
PMLOSS_ORI_256X448 = entry(
    variants.PMLOSS_ORI_256X448,
    ReleasedFile(
        name="ori_depthsplat_tuned.ckpt",
        address=f"{PMLOSS_HOST}/ori_depthsplat_tuned.ckpt",
        layout=SPLATTING_LAYOUT,
    ),
    "vitb",
    **PMLOSS,
    note="The baseline of PM-Loss: fine-tuned without it, offsets within the pixel. It differs in both, not in one.",
)
