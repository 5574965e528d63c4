"""A whole training from one description: scenes, model, steps, and weights with a card of how they came about."""

import logging
import platform
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError, model_validator

from pmgs_lib.data import load_protocol, open_dataset
from pmgs_lib.data.dataset import TrainingDataset
from pmgs_lib.data.loading import training_loader
from pmgs_lib.data.protocols import Protocol, ScheduledViews, TrainingViews
from pmgs_lib.errors import CheckpointError, ParameterError
from pmgs_lib.losses.perceptual import build_perceptual
from pmgs_lib.models import read_card, save_checkpoint
from pmgs_lib.pointmaps import build_pointmap_source
from pmgs_lib.training.card import code_commit, training_card
from pmgs_lib.training.config import TrainingConfig
from pmgs_lib.training.history import TrainingHistory
from pmgs_lib.training.memory import measure_memory
from pmgs_lib.training.processes import Processes
from pmgs_lib.training.resume import Beginning, begin, clear, describe, sole_writer
from pmgs_lib.training.session import STATES_FOLDER, Place, Session
from pmgs_lib.training.start import starting_model
from pmgs_lib.training.trainer import Trainer
from pmgs_lib.training.validation import evaluate_model
from pmgs_lib.views import Example

__all__ = ["TrainingRun", "evaluate_model", "read_training_file", "run_training", "training_examples"]
logger = logging.getLogger(__name__)

WEIGHTS_FILE = "model.safetensors"
HISTORY_FILE = "history.csv"
# Fields that do not decide the weights: a training goes on though they change.
INDIFFERENT = frozenset(
    {
        "workers",
        "accelerator",
        "validation_scenes",
        "validation_protocol",
        "validate_every",
        "save_every",
        "keep_states",
        "loggers",
    }
)


