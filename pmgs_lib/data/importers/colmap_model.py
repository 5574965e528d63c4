"""COLMAP's sparse models, binary and text: cameras, images and points, read with suspicion.

Format: colmap.github.io/format.html. Binary numbers are little endian; a count is believed only if the bytes that it
needs are there, so nothing is allocated for a damaged file's claims.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from pmgs_lib.errors import DataError

MODELS = (  # name and number of parameters, at the index that binary files use
    ("SIMPLE_PINHOLE", 3), ("PINHOLE", 4), ("SIMPLE_RADIAL", 4), ("RADIAL", 5), ("OPENCV", 8), ("OPENCV_FISHEYE", 8),
    ("FULL_OPENCV", 12), ("FOV", 5), ("SIMPLE_RADIAL_FISHEYE", 4), ("RADIAL_FISHEYE", 5),
    ("THIN_PRISM_FISHEYE", 12), ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
)  # fmt: skip
PARAMETERS = dict(MODELS)
NAMES = ("cameras", "images", "points3D")
NO_POINT = -1  # for a feature that belongs to no point
LONGEST_NAME = 4096  # bytes
LARGEST_SIDE = 1 << 20  # pixels


class ColmapCamera(NamedTuple):
    """A camera: model, size in pixels, parameters in pixels (pixel centres at +0.5)."""

    model: str
    width: int
    height: int
    parameters: tuple[float, ...]


@dataclass(frozen=True)
class ColmapImage:
    """A registered picture: camera_from_world as quaternion (wxyz) and translation, and the points that it sees."""

    name: str
    camera: int
    quaternion: tuple[float, ...]
    translation: tuple[float, ...]
    points: Int64[np.ndarray, " feature"]


@dataclass(frozen=True)
class ColmapModel:
    """A sparse model; row i of `points` is the world position of point number `point_ids[i]`, which ascend."""

    cameras: dict[int, ColmapCamera]
    images: list[ColmapImage]
    point_ids: Int64[np.ndarray, " point"]
    points: Float64[np.ndarray, "point 3"]


def is_model(folder: Path) -> bool:
    """Whether cameras and images of a model stand in `folder`, in either form."""
    return any(all((folder / f"{name}.{form}").is_file() for name in NAMES[:2]) for form in ("bin", "txt"))


def model_files(folder: Path) -> tuple[Path, ...]:
    """The files of a model: binary where both forms are there, the points only if they are there."""
    form = "bin" if all((folder / f"{name}.bin").is_file() for name in NAMES[:2]) else "txt"
    files = tuple(folder / f"{name}.{form}" for name in NAMES)
    return files if files[2].is_file() else files[:2]


def read_model(folder: Path) -> ColmapModel:
    """The model in `folder`. DataError names the file, what is wrong with it and where."""
    cameras_file, images_file, *points_file = model_files(folder)
    if cameras_file.suffix == ".bin":
        cameras, images = _binary_cameras(cameras_file), _binary_images(images_file)
        points = _binary_points(points_file[0]) if points_file else []
    else:
        cameras, images = _text_cameras(cameras_file), _text_images(images_file)
        points = _text_points(points_file[0]) if points_file else []
    for image in images:
        if image.camera not in cameras:
            raise DataError(f"{images_file}: image {image.name} names camera {image.camera}, which is not in the model")
    ids = np.array([number for number, _ in points], dtype=np.int64)
    positions = np.array([position for _, position in points], dtype=np.float64).reshape(-1, 3)
    order = np.argsort(ids)
    return ColmapModel(cameras, images, ids[order], positions[order])


class _Bytes:
    """A binary file read from front to back; asking for more than it has is an error that names it."""

    def __init__(self, path: Path) -> None:
        self.path, self.place = path, 0
        try:
            self.content = path.read_bytes()
        except OSError as fault:
            raise DataError(f"{path}: cannot be read ({fault.strerror or fault}); check the path") from fault

    def fault(self, reason: str) -> DataError:
        return DataError(f"{self.path}: {reason} at byte {self.place}; it is cut off or damaged: export it again")

    def take(self, form: str) -> tuple:
        size = struct.calcsize("<" + form)
        if size > len(self.content) - self.place:
            raise self.fault("ends too early")
        values = struct.unpack_from("<" + form, self.content, self.place)
        self.place += size
        return values

    def count(self, bytes_each: int) -> int:
        """A count of entries of at least so many bytes, which must be there."""
        (count,) = self.take("Q")
        if count * bytes_each > len(self.content) - self.place:
            raise self.fault(f"claims {count} entries, more than the file holds,")
        return count

    def text(self) -> str:
        end = self.content.find(b"\0", self.place, self.place + LONGEST_NAME)
        if end < 0:
            raise self.fault("has a name without an end")
        raw, self.place = self.content[self.place : end], end + 1
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.fault(f"has a name that is no text ({raw[:40]!r})") from None

    def end(self) -> None:
        if self.place != len(self.content):
            raise self.fault(f"has {len(self.content) - self.place} bytes too many")


def _binary_cameras(path: Path) -> dict[int, ColmapCamera]:
    file = _Bytes(path)
    cameras = {}
    for _ in range(file.count(24 + 8 * 3)):
        number, model, width, height = file.take("IiQQ")
        if not 0 <= model < len(MODELS):
            raise file.fault(f"has camera model number {model}, of which nothing is known,")
        name, parameters = MODELS[model]
        cameras[number] = _checked(ColmapCamera(name, width, height, file.take(f"{parameters}d")), f"{path}")
    file.end()
    return cameras


def _binary_images(path: Path) -> list[ColmapImage]:
    file = _Bytes(path)
    images = []
    feature = np.dtype([("place", "<f8", 2), ("point", "<i8")])
    for _ in range(file.count(64 + 1 + 8)):
        _, *pose, camera = file.take("I7dI")
        name = file.text()
        features = file.count(feature.itemsize)
        seen = np.frombuffer(file.content, feature, features, file.place)["point"].astype(np.int64)
        file.place += features * feature.itemsize
        images.append(ColmapImage(name, camera, tuple(pose[:4]), tuple(pose[4:]), seen[seen != NO_POINT]))
    file.end()
    return images


def _binary_points(path: Path) -> list[tuple[int, tuple[float, ...]]]:
    file = _Bytes(path)
    points = []
    for _ in range(file.count(43 + 8)):
        number, *position = file.take("q3d3Bd")[:4]
        seen_by = file.count(8)
        file.place += 8 * seen_by  # by whom: the images say that, too
        points.append((number, tuple(position)))
    file.end()
    return points


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Where a line stands, and its words; comments are passed over, empty lines are not (they may be features)."""
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as fault:
        raise DataError(f"{path}: cannot be read ({fault.strerror or fault}); check the path") from fault
    except UnicodeDecodeError as fault:
        raise DataError(f"{path}: is no text ({fault.reason}); export the model again") from None
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.startswith("#"):
            yield f"{path}, line {number}", line.split()


