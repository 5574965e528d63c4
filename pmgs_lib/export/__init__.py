"""What leaves the suite as files: splats, pictures, videos, all of a reconstruction. Each is written whole or not."""

from pmgs_lib._lazy import lazy_names

NAMES = {
    "write_ply": "pmgs_lib.export.ply",
    "read_ply": "pmgs_lib.export.ply",
    "write_splat": "pmgs_lib.export.splat",
    "read_splat": "pmgs_lib.export.splat",
    "write_splats": "pmgs_lib.export.certification",
    "certify": "pmgs_lib.export.certification",
    "Certificate": "pmgs_lib.export.certification",
    "save_image": "pmgs_lib.export.images",
    "save_depth": "pmgs_lib.export.images",
    "write_video": "pmgs_lib.export.video",
    "stream_video": "pmgs_lib.export.video",
    "Reconstruction": "pmgs_lib.export.reconstruction",
    "reconstruct": "pmgs_lib.export.reconstruction",
    "render_path": "pmgs_lib.export.reconstruction",
    "camera_path": "pmgs_lib.export.reconstruction",
    "SaveSettings": "pmgs_lib.export.parts",
    "save_reconstruction": "pmgs_lib.export.saving",
    "write_depth": "pmgs_lib.export.depth",
    "read_depth": "pmgs_lib.export.depth",
    "write_comparison_video": "pmgs_lib.export.comparison",
    "write_colmap": "pmgs_lib.export.colmap",
    "write_nerfstudio": "pmgs_lib.export.nerfstudio",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
