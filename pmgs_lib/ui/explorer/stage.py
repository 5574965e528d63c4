"""What an explorer holds: scenes, what is shown of them, and the device that draws. Its caches are bounded."""

import re
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.methods import surface_depth
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.rasterizers.dispatch import choose_backend, render_with_settings
from pmgs_lib.ui.explorer.state import ExplorerState
from pmgs_lib.ui.explorer.subjects import Subject
from pmgs_lib.ui.explorer.viewpoint import camera_on_path, step_away
from pmgs_lib.views import Example

SCENES_KEPT, SUBJECTS_KEPT, CUTS_KEPT, SCORES_KEPT = 4, 6, 4, 256
COARSE_SHARE = 0.5  # of height and width, while something moves on a CPU
COARSE_GAUSSIANS = 32_768  # of larger scenes a CPU draws so many while something moves
COARSE_DEGREE = 1  # of the harmonics then: to read and evaluate all of degree 4 takes as long as the rest
COARSE_WORDS = "coarse while something moves, in full at rest."
DEPTH_SHARES = (0.01, 0.99)  # of the surface in the context views: the ends of the depth scale

Value = TypeVar("Value")
SubjectMaker = Callable[[Example], Subject]


@dataclass(frozen=True)
class Scene:
    """An example on the stage's device. focus: distance of the orbit's centre; depth_range: one scale for all subjects,
    both in world units."""

    example: Example
    focus: float
    depth_range: tuple[float, float]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of full pictures: those of the held-out views, so that these compare pixel by pixel."""
        return self.example.target.height, self.example.target.width


class Stage:
    """Scenes by key and makers of subjects by name; both are asked when they are first shown.

    device: "auto" is the GPU where one can draw, else the CPU; a GPU that is asked for and missing is replaced by the
    CPU, and `note` says so.
    """

    def __init__(
        self,
        examples: Mapping[str, Example],
        makers: Mapping[str, SubjectMaker],
        device: str = "auto",
        backend: str = "auto",
    ) -> None:
        self.examples, self.makers, self.backend = examples, makers, backend
        self.device, self.note = _drawing_device(device)
        self._scenes, self._subjects = _Recent(SCENES_KEPT), _Recent(SUBJECTS_KEPT)
        self._cuts, self.scores = _Recent(CUTS_KEPT), _Recent(SCORES_KEPT)

    @property
    def coarse_share(self) -> float:
        """Of the height and width of full pictures, while something moves: a GPU draws the whole in time."""
        return COARSE_SHARE if self.device.type == "cpu" else 1.0

    def scene(self, key: str) -> Scene:
        """The scene called `key`. Raises `ParameterError` for one that is not here or is no single scene."""
        _require_known("scene", key, self.examples)
        return self._scenes.get(key, lambda: self._open(key))

    def subject(self, scene: str, name: str) -> Subject:
        """What `name` shows of `scene`, on the stage's device. Raises `ParameterError` for a name that is not here."""
        _require_known("subject", name, self.makers)
        return self._subjects.get((scene, name), lambda: self._make(scene, name))

    def drawn(self, state: ExplorerState, name: str, *, coarse: bool) -> tuple[Subject, int]:
        """The subject after the state's cuts, thinned where that is asked for, and how many the cuts leave."""
        key = (state.scene, name, state.opacity_from, state.scale_to, coarse)
        return self._cuts.get(key, lambda: self._cut(state, name, coarse))

    def camera(self, state: ExplorerState) -> Cameras:
        """The camera (no batch axis) that the state describes."""
        scene = self.scene(state.scene)
        if state.target is None:
            anchor = camera_on_path(scene.example.context.cameras, state.time)
        else:
            anchor = scene.example.target.cameras[state.target]
        return step_away(anchor, scene.focus, state)

    def scale_range(self, scene: str, names: tuple[str, ...]) -> tuple[float, float]:
        """Smallest and largest standard deviation of these subjects' Gaussians, each by its longest axis."""
        sizes = [self.subject(scene, name).gaussians.scales.amax(dim=-1) for name in names]
        return min(s.min().item() for s in sizes), max(s.max().item() for s in sizes)

    def _open(self, key: str) -> Scene:
        example = self.examples[key]
        shape = example.context.batch_shape
        if shape != () or min(example.context.count, example.target.count) == 0:
            raise ParameterError(
                f"explore: scene {key} has batch shape {tuple(shape)}, {example.context.count} input and "
                f"{example.target.count} held-out views, expected one scene with at least one of each"
            )
        example = example.to(self.device)
        first = next(iter(self.makers))
        subject = self._subjects.get((key, first), lambda: self._made(first, example))
        return Scene(example, *_distances(example, subject, self.backend))

    def _make(self, scene: str, name: str) -> Subject:
        return self._made(name, self.scene(scene).example)

    def _made(self, name: str, example: Example) -> Subject:
        return self.makers[name](example).to(self.device)

    def _cut(self, state: ExplorerState, name: str, coarse: bool) -> tuple[Subject, int]:
        subject = self.subject(state.scene, name)
        gaussians, kept = subject.gaussians, None
        if state.opacity_from > 0:
            kept = gaussians.opacities >= state.opacity_from
        if state.scale_to is not None:
            small = gaussians.scales.amax(dim=-1) <= state.scale_to
            kept = small if kept is None else kept & small
        if kept is not None:
            subject = _selected(subject, kept)
        count = subject.gaussians.count
        return (_thinned(subject) if coarse and self.device.type == "cpu" else subject), count


