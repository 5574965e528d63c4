"""How good a model is while it trains: scores by the ledger of a protocol, and pictures of its first scenes."""

import logging
import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from pmgs_lib.data import open_dataset
from pmgs_lib.data.dataset import SceneDataset
from pmgs_lib.data.files import write_json
from pmgs_lib.data.protocols import Protocol
from pmgs_lib.errors import ParameterError, first_line
from pmgs_lib.evaluation import EvaluationResult, evaluate
from pmgs_lib.evaluation.admission import left_out
from pmgs_lib.evaluation.ledger import Ledger
from pmgs_lib.evaluation.methods import GaussianMethod, MethodOutput, evaluation_mode
from pmgs_lib.export.images import save_pixels
from pmgs_lib.training.comparison_pictures import depth_picture, rendering_picture
from pmgs_lib.training.depth_validation import evaluate_depth, first_context
from pmgs_lib.training.step_table import StepTable
from pmgs_lib.views import Example, Views

log = logging.getLogger(__name__)

TABLE_FILE = "validation.csv"
BEST_FILE = "best.json"
NOT_IN_NAMES = r"[^\w.#-]+"  # characters of a scene's key that a file's name does without
# What the best step is chosen by: the first of these that the model has.
CHOSEN_BY: dict[str, Callable[[float, float], bool]] = {
    "psnr": lambda new, best: new > best,
    "context_abs_rel": lambda new, best: new < best,
}


