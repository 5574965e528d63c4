"""Whether the state of a training belongs to a trainer, asked before anything of it is taken over."""

from collections.abc import Collection, Mapping
from typing import Any

import torch

from pmgs_lib.errors import CheckpointError
from pmgs_lib.models.checkpoint_fit import difference

NEXT_STEP = "take a state of this very training, or begin it anew"
Nest = Mapping[str, Any]


def check_snapshot(own: Nest, given: Nest, trained: Collection[str]) -> None:
    """Refuse a state that is not exactly like `own`, or not finite. Raises `CheckpointError`, naming what differs.

    trained: names of the parameters that the optimizer moves. It remembers all of them, or nothing before its first
    step.
    """
    _require_same_names("training state", own, given)
    _check_tensors("model", own["model"], given["model"])
    if bool(own["average"]) != bool(given["average"]):
        told = "has an average of the weights" if given["average"] else "has no average of the weights"
        raise CheckpointError(f"training state: {told}, unlike this training (average_decay); {NEXT_STEP}")
    if own["average"]:
        _check_tensors("average", own["average"]["model"], given["average"]["model"])
    if given["optimizer"]:
        shapes = {name: own["model"][name] for name in trained}
        _require_same_names("training state: the optimizer", shapes, given["optimizer"])
        for name, parts in given["optimizer"].items():
            numbers = {part: value for part, value in parts.items() if torch.as_tensor(value).ndim == 0}
            _check_tensors(f"optimizer at {name}", dict.fromkeys(parts, shapes[name]) | numbers, parts)


def _require_same_names(where: str, own: Nest, given: Nest) -> None:
    faults = difference(dict.fromkeys(own, ()), dict.fromkeys(given, ()))
    if faults.count:
        raise CheckpointError(f"{where}: {faults}; {NEXT_STEP}")


def _check_tensors(what: str, own: Nest, given: Nest) -> None:
    shapes = [{name: tuple(torch.as_tensor(value).shape) for name, value in nest.items()} for nest in (own, given)]
    faults = difference(*shapes)
    if faults.count:
        raise CheckpointError(f"training state: the {what} does not fit ({faults}); {NEXT_STEP}")
    for name, value in given.items():
        if not torch.as_tensor(value).isfinite().all():
            raise CheckpointError(f"training state: {name} of the {what} is not finite; go back to an earlier state")
