"""How a training begins: anew, or where a part of the same training ended."""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pmgs_lib.data.dataset import TrainingDataset
from pmgs_lib.data.protocols import Protocol
from pmgs_lib.errors import CheckpointError, RunError
from pmgs_lib.training.processes import Processes
from pmgs_lib.training.state import list_states, load_newest_state, remove_leftovers
from pmgs_lib.training.trainer import Trainer

logger = logging.getLogger(__name__)

LOCK_FILE = ".training.lock"
LOCK_PATIENCE_S = 60  # a cluster may start a job again while its first copy is still ending
ABSENT = "absent"


@dataclass(frozen=True)
class Part:
    """What one call contributed: steps behind `first_step`, by how many processes, from which code, on what.

    threads: of each process on a CPU; 0 on a GPU.
    """

    first_step: int
    processes: int
    threads: int
    commit: str
    device: str
    seconds: float


@dataclass(frozen=True)
class Beginning:
    """Where training goes on, and the parts before it."""

    first_step: int
    parts: tuple[Part, ...]

    def state(self, current: Part) -> list[dict[str, Any]]:
        """All parts so far as plain values; a part that took no step is none."""
        return [asdict(part) for part in (*self.parts, current)]


def begin(folder: Path, trainer: Trainer, description: Mapping[str, Any], processes: Processes) -> Beginning:
    """Fill `trainer` with the newest state in `folder`, if there is one; every process calls this.

    `CheckpointError` for a state of another training, naming the first field that differs.
    """
    found = load_newest_state(folder)
    steps = processes.gather(0 if found is None else found[0])
    if len(set(steps)) > 1:
        raise CheckpointError(
            f"training states {folder}: the processes found states of steps {', '.join(map(str, steps))}; expected one "
            "folder that all of them see"
        )
    if found is None:
        return Beginning(0, ())
    step, state = found
    _refuse_another(state["description"], description, folder)
    trainer.load_state_dict(state["trainer"])
    logger.info("training goes on behind step %d, from %s", step, folder)
    return Beginning(step, tuple(Part(**part) for part in state["parts"]))


def clear(folder: Path, processes: Processes) -> None:
    """Remove the states of an earlier training: beside those of a new one they would be taken for newer."""
    if processes.rank == 0:
        remove_leftovers(folder)
        for step, path in list_states(folder):
            logger.info("training begins anew: the state of step %d is removed", step)
            path.unlink(missing_ok=True)


def describe(run: Mapping[str, Any], examples: TrainingDataset, protocol: Protocol) -> dict[str, Any]:
    """What decides the result of a training: its description, with what scenes and protocol stand for in it.

    The scenes count by their keys and not by their folder, so that they may be moved.
    """
    keys = "\n".join(examples.dataset.keys)
    return {
        **run,
        "scenes": f"{len(examples.dataset)} scenes, keys {_short_digest(keys)}",
        "protocol": f"{protocol.name}, content {_short_digest(protocol.model_dump_json())}",
    }


@contextmanager
def sole_writer(output: Path) -> Iterator[None]:
    """Hold the folder of a training against another one; `RunError` while somebody else does."""
    output.mkdir(parents=True, exist_ok=True)
    lock = FileLock(output / LOCK_FILE)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        logger.warning("training %s: another one writes there; waiting up to %d s for it", output, LOCK_PATIENCE_S)
        try:
            lock.acquire(timeout=LOCK_PATIENCE_S)
        except Timeout:
            raise RunError(f"training {output}: another one writes there; end it, or name another folder") from None
    try:
        yield
    finally:
        lock.release()  # the file stays: who waits for it must not wait for another one than the next who comes


def _refuse_another(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    old, new = _flat(before), _flat(now)
    for name in dict.fromkeys([*new, *old]):
        if old.get(name, ABSENT) != new.get(name, ABSENT):
            raise CheckpointError(
                f"training states {folder}: are of another training: its {name} was {old.get(name, ABSENT)}, asked for "
                f"is {new.get(name, ABSENT)}; restore that, name another folder, or begin anew with --no-resume "
                "(resume=False)"
            )


def _flat(fields: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(fields, dict) or not fields:
        return {name: fields}
    flat: dict[str, Any] = {}
    for part, inner in fields.items():
        flat |= _flat(inner, f"{name}.{part}" if name else str(part))
    return flat


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
