"""Run a command until it ends or standard input closes, then end every process that it has started.

    python guard.py COMMAND...

A test that is killed cannot clean up, and Jupyter's kernels live in sessions of their own. The pipe that the test holds
closes with it, whatever its end; as "subreaper" this process inherits the orphans of those that it ends.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys

import psutil

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def guard(command: list[str]) -> int:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        while child.poll() is None and not input_closed(within_s=0.1):
            pass
        return child.poll() or 0
    finally:
        end_descendants()


def input_closed(within_s: float) -> bool:
    readable, _, _ = select.select([sys.stdin], [], [], within_s)
    return bool(readable) and not os.read(sys.stdin.fileno(), 4096)


def end_descendants() -> None:
    """Kill until nobody is left: one may start another while it is being killed, and orphans arrive here."""
    while left := psutil.Process().children(recursive=True):
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=1.0)


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1:]))
