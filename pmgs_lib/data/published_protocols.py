"""Published evaluations as protocols: whose numbers, on which index file, at which size, by which image rule.

Digests and addresses are those of the index files at the named commits of the authors' repositories; sizes, rules and
depth ranges are those of the authors' evaluation commands and configurations at these commits. RealEstate10K is
processed at 360x640 (720x1280 for the large video), DL3DV at 270x480 (480P) and 540x960 (960P).
"""

import os
from functools import lru_cache
from typing import Any

from pmgs_lib.data.downloads import RemoteFile
from pmgs_lib.data.protocol_indexes import index_path, read_index
from pmgs_lib.data.protocol_types import Protocol
from pmgs_lib.errors import DataError

DEPTHSPLAT = "https://raw.githubusercontent.com/cvg/depthsplat/2dad25a7b9ba7c5537aba08463ef88d8511a06be/assets"
PM_LOSS = "https://raw.githubusercontent.com/aim-uofa/PM-Loss/080edee319f2d6653b086f6bfd5887eb4f0ed1db/assets"

INDEX_DIGESTS = {
    f"{PM_LOSS}/dl3dv_bound_aware.json": "839d612404e6cb1aeeda779018c14d4743240a0c028baaf69f4b0bf30462c1b9",
    f"{PM_LOSS}/re10k_bound_aware.json": "d7eac788076855be002bf94758d4baee9579eba8ff39b795e25e2044a67fc26b",
    f"{DEPTHSPLAT}/dl3dv_start_0_distance_100_ctx_12v_video.json": (
        "3fe8659556e9395a19382c3c86e247234204db328cf3bbc8d67f9e2cdf4870d5"
    ),
    f"{DEPTHSPLAT}/dl3dv_start_0_distance_10_ctx_2v_tgt_4v.json": (
        "eab21290cfab8eff12e208377b089b2a65e15f7ba44f7bb085963511354863f4"
    ),
    f"{DEPTHSPLAT}/dl3dv_start_0_distance_50_ctx_2v_video_0_50.json": (
        "434c3e1bd9395cf7f0f2f0dc787d15a9bddd87865891fd5817fdfa6e711ad46d"
    ),
    f"{DEPTHSPLAT}/dl3dv_start_0_distance_50_ctx_4v_video_0_50.json": (
        "2bae3240e42b6f2bddd21ac20752c65996e2923d0606dbffef7d15fee33beeca"
    ),
    f"{DEPTHSPLAT}/dl3dv_start_0_distance_50_ctx_6v_video_0_50.json": (
        "3ab98877ef792fa91f2dd2982e7ea62c4033a1fb04a65fb63288e7a7ae3c4b9e"
    ),
    f"{DEPTHSPLAT}/evaluation_index_acid.json": "7a08cf5c612b60b407c4cd395ff945180d852e1f7f4c0442102ad85e0e3a2fd1",
    f"{DEPTHSPLAT}/evaluation_index_re10k.json": "fbcff9b4b13139227d809af45b84bb5a7a9cdb1c7a55bced85b6c66556a219cc",
    f"{DEPTHSPLAT}/evaluation_index_re10k_video.json": (
        "f1a66dc0a257e46f565fb0d5fb653708519435bbed6f9aec0c89c9dfeb83a051"
    ),
    f"{DEPTHSPLAT}/re10k_ctx_6v_video.json": "7098ee1a514a7635fbc9f995b2167ea3e75f14157d51c0da76093636f11f8ac6",
}

# Gaps and targets of the released trainings (DepthSplat: both data sets; PM-Loss: its README's command).
RE10K_TRAINING = {"kind": "bounded", "first_gap": (25, 45), "last_gap": (45, 135), "steps": 30_000, "targets": 4}
DL3DV_TRAINING = {
    **{"kind": "bounded-v2", "first_gap": (15, 30), "last_gap": (20, 50), "steps": 10_000},
    **{"targets": 8, "views": (2, 6)},
}
PM_LOSS_TRAINING = {**DL3DV_TRAINING, "first_gap": (20, 50), "steps": 0}

