"""Which frames of a scene an example is made of, drawn so that a number names the draw for good."""

from typing import Any

from pmgs_lib._lazy import load_object
from pmgs_lib.data.sampling.base import Sampler, draw_generator
from pmgs_lib.data.sampling.spread import BoundedSampler, spread_frames
from pmgs_lib.errors import ParameterError

SAMPLERS = {
    "spread": "pmgs_lib.data.sampling.spread:BoundedSampler",
    "bounded": "pmgs_lib.data.sampling.bounded:GapSampler",
    "bounded-v2": "pmgs_lib.data.sampling.bounded_v2:FarthestPointSampler",
    "arbitrary": "pmgs_lib.data.sampling.arbitrary:ArbitrarySampler",
    "all": "pmgs_lib.data.sampling.all:AllSampler",
    "evaluation": "pmgs_lib.data.sampling.evaluation:EvaluationSampler",
}

__all__ = ["SAMPLERS", "BoundedSampler", "Sampler", "build_sampler", "draw_generator", "spread_frames"]


def build_sampler(name: str, **options: Any) -> Sampler:
    """The sampler of that name in `SAMPLERS`; `options` are the fields of its class.

    >>> build_sampler("all").sample(3, draw_generator(0, 0, 0))
    ((0, 1, 2), (0, 1, 2))
    """
    if name not in SAMPLERS:
        raise ParameterError(f"build_sampler: no sampler is called {name!r}, expected one of {', '.join(SAMPLERS)}")
    try:
        return load_object(SAMPLERS[name])(**options)
    except TypeError as fault:
        raise ParameterError(f"build_sampler: {name}: {fault}; see the fields of its class") from None
