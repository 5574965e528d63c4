"""Chunk files: scenes on disk in the layout that pixelSplat introduced and the whole family reads.

A chunk is a `.torch` file holding a list of plain dicts, one a scene:

    key         str
    url         str
    timestamps  int64   [frame]
    cameras     float32 [frame, 18]   fx fy cx cy (normalised by width and height), 0, 0, 3x4 camera_from_world by rows
    images      list of uint8 tensors with one axis: the bytes of an encoded picture
    size        int64   [2]  height and width of every picture     (ours, optional)
    depth       float32 [frame, height, width]  exact z-depth      (ours, optional)

Everything is a tensor, string, list or dict, so `torch.load(weights_only=True)` opens it. Beside the chunks stands
`index.json`, key -> chunk file name, written last: a folder without one was never finished.
"""

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.files import replaced_atomically
from pmgs_lib.data.pictures import decode_image, encode_jpeg, encoded_size, jpeg_size
from pmgs_lib.data.pieces import StoredImages
from pmgs_lib.data.sidecars import write_sidecar
from pmgs_lib.errors import DataError, first_line
from pmgs_lib.geometry.pose import inverse_pose

CAMERA_NUMBERS = 18
REQUIRED_ENTRIES = ("key", "timestamps", "cameras", "images")
MOST_UNPACKED = 8  # times its size on disk, beyond 64 MB: pictures hardly shrink, so more is a trap or damage
__all__ = [
    "ChunkScene",
    "cameras_from_numbers",
    "decode_image",
    "encode_jpeg",
    "encoded_size",
    "load_entries",
    "numbers_from_cameras",
    "read_chunk",
    "scene_from_entry",
    "write_chunk",
]


@dataclass(frozen=True)
class ChunkScene:
    """One scene as it is stored: encoded pictures, and cameras with batch shape (frame)."""

    key: str
    cameras: Cameras
    images: Sequence[bytes]  # as read from a chunk each is fetched when it is asked for
    timestamps: Int64[Tensor, " frame"]
    url: str = ""
    depth: Float[Tensor, "frame height width"] | None = None  # z-depth in world units

    @property
    def frames(self) -> int:
        return len(self.images)

    def image_size(self) -> tuple[int, int]:
        """Height and width of the first picture, from its header."""
        return encoded_size(self.images[0], f"scene {self.key}, frame 0")

    def validate(self, where: str, listed_size: tuple[int, int] | None = None) -> None:
        """Raise DataError unless counts agree, cameras are rigid and finite, and all pictures have one size.

        `where` names the file in the message. Reads picture headers only; nothing is decoded.
        """
        name = f"{where}: scene {self.key!r}"
        counts = {"cameras": self.cameras.world_from_camera.shape[0], "timestamps": len(self.timestamps)}
        if self.depth is not None:
            counts["depth maps"] = self.depth.shape[0]
        if not self.key or not self.images:
            raise DataError(f"{where}: a scene has no {'pictures' if self.key else 'key'}; write the chunk again")
        for what, count in counts.items():
            if count != self.frames:
                raise DataError(f"{name}: {count} {what} for {self.frames} pictures; write the chunk again")
        self.cameras.validate(name)
        self._validate_sizes(name, listed_size)
        if self.depth is not None and not all(_positive(depth) for depth in self.depth):  # one by one: it may be large
            raise DataError(f"{name}: depth is not positive and finite everywhere; store none, or exact depth, again")

    def _validate_sizes(self, name: str, listed_size: tuple[int, int] | None) -> None:
        expected, source = listed_size, "the chunk lists"
        if expected is None and self.depth is not None:
            expected, source = (self.depth.shape[1], self.depth.shape[2]), "its depth has"
        for frame in range(self.frames):
            size = self._size(frame, name)
            if expected is None:
                expected, source = size, "frame 0 has"
            if size != expected:
                raise DataError(
                    f"{name}: frame {frame} is {size[0]}x{size[1]} (height x width), {source} "
                    f"{expected[0]}x{expected[1]}; convert the scene again with pictures of one size"
                )
        if self.depth is not None and tuple(self.depth.shape[1:]) != expected:
            raise DataError(
                f"{name}: depth is {tuple(self.depth.shape[1:])}, pictures are {expected}; convert it again"
            )

    def _size(self, frame: int, name: str) -> tuple[int, int]:
        if isinstance(self.images, StoredImages):
            size = jpeg_size(self.images.beginning(frame))
            if size is not None:
                return size
        return encoded_size(self.images[frame], f"{name}, frame {frame}")


