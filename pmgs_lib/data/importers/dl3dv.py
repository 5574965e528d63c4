"""DL3DV-10K as released: folders of frames with a `transforms.json`, at 480P, 960P, and as the benchmark.

`<subset>/<hash>/transforms.json` with `images_8` (270x480) or `images_4` (540x960) beside it for training,
`<hash>/nerfstudio/...` for the 140 scenes of the benchmark. Poses are camera-to-world with OpenGL axes; intrinsics are
those of the full-size video. What published numbers rest on is kept (cvg/depthsplat, src/scripts/convert_dl3dv_*.py):
frames in the order of the file, pictures to the byte, lens distortion ignored, training keys prefixed with `dl3dv_`,
scenes of the benchmark not trained on, scenes of another picture size or with a missing picture left out.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from pmgs_lib.data.downloads import RemoteFile
from pmgs_lib.data.files import read_json
from pmgs_lib.data.importers.base import Capture, CaptureFrame
from pmgs_lib.data.importers.collection import CollectionImporter, Listing
from pmgs_lib.data.importers.nerfstudio import FILE_NAME, frame_from_entry, read_description
from pmgs_lib.data.manifests import CollectionOptions
from pmgs_lib.data.protocol_indexes import index_path
from pmgs_lib.data.published_protocols import DEPTHSPLAT, INDEX_DIGESTS
from pmgs_lib.errors import DataError

PREFIX = "dl3dv_"
SIZES = {"images_8": (270, 480), "images_4": (540, 960)}  # height and width
BENCHMARK_FOLDER = "nerfstudio"
NO_SCENES = ("gaussian_splat", *SIZES, "images", "images_2")  # the benchmark has its pictures a second time
DEEPEST = 3  # <subset>/<hash>/<hash>, as the authors' download script unpacks
BENCHMARK_INDEX = "dl3dv_start_0_distance_50_ctx_2v_video_0_50.json"  # lists all 140 scenes


class Dl3dvOptions(CollectionOptions):
    """pictures: folder of frames; "auto": the one that a scene has, `images_8` before `images_4`.

    lens: keep its distortion, as published numbers do, or undo it, which gives each scene a picture size of its own.
    exclude: an index file (JSON, keys with or without prefix) of scenes not to train on; None: that of the benchmark,
    fetched and verified, or from the folder that PMGS_INDEXES names.
    """

    pictures: Literal["auto", "images_8", "images_4"] = "auto"
    lens: Literal["kept", "undone"] = "kept"
    exclude: str | None = None


class Dl3dvImporter(CollectionImporter):
    """The folder of the data set, of one of its subsets, or of the benchmark."""

    kind = "dl3dv"
    options: ClassVar[type[CollectionOptions]] = Dl3dvOptions
    scenes_per_chunk = 2

    def detect(self, source: Path) -> bool:
        return source.is_dir() and not _is_scene(source) and any(_has_pictures(place) for place in _scenes(source))

    def split(self, source: Path) -> str:
        return "test" if any(place.name == BENCHMARK_FOLDER for place in _scenes(source)) else "train"

    def listing(self, source: Path, split: str, options: Dl3dvOptions) -> Listing:
        excluded, index = _excluded(options) if split == "train" else (frozenset(), None)
        scenes: dict[str, Path] = {}
        left_out = {}
        for place in sorted(_scenes(source)):
            name = place.parent.name if place.name == BENCHMARK_FOLDER else place.name
            key = PREFIX + name if split == "train" else name
            if key in scenes:
                raise DataError(f"{source}: scene {name} lies in {scenes[key]} and in {place}; remove one of the two")
            if name in excluded:
                left_out[key] = f"kept for evaluation: listed in {index}"
            else:
                scenes[key] = place
        notes = {"excluded_by": index, "excluded_keys": len(excluded), "excluded_here": len(left_out)}
        return Listing(scenes, left_out, notes | {"lens": options.lens})

    def read(self, key: str, place: Path, options: Dl3dvOptions) -> Capture:
        content, entries = read_description(place / FILE_NAME)
        where = f"scene {place}"
        pictures = place / _pictures(place, options)
        frames, left_out = [], {}
        for name, entry in entries:
            path = pictures / PurePosixPath(name).name
            if path.is_file():
                frames.append(_frame(path, {**content, **entry}, options, where))
            else:
                left_out[f"{pictures.name}/{path.name}"] = "the file is missing"
        _check_sizes(frames, SIZES[pictures.name], where)
        return Capture("dl3dv", place / FILE_NAME, len(entries), frames, left_out, url=place.parent.name)


def _frame(path: Path, values: Mapping[str, Any], options: Dl3dvOptions, where: str) -> CaptureFrame:
    lens = {} if options.lens == "undone" else dict.fromkeys(("k1", "k2", "p1", "p2", "k3"), 0.0)
    return frame_from_entry(path.name, path, {**values, **lens}, where, scaled=True, timestamp=_number_of(path, where))


def _number_of(path: Path, where: str) -> int:
    """The frame's number, `frame_00012.png`: the released conversion keeps it as the time."""
    number = path.stem.rpartition("_")[2]
    if not number.isdecimal():
        raise DataError(f"{where}: picture {path.name} has no number at its end, expected frame_00001; name it so")
    return int(number)


def _check_sizes(frames: list[CaptureFrame], expected: tuple[int, int], where: str) -> None:
    for frame in frames:
        size = frame.photograph.height, frame.photograph.width
        if size != expected:
            raise DataError(f"{where}: {frame.name} is {size[0]}x{size[1]}, the released sets have {expected}")


def _pictures(place: Path, options: Dl3dvOptions) -> str:
    if options.pictures != "auto":
        return options.pictures
    found = [name for name in SIZES if (place / name).is_dir()]
    if not found:
        raise DataError(f"scene {place}: has neither {' nor '.join(SIZES)}; unpack its pictures")
    return found[0]


def _excluded(options: Dl3dvOptions) -> tuple[frozenset[str], str]:
    """Names of the scenes that are not trained on, and the file that says so."""
    path = Path(options.exclude) if options.exclude else index_path(_benchmark_index())
    content = read_json(path, what="index of scenes to exclude")
    names = list(content) if isinstance(content, dict | list) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise DataError(f"index of scenes to exclude {path}: expected an object or list of keys; fetch it again")
    return frozenset(name.removeprefix(PREFIX) for name in names), path.name


def _benchmark_index() -> RemoteFile:
    address = f"{DEPTHSPLAT}/{BENCHMARK_INDEX}"
    return RemoteFile(name=BENCHMARK_INDEX, address=address, sha256=INDEX_DIGESTS[address])


def _scenes(folder: Path, depth: int = DEEPEST) -> Iterator[Path]:
    """Folders of scenes below `folder`."""
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        if place.name in NO_SCENES or place.name.startswith("."):
            continue
        if _is_scene(place):
            yield place
        elif depth > 1:
            yield from _scenes(place, depth - 1)


def _is_scene(place: Path) -> bool:
    return (place / FILE_NAME).is_file() or _has_pictures(place)


def _has_pictures(place: Path) -> bool:
    return any((place / name).is_dir() for name in SIZES)
