"""What must not reach the optimizer: numbers that are not finite, found by name, with the scenes they came from."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pmgs_lib import errors
from pmgs_lib.errors import PmgsError, TrainingError
from pmgs_lib.models.base import Prediction
from pmgs_lib.views import Example

FEW = 3  # names in a message


@dataclass(frozen=True)
class Fault:
    """Why a step cannot be taken.

    scenes: that it came from, none where no scene is to blame. skippable: whether leaving out the step can help, so
    that `NonFinitePolicy` decides. kind: of the error that ends the training.
    """

    scenes: tuple[str, ...]
    what: str
    skippable: bool = True
    kind: type[PmgsError] = TrainingError

    @classmethod
    def refusal(cls, error: PmgsError, scenes: tuple[str, ...] = ()) -> "Fault":
        """What data, model or objective raised: a mistake that would be repeated, so never skipped."""
        known = type(error) if type(error).__module__ == errors.__name__ else TrainingError
        return cls(scenes, str(error), skippable=False, kind=known)

    def error(self, step: int) -> PmgsError:
        """The error that ends the training at `step`."""
        return self.kind(f"training: step {step}, {self.described()}")

    def described(self) -> str:
        """Scenes and reason in words."""
        return f"scenes {', '.join(self.scenes)}: {self.what}" if self.scenes else self.what


class FaultError(Exception):
    """Ends a step in every process for a fault of one of them."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.what)
        self.fault = fault


class Readings:
    """Numbers on a device, read together: a step waits for the device once."""

    def __init__(self) -> None:
        self._values: dict[Hashable, Tensor] = {}

    def add(self, name: Hashable, value: Tensor) -> None:
        self._values[name] = value.detach().flatten().double()

    def read(self) -> dict[Hashable, list[float]]:
        """All numbers by name, in the order in which they were added."""
        numbers = torch.cat(list(self._values.values())).tolist()
        found, start = {}, 0
        for name, value in self._values.items():
            found[name] = numbers[start : start + len(value)]
            start += len(value)
        return found


def input_fault(example: Example) -> Fault | None:
    """The first number of an example that is not finite. Depth is not looked at: NaN there means unknown.

    Cheap while nothing is wrong, and best asked while the example is on the host.
    """
    if torch.stack([value.sum().double() for _, value in _inputs(example)]).isfinite().all():
        return None
    for name, value in _inputs(example):
        wrong = (~value.isfinite()).nonzero()
        if len(wrong):
            scene, *rest = wrong[0].tolist()
            view = f" of view {rest[0]}" if rest else ""
            found = f"{name}{view} hold {value[tuple(wrong[0])].item()}"
            return Fault((example.key[scene],), f"{found} (expected finite): repair or leave out this scene")
    return None


def _inputs(example: Example) -> Iterator[tuple[str, Tensor]]:
    for side in ("context", "target"):
        views = getattr(example, side)
        yield f"{side} images", views.images
        yield f"{side} poses", views.cameras.world_from_camera
        yield f"{side} intrinsics", views.cameras.intrinsics
        yield f"{side} near ends", views.near
        yield f"{side} far ends", views.far


def finite_parts(prediction: Prediction) -> dict[str, Tensor]:
    """For each part of a prediction and its intermediates, whether it is finite in each scene.

    A rasterizer leaves out Gaussians that are no numbers, so that a loss alone would not show them.
    """
    flags: dict[str, Tensor] = {}
    for stage in (*prediction.intermediates, prediction):
        parts = {} if stage.gaussians is None else vars(stage.gaussians)
        for name, value in {**parts, "depth": stage.depth}.items():
            if value is not None:
                finite = value.detach().isfinite().flatten(1).all(1)
                flags[name] = flags[name] & finite if name in flags else finite
    return flags


def prediction_fault(finite: Mapping[str, Sequence[float]], scenes: tuple[str, ...]) -> Fault | None:
    """The parts of a prediction that are not finite, from the numbers of `finite_parts`."""
    worst = [name for name, flags in finite.items() if not all(flags)]
    if not worst:
        return None
    blamed = tuple(scene for number, scene in enumerate(scenes) if any(not finite[name][number] for name in worst))
    return Fault(blamed, f"predicted {', '.join(worst)} not finite: lower the learning rate or look at these scenes")


def term_fault(name: str, value: float, by_scene: Sequence[float] | None, scenes: tuple[str, ...]) -> Fault | None:
    """A term that is not finite; by_scene: the same for each scene alone, where the objective knows it."""
    if abs(value) < float("inf"):
        return None
    blamed = tuple(scene for scene, own in zip(scenes, by_scene or (), strict=False) if not abs(own) < float("inf"))
    what = f"the {name} term is {value} (expected finite): look at these scenes"
    return Fault(blamed or scenes, what)


def weight_fault(model: nn.Module) -> Fault | None:
    """Weights that are not finite: no step from them can be, so none is skipped."""
    named = (*model.named_parameters(), *model.named_buffers())
    names = [name for name, value in named if not value.isfinite().all()]
    if not names:
        return None
    what = f"{len(names)} weights are not finite ({_few(names)}); go back to an earlier state or checkpoint"
    return Fault((), what, skippable=False)


def gradient_fault(trained: Mapping[str, nn.Parameter], norm: float, scenes: tuple[str, ...]) -> Fault:
    """Names the parameters whose gradient is not finite, the norm of all being `norm`."""
    named = [(name, parameter.grad) for name, parameter in trained.items() if parameter.grad is not None]
    names = [name for name, gradient in named if not gradient.isfinite().all()]
    found = f"the gradient of {len(names)} parameters is not finite ({_few(names)})" if names else f"its norm is {norm}"
    return Fault(scenes, f"{found}; lower the learning rate or look at these scenes")


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:FEW]) + (", ..." if len(names) > FEW else "")
