"""One process of a training in several: what torchrun starts on each device, or srun with one task a device.

    torchrun --nproc-per-node 4 -m pmgs_lib.training.main RUN OUTPUT
    srun --ntasks-per-node 4 python -m pmgs_lib.training.main RUN OUTPUT       # as many nodes as the job has

RUN is a YAML or JSON file of `TrainingRun` fields, OUTPUT a folder that all processes see. The first process writes.
"""

import argparse
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from lightning.fabric.plugins.environments import SLURMEnvironment

from pmgs_lib.errors import PmgsError, RunError
from pmgs_lib.training.ranks import end_with_launcher, report_history, reported
from pmgs_lib.training.run import read_training_file, run_training

FAILED, REFUSED = 1, 2
FIRST_PORT, PORTS = 15_000, 10_000  # above those that servers use; a job's own one follows from its number


def main(arguments: list[str] | None = None) -> int:
    """Train as this process's share. Exit status: 0 good, 1 failed or stopped, 2 refused."""
    given = _parser().parse_args(arguments)
    os.environ.update(slurm_task(os.environ))
    rank = int(os.environ.get("RANK", 0))
    logging.basicConfig(format="%(message)s")
    # What every process would say alike is said once.
    logging.getLogger("pmgs_lib").setLevel(logging.INFO if rank == 0 else logging.ERROR)
    if given.reports is not None:
        end_with_launcher()
    options = {"resume": given.resume, "stop_after": given.stop_after, "command": given.command}
    try:
        with reported(given.reports, rank):
            run = read_training_file(given.run)
            history = run_training(run, given.output, dtype=given.dtype, **options)
            if rank == 0:
                report_history(given.reports, history)
    except PmgsError as fault:
        sys.stderr.write(f"training, process {rank}: {fault}\n")
        return FAILED if isinstance(fault, RunError) else REFUSED
    return 0


def slurm_task(environment: Mapping[str, str]) -> dict[str, str]:
    """Torch's variables for a task of a Slurm step with several tasks; nothing elsewhere, nor under torchrun.

    Only a step that srun made has tasks: a batch script, and a notebook in it, is one process whatever the job asked.
    """
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", 1))
    if tasks == 1 or "WORLD_SIZE" in environment:
        return {}
    nodes = int(environment.get("SLURM_STEP_NUM_NODES", 1))
    address = environment.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(
        environment["SLURM_STEP_NODELIST"]
    )
    port = FIRST_PORT + int(environment["SLURM_JOB_ID"]) % PORTS
    return {
        "RANK": environment["SLURM_PROCID"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "GROUP_RANK": environment["SLURM_NODEID"],
        "WORLD_SIZE": str(tasks),
        "LOCAL_WORLD_SIZE": str(tasks // nodes),
        "MASTER_ADDR": address,
        "MASTER_PORT": environment.get("MASTER_PORT", str(port)),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {__spec__.name}", description="One process of a training.")
    parser.add_argument("run", help="YAML or JSON file of the training's description")
    parser.add_argument("output", type=Path, help="folder for weights, card, history and states")
    parser.add_argument("--resume", action=argparse.BooleanOptionalAction, default=True, help="go on from the states")
    parser.add_argument("--stop-after", type=int, help="end with a state after so many steps")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="of the written weights")
    parser.add_argument("--command", help="what the card names as the way to do it again")
    parser.add_argument("--reports", type=Path, help="folder where a launcher looks for news of this process")
    return parser


if __name__ == "__main__":
    sys.exit(main())