def _positive(depth: Float[Tensor, "height width"]) -> bool:
    return bool((depth.isfinite() & (depth > 0)).all())


def write_chunk(path: str | os.PathLike[str], scenes: Sequence[ChunkScene]) -> None:
    """Write scenes as one chunk file, atomically, and the offsets of its pictures beside it (see `sidecars`).

    Nothing is written unless every scene is valid. Raises DataError, also when the disk is full; an old chunk of that
    name is then still there.
    """
    if not scenes:
        raise DataError(f"chunk {path}: there are no scenes to write; expected at least one")
    for scene in scenes:
        scene.validate(f"chunk {path}")
    entries = [_entry_from_scene(scene) for scene in scenes]
    try:
        # to a stream: given a path, torch writes the path's (here random) name into the file
        with replaced_atomically(path) as sibling, sibling.open("wb") as stream:
            torch.save(entries, stream)
        write_sidecar(path)
    except (OSError, RuntimeError) as error:
        cause = _system_error(error)
        if cause is None:
            raise
        raise DataError(
            f"chunk {path}: cannot be written ({cause.strerror or cause}); make room, then write it again"
        ) from error


def _system_error(error: BaseException | None) -> OSError | None:
    """The system's error behind `error`: torch's writer of archives stumbles over a full disk once more at its end."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def read_chunk(path: str | os.PathLike[str]) -> list[ChunkScene]:
    """All scenes of a chunk, validated. Raises DataError for anything that is not a sound chunk."""
    return [scene_from_entry(entry, f"chunk {path}") for entry in load_entries(path)]


def load_entries(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The raw dicts of a chunk, their tensors mapped from the file and read when touched; keys are checked."""
    if not Path(path).is_file():
        raise DataError(f"chunk {path}: there is no such file; check the path or write the dataset again")
    try:
        entries = torch.load(path, weights_only=True, map_location="cpu", mmap=_can_be_mapped(Path(path)))
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001  damaged bytes make the unpickler raise almost anything
        raise DataError(
            f"chunk {path}: cannot be read ({first_line(error)}); it is truncated, damaged or holds more than "
            "plain tensors: write or download it again"
        ) from None
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"chunk {path}: holds {type(entries).__name__}, expected a list of scenes; write it again")
    for number, entry in enumerate(entries):
        missing = [name for name in REQUIRED_ENTRIES if name not in entry]
        if missing or not isinstance(entry["key"], str):
            problem = f"lacks {', '.join(missing)}" if missing else "has a key that is no text"
            raise DataError(f"chunk {path}: scene number {number} {problem}; write the chunk again")
    return entries


