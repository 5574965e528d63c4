"""Importing a data set: its scenes in batches over processes, each batch a chunk that is finished or not there."""

import logging
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path

from pmgs_lib.data.importers.collection import Batch, CollectionImporter, Listing, Written
from pmgs_lib.data.importers.ledger import Ledger
from pmgs_lib.data.manifests import CollectionManifest, CollectionOptions
from pmgs_lib.errors import DataError

MOST_WORKERS = 8  # beyond it the disk decides; `workers` asks for more
log = logging.getLogger(__name__)


def import_collection(
    importer: CollectionImporter, source: Path, output: Path, options: CollectionOptions
) -> CollectionManifest:
    """Import the scenes at `source` that are not in `<output>/<split>` yet; returns the manifest of all so far.

    Call it again after a kill, a full disk or with further scenes: what was finished stays. Scenes left out before are
    tried again. Raises DataError when nothing at all could be imported, and when the disk fails.
    """
    split = options.split or importer.split(source)
    listing = importer.listing(source, split, options)
    folder = output / split
    log.info("%s: %s, %d scenes for %s", source, importer.kind, len(listing.scenes), folder)
    try:
        with Ledger.opened(folder, importer.kind) as ledger:
            waiting = _import_missing(importer, ledger, listing, options)
            if not ledger.scenes:
                key, reason = _first_reason(ledger, listing)
                raise DataError(
                    f"{source}: none of {len(listing.scenes) + len(listing.left_out)} scenes can be imported; the "
                    f"first, {key}: {reason}"
                )
            return ledger.finish(str(source), listing, waiting, options.model_dump(mode="json", exclude={"progress"}))
    except OSError as fault:
        raise DataError(
            f"folder {folder}: cannot be written ({fault.strerror or fault}); what was finished is valid: "
            "make room and call again to go on"
        ) from fault


def _first_reason(ledger: Ledger, listing: Listing) -> tuple[str, str]:
    """The first scene that should have been imported, or one that was not meant to be, and why it was left out."""
    wanted = {key: reason for key, reason in ledger.left_out.items() if key in listing.scenes}
    return next(iter((wanted or ledger.left_out).items()), ("none listed", "the folder holds no scene"))


def _import_missing(importer: CollectionImporter, ledger: Ledger, listing: Listing, options: CollectionOptions) -> int:
    """Import what is listed and missing; returns how many scenes a limit leaves for another call."""
    if options.overwrite:
        ledger.clear()
    others = ledger.others()
    taken = {key: f"the folder has a scene of this name: {others[key]}" for key in listing.scenes if key in others}
    ledger.left_out |= {key: why for key, why in listing.left_out.items() if key not in ledger.scenes} | taken
    missing = {key: place for key, place in listing.scenes.items() if key not in ledger.scenes and key not in taken}
    wanted = dict(islice(missing.items(), options.limit))
    batches = importer.batches(wanted)
    tasks = list(zip(batches, ledger.plan(len(batches)), strict=True))
    from tqdm.auto import tqdm  # heavy with widgets, and only this needs it

    with tqdm(total=len(wanted), desc=importer.kind, unit="scene", disable=not options.progress) as bar:
        for batch, written in _written(importer, tasks, options):
            ledger.add(written)
            bar.update(len(batch))
    return len(missing) - len(wanted)


def _written(
    importer: CollectionImporter, tasks: list[tuple[Batch, Path]], options: CollectionOptions
) -> Iterator[tuple[Batch, Written]]:
    """What became of each batch, as they finish."""
    workers = min(options.workers or min(os.cpu_count() or 1, MOST_WORKERS), len(tasks))
    if workers <= 1:
        for batch, chunk in tasks:
            yield batch, importer.write(batch, chunk, options)
        return
    # spawned, not forked: numba's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker)
    try:
        batch_of = {pool.submit(importer.write, batch, chunk, options): batch for batch, chunk in tasks}
        for done in as_completed(batch_of):
            yield batch_of[done], done.result()
    except BrokenProcessPool as fault:
        raise DataError(
            f"import of {importer.kind}: a worker process was ended from outside, perhaps for want of memory; what was "
            "finished is valid: call again, with fewer workers"
        ) from fault
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    """One thread, since there is one process a core, and no life beyond the parent's: a killed import ends whole."""
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
