"""RealEstate10K and ACID from camera text files and frames.

A text file a scene, `<split>/<key>.txt`: the video's address, then a line a frame with 19 numbers: timestamp in
microseconds, fx fy cx cy (normalised by width and height), 0 0, and the 3x4 camera_from_world matrix by rows (OpenCV
axes). Frames: `<split>/<key>/<timestamp>.jpg` or `.png`. Sources: google.github.io/realestate10k,
infinite-nature.github.io; frames as dcharatan/real_estate_10k_tools expects them.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import torch

from pmgs_lib.data.chunks import encoded_size
from pmgs_lib.data.importers.base import Capture, CaptureFrame, check_camera, check_sizes
from pmgs_lib.data.importers.collection import CollectionImporter, Listing
from pmgs_lib.data.lenses import Photograph
from pmgs_lib.data.manifests import CollectionOptions
from pmgs_lib.errors import DataError
from pmgs_lib.geometry.pose import inverse_pose

NUMBERS = 19  # a line
SUFFIXES = (".jpg", ".png", ".jpeg")
LARGEST_TEXT = 64 << 20  # bytes; a scene of an hour has 30


class FramesOptions(CollectionOptions):
    """frames: folder of the frames, with the splits or the scenes in it; None: beside the text files."""

    frames: str | None = None


class Re10kImporter(CollectionImporter):
    """A folder of text files, or one that holds a folder of them for each split."""

    kind = "re10k"
    options: ClassVar[type[CollectionOptions]] = FramesOptions
    scenes_per_chunk = 20

    def detect(self, source: Path) -> bool:
        return source.is_dir() and any(_looks_like_cameras(path) for path in _first_texts(source))

    def split(self, source: Path) -> str:
        found = [name for name in ("train", "test") if source.name == name or any((source / name).glob("*.txt"))]
        if len(found) != 1:
            raise DataError(
                f"{source}: has text files for {' and '.join(found) or 'no split'}; say which split to import"
            )
        return found[0]

    def listing(self, source: Path, split: str, options: FramesOptions) -> Listing:
        texts = {path.stem: path for path in _texts(source, split)}
        frames = Path(options.frames) if options.frames else source
        base = frames / split if (frames / split).is_dir() else frames
        if not base.is_dir():
            raise DataError(f"{source}: frames {frames} is no folder; name the folder that holds the frames")
        pictured = {path.name for path in base.iterdir() if path.is_dir()}
        left_out = dict.fromkeys(sorted(texts.keys() - pictured), "no frames: no folder of that name")
        notes = {"frames": str(frames), "frames_without_cameras": len(pictured - texts.keys() - {"train", "test"})}
        scenes = {key: texts[key] for key in sorted(texts.keys() & pictured)}
        return Listing(scenes, left_out, notes)

    def read(self, key: str, place: Path, options: FramesOptions) -> Capture:
        url, lines = _lines(place)
        frames_folder = _frames_of(key, place, options)
        frames, left_out = [], {}
        for number, line in lines:
            where = f"{place}, line {number}"
            timestamp, numbers = _numbers(line, where)
            picture = next((p for s in SUFFIXES if (p := frames_folder / f"{timestamp}{s}").is_file()), None)
            if picture is None:
                left_out[f"{timestamp}.jpg"] = "the file is missing"
            else:
                frames.append(_frame(timestamp, picture, numbers, where))
        check_sizes(frames, str(place))
        return Capture(self.kind, place, len(lines), frames, left_out, url=url)


class AcidImporter(Re10kImporter):
    """The same layout, of aerial videos; nothing in the files tells them apart, so it must be asked for by name."""

    kind = "acid"

    def detect(self, source: Path) -> bool:
        return False


def _texts(source: Path, split: str) -> list[Path]:
    folder = source / split if (source / split).is_dir() else source
    found = sorted(folder.glob("*.txt"))
    if not found:
        raise DataError(f"{source}: no camera text files for the {split} split (<key>.txt); check the path")
    return found


def _first_texts(source: Path) -> Iterator[Path]:
    for folder in (source, source / "train", source / "test"):
        yield from sorted(folder.glob("*.txt"))[:1]


def _looks_like_cameras(path: Path) -> bool:
    with path.open("rb") as content:
        content.readline(4096)
        return len(content.readline(4096).split()) == NUMBERS


def _frames_of(key: str, place: Path, options: FramesOptions) -> Path:
    """The folder of a scene's frames: `<frames>/<split>/<key>` or `<frames>/<key>`."""
    if options.frames is None:
        return place.with_suffix("")
    split = options.split or place.parent.name
    inner = Path(options.frames) / split / key
    return inner if inner.is_dir() else Path(options.frames) / key


def _lines(path: Path) -> tuple[str, list[tuple[int, str]]]:
    """The address in the first line, and the other lines that are not empty, with their numbers."""
    if path.stat().st_size > LARGEST_TEXT:
        raise DataError(f"{path}: {path.stat().st_size:,} bytes, too many for the cameras of a scene; check the file")
    try:
        url, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    except UnicodeDecodeError as fault:
        raise DataError(f"{path}: is no text ({fault.reason}); fetch the camera files again") from None
    numbered = [(number, line) for number, line in enumerate(lines, start=2) if line.strip()]
    if not numbered:
        raise DataError(f"{path}: lists no frames; fetch the camera files again")
    return url.strip(), numbered


def _numbers(line: str, where: str) -> tuple[int, list[float]]:
    words = line.split()
    try:
        timestamp, numbers = int(words[0]), [float(word) for word in words[1:]]
    except ValueError as fault:
        raise DataError(f"{where}: {fault}; fetch the camera files again") from None
    if len(words) != NUMBERS or not all(map(math.isfinite, numbers)) or not 0 <= timestamp < 1 << 62:
        raise DataError(f"{where}: {len(words)} numbers, expected a timestamp and {NUMBERS - 1} finite ones")
    return timestamp, numbers


def _frame(timestamp: int, path: Path, numbers: list[float], where: str) -> CaptureFrame:
    height, width = encoded_size(path.read_bytes(), f"{where}, picture {path}")
    fx, fy, cx, cy = numbers[:4]
    photograph = Photograph(height, width, fx * width, fy * height, cx * width, cy * height)
    camera_from_world = torch.eye(4, dtype=torch.float64)
    camera_from_world[:3] = torch.tensor(numbers[6:], dtype=torch.float64).reshape(3, 4)
    world_from_camera = inverse_pose(camera_from_world)
    check_camera(world_from_camera, photograph, where)
    return CaptureFrame(path.name, path, world_from_camera, photograph, timestamp)
