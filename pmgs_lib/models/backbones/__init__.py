"""Image encoders that several models share."""

from pmgs_lib._lazy import lazy_names

NAMES = {
    "ResidualPyramid": "pmgs_lib.models.backbones.cnn",
    "DinoV2": "pmgs_lib.models.backbones.dinov2",
    "VitConfig": "pmgs_lib.models.backbones.dinov2",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
