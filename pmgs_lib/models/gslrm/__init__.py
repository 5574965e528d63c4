"""GS-LRM (Zhang et al., ECCV 2024)."""

from pmgs_lib._lazy import lazy_names

NAMES = {
    "Gslrm": "pmgs_lib.models.gslrm.model",
    "GslrmConfig": "pmgs_lib.models.gslrm.config",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
