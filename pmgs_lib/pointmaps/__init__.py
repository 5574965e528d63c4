"""Where a pointmap comes from: a point for every pixel of the context views, in the frame and scale of its source."""

import inspect
from typing import Any

from pmgs_lib._lazy import lazy_names, load_object
from pmgs_lib.errors import ParameterError

# Name of a source -> its class, imported when it is first asked for.
SOURCES = {
    "depth": "pmgs_lib.pointmaps.depth:DepthPointmap",
    "vggt": "pmgs_lib.pointmaps.vggt.source:VggtPointmap",
    "vggt-depth": "pmgs_lib.pointmaps.vggt.source:VggtDepthPointmap",
    "depth-anything-3": "pmgs_lib.pointmaps.depth_anything:DepthAnything3Pointmap",
    "cached": "pmgs_lib.pointmaps.cache:CachedPointmap",
}

NAMES = {
    "Pointmap": "pmgs_lib.pointmaps.base",
    "PointmapSource": "pmgs_lib.pointmaps.base",
    "DepthPointmap": "pmgs_lib.pointmaps.depth",
    "VggtPointmap": "pmgs_lib.pointmaps.vggt.source",
    "VggtDepthPointmap": "pmgs_lib.pointmaps.vggt.source",
    "DepthAnything3Pointmap": "pmgs_lib.pointmaps.depth_anything",
    "CachedPointmap": "pmgs_lib.pointmaps.cache",
    "CacheReport": "pmgs_lib.pointmaps.filling",
    "fill_cache": "pmgs_lib.pointmaps.filling",
    "protocol_contexts": "pmgs_lib.pointmaps.filling",
    "training_contexts": "pmgs_lib.pointmaps.filling",
    "licence_notice": "pmgs_lib.pointmaps.licences",
    "VggtPoses": "pmgs_lib.pointmaps.vggt.poses",
    "reduced_weights_server": "pmgs_lib.pointmaps.vggt.rehearsal",
}


def build_pointmap_source(name: str, **options: Any) -> Any:
    """The source of that name in `SOURCES`; `options` are the arguments of its class.

    >>> build_pointmap_source("depth", noise=0.0).noise
    0.0
    """
    if name not in SOURCES:
        raise ParameterError(
            f"build_pointmap_source: no source is called {name!r}, expected one of {', '.join(SOURCES)}"
        )
    variant = load_object(SOURCES[name])
    known = inspect.signature(variant).parameters
    for option in options:
        if option not in known:
            raise ParameterError(
                f"build_pointmap_source: {name} has no option {option!r}, expected some of {', '.join(known)}"
            )
    return variant(**options)


__getattr__, __dir__ = lazy_names(__name__, NAMES)
