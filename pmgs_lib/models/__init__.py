"""Feed-forward models: from posed views to Gaussians and depth. `MODELS` maps names to configurations."""

from pmgs_lib._lazy import lazy_names

NAMES = {
    "MODELS": "pmgs_lib.models.zoo",
    "build_model": "pmgs_lib.models.zoo",
    "named_config": "pmgs_lib.models.zoo",
    "zoo_table": "pmgs_lib.models.zoo",
    "INITIALISATIONS": "pmgs_lib.models.initialisation",
    "initialise": "pmgs_lib.models.initialisation",
    "load_checkpoint": "pmgs_lib.models.checkpoints",
    "load_for_size": "pmgs_lib.models.sized",
    "read_card": "pmgs_lib.models.checkpoints",
    "weight_facts": "pmgs_lib.models.origin",
    "save_checkpoint": "pmgs_lib.models.checkpoint_files",
    "Prediction": "pmgs_lib.models.base",
    "ModelConfig": "pmgs_lib.models.base",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
