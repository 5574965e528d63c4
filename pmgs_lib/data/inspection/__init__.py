"""The doctor of scenes: what is in one, whether its cameras fit its pictures, and what it is fit for.

`inspect_scene` looks at a scene of a dataset, `diagnose_cameras` at raw numbers before any import, `judge` compares a
report with what a model asks for.
"""

from pmgs_lib._lazy import lazy_names

NAMES = {
    "SceneReport": "pmgs_lib.data.inspection.scene",
    "inspect_scene": "pmgs_lib.data.inspection.scene",
    "Finding": "pmgs_lib.data.inspection.base",
    "Diagnosis": "pmgs_lib.data.inspection.diagnosis",
    "diagnose_cameras": "pmgs_lib.data.inspection.diagnosis",
    "MatchedPair": "pmgs_lib.data.inspection.readings",
    "matched_pairs": "pmgs_lib.data.inspection.diagnosis",
    "check_pictures": "pmgs_lib.data.inspection.pictures",
    "Requirements": "pmgs_lib.data.inspection.fitness",
    "Fitness": "pmgs_lib.data.inspection.fitness",
    "judge": "pmgs_lib.data.inspection.fitness",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
