"""What an explorer shows, as one value: a picture depends on nothing else."""

from dataclasses import dataclass
from typing import Literal

Mode = Literal["colour", "depth", "alpha", "error", "match probability"]
Split = Literal["wipe", "side by side"]

MODES: tuple[Mode, ...] = ("colour", "depth", "alpha", "error", "match probability")
SPLITS: tuple[Split, ...] = ("wipe", "side by side")


@dataclass(frozen=True)
class ExplorerState:
    """Scene, subjects, camera and what is drawn; immutable, so any moment can be kept and shown again.

    scene: key of the scene. left, right: names of what is shown there; without `right` there is one picture. split: how
    two share it. mode: what of them is drawn.

    The camera is an anchor and a step away from it. anchor: held-out camera `target`, or, where that is None, the input
    path at `time` (view i is passed at time i). The step: round the point at the focus distance ahead of the anchor by
    `yaw_deg` (to the right) and `pitch_deg` (upwards), then `shift_right`, `shift_up` and `closer` along its own axes.
    These lengths are in focus distances, `closer` is their logarithm. All zero is the anchor, to the last bit.

    wipe: share of the width that belongs to `left`. opacity_from: fainter Gaussians are left out. scale_to: so are
    those with a larger standard deviation, in world units; None leaves none out.
    """

    scene: str
    left: str
    right: str | None = None
    split: Split = "wipe"
    mode: Mode = "colour"
    target: int | None = None
    time: float = 0.0
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    shift_right: float = 0.0
    shift_up: float = 0.0
    closer: float = 0.0
    wipe: float = 0.5
    opacity_from: float = 0.0
    scale_to: float | None = None

    @property
    def at_anchor(self) -> bool:
        """Whether the camera is its anchor."""
        return not (self.yaw_deg or self.pitch_deg or self.shift_right or self.shift_up or self.closer)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Names of what is shown, left first."""
        return (self.left,) if self.right is None else (self.left, self.right)
