"""Training examples in micro-batches, in their order: whatever the number of workers and processes, the same ones."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch.utils.data import DataLoader, Dataset

from pmgs_lib.data.dataset import TrainingDataset
from pmgs_lib.errors import DataError, ParameterError, PmgsError
from pmgs_lib.views import Example


@dataclass(frozen=True)
class Share:
    """Which examples a process takes: `accumulate` micro-batches a step, one after the other of its part of the batch.

    Step s, counted from 0, is about the examples from s * batch_size on. Processes take parts of equal size in the
    order of their ranks.
    """

    batch_size: int
    accumulate: int = 1
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        parts = self.ranks * self.accumulate
        if min(self.batch_size, parts) < 1 or self.batch_size % parts or not 0 <= self.rank < self.ranks:
            raise ParameterError(
                f"training_loader: batch_size {self.batch_size} for process {self.rank} of {self.ranks} with "
                f"accumulate {self.accumulate}; expected a multiple of {parts}, and a process below {self.ranks}"
            )

    def numbers(self, micro_batch: int) -> range:
        """The examples of a micro-batch, counted from 0 through all steps."""
        step, part = divmod(micro_batch, self.accumulate)
        size = self.batch_size // (self.ranks * self.accumulate)
        first = step * self.batch_size + (self.rank * self.accumulate + part) * size
        return range(first, first + size)


@dataclass(frozen=True)
class _MicroBatches(Dataset):
    """What a worker is asked for: a micro-batch by its number, or the error instead, and scenes replaced so far."""

    dataset: TrainingDataset
    share: Share

    def __getitem__(self, number: int) -> tuple[Example | PmgsError, dict[str, str]]:
        try:
            batch = joined([self.dataset[example] for example in self.share.numbers(number)])
        except PmgsError as error:  # as a value: from a worker, an error would come wrapped into its traceback
            batch = error
        return batch, dict(self.dataset.replaced)


@dataclass(frozen=True)
class TrainingBatches:
    """Iterable over the micro-batches of a process; `len` is their number.

    replaced: scenes of the dataset in whose place others were taken so far, with the reason, whichever worker met them.
    """

    loader: DataLoader
    replaced: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Example]:
        for batch, replaced in self.loader:
            self.replaced.update(replaced)
            if isinstance(batch, PmgsError):
                raise batch
            yield batch


def training_loader(
    dataset: TrainingDataset,
    batch_size: int,
    *,
    workers: int = 0,
    first_step: int = 0,
    accumulate: int = 1,
    rank: int = 0,
    ranks: int = 1,
) -> TrainingBatches:
    """Micro-batches of `dataset` for process `rank` of `ranks`, from the step after `first_step` steps on.

    batch_size: examples of a step, over all processes; each takes its part in `accumulate` micro-batches. Micro-batches
    are dealt out to the workers in turn and come back in order: each example is read and decoded once, by one worker,
    and the batches are the same for any number of workers. Workers only decode, so they may be forked. Raises
    `ParameterError` where the batch does not divide, and what the dataset raises, when its example is due.
    """
    share, steps = Share(batch_size, accumulate, rank, ranks), len(dataset) // batch_size
    if not 0 <= first_step <= steps:
        raise ParameterError(f"training_loader: first_step {first_step}; expected 0 to {steps}, the number of steps")
    numbers = range(first_step * accumulate, steps * accumulate)
    loader = DataLoader(
        _MicroBatches(dataset, share), batch_size=None, sampler=numbers, num_workers=workers, collate_fn=_as_it_is
    )
    return TrainingBatches(loader)


def joined(examples: list[Example]) -> Example:
    """The examples as one batch; `DataError` names two that cannot stand in one, for their views differ."""
    (first, one), *rest = [(e.key, (tuple(e.context.images.shape), tuple(e.target.images.shape))) for e in examples]
    other, another = next((item for item in rest if item[1] != one), (first, one))
    if another != one:
        raise DataError(
            f"training batch: {first} has contexts and targets of {one[0]} and {one[1]}, {other} of {another[0]} and "
            f"{another[1]}; expected equal numbers and sizes of views in a micro-batch: take micro-batches of one "
            "scene (accumulate = batch_size / processes), or a sampler that draws the number once a step"
        )
    return Example.collate(examples)


def _as_it_is(item: tuple[Example | PmgsError, dict[str, str]]) -> tuple[Example | PmgsError, dict[str, str]]:
    return item
