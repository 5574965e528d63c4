"""What a run must have been for its numbers to stand in a row of a paper's table, read off what the run itself says.

Nothing here is typed in by a person: protocol, digest, picture size, account of the scenes and weights are those that
`metrics.json` of `40_evaluate` holds. Numbers of other scenes, frames or pictures are never shown in a paper's table.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pmgs_lib.data.published_protocols import PUBLISHED
from pmgs_lib.errors import RunError

DIGESTS = Path(__file__).with_name("protocol_digests.json")


@dataclass(frozen=True)
class Trained:
    """How weights must have been trained that nobody publishes, as the recipe of that name says; of one stage.

    config: fields of the network's configuration by dotted name. start: weights of the zoo that it started from.
    pointmap_weight: of PM-Loss.
    """

    recipe: str
    config: Mapping[str, Any]
    protocol: str
    steps: int
    batch_size: int
    start: str | None = None
    pointmap_weight: float = 0.0


@dataclass(frozen=True)
class Requirement:
    """protocol: a published one. weights: the model of the zoo whose released file the row is about, or trained: how.

    differs: how these weights differ from those of the paper's number; they are shown, and never judged.
    """

    protocol: str
    weights: str | None = None
    trained: Trained | None = None
    differs: str = ""

    @property
    def needs(self) -> str:
        """In words, for a cell that was not run."""
        weights = f"weights {self.weights}" if self.weights else f"a training by recipe {self.trained.recipe}"
        trained = self.trained
        how = "" if trained is None else f" ({trained.steps:,} steps, batch {trained.batch_size}, {trained.protocol})"
        scenes = PUBLISHED[self.protocol]["expected"]["scenes"]
        return f"{weights}{how}, protocol {self.protocol} and its {scenes:,} scenes"


@dataclass(frozen=True)
class Evidence:
    """What one run of `40_evaluate` left. href: its executed notebook, relative to a page in `runs/`."""

    metrics: Mapping[str, Any]
    href: str

    @property
    def result(self) -> Mapping[str, Any]:
        """The contender of the run, beside its controls."""
        contenders = [result for result in self.metrics.get("results", []) if not result["control"]]
        if len(contenders) != 1:
            raise RunError(f"{self.href}: {len(contenders)} methods beside the controls, expected one; name a run of "
                           "40_evaluate")  # fmt: skip
        return contenders[0]

    @property
    def weights(self) -> Mapping[str, Any]:
        return self.metrics.get("weights") or {}


@dataclass(frozen=True)
class Objection:
    """Why a run's numbers have no verdict. hidden: they are of other scenes or pictures, and not shown either."""

    reason: str
    hidden: bool


def read_evidence(folder: Path) -> Evidence:
    """The evidence in a run's folder; RunError where it holds no evaluation."""
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise RunError(f"{folder.name}: no readable metrics.json ({type(fault).__name__}); run it again") from fault
    return Evidence(metrics, f"{folder.name}/executed.html")


def objection(evidence: Evidence, required: Requirement) -> Objection | None:
    """The first thing that speaks against judging a run in a row; None: its numbers are of the same measurement."""
    measured = _measured_otherwise(evidence.result, required.protocol)
    if measured:
        return Objection(measured, hidden=True)
    other = _other_weights(evidence.weights, required)
    return Objection(other, hidden=False) if other else None


def _measured_otherwise(result: Mapping[str, Any], protocol: str) -> str | None:
    settings, ledger, wanted = result["settings"], result["ledger"], PUBLISHED[protocol]
    found = settings["protocol"]
    scored, skipped = len(ledger["scored"]), len(ledger["skipped"])
    scenes = wanted["expected"]["scenes"]
    if found not in PUBLISHED:
        return f"measured on other scenes (protocol {found}), the paper's are those of {protocol}"
    if found != protocol:
        return f"measured by protocol {found}, the paper's number by {protocol}"
    if settings["not_comparable"]:
        return settings["not_comparable"]
    if settings["protocol_digest"] != published_digests()[protocol]:
        return f"protocol {protocol} was another one (digest {settings['protocol_digest'][:12]})"
    if (settings["height"], settings["width"]) != (wanted["height"], wanted["width"]):
        return f"pictures of {settings['height']}x{settings['width']}, the paper's {wanted['height']}x{wanted['width']}"
    if scored != scenes or scored + skipped != ledger["listed"]:
        return f"{scored} scenes scored and {skipped} skipped of {ledger['listed']}, the paper's number is of {scenes}"
    return None


def _other_weights(weights: Mapping[str, Any], required: Requirement) -> str | None:
    name, training = weights.get("model"), weights.get("training")
    if required.trained is not None:
        return _trained_otherwise(weights, required.trained)
    if training is not None:
        return f"weights trained here, the row is about the released {required.weights}"
    if name != required.weights:
        return f"weights {name or 'of unknown origin'}, the row is about {required.weights}"
    if not weights.get("file_sha256"):
        return f"weights {name}: the run does not say which file"
    return f"{name}: {required.differs}" if required.differs else None


def _trained_otherwise(weights: Mapping[str, Any], wanted: Trained) -> str | None:
    training = weights.get("training")
    if training is None:
        return f"weights that were not trained here, the row is about a training by recipe {wanted.recipe}"
    facts = ("protocol", "steps", "batch_size", "start", "pointmap_weight")
    pairs = {fact: (training.get(fact), getattr(wanted, fact)) for fact in facts}
    pairs |= {name: (_within(weights.get("config"), name), value) for name, value in wanted.config.items()}
    differing = [f"{name} {found} instead of {value}" for name, (found, value) in pairs.items() if found != value]
    return f"trained otherwise: {', '.join(differing)}" if differing else None


def _within(config: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        config = config.get(name) if isinstance(config, Mapping) else None
    return config


@lru_cache(maxsize=1)
def published_digests() -> Mapping[str, str]:
    """Digests of the published protocols, as recorded from their index files; a test compares them."""
    return json.loads(DIGESTS.read_text(encoding="utf-8"))
