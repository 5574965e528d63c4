"""Runs, experiments and their provenance: every number of a report has a run, every run its notebook and its key."""

from pmgs_lib._lazy import lazy_names

NAMES = {
    "current_run": "pmgs_lib.suite.recorder",
    "RunRecorder": "pmgs_lib.suite.recorder",
    "RunRecord": "pmgs_lib.suite.records",
    "read_record": "pmgs_lib.suite.records",
    "Project": "pmgs_lib.suite.project",
    "find_project": "pmgs_lib.suite.project",
    "make_plan": "pmgs_lib.suite.plan",
    "run_experiments": "pmgs_lib.suite.engine",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
