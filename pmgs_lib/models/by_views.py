"""Work that treats each frame for itself, done on a few frames at a time where memory is short."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

Result = TypeVar("Result")


def by_views(function: Callable[..., Result], views_at_once: int | None, *inputs: Any) -> Result:
    """`function(*inputs)` on groups of at most `views_at_once` frames, results side by side again; None: all at once.

    Inputs and results are tensors with frames first, or tuples and dictionaries of such. Groups differ by a frame at
    most in size, so that there are few sizes to compile for.

    >>> by_views(lambda x: 2 * x, 2, torch.arange(5)).tolist()
    [0, 2, 4, 6, 8]
    """
    frames = len(tree_leaves(inputs)[0])
    if views_at_once is None or frames <= views_at_once:
        return function(*inputs)
    groups, starts = -(-frames // views_at_once), [0]
    for number in range(groups):
        starts.append(frames * (number + 1) // groups)
    parts = [function(*tree_map(lambda x, own=slice(start, end): x[own], inputs)) for start, end in pairwise(starts)]
    return tree_map(_together, *parts)


def _together(*parts: Tensor) -> Tensor:
    return torch.cat(parts)
