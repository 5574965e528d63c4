"""Multi-view matching that several models share: attention across views, plane sweep, cross-view U-Net."""

from pmgs_lib._lazy import lazy_names

NAMES = {
    "CrossViewUNet": "pmgs_lib.models.matching.unet",
    "UNetRegressor": "pmgs_lib.models.matching.unet",
    "MultiViewTransformer": "pmgs_lib.models.matching.transformer",
    "matching_cost": "pmgs_lib.models.matching.cost_volume",
    "nearest_views": "pmgs_lib.models.matching.transformer",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
