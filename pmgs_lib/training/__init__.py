"""Training on Lightning Fabric: configuration, schedules, and the loop that stops before a bad step."""

from pmgs_lib._lazy import lazy_names

NAMES = {
    "TrainingConfig": "pmgs_lib.training.config",
    "WeightSchedule": "pmgs_lib.training.config",
    "TrainingHistory": "pmgs_lib.training.history",
    "Trainer": "pmgs_lib.training.trainer",
    "TrainingRun": "pmgs_lib.training.run",
    "run_training": "pmgs_lib.training.run",
    "launch_training": "pmgs_lib.training.launch",
    "read_training_file": "pmgs_lib.training.run",
    "TrainingStoppedError": "pmgs_lib.training.stopping",
    "training_examples": "pmgs_lib.training.run",
    "Progress": "pmgs_lib.training.progress",
    "Validator": "pmgs_lib.training.validation",
    "open_loggers": "pmgs_lib.training.loggers",
    "training_health": "pmgs_lib.training.health",
    "pointmap_health": "pmgs_lib.training.health",
    "descend": "pmgs_lib.training.direct",
    "Descent": "pmgs_lib.training.direct",
    "pull": "pmgs_lib.training.direct",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