RE10K = {"height": 256, "width": 256, "image_rule": "depthsplat", "source_size": (360, 640)}
# DepthSplat reads DL3DV at its own size, and its patch shim crops to multiples of 64: no picture is scaled.
DL3DV = {
    **{"height": 256, "width": 448, "image_rule": "depthsplat", "image_shape": (270, 480), "source_size": (270, 480)},
    **{"near": 0.5, "far": 200.0, "training_views": DL3DV_TRAINING},
}
VIDEO = {"height": 512, "width": 960, "image_rule": "depthsplat"}
PM_LOSS_PICTURES = {"height": 256, "width": 448, "image_rule": "pm-loss", "training_views": PM_LOSS_TRAINING}

RE10K_COUNTS = {"scenes": 6474, "inside": 18839, "outside": 0, "at_context": 583, "unscorable": 720}
ACID_COUNTS = {"scenes": 1595, "inside": 4650, "outside": 0, "at_context": 135, "unscorable": 253}


def _dl3dv(views: int, inside: int, outside: int) -> dict[str, Any]:
    counts = {"scenes": 140, "inside": inside, "outside": outside, "at_context": 140 * views}
    return {
        "description": f"DepthSplat (arXiv 2410.13862), table 7: DL3DV-Benchmark, {views} views over 50 frames, all 50 "
        "frames as targets, context frames among them",
        "index": f"{DEPTHSPLAT}/dl3dv_start_0_distance_50_ctx_{views}v_video_0_50.json",
        "expected": counts,
        **DL3DV,
    }


