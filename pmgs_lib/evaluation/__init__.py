"""Metrics, the methods they are taken of, and the benchmark that keeps account of every scene."""

from typing import Any

from pmgs_lib._lazy import lazy_names, load_object
from pmgs_lib.errors import ParameterError

# Imported at once: a lazy name would be shadowed by the module of the same name.
from pmgs_lib.evaluation.lpips import lpips

NAMES = {
    "psnr": "pmgs_lib.evaluation.metrics",
    "ssim": "pmgs_lib.evaluation.metrics",
    "depth_errors": "pmgs_lib.evaluation.metrics",
    "METRICS": "pmgs_lib.evaluation.metrics",
    "DEPTH_METRICS": "pmgs_lib.evaluation.metrics",
    "load_lpips": "pmgs_lib.evaluation.lpips",
    "LpipsUnavailable": "pmgs_lib.evaluation.lpips",
    "point_cloud_errors": "pmgs_lib.evaluation.point_clouds",
    "aligned_to_surface": "pmgs_lib.evaluation.depth_edges",
    "floating_points": "pmgs_lib.evaluation.depth_edges",
    "near_depth_edges": "pmgs_lib.evaluation.depth_edges",
    "surface_distances": "pmgs_lib.evaluation.depth_edges",
    "Ledger": "pmgs_lib.evaluation.ledger",
    "MethodOutput": "pmgs_lib.evaluation.methods",
    "evaluate": "pmgs_lib.evaluation.benchmark",
    "WorstScenes": "pmgs_lib.evaluation.worst",
    "EvaluationResult": "pmgs_lib.evaluation.results",
    "interval_over_seeds": "pmgs_lib.evaluation.statistics",
    "interval_over_scenes": "pmgs_lib.evaluation.statistics",
    "paired_tests": "pmgs_lib.evaluation.statistics",
    "scene_values": "pmgs_lib.evaluation.statistics",
    "seed_scores": "pmgs_lib.evaluation.statistics",
    "over_seeds": "pmgs_lib.evaluation.seeds",
    "difference_over_seeds": "pmgs_lib.evaluation.seeds",
    "statement": "pmgs_lib.evaluation.statements",
    "sentences": "pmgs_lib.evaluation.statements",
}

METHODS = {
    "model": "pmgs_lib.evaluation.methods:GaussianMethod",
    "nearest-input": "pmgs_lib.evaluation.methods:NearestInput",
    "exact-depth": "pmgs_lib.evaluation.methods:ExactDepth",
}


def build_method(name: str, **options: Any) -> Any:
    """The method of that name in `METHODS`; `options` are its arguments, e.g. `model` and `backend`."""
    if name not in METHODS:
        raise ParameterError(f"build_method: no method is called {name!r}, expected one of {', '.join(METHODS)}")
    return load_object(METHODS[name])(**options)


__getattr__, __dir__ = lazy_names(__name__, NAMES)
__all__ = ["METHODS", "build_method", "lpips"]
