"""One look at a scene before hours are spent on it: sizes, baselines, field of view, depths, and what seems wrong."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.chunks import ChunkScene, decode_image
from pmgs_lib.data.folders import SPLITS, ChunkFolder
from pmgs_lib.errors import DataError

MAX_FOV_DEG = 100.0  # beyond it the released data code leaves a scene out
MAX_TRANSLATION = 1e3  # beyond it the released data code leaves a DL3DV scene out
MAX_OFF_CENTER = 0.02  # of the picture; released renderers take the principal point to be in the middle
JUMP = 10.0  # times the median step between neighbouring frames
FEW_FRAMES = 8


@dataclass(frozen=True)
class SceneReport:
    """Facts of a scene. Lengths are in world units, angles in degrees, sizes in pixels; `warnings` says what to check.

    step: median distance between neighbouring frames; span: largest distance between two cameras; turn: largest angle
    between two optical axes. near, far: least and greatest exact z-depth, None where the scene has no depth.
    """

    key: str
    split: str
    frames: int
    height: int
    width: int
    horizontal_fov_deg: float
    vertical_fov_deg: float
    step: float
    span: float
    turn_deg: float
    near: float | None
    far: float | None
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        depth = "not stored" if self.near is None else f"{self.near:.3g} to {self.far:.3g}"
        lines = [
            f"scene {self.key} ({self.split}): {self.frames} frames of {self.height}x{self.width} (height x width)",
            f"  field of view  {self.horizontal_fov_deg:.1f} x {self.vertical_fov_deg:.1f} degrees (across x up)",
            f"  cameras        step {self.step:.3g}, span {self.span:.3g}, turn {self.turn_deg:.1f} degrees",
            f"  exact depth    {depth}",
        ]
        return "\n".join(lines + [f"  warning: {warning}" for warning in self.warnings])


def inspect_scene(root: str | os.PathLike[str], key: str, split: str | None = None) -> SceneReport:
    """The report of scene `key` of the dataset at `root`; every picture is decoded once.

    split: None looks in those that exist. Raises DataError for a scene that is absent or damaged.
    """
    folder = _folder_with(Path(root), key, split)
    scene = folder.scene(key)
    height, width = scene.image_size()
    for frame, encoded in enumerate(scene.images):
        decode_image(encoded, f"dataset {root}, scene {key!r}, frame {frame}")
    across, up = _fields_of_view(scene.cameras)
    centers = scene.cameras.centers.double()
    steps = (centers[1:] - centers[:-1]).norm(dim=-1)
    axes = torch.nn.functional.normalize(scene.cameras.world_from_camera[:, :3, 2].double(), dim=-1)
    return SceneReport(
        key=key,
        split=folder.folder.name,
        frames=scene.frames,
        height=height,
        width=width,
        horizontal_fov_deg=across.max().item(),
        vertical_fov_deg=up.max().item(),
        step=steps.median().item() if len(steps) else 0.0,
        span=torch.cdist(centers, centers).max().item(),
        turn_deg=(axes @ axes.mT).clamp(-1, 1).arccos().rad2deg().max().item(),
        near=None if scene.depth is None else scene.depth.min().item(),
        far=None if scene.depth is None else scene.depth.max().item(),
        warnings=tuple(_warnings(scene, torch.maximum(across, up), steps)),
    )


def _folder_with(root: Path, key: str, split: str | None) -> ChunkFolder:
    if split is not None:
        return ChunkFolder(root, split)
    present = [name for name in SPLITS if (root / name).is_dir()] or list(SPLITS[-1:])
    folders = [ChunkFolder(root, name) for name in present]
    for folder in folders:
        if key in folder.chunk_of_key:
            return folder
    some = ", ".join([known for folder in folders for known in folder.keys][:3])
    raise DataError(f"dataset {root}: no scene {key!r} in {', '.join(present)}; the first ones are {some}")


def _fields_of_view(cameras: Cameras) -> tuple[Float[Tensor, " frame"], Float[Tensor, " frame"]]:
    """Horizontal and vertical angle that each picture spans, in degrees."""
    k = cameras.intrinsics.double()
    angles = [(k[:, i, 2] / k[:, i, i]).arctan() + ((1 - k[:, i, 2]) / k[:, i, i]).arctan() for i in range(2)]
    return angles[0].rad2deg(), angles[1].rad2deg()


def _warnings(scene: ChunkScene, fov_deg: Float[Tensor, " frame"], steps: Float[Tensor, " step"]) -> list[str]:
    found = []
    if scene.frames < FEW_FRAMES:
        found.append(f"only {scene.frames} frames: context and targets leave little choice")
    if (fov_deg > MAX_FOV_DEG).any():
        found.append(
            f"{int((fov_deg > MAX_FOV_DEG).sum())} frames see more than {MAX_FOV_DEG:g} degrees: check focal lengths"
        )
    off = (scene.cameras.intrinsics[:, :2, 2] - 0.5).abs().max().item()
    if off > MAX_OFF_CENTER:
        found.append(f"principal point {off:.1%} of the picture off its middle: released renderers assume the middle")
    if scene.cameras.centers.abs().max() > MAX_TRANSLATION:
        found.append(f"a camera is more than {MAX_TRANSLATION:g} units from the origin: check the scale")
    return found + _step_warnings(steps)


def _step_warnings(steps: Float[Tensor, " step"]) -> list[str]:
    found = []
    still, median = int((steps == 0).sum()), steps.median().item() if len(steps) else 0.0
    if still:
        found.append(f"{still} frames stand where the one before stood: no parallax between them")
    jumps = int((steps > JUMP * median).sum()) if median > 0 else 0
    if jumps:
        found.append(f"{jumps} steps are over {JUMP:g} times the median one: frames may be out of order or misplaced")
    return found
