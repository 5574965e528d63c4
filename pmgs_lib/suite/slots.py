"""GPUs of one machine, handed out to runs: a lock a device, so that two runs never take the same one."""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pmgs_lib.errors import RunError
from pmgs_lib.suite.locks import try_lock

VISIBLE = "CUDA_VISIBLE_DEVICES"
LOOK_EVERY_S = 0.5
PATIENCE_S = 600.0


def visible_gpus() -> list[str]:
    """Names of this machine's GPUs as CUDA takes them: those the environment allows, else all that the driver lists."""
    allowed = os.environ.get(VISIBLE)
    if allowed is not None:
        return [name.strip() for name in allowed.split(",") if name.strip() not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []  # no driver: no GPU
    gpus = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(place) for place in range(len(gpus))] if listed.returncode == 0 else []


@contextmanager
def gpu_slots(folder: Path, gpus: Sequence[str], count: int) -> Iterator[dict[str, str]]:
    """Hold `count` of the named GPUs; yields the variable that shows a run these and no others.

    The engine starts no more runs than there are slots; who still waits after ten minutes finds them held by a
    leftover, and gets a RunError. No variable without slots to give: then the run sees what its shell sees.
    """
    if not gpus or not count:
        yield {}
        return
    with ExitStack() as stack:
        held: list[str] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(held) < count:
            for gpu in gpus:
                if gpu not in held and len(held) < count and (slot := try_lock(folder / gpu)) is not None:
                    stack.callback(os.close, slot)
                    held.append(gpu)
            if len(held) < count:
                if time.monotonic() > deadline:
                    raise RunError(
                        f"{count} of the GPUs {', '.join(gpus)} wanted, {len(held)} free; see who holds them"
                    )
                time.sleep(LOOK_EVERY_S)
        yield {VISIBLE: ",".join(held)}