PUBLISHED: dict[str, dict[str, Any]] = {
    "depthsplat-re10k-256": {
        "description": "DepthSplat (arXiv 2410.13862), table 1: RealEstate10K, 2 views, 3 targets",
        "index": f"{DEPTHSPLAT}/evaluation_index_re10k.json",
        "expected": RE10K_COUNTS,
        **RE10K,
        **{"near": 0.5, "far": 100.0, "training_views": RE10K_TRAINING},
    },
    "depthsplat-dl3dv-2v": _dl3dv(2, inside=6548, outside=172),
    "depthsplat-dl3dv-4v": _dl3dv(4, inside=6293, outside=147),
    "depthsplat-dl3dv-6v": _dl3dv(6, inside=6013, outside=147),
    "depthsplat-dl3dv-zero-shot": {
        "description": "DepthSplat (arXiv 2410.13862), table 8: a RealEstate10K model on DL3DV-Benchmark, context "
        "frames 0 and 9 in most scenes, 4 targets",
        "index": f"{DEPTHSPLAT}/dl3dv_start_0_distance_10_ctx_2v_tgt_4v.json",
        "expected": {"scenes": 140, "inside": 534, "outside": 26},
        **{**DL3DV, "training_views": RE10K_TRAINING},
    },
    "depthsplat-acid-256": {
        "description": "DepthSplat (arXiv 2410.13862), table 8: a RealEstate10K model on ACID, with RealEstate10K's "
        "depth range",
        "index": f"{DEPTHSPLAT}/evaluation_index_acid.json",
        "expected": ACID_COUNTS,
        **RE10K,
        **{"near": 0.5, "far": 100.0, "training_views": RE10K_TRAINING},
    },
    "depthsplat-re10k-video-2v": {
        "description": "DepthSplat's video: RealEstate10K, 2 views, every frame between them",
        "index": f"{DEPTHSPLAT}/evaluation_index_re10k_video.json",
        "expected": {"scenes": 6474, "inside": 421154, "outside": 0, "at_context": 12948, "unscorable": 720},
        **RE10K,
        **{"near": 0.5, "far": 100.0},
    },
    "depthsplat-re10k-video-6v": {
        "description": "DepthSplat's video: RealEstate10K at 512x960 from 720p files, 6 views over the whole clip",
        "index": f"{DEPTHSPLAT}/re10k_ctx_6v_video.json",
        "expected": {"scenes": 1600, "inside": 405940, "outside": 0, "at_context": 9600},
        **VIDEO,
        **{"near": 0.5, "far": 100.0, "source_size": (720, 1280)},
    },
    "depthsplat-dl3dv-video-12v": {
        "description": "DepthSplat's video: DL3DV-Benchmark at 512x960 from 960P files, 12 views over 100 frames",
        "index": f"{DEPTHSPLAT}/dl3dv_start_0_distance_100_ctx_12v_video.json",
        "expected": {"scenes": 140, "inside": 12054, "outside": 0, "at_context": 1680},
        **VIDEO,
        **{"near": 0.5, "far": 200.0, "source_size": (540, 960)},
    },
    "pm-loss-dl3dv": {
        "description": "PM-Loss (arXiv 2506.05327), boundary-aware: DL3DV-Benchmark, 2 views, the 10 frames before and "
        "the 10 after them",
        "index": f"{PM_LOSS}/dl3dv_bound_aware.json",
        "expected": {"scenes": 140, "inside": 0, "outside": 2800},
        **PM_LOSS_PICTURES,
        **{"near": 1.0, "far": 200.0, "source_size": (270, 480)},
    },
    "pm-loss-re10k": {
        "description": "PM-Loss (arXiv 2506.05327), boundary-aware: RealEstate10K, 2 views, 20 of the 60 frames around",
        "index": f"{PM_LOSS}/re10k_bound_aware.json",
        "expected": {"scenes": 2934, "inside": 0, "outside": 58680},
        **PM_LOSS_PICTURES,
        **{"near": 0.5, "far": 100.0, "source_size": (360, 640)},
    },
    "pixelsplat-re10k-256": {
        "description": "pixelSplat (arXiv 2312.12337), table 1: RealEstate10K, 2 views, 3 targets; its depth range "
        "follows from each pair's baseline, so open the data with one of your own",
        "index": f"{DEPTHSPLAT}/evaluation_index_re10k.json",
        "expected": RE10K_COUNTS,
        **RE10K,
    },
    "mvsplat-re10k-256": {
        "description": "MVSplat (arXiv 2403.14627), table 1: RealEstate10K, 2 views, 3 targets (pixelSplat's frames)",
        "index": f"{DEPTHSPLAT}/evaluation_index_re10k.json",
        "expected": RE10K_COUNTS,
        **RE10K,
        **{"near": 1.0, "far": 100.0},
    },
    "mvsplat-acid-256": {
        "description": "MVSplat (arXiv 2403.14627), table 1: ACID, 2 views, 3 targets (pixelSplat's frames)",
        "index": f"{DEPTHSPLAT}/evaluation_index_acid.json",
        "expected": ACID_COUNTS,
        **RE10K,
        **{"near": 1.0, "far": 100.0},
    },
}


def index_file(name: str) -> RemoteFile:
    """The index file of a published protocol."""
    address = PUBLISHED[name]["index"]
    return RemoteFile(name=address.rpartition("/")[2], address=address, sha256=INDEX_DIGESTS[address])


def open_published(name: str, indexes: str | os.PathLike[str] | None = None) -> Protocol:
    """The published protocol of that name, from its index file: in the folder `indexes`, or see `index_path`."""
    return _read(name, str(index_path(index_file(name), indexes)))


@lru_cache(maxsize=4)  # a table of runs asks again; the file was verified just before
def _read(name: str, path: str) -> Protocol:
    content = dict(PUBLISHED[name])
    digest = INDEX_DIGESTS[content.pop("index")]
    views, unscorable = read_index(path)
    return Protocol.build(
        {**content, "name": name, "keys": tuple(views), "scene_views": views, "unscorable": unscorable}
        | {"index_sha256": digest},
        f"protocol {name}",
        DataError,
    )
