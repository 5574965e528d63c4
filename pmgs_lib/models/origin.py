"""Where weights come from, in a form that compares between machines: no paths, no times."""

from pathlib import Path
from typing import Any

from pmgs_lib.models.checkpoints import read_card
from pmgs_lib.models.zoo import MODELS


def weight_facts(name_or_path: str | Path) -> dict[str, Any]:
    """What a card says of weights: what a reader must know before comparing their numbers with others'.

    model: name in the zoo. config: of the network. file_sha256: of the released file, None for weights made
    here. trained_steps: of all stages made here. training: what the last stage made here was, None for released and
    embedded weights by name.
    """
    named, card = str(name_or_path) in MODELS, read_card(name_or_path)
    return {
        "model": str(name_or_path) if named else card.get("model"),
        "config": card.get("config"),
        "file_sha256": (card.get("source") or {}).get("sha256"),
        "trained_steps": card.get("trained_steps"),
        "training": None if named else _training(card.get("training")),
    }


def _training(run: dict[str, Any] | None) -> dict[str, Any] | None:
    if not run:
        return None
    steps = run["training"]
    return {
        "start": run.get("weights") if run.get("weights") in MODELS else None,
        "protocol": "a file of its own" if run["protocol"].endswith(".json") else run["protocol"],
        "steps": steps["steps"],
        "batch_size": steps.get("batch_size"),
        "pointmap_weight": steps.get("objective", {}).get("pointmap_weight", 0.0),
        "seed": steps.get("seed"),
    }
