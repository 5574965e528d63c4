"""What a prediction is measured by in training: photometric and perceptual error, PM-Loss, known depth.

`from pmgs_lib.losses import PointmapLoss` needs torch, numpy, scipy, numba, roma and jaxtyping, and nothing else.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from pmgs_lib._lazy import lazy_names, load_object
from pmgs_lib.errors import ParameterError

# Name of a loss -> its class, imported when it is first asked for.
LOSSES = {
    "photometric": "pmgs_lib.losses.photometric:PhotometricLoss",
    "pointmap": "pmgs_lib.losses.pointmap:PointmapLoss",
    "depth": "pmgs_lib.losses.depth:DepthLoss",
    "depth_gradient": "pmgs_lib.losses.depth:DepthGradientLoss",
}

NAMES = {
    "Loss": "pmgs_lib.losses.base",
    "PhotometricLoss": "pmgs_lib.losses.photometric",
    "mean_squared_error": "pmgs_lib.losses.photometric",
    "mean_absolute_error": "pmgs_lib.losses.photometric",
    "PerceptualLoss": "pmgs_lib.losses.perceptual",
    "LpipsLoss": "pmgs_lib.losses.perceptual",
    "Vgg19Loss": "pmgs_lib.losses.perceptual",
    "build_perceptual": "pmgs_lib.losses.perceptual",
    "PointmapLoss": "pmgs_lib.losses.pointmap",
    "PointmapLossDetails": "pmgs_lib.losses.pointmap",
    "PointmapPixels": "pmgs_lib.losses.pointmap",
    "PointmapLossSettings": "pmgs_lib.losses.pointmap_settings",
    "PointmapHealth": "pmgs_lib.losses.health",
    "SceneHealth": "pmgs_lib.losses.health",
    "measure_health": "pmgs_lib.losses.health",
    "join_health": "pmgs_lib.losses.health",
    "DepthLoss": "pmgs_lib.losses.depth",
    "log_depth_l1": "pmgs_lib.losses.depth",
    "inverse_depth_l1": "pmgs_lib.losses.depth",
    "DepthGradientLoss": "pmgs_lib.losses.depth",
    "depth_gradient_l1": "pmgs_lib.losses.depth",
}


def build_loss(config: str | Mapping[str, Any], **options: Any) -> Any:
    """The loss that `config` names in `LOSSES`.

    config: a name, or a mapping with the name under `kind` and the arguments of the class beside it. `options` are
    further arguments. A weight is none of them: how much a loss counts is the trainer's business.

    >>> build_loss({"kind": "pointmap", "threshold": 50.0}).threshold
    50.0
    """
    given = {"kind": config} if isinstance(config, str) else dict(config)
    name = given.pop("kind", None)
    if name not in LOSSES:
        raise ParameterError(f"build_loss: no loss is called {name!r}, expected kind to be one of {', '.join(LOSSES)}")
    variant = load_object(LOSSES[name])
    arguments = {**given, **options}
    known = getattr(variant, "options", None) or inspect.signature(variant).parameters
    for argument in arguments:
        if argument not in known:
            raise ParameterError(f"build_loss: {name} has no option {argument!r}, expected some of {', '.join(known)}")
    return variant(**arguments)


__getattr__, __dir__ = lazy_names(__name__, NAMES)
