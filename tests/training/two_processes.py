"""What each of two processes finds; started by torchrun, each leaves `<case>-<rank>.pt` in the folder it is given."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from wall_training import config, tiny_model, walls

from pmgs_lib import Example
from pmgs_lib.errors import DataError, PmgsError
from pmgs_lib.training import Trainer, TrainingConfig

STEPS = 3
ACCELERATOR = os.environ.get("PMGS_TEST_ACCELERATOR", "cpu")  # "cuda" where there are two of them


def micro_batches(described: TrainingConfig, rank: int, ranks: int = 2) -> list[Example]:
    """Micro-batches of this process; every step takes the same scenes."""
    size = described.batch_size // (described.accumulate * ranks)
    first = rank * described.accumulate * size
    parts = [walls(size, first + part * size) for part in range(described.accumulate)]
    return parts * described.steps


def plain(described: TrainingConfig, spoil: Callable | None = None, batches: Callable | None = None) -> dict:
    """Train; what came of it. spoil: what the second process does to its trainer, batches: to its batches."""
    trainer = Trainer(tiny_model(), described, accelerator=ACCELERATOR)
    own = micro_batches(described, trainer.fabric.global_rank)
    if trainer.fabric.global_rank == 1:
        own = batches(own) if batches else own
        if spoil:
            spoil(trainer)
    told = None
    try:
        trainer.fit(own)
    except PmgsError as error:
        told = f"{type(error).__name__}: {error}"
    return {
        "weights": trainer.model.state_dict(),
        "average": trainer.trained_model.state_dict(),
        "rows": trainer.history.rows,
        "skips": [list(one) for one in trainer.history.skips],
        "told": told,
    }


def with_bad_picture(own: list[Example]) -> list[Example]:
    images = own[1].target.images.clone(memory_format=torch.contiguous_format)
    images[0, 0, 0, 0, 0] = float("nan")
    return [own[0], replace(own[1], target=replace(own[1].target, images=images)), own[2]]


def with_refused_range(own: list[Example]) -> list[Example]:
    context = own[1].context
    return [own[0], replace(own[1], context=replace(context, far=context.near)), own[2]]


def with_damage(own: list[Example]) -> Iterator[Example]:
    yield own[0]
    raise DataError("scene 'x': its file is cut short")


def without_finite_term(trainer: Trainer) -> None:
    objective = trainer.step_module.objective

    def spoilt(prediction, example, step):
        loss = objective(prediction, example, step)
        factor = float("nan") if step == 1 else 1.0
        terms = {name: term * factor for name, term in loss.terms.items()}
        return replace(loss, terms=terms, per_scene={})

    spoilt.config = objective.config
    trainer.step_module.objective = spoilt


def cases() -> dict[str, Callable[[], dict]]:
    common = {"batch_size": 4, "average_decay": 0.5}
    skipping = {"non_finite": {"action": "skip"}}
    return {
        "plain": lambda: plain(config(STEPS, **common)),
        "accumulated": lambda: plain(config(STEPS, accumulate=2, objective={"rendering": "deferred"}, **common)),
        "term": lambda: plain(config(STEPS, **common), spoil=without_finite_term),
        "picture": lambda: plain(config(STEPS, **common), batches=with_bad_picture),
        "skipped": lambda: plain(config(STEPS, **common, **skipping), batches=with_bad_picture),
        "refused": lambda: plain(config(STEPS, **common), batches=with_refused_range),
        "damaged": lambda: plain(config(STEPS, **common), batches=with_damage),
        "ended": lambda: plain(config(STEPS, **common), batches=lambda own: own[:1]),
        "unused": lambda: unused(config(STEPS, **common)),
    }


def unused(described: TrainingConfig) -> dict:
    model = tiny_model()
    model.spare = torch.nn.Linear(2, 2)
    trainer = Trainer(model, described, accelerator=ACCELERATOR)
    try:
        trainer.fit(micro_batches(described, trainer.fabric.global_rank))
    except PmgsError as error:
        return {"told": f"{type(error).__name__}: {error}"}
    return {"told": None}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    for name, case in cases().items():
        found = case()
        torch.save(found, folder / f"{name}-{torch.distributed.get_rank()}.pt")
    if torch.distributed.get_rank() == 1:
        raise RuntimeError("an error that nobody foresaw")  # the other process waits for this one from here on
    plain(config(STEPS, batch_size=4))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
