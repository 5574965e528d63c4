"""What leaves the suite as files: splats, pictures, videos. Each is written whole or not at all."""

from pmgs_lib._lazy import lazy_names

NAMES = {
    "write_ply": "pmgs_lib.export.ply",
    "read_ply": "pmgs_lib.export.ply",
    "save_image": "pmgs_lib.export.images",
    "save_depth": "pmgs_lib.export.images",
    "write_video": "pmgs_lib.export.video",
    "write_nerfstudio": "pmgs_lib.export.nerfstudio",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
