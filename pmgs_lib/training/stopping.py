"""Being asked to end: by a cluster that takes its machine back, by a time limit, by a person."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pmgs_lib.errors import RunError

# What Slurm sends before it takes a job's machine (`--signal=USR1@120`), and at the end of its time.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class TrainingStoppedError(RunError):
    """A training ended before its last step because it was asked to; its state is kept, and the same call goes on."""


class StopRequest:
    """reason: the signal that asked, or None so far."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.reason = signal.Signals(number).name


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Within, SIGTERM and SIGUSR1 are noted in the request that is yielded, to be looked at after each step.

    What was set before holds again after. In a thread other than the main one no signal can be taken: the request then
    stays empty, and signals do what they did.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
