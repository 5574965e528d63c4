"""DepthSplat (Xu et al., CVPR 2025)."""

from pmgs_lib._lazy import lazy_names

NAMES = {
    "DepthSplat": "pmgs_lib.models.depthsplat.model",
    "DepthSplatConfig": "pmgs_lib.models.depthsplat.config",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