def _can_be_mapped(path: Path) -> bool:
    """Whether the file is an archive with entries as they are; one that would unpack to far too much is refused."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    unpacked, size = sum(entry.file_size for entry in entries), path.stat().st_size
    if unpacked > max(MOST_UNPACKED * size, 64 << 20):
        raise DataError(f"chunk {path}: claims to unpack {size} bytes to {unpacked}; it is damaged: download it again")
    return all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)


def scene_from_entry(entry: dict[str, Any], where: str, *, validate: bool = True) -> ChunkScene:
    """The scene of one raw dict. `where` names the chunk in errors; `validate=False` for one that passed before."""
    key = entry["key"]
    name = f"{where}: scene {key!r}"
    cameras = _tensor(entry, "cameras", (None, CAMERA_NUMBERS), name)
    timestamps = _tensor(entry, "timestamps", (None,), name)
    depth = _tensor(entry, "depth", (None, None, None), name) if entry.get("depth") is not None else None
    size = _tensor(entry, "size", (2,), name) if entry.get("size") is not None else None
    scene = ChunkScene(
        key=key,
        cameras=cameras_from_numbers(cameras),
        images=_images(entry["images"], name),
        timestamps=timestamps.long(),
        url=str(entry.get("url", "")),
        depth=None if depth is None else depth.float(),
    )
    if validate:
        scene.validate(where, None if size is None else (int(size[0]), int(size[1])))
    return scene


def _images(images: Any, where: str) -> Sequence[bytes]:
    if isinstance(images, StoredImages):
        return images
    flat = isinstance(images, list) and all(
        isinstance(image, Tensor) and image.dtype == torch.uint8 and image.dim() == 1 for image in images
    )
    if not flat:
        raise DataError(f"{where}: images is no list of flat uint8 tensors; write the chunk again")
    return [image.numpy().tobytes() for image in images]


def _tensor(entry: dict[str, Any], name: str, shape: tuple[int | None, ...], where: str) -> Tensor:
    value = entry[name]
    found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    dense = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_complex()
    if (
        not dense
        or len(value.shape) != len(shape)
        or any(want not in (None, have) for want, have in zip(shape, value.shape, strict=True))
    ):
        wanted = "[" + ", ".join("any" if axis is None else str(axis) for axis in shape) + "]"
        raise DataError(f"{where}: {name} is {found}, expected a tensor {wanted}; write the chunk again")
    return value.detach()


def cameras_from_numbers(numbers: Float[Tensor, "frame 18"]) -> Cameras:
    """Float32 cameras from the 18 numbers a frame of the chunk layout (poses there are camera_from_world)."""
    frames, numbers = numbers.shape[0], numbers.double()
    fx, fy, cx, cy = numbers[:, :4].unbind(-1)
    intrinsics = torch.eye(3, dtype=numbers.dtype).repeat(frames, 1, 1)
    intrinsics[:, 0, 0], intrinsics[:, 1, 1], intrinsics[:, 0, 2], intrinsics[:, 1, 2] = fx, fy, cx, cy
    camera_from_world = torch.eye(4, dtype=numbers.dtype).repeat(frames, 1, 1)
    camera_from_world[:, :3] = numbers[:, 6:].reshape(frames, 3, 4)
    return Cameras(world_from_camera=inverse_pose(camera_from_world), intrinsics=intrinsics).to(torch.float32)


def numbers_from_cameras(cameras: Cameras) -> Float[Tensor, "frame 18"]:
    """The 18 numbers a frame of the chunk layout; the inverse of `cameras_from_numbers`."""
    k = cameras.intrinsics.float()
    focal_and_center = torch.stack([k[:, 0, 0], k[:, 1, 1], k[:, 0, 2], k[:, 1, 2]], dim=-1)
    camera_from_world = inverse_pose(cameras.world_from_camera.double())[:, :3].reshape(-1, 12).float()
    return torch.cat([focal_and_center, torch.zeros(len(k), 2), camera_from_world], dim=-1)


def _entry_from_scene(scene: ChunkScene) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "key": scene.key,
        "url": scene.url,
        "timestamps": scene.timestamps.clone(),  # a view would drag its whole storage into the file
        "cameras": numbers_from_cameras(scene.cameras),
        "images": [torch.frombuffer(bytearray(image), dtype=torch.uint8) for image in scene.images],
        "size": torch.tensor(scene.image_size()),
    }
    if scene.depth is not None:
        entry["depth"] = scene.depth.float().clone()
    return entry
