"""Memory of a device: predicted before anything runs, planned to fit, measured beside the prediction."""

from pmgs_lib._lazy import lazy_names

NAMES = {
    "MemoryLoad": "pmgs_lib.training.memory.prediction",
    "MemoryPrediction": "pmgs_lib.training.memory.prediction",
    "predict_memory": "pmgs_lib.training.memory.prediction",
    "MemoryPlan": "pmgs_lib.training.memory.plan",
    "plan_memory": "pmgs_lib.training.memory.plan",
    "training_load": "pmgs_lib.training.memory.commands",
    "measure_memory": "pmgs_lib.training.memory.measurement",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