def _text_cameras(path: Path) -> dict[int, ColmapCamera]:
    cameras = {}
    for where, words in _lines(path):
        if words:
            number, width, height = (_whole(words, place, where) for place in (0, 2, 3))
            camera = ColmapCamera(words[1], width, height, _numbers(words[4:], where))
            cameras[number] = _checked(camera, where)
    return cameras


def _text_images(path: Path) -> list[ColmapImage]:
    images = []
    lines = _lines(path)
    for where, words in lines:
        if not words:
            continue
        if len(words) < 10:
            raise DataError(f"{where}: {len(words)} words, expected a number, a pose, a camera and a name")
        _, features = next(lines, (where, []))
        if len(features) % 3:
            raise DataError(f"{where}: the features of {words[9]} are no triples; export the model again")
        seen = np.array([_whole(features, place, where) for place in range(2, len(features), 3)], dtype=np.int64)
        pose = _numbers(words[1:8], where)
        name = " ".join(words[9:])
        images.append(ColmapImage(name, _whole(words, 8, where), pose[:4], pose[4:], seen[seen != NO_POINT]))
    return images


def _text_points(path: Path) -> list[tuple[int, tuple[float, ...]]]:
    points = []
    for where, words in _lines(path):
        if words:
            position = _numbers(words[1:4], where)
            if len(position) != 3:
                raise DataError(f"{where}: {len(words)} words, expected a point; export the model again")
            points.append((_whole(words, 0, where), position))
    return points


def _checked(camera: ColmapCamera, where: str) -> ColmapCamera:
    if PARAMETERS.get(camera.model) != len(camera.parameters):
        known = ", ".join(PARAMETERS)
        raise DataError(
            f"{where}: camera model {camera.model[:40]!r} with {len(camera.parameters)} parameters; known: {known}"
        )
    if not (0 < camera.width <= LARGEST_SIDE and 0 < camera.height <= LARGEST_SIDE):
        raise DataError(f"{where}: a camera of {camera.width}x{camera.height} pixels; export the model again")
    return camera


def _whole(words: list[str], place: int, where: str) -> int:
    try:
        value = int(words[place])
    except (ValueError, IndexError):
        found = words[place][:40] if place < len(words) else "the end of the line"
        raise DataError(f"{where}: {found!r} where a whole number is expected; export the model again") from None
    if not -(1 << 62) < value < 1 << 62:
        raise DataError(f"{where}: the number {words[place][:40]} is too large to be one; export the model again")
    return value


def _numbers(words: list[str], where: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in words)
    except ValueError as fault:
        raise DataError(f"{where}: {str(fault)[:80]}; export the model again") from None
