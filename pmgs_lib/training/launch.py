"""A training on several devices of this machine, started by torchrun as processes of their own.

A notebook never starts ranks in its own process: after torch has run in parallel there, a fork of it hangs. And Fabric
must not see a cluster's variables: inside a Slurm job of one task it would wait for tasks that nobody started.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil

from pmgs_lib.data.files import write_json
from pmgs_lib.errors import ParameterError, PmgsError, RunError
from pmgs_lib.training.history import TrainingHistory
from pmgs_lib.training.ranks import RUNNING, fallen, read_history, read_reports, verdict
from pmgs_lib.training.run import TrainingRun
from pmgs_lib.training.session import LOGS_FOLDER
from pmgs_lib.training.stopping import stop_requests

ENTRY = "pmgs_lib.training.main"
LAUNCH_LOG = "processes.log"
POLL_S = 0.1
PATIENCE_S = 10.0  # from the first process that fell to the end of the others, which may wait for it in vain
STOP_PATIENCE_S = 600  # from a request to stop to a state on disk; torchrun's own 30 s may be too short for a large one
TOLD_LINES = 12  # of the processes' output, in an error that none of them explained


def launch_training(
    run: TrainingRun,
    output: Path,
    *,
    devices: int,
    timeout_s: float | int | None = None,
    on_output: Callable[[str], None] | None = None,
    **options: Any,
) -> TrainingHistory:
    """As `run_training`, on `devices` devices at once: processes that torchrun starts, one a device.

    timeout_s: the training is ended with an error after so long; None only where something else limits it. on_output:
    is given what the processes write, as it comes; all of it is in `logs/processes.log`. options: of `run_training`,
    except `on_step`. Each error is raised as the process that met it first raised it; a process that was killed is
    named. However this call ends, also by a kill, no process of it is left.
    """
    if devices < 1:
        raise ParameterError(f"training: {devices} devices; expected 1 or more")
    output = Path(output)
    (output / LOGS_FOLDER).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pmgs-training-") as folder:
        reports = Path(folder)
        write_json(reports / "run.json", run.model_dump(mode="json"))
        command = _command(reports, output, devices, options)
        log = output / LOGS_FOLDER / LAUNCH_LOG
        with log.open("ab") as written, log.open("rb") as read, stop_requests() as request:
            read.seek(0, os.SEEK_END)
            start = read.tell()
            child = subprocess.Popen(
                command,
                env=_environment(os.environ, devices),
                stdin=subprocess.PIPE,
                stdout=written,
                stderr=written,
                start_new_session=True,
            )
            try:
                first = _watched(child, reports, lambda: request.reason, timeout_s, _echo(read, on_output))
            finally:
                _end(child, reports)
            read.seek(start)
            tail = read.read().decode(errors="replace").strip().splitlines()[-TOLD_LINES:]
        return _outcome(child.returncode, reports, first, "\n".join(tail))


def _command(reports: Path, output: Path, devices: int, options: Mapping[str, Any]) -> list[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(devices)]
    job = [str(reports / "run.json"), str(output), "--reports", str(reports)]
    return [sys.executable, *torchrun, "-m", ENTRY, *job, *_as_arguments(options)]


def _as_arguments(options: Mapping[str, Any]) -> list[str]:
    """Options of `run_training` as arguments of `pmgs_lib.training.main`."""
    known = {"resume", "stop_after", "dtype", "command"}
    if unknown := set(options) - known:
        raise ParameterError(
            f"launch_training: option {sorted(unknown)[0]!r}; expected some of {', '.join(sorted(known))}"
        )
    arguments = [] if options.get("resume", True) else ["--no-resume"]
    for name in ("stop_after", "dtype", "command"):
        if options.get(name) is not None:
            arguments += [f"--{name.replace('_', '-')}", str(options[name])]
    return arguments


def _environment(given: Mapping[str, str], devices: int) -> dict[str, str]:
    """Variables for torchrun: none of a cluster's or of another launch, this library first, cores shared out."""
    foreign = ("SLURM_", "SRUN_", "PMI_", "PMIX_", "TORCHELASTIC_")
    ranks = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"}
    kept = {name: value for name, value in given.items() if not name.startswith(foreign) and name not in ranks}
    library = str(Path(__file__).parents[2])
    paths = [library, *kept.get("PYTHONPATH", "").split(os.pathsep)]
    return {
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // devices)),
        **kept,
        "PYTHONPATH": os.pathsep.join(path for path in dict.fromkeys(paths) if path),
        # torchrun's options by their variables, which versions that lack them ignore.
        "PET_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1",
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(STOP_PATIENCE_S),
    }


def _watched(
    child: subprocess.Popen[bytes],
    reports: Path,
    stop_reason: Callable[[], str | None],
    timeout_s: float | int | None,
    echo: Callable[[], None],
) -> list[dict[str, Any]]:
    """Wait for the end; the ranks that fell first, if any. Requests to stop are passed on, once."""
    started = time.monotonic()
    first: list[dict[str, Any]] = []
    fell_at, asked = 0.0, False
    while child.poll() is None:
        time.sleep(POLL_S)
        echo()
        now = time.monotonic()
        if stop_reason() and not asked:
            child.send_signal(signal.SIGTERM)
            asked = True
        if not first:
            first, fell_at = fallen(read_reports(reports)), now
        elif now - fell_at > PATIENCE_S:
            break
        if timeout_s is not None and now - started > timeout_s:
            raise RunError(
                f"training: took longer than {timeout_s:g} s and was ended; its last state is kept: give it more time, "
                "or look at logs/processes.log"
            )
    echo()
    return first or fallen(read_reports(reports))


def _outcome(code: int, reports: Path, first: list[dict[str, Any]], tail: str) -> TrainingHistory:
    found = read_reports(reports)
    error = verdict(found, first)
    if isinstance(error, PmgsError):
        error.add_note(f"The processes' last words:\n{tail}")
        raise error
    history = read_history(reports)
    if code != 0 or history is None:
        said = tail.splitlines()[-1] if tail else "nothing was said"
        error = RunError(f"training: torchrun ended with status {code} ({said}); see logs/processes.log")
        error.add_note(f"The processes' last words:\n{tail}")
        raise error
    return history


def _echo(file: Any, on_output: Callable[[str], None] | None) -> Callable[[], None]:
    def echo() -> None:
        text = file.read()
        if text and on_output is not None:
            on_output(text.decode(errors="replace"))

    return echo


def _end(child: subprocess.Popen[bytes], reports: Path) -> None:
    """End torchrun and its ranks, which have sessions of their own, and wait until they are gone."""
    ranks = _living(report["pid"] for report in read_reports(reports) if report["state"] == RUNNING)
    started = [process for parent in _living([child.pid]) for process in (parent, *parent.children(recursive=True))]
    for process in {*started, *ranks}:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    child.wait()
    if child.stdin is not None:
        child.stdin.close()  # a rank that was not found here sees that
    psutil.wait_procs([*started, *ranks], timeout=PATIENCE_S)


def _living(numbers: Iterable[int]) -> list[psutil.Process]:
    found = []
    for number in numbers:
        try:
            found.append(psutil.Process(number))
        except psutil.NoSuchProcess:
            continue
    return found
