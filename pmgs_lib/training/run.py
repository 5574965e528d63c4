"""A whole training from one description: scenes, model, steps, and weights with a card of how they came about."""

import logging
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError
from torch import nn

from pmgs_lib.data import load_protocol, open_dataset
from pmgs_lib.data.dataset import TrainingDataset, training_loader
from pmgs_lib.data.protocols import Protocol, ScheduledViews, TrainingViews
from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation import EvaluationResult, evaluate
from pmgs_lib.evaluation.methods import GaussianMethod
from pmgs_lib.models import read_card, save_checkpoint
from pmgs_lib.pointmaps import build_pointmap_source
from pmgs_lib.training.config import TrainingConfig
from pmgs_lib.training.history import TrainingHistory
from pmgs_lib.training.start import starting_model
from pmgs_lib.training.trainer import Trainer

logger = logging.getLogger(__name__)

TOLD_EVERY = 200  # steps between two lines of the log
WEIGHTS_FILE = "model.safetensors"
HISTORY_FILE = "history.csv"


class TrainingRun(BaseModel):
    """What to train on which scenes.

    model: a name of `MODELS`, or the fields of a configuration. weights, part, initialisation: what it starts from, see
    `starting_model`; fresh weights without them. scenes: folder with chunk files and their index. protocol: whose size,
    depth range, pictures and training gaps apply. size, views: height and width, and the choice of frames, where they
    are not the protocol's.
    pointmap, pointmap_options: the source for PM-Loss. validation_protocol: what the card's metrics are measured on.
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
    workers: int = 0
    accelerator: str = "auto"


def run_training(
    run: TrainingRun,
    output: Path,
    *,
    on_step: Callable[[int, TrainingHistory], None] | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    command: str | None = None,
) -> TrainingHistory:
    """Train as `run` says and write weights, card and history into `output`. Raises what training and data raise.

    `command` is what the card names as the way to do it again, beside the whole description.
    """
    torch.manual_seed(run.training.seed)
    model = starting_model(run.model, weights=run.weights, part=run.part, initialisation=run.initialisation)
    protocol = load_protocol(run.protocol)
    pointmaps = (
        build_pointmap_source(run.pointmap, **run.pointmap_options) if run.training.objective.pointmap_weight else None
    )
    trainer = Trainer(model, run.training, pointmaps=pointmaps, accelerator=run.accelerator)
    started = time.perf_counter()
    history = trainer.fit(
        training_loader(training_examples(run, protocol), run.training.batch_size, workers=run.workers), on_step=on_step
    )
    seconds = time.perf_counter() - started
    output.mkdir(parents=True, exist_ok=True)
    history.write_csv(output / HISTORY_FILE)
    device = trainer.fabric.device
    card = {
        "training": run.model_dump(mode="json"),
        "trained_steps": run.training.steps + (read_card(run.weights).get("trained_steps", 0) if run.weights else 0),
        "command": command,
        "commit": _commit(),
        "seed": run.training.seed,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "duration_s": round(seconds, 1),
        "training_loss": history.summary(),
        "pointmap_excluded": history.excluded,
        "validation": _validation(run, model.to(device)),
    }
    save_checkpoint(output / WEIGHTS_FILE, model, card, dtype=dtype)
    return history


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
    )


def _validation(run: TrainingRun, model: nn.Module) -> dict[str, object] | None:
    if run.validation_scenes is None:
        return None
    protocol = load_protocol(run.validation_protocol or run.protocol)
    result = evaluate_model(model, run.validation_scenes, protocol)
    return {"protocol": protocol.name, "scenes": len(result.scores), "means": result.means}


def evaluate_model(model: nn.Module, scenes: str | Path, protocol: Protocol) -> EvaluationResult:
    """Scores of a model on a protocol's scenes, on the device the model is on."""
    device = next(model.parameters()).device
    dataset = open_dataset(scenes, "test", near=protocol.near, far=protocol.far, images=protocol.images)
    return evaluate(GaussianMethod(model), dataset, protocol, device=str(device))


def _commit() -> str:
    """The commit of the code, marked when the tree had changes; "unknown" outside a checkout."""
    folder = Path(__file__).parent
    try:
        asked = ["git", "describe", "--always", "--abbrev=40", "--dirty"]
        return subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def train_from_file(config: str, output: str, *, dtype: Literal["float32", "float16"] = "float32") -> str:
    """Train as a YAML file of `TrainingRun` fields says; weights, card and history go to the folder `output`."""
    try:
        run = TrainingRun.model_validate(yaml.safe_load(Path(config).read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as fault:
        raise ParameterError(f"training {config}: {' '.join(str(fault).split())}; correct the file") from None
    history = run_training(run, Path(output), dtype=dtype, on_step=_tell, command=f"pmgs train {config} {output}")
    return f"{output}: {len(history.rows)} steps, photometric loss {history.summary()['photometric']:.5f}"


def _tell(step: int, history: TrainingHistory) -> None:
    if step % TOLD_EVERY == 0:
        logger.info("step %d: %s", step, {name: round(value, 5) for name, value in history.summary().items()})