class _Recent:
    """The last few values that were asked for."""

    def __init__(self, most: int) -> None:
        self.most, self.values = most, OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        if key not in self.values:
            self.values[key] = make()
            while len(self.values) > self.most:
                self.values.popitem(last=False)
        self.values.move_to_end(key)
        return self.values[key]


def _selected(subject: Subject, chosen: torch.Tensor) -> Subject:
    certainty = None if subject.certainty is None else subject.certainty[chosen]
    return Subject(subject.gaussians.select(chosen), subject.settings, certainty, subject.certainty_label)


def _thinned(subject: Subject) -> Subject:
    """An even choice at random, each Gaussian larger to close the gaps in a surface, with simpler harmonics."""
    count = subject.gaussians.count
    if count > COARSE_GAUSSIANS:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
        subject = _selected(subject, order[:COARSE_GAUSSIANS].sort().values)
    g = subject.gaussians
    wider = g.scales * max(count / COARSE_GAUSSIANS, 1.0) ** 0.5
    harmonics = g.harmonics[:, : (COARSE_DEGREE + 1) ** 2].contiguous()
    coarse = Gaussians(g.means, wider, g.quaternions, g.opacities, harmonics)
    return Subject(coarse, subject.settings, subject.certainty, subject.certainty_label)


@torch.no_grad()
def _distances(example: Example, subject: Subject, backend: str) -> tuple[float, tuple[float, float]]:
    """Focus and depth scale from the surface that the first subject shows in the input cameras."""
    context, near, far = example.context, float(example.context.near), float(example.context.far)
    height, width = max(context.height // 4, 1), max(context.width // 4, 1)
    rendering = render_with_settings(
        subject.gaussians, context.cameras, height, width, subject.settings, near=context.near, backend=backend
    )
    depth = surface_depth(rendering)
    seen = depth[depth > 0].double().sort().values
    if len(seen) < 2:  # nothing there to look at: the middle of the range in inverse depth
        return 2 / (1 / near + 1 / far), (near, far)
    low, high = (seen[int(share * (len(seen) - 1))].item() for share in DEPTH_SHARES)
    return seen[len(seen) // 2].item(), (low, max(high, 1.01 * low))


def _drawing_device(asked: str) -> tuple[torch.device, str]:
    """The device that draws, and a line for the reader that says which and why."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", asked):
        raise ParameterError(f"explore: device {asked!r} cannot draw, expected 'auto', 'cpu', 'cuda' or 'cuda:1'")
    if asked == "cpu":
        return torch.device("cpu"), f"Drawn on the CPU, {COARSE_WORDS}"
    device = torch.device("cuda" if asked == "auto" else asked)
    if not torch.cuda.is_available():
        reason = "no GPU is available here"
    else:
        chosen, reason = choose_backend(device)
        if chosen == "gsplat":
            return device, f"Drawn by gsplat on {torch.cuda.get_device_name(device)}."
    line = f"{reason}: drawn on the CPU, {COARSE_WORDS}"
    return torch.device("cpu"), line[0].upper() + line[1:] if asked == "auto" else f"{asked} was asked for, but {line}"


def _require_known(what: str, name: str, table: Mapping[str, Any]) -> None:
    if name not in table:
        raise ParameterError(f"explore: no {what} is called {name!r}, expected one of {', '.join(table)}")
