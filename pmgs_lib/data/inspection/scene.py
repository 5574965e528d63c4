"""One look at a scene before hours are spent on it: sizes, baselines, field of view, depths, and what seems wrong."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pmgs_lib.data.chunks import ChunkScene, decode_image
from pmgs_lib.data.folders import SPLITS, ChunkFolder
from pmgs_lib.data.inspection.base import Finding
from pmgs_lib.data.inspection.numbers import check_cameras, fields_of_view, off_center, steps_of
from pmgs_lib.data.inspection.pictures import quality_findings
from pmgs_lib.data.picture_quality import relative_sharpness, sharpness, thumbnail
from pmgs_lib.errors import DataError

if TYPE_CHECKING:  # with scikit-image, which only matching needs
    from pmgs_lib.data.inspection.diagnosis import Diagnosis


@dataclass(frozen=True)
class SceneReport:
    """Facts of a scene. Lengths are in world units, angles in degrees, sizes in pixels; `findings` says what to check.

    step: median distance between neighbouring frames; span: largest distance between two cameras; turn: largest angle
    between two optical axes. near, far: least and greatest exact z-depth, None where the scene has no depth.
    off_center: of the principal point, as a share of the picture. sharpness: of each frame, relative to its neighbours.
    depth_range: near and far z-depth to work with, depth_seen: what was seen, both exact or estimated; depth_source
    says which and from what. diagnosis: how well
    the cameras explain matched features, None unless asked for.
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
    findings: tuple[Finding, ...]
    off_center: float
    sharpness: tuple[float, ...]
    depth_range: tuple[float, float] | None
    depth_seen: tuple[float, float] | None
    depth_source: str
    diagnosis: "Diagnosis | None" = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """The findings in words."""
        return tuple(finding.text for finding in self.findings)

    def __str__(self) -> str:
        depth = "not stored" if self.near is None else f"{self.near:.3g} to {self.far:.3g}"
        lines = [
            f"scene {self.key} ({self.split}): {self.frames} frames of {self.height}x{self.width} (height x width)",
            f"  field of view  {self.horizontal_fov_deg:.1f} x {self.vertical_fov_deg:.1f} degrees (across x up)",
            f"  cameras        step {self.step:.3g}, span {self.span:.3g}, turn {self.turn_deg:.1f} degrees",
            f"  exact depth    {depth}",
        ]
        if self.near is None and self.depth_range is not None:
            near, far = self.depth_range
            lines.append(f"  depth range    about {near:.3g} to {far:.3g}: {self.depth_source}")
        if self.diagnosis is not None:
            lines.append(f"  pictures say   {str(self.diagnosis).splitlines()[0]}")
        return "\n".join(lines + [f"  warning: {finding.text}" for finding in self.findings])


def inspect_scene(
    root: str | os.PathLike[str], key: str, split: str | None = None, *, matching: bool = False
) -> SceneReport:
    """The report of scene `key` of the dataset at `root`; every picture is decoded once.

    split: None looks in those that exist. matching: also match features, to see whether the cameras fit the pictures
    and how deep the scene is; takes some seconds. Raises DataError for a scene that is absent or damaged.
    """
    folder = _folder_with(Path(root), key, split)
    scene = folder.scene(key)
    height, width = scene.image_size()
    sharp, small, images = _pictures(scene, f"dataset {root}, scene {key!r}", keep=matching)
    findings = check_cameras(scene.cameras) + quality_findings(sharp, small)
    diagnosis = None
    if matching:
        from pmgs_lib.data.inspection.diagnosis import diagnose_cameras

        poor = {frame for f in findings if f.check in ("blurred", "duplicate") for frame in f.frames}
        diagnosis = diagnose_cameras(
            scene.cameras.world_from_camera, scene.cameras.intrinsics, images, skip=sorted(poor)
        )
        findings += diagnosis.findings
    depth_range, seen, source = _depths(scene, diagnosis)
    across, up = fields_of_view(scene.cameras)
    steps, centers = steps_of(scene.cameras), scene.cameras.centers.double()
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
        findings=tuple(findings),
        off_center=off_center(scene.cameras),
        sharpness=tuple(relative_sharpness(sharp)),
        depth_range=depth_range,
        depth_seen=seen,
        depth_source=source,
        diagnosis=diagnosis,
    )


def _pictures(
    scene: ChunkScene, where: str, keep: bool
) -> tuple[list[float], Float[Tensor, "frame pixel"], list[UInt8[Tensor, "height width 3"]]]:
    """Sharpness and thumbnail of each frame, and the pictures themselves if they are wanted."""
    sharp, small, images = [], [], []
    for frame, encoded in enumerate(scene.images):
        image = decode_image(encoded, f"{where}, frame {frame}")
        sharp.append(sharpness(image))
        small.append(thumbnail(image))
        images += [image] if keep else []
    return sharp, torch.stack(small), images


def _depths(
    scene: ChunkScene, diagnosis: "Diagnosis | None"
) -> tuple[tuple[float, float] | None, tuple[float, float] | None, str]:
    """Near and far to work with, as seen, and where they come from."""
    if scene.depth is not None:
        exact = scene.depth.min().item(), scene.depth.max().item()
        return exact, exact, "exact depth"
    if diagnosis is None:
        return None, None, "not looked for"
    found = diagnosis.depth_range()
    if found is None:
        return None, None, "unknown: too few matches fit the cameras"
    return (found.near, found.far), found.seen, str(found)


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
