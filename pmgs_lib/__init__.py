"""Feed-forward 3D Gaussian splatting: models, rasterizers, pointmaps, PM-Loss, and reproducible notebook runs."""

from pmgs_lib._lazy import lazy_names

__version__ = "0.1.0"

NAMES = {
    "Cameras": "pmgs_lib.cameras",
    "Gaussians": "pmgs_lib.gaussians",
    "Views": "pmgs_lib.views",
    "Example": "pmgs_lib.views",
    "PmgsError": "pmgs_lib.errors",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
