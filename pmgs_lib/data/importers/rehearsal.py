"""Small data sets in the layouts that DL3DV and RealEstate10K are released in, made of scenes at hand.

With them a notebook or a test goes the whole way of an import before 700 GB are there. The inverse of the importers.
"""

import io
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from pmgs_lib.data.chunks import ChunkScene, decode_image, numbers_from_cameras
from pmgs_lib.data.files import replaced_atomically, write_json
from pmgs_lib.data.folders import ChunkFolder
from pmgs_lib.data.scenes.embedded import make_scenes
from pmgs_lib.errors import ParameterError
from pmgs_lib.geometry.pose import opengl_from_opencv

REHEARSED_FRAMES = 3
VIDEO_FACTOR = {"images_8": 8, "images_4": 4}  # the video's size over that of the pictures


def rehearse_dl3dv(folder: str | os.PathLike[str], seed: int) -> tuple[Path, Path]:
    """Four embedded scenes as DL3DV's folders, and an index file that names one of them a scene of the benchmark.

    One scene misses a picture. Returns the data set's folder and the index file; what is there already is written over.
    """
    names = ("1K/first", "1K/benchmark", "2K/second", "2K/broken")
    scenes = _embedded(Path(folder), seed, len(names), height=270, width=480)
    write_dl3dv(Path(folder) / "released", dict(zip(names, scenes, strict=True)))
    (Path(folder) / "released" / "2K" / "broken" / "images_8" / "frame_00003.png").unlink()
    write_json(Path(folder) / "benchmark.json", {"dl3dv_benchmark": None})
    return Path(folder) / "released", Path(folder) / "benchmark.json"


def rehearse_re10k(folder: str | os.PathLike[str], seed: int) -> Path:
    """Four embedded scenes as RealEstate10K's text files and frames, in the test split; one misses its frames."""
    scenes = _embedded(Path(folder), seed, 4, height=180, width=320)
    write_camera_texts(Path(folder) / "released", scenes, split="test")
    shutil.rmtree(Path(folder) / "released" / "test" / scenes[-1].key)
    return Path(folder) / "released"


def _embedded(folder: Path, seed: int, count: int, *, height: int, width: int) -> list[ChunkScene]:
    size = {"frames": REHEARSED_FRAMES, "height": height, "width": width}
    keys = make_scenes(seed, count=count, folder=folder / "embedded", overwrite=True, **size)
    stored = ChunkFolder(folder / "embedded", "test")
    return [stored.scene(key) for key in keys]


def write_dl3dv(
    root: str | os.PathLike[str],
    scenes: Mapping[str, ChunkScene],
    *,
    pictures: str = "images_8",
    nerfstudio: bool = False,
) -> None:
    """Write scenes as DL3DV's folders: `<name>/transforms.json` and `<name>/<pictures>/frame_00001.png ...`.

    scenes: by name, as `1K/<hash>` for training. nerfstudio: with the inner folder of the benchmark. Raises
    ParameterError for a folder of pictures that the data set does not have.
    """
    if pictures not in VIDEO_FACTOR:
        raise ParameterError(f"write_dl3dv: pictures {pictures!r}; expected one of {', '.join(VIDEO_FACTOR)}")
    for name, scene in scenes.items():
        place = Path(root) / name / "nerfstudio" if nerfstudio else Path(root) / name
        names = [f"frame_{number:05d}.png" for number in range(1, scene.frames + 1)]
        for file_name, image in zip(names, scene.images, strict=True):
            _write(place / pictures / file_name, _png(image))
        write_json(place / "transforms.json", _description(scene, names, VIDEO_FACTOR[pictures]))


def write_camera_texts(
    root: str | os.PathLike[str], scenes: Sequence[ChunkScene], *, split: str = "train", frames: str = ""
) -> None:
    """Write scenes as RealEstate10K and ACID: `<split>/<key>.txt`, and `<frames>/<split>/<key>/<timestamp>.jpg`."""
    for scene in scenes:
        numbers = numbers_from_cameras(scene.cameras).double()
        lines = [scene.url]
        for timestamp, row, image in zip(scene.timestamps.tolist(), numbers.tolist(), scene.images, strict=True):
            lines.append(" ".join([str(timestamp), *(f"{number:.9f}" for number in row)]))
            _write(Path(root) / frames / split / scene.key / f"{timestamp}.jpg", image)
        _write(Path(root) / split / f"{scene.key}.txt", ("\n".join(lines) + "\n").encode())


def _description(scene: ChunkScene, names: list[str], factor: int) -> dict:
    height, width = (side * factor for side in scene.image_size())
    k = scene.cameras.intrinsics[0].double()
    poses = opengl_from_opencv(scene.cameras.world_from_camera.double())
    return {
        "w": width,
        "h": height,
        "fl_x": k[0, 0].item() * width,
        "fl_y": k[1, 1].item() * height,
        "cx": k[0, 2].item() * width,
        "cy": k[1, 2].item() * height,
        "k1": 0.01, "k2": -0.005, "p1": 0.0, "p2": 0.0,
        "camera_model": "OPENCV",
        "frames": [
            {"file_path": f"images/{name}", "transform_matrix": pose.tolist()}
            for name, pose in zip(names, poses, strict=True)
        ],
    }  # fmt: skip


def _png(image: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(decode_image(image).numpy()).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    with replaced_atomically(path) as sibling:
        sibling.write_bytes(content)
