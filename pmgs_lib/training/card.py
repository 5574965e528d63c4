"""What a finished training leaves beside its weights: how they came about, on what, how good they are."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pmgs_lib.data import load_protocol
from pmgs_lib.errors import PmgsError
from pmgs_lib.evaluation.methods import evaluation_mode
from pmgs_lib.training.depth_validation import evaluate_depth, first_context
from pmgs_lib.training.memory import predict_memory, training_load
from pmgs_lib.training.resume import Part
from pmgs_lib.training.session import Place
from pmgs_lib.training.start import model_config
from pmgs_lib.training.validation import evaluate_model, scored_scenes

if TYPE_CHECKING:
    from pmgs_lib.training.run import TrainingRun


def training_card(
    run: "TrainingRun", place: Place, parts: Sequence[Part], model: nn.Module, measured_bytes: int | None
) -> dict[str, Any]:
    """The facts of a finished training. measured_bytes: of the device at most, in its last part; None where unknown."""
    history = place.trainer.history
    return {
        "training": run.model_dump(mode="json"),
        "commit": place.commit,
        "seed": run.training.seed,
        "device": place.device,
        "duration_s": round(sum(part.seconds for part in parts), 1),
        "resumed_at": [part.first_step for part in parts[1:]],
        "resumed": exactness(parts),
        "parts": [asdict(part) for part in parts],
        "training_loss": history.summary(),
        "pointmap_excluded": history.excluded,
        "skipped": history.skipped,
        "replaced": history.replaced,
        "memory": _memory(run, place, measured_bytes),
        "validation": _validation(run, model),
    }


def exactness(parts: Sequence[Part]) -> str:
    """What a reader may expect of the result beside that of an uninterrupted training."""
    if len(parts) == 1:
        return "never"
    if len({part.processes for part in parts}) > 1:
        return "in another number of processes: equal batches, weights equal but for rounding"
    if len({part.commit for part in parts}) > 1:
        return "with other code: see the commits of the parts"
    places = {(part.device, part.threads) for part in parts}
    return "on another device or number of threads: equal but for rounding" if len(places) > 1 else "alike"


def code_commit() -> str:
    """The commit of the code, marked when the tree had changes; "unknown" outside a checkout."""
    folder = Path(__file__).parent
    try:
        asked = ["git", "describe", "--always", "--abbrev=40", "--dirty"]
        return subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _memory(run: "TrainingRun", place: Place, measured_bytes: int | None) -> Mapping[str, Any] | None:
    """Predicted and measured beside each other; nothing on a CPU, where a process holds too much else."""
    if measured_bytes is None:
        return None
    try:
        predicted = predict_memory(model_config(run.model), training_load(run, place.processes.count))
    except PmgsError as reason:  # the training is done; its weights are worth more than this comparison
        return {"measured_gib": round(measured_bytes / 2**30, 4), "predicted_gib": None, "reason": str(reason)}
    return predicted.card(measured_bytes)


def _validation(run: "TrainingRun", model: nn.Module) -> dict[str, Any] | None:
    if run.validation_scenes is None:
        return None
    protocol = load_protocol(run.validation_protocol or run.protocol)
    dataset, device = scored_scenes(run.validation_scenes, protocol), next(model.parameters()).device
    with torch.no_grad(), evaluation_mode(model):
        depth_only = model(first_context(dataset, protocol).to(device)).gaussians is None
    if depth_only:
        means, ledger = evaluate_depth(model, dataset, protocol, device)
        return {"protocol": protocol.name, "scenes": len(ledger.scored), "means": means}
    result = evaluate_model(model, run.validation_scenes, protocol)
    return {"protocol": protocol.name, "scenes": len(result.scores), "means": result.means}
