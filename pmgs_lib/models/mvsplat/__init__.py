"""MVSplat (Chen et al., ECCV 2024)."""

from pmgs_lib._lazy import lazy_names

NAMES = {
    "MvSplat": "pmgs_lib.models.mvsplat.model",
    "MvSplatConfig": "pmgs_lib.models.mvsplat.config",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
