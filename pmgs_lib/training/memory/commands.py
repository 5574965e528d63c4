"""What a training file asks of a device, and `pmgs plan`, which says whether it fits."""

from typing import TYPE_CHECKING

from pmgs_lib.data import load_protocol
from pmgs_lib.data.protocols import ScheduledViews, TrainingViews
from pmgs_lib.errors import ParameterError
from pmgs_lib.training.memory.plan import plan_memory
from pmgs_lib.training.memory.prediction import GIB, MemoryLoad
from pmgs_lib.training.start import model_config

if TYPE_CHECKING:
    from pmgs_lib.training.run import TrainingRun

CONTEXT_VIEWS = 2  # of samplers that say nothing else


def training_load(run: "TrainingRun", devices: int = 1) -> MemoryLoad:
    """What a training asks of each of its devices, at its largest examples. Raises what a protocol raises."""
    protocol = load_protocol(run.protocol)
    frames = run.views or protocol.training_views
    if frames is None:
        raise ParameterError(
            f"memory: protocol {protocol.name} says nothing about training views; give `views`, or name another one"
        )
    height, width = run.size or (protocol.height, protocol.width)
    training = run.training
    scenes = training.batch_size // (training.accumulate * devices)
    if scenes * training.accumulate * devices != training.batch_size:
        raise ParameterError(
            f"memory: batch_size {training.batch_size} does not divide into accumulate {training.accumulate} parts on "
            f"{devices} devices; choose a multiple"
        )
    return MemoryLoad(
        views=_context_views(frames),
        targets=frames.targets,
        height=height,
        width=width,
        micro_batch=scenes,
        config=training,
        devices=devices,
        pointmap=run.pointmap,
        pointmap_options=run.pointmap_options,
    )


def _context_views(frames: TrainingViews | ScheduledViews) -> int:
    """Most context views of an example."""
    if isinstance(frames, TrainingViews):
        return frames.context_views
    return max(getattr(frames.sampler(), "views", (CONTEXT_VIEWS,)))


def plan(file: str, *, budget_gib: float = 80.0, devices: int = 1) -> str:
    """Whether a training fits into the memory of a GPU, and how many scenes at a time are best.

    file: a YAML file as `pmgs train` takes it. Needs no GPU: a step is played without numbers, and what it would hold
    is counted. Prints what holds it, and the micro-batch with its accumulation (a field of `training`), or what to
    switch if nothing fits. --budget-gib: memory of a device, a tenth of which is kept free. --devices: devices that
    share the batch.
    """
    from pmgs_lib.training.run import read_training_file  # which may ask this module about memory

    run = read_training_file(file)
    whole = run.training.model_copy(update={"accumulate": 1})
    load = training_load(run.model_copy(update={"training": whole}), devices)
    found = plan_memory(model_config(run.model), load, int(budget_gib * GIB), run.training.batch_size)
    asked = f"{load.views} views, {load.targets} targets, {load.height} x {load.width}, {run.training.precision}"
    return f"{file}: {asked}\n\n{found}\n\naccumulate: {found.accumulate}"
