"""Filling a pointmap cache for a whole data set, so that training and evaluation need not hold the source."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pmgs_lib.data.dataset import SceneDataset, TrainingDataset
from pmgs_lib.data.protocols import Protocol
from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.pointmaps.base import PointmapSource
from pmgs_lib.pointmaps.cache import CachedPointmap
from pmgs_lib.pointmaps.cache_files import StoredType
from pmgs_lib.views import Views


@dataclass(frozen=True)
class Contexts(Sequence):
    """Keys and context views, opened one at a time."""

    length: int
    get: Callable[[int], tuple[str, Views]]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[str, Views]:
        if not 0 <= index < self.length:
            raise IndexError(f"context {index} of {self.length}")
        return self.get(index)


@dataclass(frozen=True)
class CacheReport:
    """What became of every listed case: made + found + remade + len(failed) == listed.

    found: was there and sound. remade: was there and damaged. failed: key and reason of the data that could not be
    opened.
    """

    listed: int
    made: int
    found: int
    remade: int
    failed: tuple[tuple[str, str], ...]


def protocol_contexts(dataset: SceneDataset, protocol: Protocol) -> Contexts:
    """The context views that a model sees when it is evaluated by that protocol; data opened by its image rule."""
    protocol.require_images(dataset.images)

    def get(index: int) -> tuple[str, Views]:
        key = protocol.keys[index]
        frames, *_ = protocol.evaluation_views(key)
        return key, dataset.views(dataset.scene(key), frames, protocol.height, protocol.width)

    return Contexts(len(protocol.keys), get)


def training_contexts(dataset: TrainingDataset) -> Contexts:
    """The context views of every training example: which frames, and whether mirrored, its seed decides."""

    def get(index: int) -> tuple[str, Views]:
        example = dataset[index]
        return str(example.key), example.context

    return Contexts(len(dataset), get)


def fill_cache(
    source: PointmapSource,
    contexts: Sequence,
    folder: str | Path,
    *,
    stored_type: StoredType = "float32",
    device: str = "cpu",
    progress: Callable[[int, int, str], None] | None = None,
) -> CacheReport:
    """Make the pointmaps of all contexts that `folder` lacks; a call that was interrupted is continued by the next.

    contexts: from `protocol_contexts`, `training_contexts`, or a list of (key, views without batch axis).
    progress: called as `progress(done, listed, key)` after each. Only a `DataError` of the data is counted and told
    in the report; anything else stops, with all that was made in place.
    """
    if not len(contexts):
        raise ParameterError("fill_cache: there are no contexts, expected at least one")
    cache = CachedPointmap(folder, source, stored_type, remember=0)
    counts = {"made": 0, "found": 0, "remade": 0}
    failed: list[tuple[str, str]] = []
    for number in range(len(contexts)):
        key = f"number {number}"
        try:
            key, views = contexts[number]
            _, state = cache.of_scene(views.to(device), key)
            counts[state] += 1
        except DataError as error:
            failed.append((key, str(error)))
        if progress is not None:
            progress(number + 1, len(contexts), key)
    return CacheReport(listed=len(contexts), failed=tuple(failed), **counts)
