"""Whatever ends the tests, no server and no kernel stays behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

GUARD = Path(__file__).with_name("guard.py")
# A server with a kernel in a session of its own, as Jupyter starts it; both would sleep for ever and hear no SIGTERM.
SERVER = """
import signal, subprocess, sys, time
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
kernel = subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True, stdout=subprocess.PIPE)
kernel.stdout.readline()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").write(f"{kernel.pid}")
time.sleep(600)
"""
# What holds the guard, as the tests do; it ends by a signal and cleans nothing up.
HOLDER = """
import subprocess, sys, time
guard = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, start_new_session=True)
print(guard.pid, flush=True)
time.sleep(600)
"""


def wait_for(condition, patience_s: float = 20.0) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_server_and_kernel_end_with_the_tests(number, tmp_path):
    note = tmp_path / "kernel.pid"
    command = [sys.executable, str(GUARD), sys.executable, "-c", SERVER, str(note)]
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, *command], stdout=subprocess.PIPE, text=True)
    with holder:
        guard = psutil.Process(int(holder.stdout.readline()))
        wait_for(lambda: note.is_file() and note.read_text())
        family = [guard, *guard.children(recursive=True)]
        assert int(note.read_text()) in [process.pid for process in family]
        os.kill(holder.pid, number)
    assert psutil.wait_procs(family, timeout=20)[1] == []


def test_an_orphan_of_the_command_ends_with_it(tmp_path):
    note = tmp_path / "orphan.pid"
    start = "import subprocess as s, sys; p = s.Popen(['sleep', '600'], start_new_session=True)"
    start += "; open(sys.argv[1], 'w').write(str(p.pid))"
    command = [sys.executable, str(GUARD), sys.executable, "-c", start, str(note)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as guard:
        assert guard.wait(20) == 0
    assert not psutil.pid_exists(int(note.read_text()))


# Starts a real server with a real kernel, and is killed before it can stop them.
KILLED = """
import os, pathlib, signal, sys
import psutil
sys.path.insert(0, sys.argv[1])
from laboratory import Laboratory
laboratory = Laboratory(pathlib.Path(sys.argv[2])).__enter__()
laboratory.ask("POST", "api/kernels").raise_for_status()
print(laboratory.pid, *[p.pid for p in psutil.Process(laboratory.pid).children(recursive=True)], flush=True)
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.prove
def test_jupyterlab_and_its_kernel_end_with_killed_tests(tmp_path):
    command = [sys.executable, "-c", KILLED, str(GUARD.parent), str(tmp_path / "laboratory")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == -signal.SIGTERM
    family = [int(pid) for pid in done.stdout.split()]
    assert len(family) >= 3  # guard, server, kernel
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in family))