class TrainingRun(BaseModel):
    """What to train on which scenes.

    model: a name of `MODELS`, or the fields of a configuration. weights, part, initialisation: what it starts from, see
    `starting_model`; fresh weights without them. scenes: folder with chunk files and their index. protocol: whose size,
    depth range, pictures and training gaps apply. size, views: height and width, and the choice of frames, where they
    are not the protocol's.
    unusable: "replace" trains on other scenes in the place of those that can give no example, and names them.
    pointmap, pointmap_options: the source for PM-Loss.

    validation_scenes, validation_protocol: what the card's metrics are measured on, and every `validate_every` steps
    the training's, with pictures. save_every: steps between two states to go on from; None keeps one only when the
    training is asked to end early. keep_states: so many of the newest. loggers: "csv", "tensorboard", "wandb".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | dict[str, Any]
    scenes: str
    training: TrainingConfig
    weights: str | None = None
    part: str | None = None
    initialisation: dict[Literal["unimatch", "depth_anything"], str] = {}
    protocol: str = "embedded-smoke"
    size: tuple[PositiveInt, PositiveInt] | None = None
    views: TrainingViews | ScheduledViews | None = None
    pointmap: str = "depth"
    pointmap_options: dict[str, bool | int | float | str] = {}
    validation_scenes: str | None = None
    validation_protocol: str | None = None
    validate_every: PositiveInt | None = None
    unusable: Literal["refuse", "replace"] = "refuse"
    save_every: PositiveInt | None = None
    keep_states: PositiveInt = 2
    loggers: tuple[Literal["csv", "tensorboard", "wandb"], ...] = ("csv", "tensorboard")
    workers: NonNegativeInt = 0
    accelerator: str = "auto"

    @model_validator(mode="after")
    def _validates_on_something(self) -> "TrainingRun":
        if self.validate_every is not None and self.validation_scenes is None:
            raise ValueError("validate_every is given but validation_scenes is not; name a folder of scenes")
        return self


def run_training(
    run: TrainingRun,
    output: Path,
    *,
    on_step: Callable[[int, TrainingHistory], None] | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    command: str | None = None,
    resume: bool = True,
    stop_after: int | None = None,
) -> TrainingHistory:
    """Train as `run` says and write weights, card, history, logs and states into `output`.

    With states of the same training in `output` it goes on behind the newest whole one, and on the CPU comes to the
    very same weights and history as without the interruption; a state of another training is refused. resume=False
    removes them and begins anew. stop_after: end after so many steps of this call, as SIGTERM and SIGUSR1 do after the
    step that they meet: a state is kept, and `TrainingStoppedError` says so. command: what the card names as the way to
    do it again, beside the whole description. Started by torchrun or srun this is one of several processes, each of
    which calls it alike; the first one writes. Raises what training and data raise.
    """
    output = Path(output)
    if stop_after is not None and stop_after < 1:
        raise ParameterError(f"training: stop_after is {stop_after}; expected 1 step or more")
    protocol = load_protocol(run.protocol)
    examples = training_examples(run, protocol)
    earlier_steps = _earlier_steps(run)
    place = _place(run, output, _trainer(run), examples, protocol)
    trainer, states = place.trainer, output / STATES_FOLDER
    with sole_writer(output) if place.is_first else nullcontext():
        if resume:
            beginning = begin(states, trainer, place.description, place.processes)
        else:
            beginning = Beginning(0, ())
            clear(states, place.processes)
        with Session(run, place, beginning, stop_after=stop_after, on_step=on_step) as session:
            first = beginning.first_step
            with measure_memory(trainer.fabric.device) as measured:
                trainer.fit(_batches(run, place, examples, first), on_step=session, first_step=first)
        if place.is_first:
            trainer.history.write_csv(output / HISTORY_FILE)
            model, parts = trainer.trained_model, (*beginning.parts, session.part())
            card = {"command": command, "trained_steps": run.training.steps + earlier_steps}
            card |= training_card(run, place, parts, model, measured.bytes)
            save_checkpoint(output / WEIGHTS_FILE, model, card, dtype=dtype)
        place.processes.any(False)  # nobody leaves before everything is written
    return trainer.history


def _trainer(run: TrainingRun) -> Trainer:
    torch.manual_seed(run.training.seed)
    model = starting_model(run.model, weights=run.weights, part=run.part, initialisation=run.initialisation)
    objective = run.training.objective
    pointmaps = build_pointmap_source(run.pointmap, **run.pointmap_options) if objective.pointmap_weight else None
    return Trainer(
        model,
        run.training,
        pointmaps=pointmaps,
        perceptual=build_perceptual(objective),
        accelerator=run.accelerator,
    )


def training_examples(run: TrainingRun, protocol: Protocol) -> TrainingDataset:
    """The examples that `run` trains on, as many as its steps take."""
    views = run.views or protocol.training_views
    if views is None:
        raise ParameterError(
            f"training: protocol {protocol.name} says nothing about training views; give `views`, or name another one"
        )
    height, width = run.size or (protocol.height, protocol.width)
    dataset = open_dataset(run.scenes, "train", near=protocol.near, far=protocol.far, images=protocol.images)
    return TrainingDataset(
        dataset,
        views.sampler(),
        height,
        width,
        length=run.training.steps * run.training.batch_size,
        seed=run.training.seed,
        batch_size=run.training.batch_size,
        unusable=run.unusable,
    )


def _place(run: TrainingRun, output: Path, trainer: Trainer, examples: TrainingDataset, protocol: Protocol) -> Place:
    device = trainer.fabric.device
    fields = run.model_dump(mode="json", exclude=set(INDIFFERENT))
    return Place(
        output=output,
        trainer=trainer,
        processes=Processes(trainer.fabric),
        description=describe(fields, examples, protocol),
        commit=code_commit(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
    )


def _batches(run: TrainingRun, place: Place, examples: TrainingDataset, first_step: int) -> Iterable[Example]:
    return training_loader(
        examples,
        run.training.batch_size,
        workers=run.workers,
        first_step=first_step,
        accumulate=run.training.accumulate,
        rank=place.processes.rank,
        ranks=place.processes.count,
    )


def _earlier_steps(run: TrainingRun) -> int:
    """Steps that the weights were trained for before, as far as a card tells; asked before the first step."""
    if run.weights is None:
        return 0
    try:
        return read_card(run.weights).get("trained_steps", 0)
    except CheckpointError as reason:
        logger.info("%s; the steps of its training are not counted", reason)
        return 0


def read_training_file(path: str | Path, changes: Mapping[str, Any] | None = None) -> TrainingRun:
    """A `TrainingRun` from a YAML or JSON file; changes: values by dotted name, as "training.steps"."""
    try:
        fields = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        for name, value in (changes or {}).items():
            _change(fields, name, value)
        return TrainingRun.model_validate(fields)
    except (OSError, yaml.YAMLError, ValidationError) as fault:
        raise ParameterError(f"training {path}: {' '.join(str(fault).split())}; correct the file") from None


def _change(fields: dict[str, Any], name: str, value: Any) -> None:
    *path, last = name.split(".")
    for part in path:
        fields = fields.setdefault(part, {})
        if not isinstance(fields, dict):
            raise ParameterError(f"training: {name} lies within {part}, which is a plain value; correct the name")
    fields[last] = value
