"""The zoo's entries of DepthSplat as released since March 2025: files, settings and published numbers.

Facts are from the repository cvg/depthsplat: MODEL_ZOO.md, README.md, scripts/ and config/ of its newest commit
(2dad25a), and for files that later ones replaced, of 51b7cbd (2025-03-27), whose MODEL_ZOO.md says too that the digits
in a name begin the file's SHA-256. Published numbers are of the paper's third version (March 2025).
"""

from typing import Any

from pmgs_lib.models.depthsplat import variants
from pmgs_lib.models.depthsplat.config import DepthSplatConfig
from pmgs_lib.models.zoo_entry import ModelEntry, PaperRow, ReleasedFile, Trust

HOST = "https://huggingface.co/haofeixu/depthsplat/resolve/main"
SOURCE = "https://github.com/cvg/depthsplat: MODEL_ZOO.md, README.md, scripts/, config/"
PAPER = "https://arxiv.org/abs/2410.13862v3"
SPLATTING_LAYOUT = "a flat dictionary or one under 'state_dict', names with prefix 'encoder.'"
DEPTH_LAYOUT = "under 'model', names relative to the depth network"
REPLACED = "Replaced by a file of April 2025 with another scale map; the paper's numbers are from before that."
RETRAINED = "Trained again after the paper: its authors expect slightly other numbers than the published ones."
LARGE_IMAGES = "The released commands at 512x960 set scale_max of the adapter to 0.1: see config_for."
# The repository's licence (the page that holds the files was not seen), and what Depth Anything V2 says of each size.
LICENCES = {
    "vits": "MIT (the repository's); starts from Depth Anything V2 Small, Apache-2.0",
    "vitb": "MIT (the repository's); starts from Depth Anything V2 Base, CC-BY-NC-4.0",
    "vitl": "MIT (the repository's); starts from Depth Anything V2 Large, CC-BY-NC-4.0",
}


def file_of(name: str, layout: str = SPLATTING_LAYOUT) -> ReleasedFile:
    """A released file whose name ends in the first eight digits of its SHA-256, as its authors say."""
    return ReleasedFile(name=name, address=f"{HOST}/{name}", sha256=name[-12:-4], layout=layout)


def row(table: str, dataset: str, protocol: str, views: int, metrics: dict[str, float], trust: Trust) -> PaperRow:
    facts: dict[str, Any] = {"dataset": dataset, "protocol": protocol, "context_views": views, "metrics": metrics}
    return PaperRow(paper="DepthSplat (CVPR 2025)", table=table, trust=trust, source=PAPER, **facts)


def scores(psnr: float, ssim: float, lpips: float) -> dict[str, float]:
    return {"PSNR": psnr, "SSIM": ssim, "LPIPS": lpips}


def re10k(metrics: dict[str, float], trust: Trust) -> PaperRow:
    return row("1", "RE10K", "evaluation_index_re10k", 2, metrics, trust)


SMALL_RE10K = (re10k(scores(26.84, 0.878, 0.122), "verified"),)
BASE_RE10K = (re10k(scores(27.34, 0.887, 0.116), "transcribed"),)
LARGE_RE10K = (
    re10k(scores(27.47, 0.889, 0.114), "verified"),
    row("8", "ACID", "evaluation_index_acid", 2, scores(28.37, 0.847, 0.141), "verified"),
    row("8", "DL3DV-Benchmark", "dl3dv_start_0_distance_10_ctx_2v_tgt_4v", 2, {"PSNR": 27.66}, "transcribed"),
)
BASE_DL3DV = tuple(
    row("7", "DL3DV-Benchmark", f"dl3dv_start_0_distance_50_ctx_{views}v_video_0_50", views, metrics, trust)
    for views, metrics, trust in (
        (2, scores(19.31, 0.615, 0.310), "transcribed"),
        (4, scores(23.12, 0.780, 0.178), "transcribed"),
        (6, scores(24.19, 0.823, 0.147), "verified"),
    )
)


def entry(config: DepthSplatConfig, file: ReleasedFile, vit: str, **facts: Any) -> ModelEntry:
    """An entry with what all of them share; `facts` replace or add fields."""
    shared = {"near": 0.5, "far": 100.0, "context_views": (2, 2), "licence": LICENCES[vit], "source": SOURCE}
    return ModelEntry(config=config, weights=file, **(shared | facts))


def first_release(later: ModelEntry, name: str) -> ModelEntry:
    """What `later` replaced: the same architecture, but scales in footprints of a pixel (0.5 to 15 tenths of two)."""
    color = later.config.color
    scales = {"scale_map": "pixel_linear", "scale_min": 0.1, "scale_max": 3.0}
    adapter = color.adapter.model_copy(update=scales)
    config = later.config.model_copy(update={"color": color.model_copy(update={"adapter": adapter})})
    changes = {"config": config, "weights": file_of(name), "released": "2025-03", "note": REPLACED}
    return later.model_copy(update=changes | {"large_image_scale_max": None})


