"""Before anything is computed: are these the data that the protocol speaks of, and which of its scenes do they lack?"""

import math
from typing import Any

from pmgs_lib.data.protocol_types import Protocol, some
from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.views import Example

NO_FRAMES = "the published index lists it without frames"
ABSENT = "absent from the data"


def left_out(dataset: Any, protocol: Protocol, allow_missing: bool) -> dict[str, str]:
    """Scenes that are known not to be scored, with the reason: without frames in the index, or absent from the data.

    Data that can say what it holds (it has `stored_key`) must hold every scorable scene, unless `allow_missing`.
    Raises DataError naming the first absent scenes and their number, and ParameterError for data opened with another
    image rule than the protocol's.
    """
    protocol.require_images(getattr(dataset, "images", protocol.images))
    absent = absent_scenes(dataset, protocol)
    if absent and (not allow_missing or len(absent) == len(protocol.keys)):
        raise DataError(
            f"evaluate: dataset {getattr(dataset, 'root', '')} lacks {len(absent)} of the {len(protocol.keys)} scenes "
            f"of protocol {protocol.name}: {some(absent)}; import them, or allow missing scenes, which marks the "
            "result as not comparable"
        )
    return dict.fromkeys(protocol.unscorable, NO_FRAMES) | dict.fromkeys(absent, ABSENT)


def absent_scenes(dataset: Any, protocol: Protocol) -> list[str]:
    """Scorable scenes of a protocol that the data does not hold; none where the data cannot say (no `stored_key`)."""
    if not hasattr(dataset, "stored_key"):
        return []
    return [key for key in protocol.keys if dataset.stored_key(key) is None]


def require_depth_range(example: Example, protocol: Protocol) -> None:
    """Refuse an example whose near or far is not the protocol's: both decide what a model predicts."""
    for views in (example.context, example.target):
        for name, wanted in (("near", protocol.near), ("far", protocol.far)):
            found = getattr(views, name).max().item()
            if wanted is not None and not math.isclose(found, wanted, rel_tol=1e-5):
                raise ParameterError(
                    f"evaluate: {name} of scene {example.key!r} is {found:g}, protocol {protocol.name} wants "
                    f"{wanted:g}: open the data with near=protocol.near, far=protocol.far"
                )


def comparability(protocol: Protocol, scored: int) -> str | None:
    """Why numbers over `scored` scenes may not stand beside those of the whole protocol; None: they may."""
    reasons = [protocol.not_comparable] if protocol.not_comparable else []
    if 0 < scored < len(protocol.keys):
        reasons.append(f"{scored} of {len(protocol.keys)} scenes scored")
    return "; ".join(reasons) or None
