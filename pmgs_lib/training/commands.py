"""`pmgs train`: a training from a file, on one device here, on several, or as one of a cluster's tasks."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from pmgs_lib.errors import ParameterError
from pmgs_lib.training.history import TrainingHistory
from pmgs_lib.training.launch import launch_training
from pmgs_lib.training.main import slurm_task
from pmgs_lib.training.run import read_training_file, run_training


def train(
    file: str,
    output: str,
    *,
    devices: int = 1,
    stop_after: int | None = None,
    resume: bool = True,
    set_: Sequence[str] = (),
    dtype: Literal["float32", "float16"] = "float32",
) -> str:
    """Train as a YAML file of `TrainingRun` fields says; weights, card, history, logs and states go to OUTPUT.

    The same command again goes on behind the newest state in OUTPUT, --no-resume begins anew. SIGTERM and SIGUSR1 (what
    Slurm sends with --signal=USR1@120), and --stop-after N steps of this call, end it with a state and exit status 1.
    --devices N: processes on N devices of this machine, which torchrun starts. On several machines let Slurm start one
    task a device: srun --ntasks-per-node 8 pmgs train FILE OUTPUT. --set training.steps=100 changes a field of the
    file, and may be repeated. --dtype: of the written weights.
    """
    run = read_training_file(file, dict(_assignment(text) for text in set_))
    options: dict[str, Any] = {"resume": resume, "stop_after": stop_after, "dtype": dtype}
    options["command"] = " ".join(["pmgs train", file, output, *(f"--set {text}" for text in set_)])
    task = slurm_task(os.environ)
    if devices > 1 and (task or "WORLD_SIZE" in os.environ):
        raise ParameterError(
            f"train: --devices {devices} inside one of several tasks, each on one device; leave it out, or start "
            "one task"
        )
    if devices > 1:
        history = launch_training(run, Path(output), devices=devices, on_output=sys.stderr.write, **options)
    else:
        os.environ.update(task)
        history = run_training(run, Path(output), **options)
    return _told(output, history)


def _told(output: str, history: TrainingHistory) -> str:
    means = {name: value for name, value in history.summary().items() if name not in ("gradient_norm", "learning_rate")}
    losses = ", ".join(f"{name} {value:.5f}" for name, value in means.items())
    return f"{output}: {len(history.rows)} steps, {losses}"


def _assignment(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ParameterError(f"train: --set {text}; expected NAME=VALUE, as training.steps=100")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as fault:
        raise ParameterError(f"train: --set {text}: the value is no YAML ({str(fault).splitlines()[0]})") from None