RE10K_256X256: dict[str, Any] = {
    "image_size": (256, 256),
    "training_data": "RE10K",
    "protocol": "evaluation_index_re10k",
    "released": "2025-04",
    "note": RETRAINED,
}
GS_SMALL_RE10K_256X256 = entry(
    variants.GS_SMALL_RE10K_256X256,
    file_of("depthsplat-gs-small-re10k-256x256-view2-cfeab6b1.pth"),
    "vits",
    paper=SMALL_RE10K,
    **RE10K_256X256,
)
GS_BASE_RE10K_256X256 = entry(
    variants.GS_BASE_RE10K_256X256,
    file_of("depthsplat-gs-base-re10k-256x256-view2-ca7b6795.pth"),
    "vitb",
    paper=BASE_RE10K,
    **RE10K_256X256,
)
GS_LARGE_RE10K_256X256 = entry(
    variants.GS_LARGE_RE10K_256X256,
    file_of("depthsplat-gs-large-re10k-256x256-view2-e0f0f27a.pth"),
    "vitl",
    paper=LARGE_RE10K,
    **RE10K_256X256,
)
GS_BASE_RE10K_256X448 = entry(
    variants.GS_BASE_RE10K_256X448,
    file_of("depthsplat-gs-base-re10k-256x448-view2-fea94f65.pth"),
    "vitb",
    image_size=(256, 448),
    training_data="RE10K",
    released="2025-04",
    note="First stage of the training on DL3DV; no evaluation of it is published.",
)
GS_BASE_DL3DV_256X448 = entry(
    variants.GS_BASE_DL3DV_256X448,
    file_of("depthsplat-gs-base-dl3dv-256x448-randview2-6-02c7b19d.pth"),
    "vitb",
    far=200.0,
    image_size=(256, 448),
    context_views=(2, 6),
    training_data="RE10K, then DL3DV",
    protocol="dl3dv_start_0_distance_50_ctx_6v_video_0_50",
    paper=BASE_DL3DV,
    released="2025-04",
    note=RETRAINED,
)
HIGH_RESOLUTION: dict[str, Any] = {
    "far": 200.0,
    "image_size": (448, 768),
    "training_data": "RE10K, then RE10K and DL3DV (256x448, then 448x768)",
    "released": "2025-04",
    "large_image_scale_max": 0.1,
    "inferred": "near and far: those of the commands that render with it",
    "note": LARGE_IMAGES,
}
GS_BASE_RE10KDL3DV_448X768 = entry(
    variants.GS_BASE_RE10KDL3DV_448X768,
    file_of("depthsplat-gs-base-re10kdl3dv-448x768-randview2-6-f8ddd845.pth"),
    "vitb",
    context_views=(2, 6),
    protocol="re10k_ctx_6v_video",
    **HIGH_RESOLUTION,
)
GS_SMALL_RE10KDL3DV_448X768 = entry(
    variants.GS_SMALL_RE10KDL3DV_448X768,
    file_of("depthsplat-gs-small-re10kdl3dv-448x768-randview4-10-c08188db.pth"),
    "vits",
    context_views=(4, 10),
    protocol="dl3dv_start_0_distance_100_ctx_12v_video",
    **HIGH_RESOLUTION,
)

DEPTH: dict[str, Any] = {
    "image_size": (352, 640),
    "context_views": (2, 8),
    "training_data": "RE10K and DL3DV at 448x768, then ScanNet, TartanAir and VKITTI2",
    "released": "2025-03",
    "note": "far is 100 in the released command with 2 views and 200 in those with 6 and 12; no numbers are published.",
}
DEPTH_SMALL_352X640 = entry(
    variants.DEPTH_SMALL_352X640,
    file_of("depthsplat-depth-small-352x640-randview2-8-e807bd82.pth", DEPTH_LAYOUT),
    "vits",
    inferred="the configuration: no command names this file; that of the small depth model of October 2024 is taken",
    **DEPTH,
)
DEPTH_BASE_352X640 = entry(
    variants.DEPTH_BASE_352X640,
    file_of("depthsplat-depth-base-352x640-randview2-8-65a892c5.pth", DEPTH_LAYOUT),
    "vitb",
    **DEPTH,
)

FIRST_GS_SMALL_RE10K_256X256 = first_release(
    GS_SMALL_RE10K_256X256, "depthsplat-gs-small-re10k-256x256-view2-20f39ed8.pth"
)
FIRST_GS_BASE_RE10K_256X256 = first_release(
    GS_BASE_RE10K_256X256, "depthsplat-gs-base-re10k-256x256-view2-fbe87117.pth"
)
FIRST_GS_LARGE_RE10K_256X256 = first_release(
    GS_LARGE_RE10K_256X256, "depthsplat-gs-large-re10k-256x256-view2-8ee2ec2c.pth"
)
FIRST_GS_BASE_RE10K_256X448 = first_release(
    GS_BASE_RE10K_256X448, "depthsplat-gs-base-re10k-256x448-view2-76a0605a.pth"
)
FIRST_GS_BASE_DL3DV_256X448 = first_release(
    GS_BASE_DL3DV_256X448, "depthsplat-gs-base-dl3dv-256x448-randview2-6-d94d996f.pth"
)
FIRST_GS_BASE_RE10KDL3DV_448X768 = first_release(
    GS_BASE_RE10KDL3DV_448X768, "depthsplat-gs-base-re10kdl3dv-448x768-randview2-6-f40abc4f.pth"
)
FIRST_GS_SMALL_RE10KDL3DV_448X768 = first_release(
    GS_SMALL_RE10KDL3DV_448X768, "depthsplat-gs-small-re10kdl3dv-448x768-randview4-10-1e257b90.pth"
)