class Validator:
    """Scores a model on the test scenes of a protocol and keeps pictures; call it with the step and the model.

    >>> validator = Validator("scenes", load_protocol("embedded-smoke"), Path("out/validation"))     # doctest: +SKIP
    >>> validator(100, trainer.trained_model)["psnr"]                                                # doctest: +SKIP

    scenes: folder of chunk files. folder: gets `validation.csv`, a row a validation with the means over the scenes and
    the account scored + skipped; `best.json`, the best step; and `step-000100/SCENE.png` of the first `pictures`
    scenes. most: at most so many scenes, evenly spread over the protocol's, which makes the numbers comparable among
    themselves only. first_step: where a resumed training goes on; what stands behind it in the table is cut off.

    A model that predicts depth only is scored by the depth of its context views. The model comes back as it was, mode
    and gradients included, and no random generator moves. A score that is not finite raises RunError, as in any
    evaluation; a picture or table that cannot be written does not stop a training: it is told, and counted in
    `unwritten`. Missing scenes and other mistakes are found here, before the first step.
    """

    def __init__(
        self,
        scenes: str | Path,
        protocol: Protocol,
        folder: str | Path,
        *,
        pictures: int = 2,
        most: int | None = None,
        first_step: int = 0,
    ) -> None:
        if pictures < 0 or (most is not None and most < 1):
            raise ParameterError(
                f"validation: {pictures} pictures, at most {most} scenes; expected 0 or more, and 1 or more"
            )
        self.protocol = protocol if most is None else protocol.every(-(-len(protocol.keys) // most))
        self.dataset = scored_scenes(scenes, self.protocol)
        left_out(self.dataset, self.protocol, allow_missing=False)
        self.folder, self.most_pictures, self.first_step = Path(folder), pictures, first_step
        self.last_pictures: dict[str, Path] = {}
        self._scored = 0  # scenes of the validation that runs
        self.unwritten = 0
        self._depth_only: bool | None = None
        self._table: StepTable | None = None
        self._scores: dict[str, dict[int, float]] = {}

    def __call__(self, step: int, model: nn.Module) -> Mapping[str, int | float]:
        """Means over the scenes by metric, and the numbers of scored and skipped scenes, after `step` steps."""
        self.last_pictures, self._scored = {}, 0
        device = next(model.parameters()).device
        with _random_state_kept(device):
            means, ledger = self._evaluate(step, model, device)
        values: dict[str, int | float] = {**means, "scored": len(ledger.scored), "skipped": len(ledger.skipped)}
        self._written(lambda: self._enter(step, values))
        for metric in CHOSEN_BY.keys() & means.keys():
            self._scores.setdefault(metric, {})[step] = means[metric]
        self._written(self._note_best)
        return values

    @property
    def best(self) -> tuple[int, str, float] | None:
        """The best step so far, by what it was chosen, and its value there; the earliest of equals."""
        for metric, better in CHOSEN_BY.items():
            best: tuple[int, str, float] | None = None
            for step, value in sorted(self._scores.get(metric, {}).items()):
                if best is None or better(value, best[2]):
                    best = (step, metric, value)
            if best is not None:
                return best
        return None

    def _evaluate(self, step: int, model: nn.Module, device: torch.device) -> tuple[dict[str, int | float], Ledger]:
        if self._predicts_depth_only(model, device):
            return self._evaluate_depth(step, model, device)

        def keep(key: str, example: Example, output: MethodOutput) -> None:
            self._keep(step, key, lambda: rendering_picture(example, output))

        result = evaluate(GaussianMethod(model), self.dataset, self.protocol, device=str(device), on_scene=keep)
        return {name: value for name, value in result.means["overall"].items() if value is not None}, result.ledger

    def _evaluate_depth(
        self, step: int, model: nn.Module, device: torch.device
    ) -> tuple[dict[str, int | float], Ledger]:
        def keep(key: str, context: Views, depth: Tensor) -> None:
            self._keep(step, key, lambda: depth_picture(context, depth))

        return evaluate_depth(model, self.dataset, self.protocol, device, on_scene=keep)

    def _predicts_depth_only(self, model: nn.Module, device: torch.device) -> bool:
        if self._depth_only is None:
            context = first_context(self.dataset, self.protocol).to(device)
            with torch.no_grad(), evaluation_mode(model):
                self._depth_only = model(context).gaussians is None
        return self._depth_only

    def _keep(self, step: int, key: str, draw: Callable[[], UInt8[np.ndarray, "rows columns 3"]]) -> None:
        self._scored += 1
        if self._scored <= self.most_pictures:
            path = self.folder / f"step-{step:06d}" / f"{re.sub(NOT_IN_NAMES, '_', key)}.png"
            if self._written(lambda: save_pixels(path, draw())):
                self.last_pictures[f"validation/{key}"] = path

    def _enter(self, step: int, values: Mapping[str, int | float]) -> None:
        """One more row; what the scores were before a resumed training is read back first."""
        if self._table is None:
            self._table = StepTable(self.folder / TABLE_FILE, self.first_step)
            for metric in CHOSEN_BY:
                self._scores[metric] = self._table.read(metric) | self._scores.get(metric, {})
        self._table.write(step, values)

    def _note_best(self) -> None:
        if self.best is not None:
            step, metric, value = self.best
            write_json(self.folder / BEST_FILE, {"step": step, "metric": metric, "value": value})

    def _written(self, work: Callable[[], None]) -> bool:
        """Whether `work` could write its file; a disk that is full or gone must not end a training."""
        try:
            work()
        except OSError as fault:
            self.unwritten += 1
            if self.unwritten == 1:
                log.warning("validation: %s; training goes on, further losses are only counted", first_line(fault))
            return False
        return True

    def close(self) -> None:
        """Close the table; a later call would open it again."""
        if self._table is not None:
            self._table.close()
            self._table, self.first_step = None, max(self._table.last_step, self.first_step)


def scored_scenes(scenes: str | Path, protocol: Protocol) -> SceneDataset:
    """The scenes that a protocol scores, opened as it says."""
    return open_dataset(scenes, "test", near=protocol.near, far=protocol.far, images=protocol.images)


def evaluate_model(model: nn.Module, scenes: str | Path, protocol: Protocol) -> EvaluationResult:
    """Scores of a model on a protocol's scenes, on the device the model is on."""
    device = next(model.parameters()).device
    return evaluate(GaussianMethod(model), scored_scenes(scenes, protocol), protocol, device=str(device))


@contextmanager
def _random_state_kept(device: torch.device) -> Iterator[None]:
    """Whatever is drawn inside, the generators of torch, NumPy and Python stand afterwards where they stood."""
    python, legacy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
    random.setstate(python)
    np.random.set_state(legacy)
