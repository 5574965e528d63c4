"""Whatever stands in a file from outside, reading it ends in a PmgsError or a sound result, soon and in little memory.

100,000 edited files in `make prove`, spread over the doors; a fixed sample of the same in `make test`.
"""

import contextlib
import importlib.util
import io
import json
import struct
import zlib
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from PIL import Image

from pmgs_lib.data import decode_image, open_dataset
from pmgs_lib.data.chunks import encode_jpeg, scene_from_entry, write_chunk
from pmgs_lib.data.folders import write_scenes
from pmgs_lib.data.importers.colmap import ColmapImporter
from pmgs_lib.data.importers.nerfstudio import NerfstudioImporter
from pmgs_lib.data.open_chunks import OpenChunk
from pmgs_lib.data.pictures import MOST_PIXELS, encoded_size
from pmgs_lib.data.protocol_indexes import read_index
from pmgs_lib.data.protocols import load_protocol, save_protocol
from pmgs_lib.data.sidecars import _digest, sidecar_path
from pmgs_lib.errors import DataError
from pmgs_lib.export.nerfstudio import write_nerfstudio


def _neighbour(name: str):
    specification = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


mutations, layouts = _neighbour("mutations"), _neighbour("layouts")
Door = mutations.Door
PROVEN, SAMPLE = 100_000, 40


@pytest.fixture
def made(tmp_path, plane_scene, plane_world, monkeypatch):
    """Doors by name. The cache folder is none, so that cases leave nothing behind."""
    (tmp_path / "no-folder").write_text("")
    monkeypatch.setenv("PMGS_CACHE", str(tmp_path / "no-folder"))
    return lambda name: DOORS[name](tmp_path, plane_scene, plane_world)


def _read_all(chunk: Path) -> None:
    opened = OpenChunk(chunk)
    for key in opened.keys:
        scene = scene_from_entry(opened.entry(key), f"chunk {chunk}")
        decode_image(scene.images[0], "picture")


def _chunk(folder, plane_scene, plane_world) -> Door:
    chunk = folder / "x.torch"
    write_chunk(chunk, [plane_scene("a", frames=2, height=8, width=8), plane_scene("b", 2, 8, 8, depth=False)])
    return Door((chunk,), lambda: _read_all(chunk))


def _chunk_alone(folder, plane_scene, plane_world) -> Door:
    door = _chunk(folder, plane_scene, plane_world)
    sidecar_path(door.files[0]).unlink()
    return door


def _sidecar(folder, plane_scene, plane_world) -> Door:
    chunk = _chunk(folder, plane_scene, plane_world).files[0]
    return Door((sidecar_path(chunk),), lambda: _read_all(chunk))


def _signed_sidecar(folder, plane_scene, plane_world) -> Door:
    chunk = _chunk(folder, plane_scene, plane_world).files[0]

    def sign(text: str) -> str:
        inner = text[text.index('"offsets": ') + len('"offsets": ') : -1] if '"offsets": ' in text else text
        plain = inner.replace(", ", ",").replace(": ", ":")
        return f'{{"sha256": "{_digest(plain)}", "offsets": {plain}}}'

    return Door((sidecar_path(chunk),), lambda: _read_all(chunk), as_json=True, sign=sign)


def _index(folder, plane_scene, plane_world) -> Door:
    write_scenes(folder / "data", "test", [plane_scene(key, 2, 8, 8) for key in "abc"], scenes_per_chunk=1)

    def read() -> None:
        dataset = open_dataset(folder / "data", near=1.0, far=9.0)
        assert all((folder / "data" / "test" / chunk).is_file() for chunk in dataset.folder.chunk_of_key.values())
        for key in dataset.keys:
            dataset.scene(key)

    return Door((folder / "data" / "test" / "index.json",), read, as_json=True)


def _index_bytes(folder, plane_scene, plane_world) -> Door:
    door = _index(folder, plane_scene, plane_world)
    return Door(door.files, door.read)


def _nerfstudio(folder, plane_scene, plane_world, as_json: bool = True) -> Door:
    moving_cameras, photograph = plane_world
    cameras = moving_cameras(3, 24, 32)
    description = write_nerfstudio(folder / "walk", photograph(cameras, 24, 32)[0], cameras)
    return Door((description,), lambda: NerfstudioImporter().read(folder / "walk"), as_json=as_json)


def _nerfstudio_bytes(folder, plane_scene, plane_world) -> Door:
    return _nerfstudio(folder, plane_scene, plane_world, as_json=False)


def _colmap(folder, plane_scene, plane_world, binary: bool = True) -> Door:
    moving_cameras, photograph = plane_world
    cameras = moving_cameras(3, 24, 32)
    (folder / "walk" / "images").mkdir(parents=True)
    for number, picture in enumerate(photograph(cameras, 24, 32)[0]):
        (folder / "walk" / "images" / f"{number + 1:04d}.jpg").write_bytes(encode_jpeg(picture))
    model = folder / "walk" / "sparse" / "0"
    points = torch.rand(20, 3, generator=torch.Generator().manual_seed(1)) + torch.tensor([0.0, 0.0, 3.5])
    layouts.write_colmap(model, cameras, ("PINHOLE", 32, 24, (28.8, 28.8, 16.0, 12.0)), points, binary=binary)
    return Door(tuple(sorted(model.iterdir())), lambda: ColmapImporter().read(folder / "walk"))


def _colmap_text(folder, plane_scene, plane_world) -> Door:
    return _colmap(folder, plane_scene, plane_world, binary=False)


def _protocol(folder, plane_scene, plane_world) -> Door:
    path = folder / "protocol.json"
    save_protocol(load_protocol("embedded-smoke"), path)
    return Door((path,), lambda: load_protocol(path), as_json=True)


def _published_index(folder, plane_scene, plane_world) -> Door:
    path = folder / "published.json"
    path.write_text(
        '{"a": {"context": [0, 9], "target": [2, 5, 9]}, "b": null, "c": {"context": [3, 8], "target": [4]}}'
    )
    return Door((path,), lambda: read_index(path), as_json=True)


def _picture(folder, content: bytes) -> Door:
    path = folder / "picture"
    path.write_bytes(content)

    def read() -> None:
        encoded_size(path.read_bytes())
        decode_image(path.read_bytes())

    return Door((path,), read)


def _jpeg(folder, plane_scene, plane_world) -> Door:
    return _picture(folder, plane_scene(frames=1).images[0])


def _png(folder, plane_scene, plane_world) -> Door:
    buffer = io.BytesIO()
    Image.fromarray(decode_image(plane_scene(frames=1).images[0]).numpy()).save(buffer, format="PNG")
    return _picture(folder, buffer.getvalue())


DOORS = {
    "chunk": _chunk,
    "chunk without sidecar": _chunk_alone,
    "sidecar": _sidecar,
    "signed sidecar": _signed_sidecar,
    "index": _index,
    "index bytes": _index_bytes,
    "transforms.json": _nerfstudio,
    "transforms.json bytes": _nerfstudio_bytes,
    "COLMAP binary": _colmap,
    "COLMAP text": _colmap_text,
    "protocol": _protocol,
    "published index": _published_index,
    "JPEG": _jpeg,
    "PNG": _png,
}


def _try(name: str, door, count: int) -> None:
    edits = mutations.json_edits if door.as_json else mutations.byte_edits

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(edits)
    def case(chosen) -> None:
        door.try_edits(chosen)

    with mutations.lifeline():
        case()
    assert door.cases >= count
    if name == "sidecar":
        assert door.refused == 0  # its chunk is whole, and is read without it
    elif name != "signed sidecar":
        assert door.refused > 0


@pytest.mark.filterwarnings("ignore")  # damaged bytes may make torch or Pillow warn before they give up
@pytest.mark.parametrize("name", DOORS)
def test_edited_files_end_in_one_clear_error_or_a_sound_result(made, name):
    _try(name, made(name), SAMPLE)


@pytest.mark.prove
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", DOORS)
def test_very_many_edited_files(made, name, record_property):
    door = made(name)
    _try(name, door, -(-PROVEN // len(DOORS)))
    for what in ("cases", "refused", "slowest_s", "most_bytes"):
        record_property(what, getattr(door, what))


# --- pictures that claim too much ---


def _claiming_jpeg(height: int, width: int) -> bytes:
    content = bytearray(encode_jpeg(torch.zeros(16, 16, 3, dtype=torch.uint8)))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def _claiming_png(height: int, width: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 64)
    pieces = [struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in (header, data, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


@pytest.mark.parametrize("make", [_claiming_jpeg, _claiming_png])
@pytest.mark.parametrize("size", [(20_000, 50_000), (7_100, 7_100), (65_000, 65_000)])
def test_a_picture_that_claims_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, make, size):
    """10^9 pixels, somewhat more than allowed, and more than Pillow itself accepts."""
    door = _picture(tmp_path, encode_jpeg(torch.zeros(8, 8, 3, dtype=torch.uint8)))
    door.files[0].write_bytes(make(*size))
    before = mutations._reset_peak()
    for read in (encoded_size, decode_image):
        with pytest.raises(DataError, match=f"claims .* pixels, {MOST_PIXELS} are allowed"):
            read(door.files[0].read_bytes())
    assert mutations._peak() - before < 32 << 20


def test_a_picture_just_within_the_limit_costs_less_than_the_bound(tmp_path):
    content = _claiming_jpeg(7_000, 7_100)
    before = mutations._reset_peak()
    assert encoded_size(content) == (7_000, 7_100)
    with contextlib.suppress(DataError):  # as the decoder's version has it: gray, or damaged
        decode_image(content)
    assert mutations._peak() - before < mutations.MOST_BYTES


def test_a_huge_picture_in_a_chunk_is_never_stored(tmp_path, plane_scene):
    scene = plane_scene("a", frames=2, depth=False)
    scene.images[1] = _claiming_jpeg(20_000, 50_000)
    with pytest.raises(DataError, match="frame 1: the picture claims"):
        write_chunk(tmp_path / "x.torch", [scene])


@pytest.mark.parametrize("entry", ["../b.torch", "/b.torch", "sub/b.torch", "..", "b.torch\0", "x" * 300 + ".torch"])
def test_an_index_leads_nowhere_but_into_its_folder(tmp_path, plane_scene, entry):
    write_scenes(tmp_path / "data", "test", [plane_scene("a", 2, 8, 8)])
    (tmp_path / "data" / "b.torch").write_bytes((tmp_path / "data" / "test" / "000000.torch").read_bytes())
    (tmp_path / "data" / "test" / "index.json").write_text(json.dumps({"a": entry}))
    with pytest.raises(DataError, match="expected an object of key -> chunk file name"):
        open_dataset(tmp_path / "data")


@pytest.mark.parametrize(
    "name", ["../a.jpg", "/a.jpg", ".", "", "a/../../b.jpg", "a\0b", "x" * 300, "y/" * 2000, "C:\\a"]
)
def test_a_picture_of_a_capture_lies_below_its_folder(tmp_path, plane_scene, plane_world, name):
    door = _nerfstudio(tmp_path, plane_scene, plane_world)
    content = json.loads(door.files[0].read_text())
    content["frames"][1]["file_path"] = name
    door.files[0].write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"lies outside|has no file_path"):
        door.read()


def test_a_chunk_that_is_a_link_out_of_the_folder_is_refused_and_a_linked_folder_is_not(tmp_path, plane_scene):
    write_scenes(tmp_path / "data", "test", [plane_scene("a", 2, 8, 8)])
    (tmp_path / "linked").symlink_to(tmp_path / "data")
    assert open_dataset(tmp_path / "linked").keys == ["a"]
    chunk = tmp_path / "data" / "test" / "000000.torch"
    chunk.rename(tmp_path / "elsewhere.torch")
    chunk.symlink_to(tmp_path / "elsewhere.torch")
    with pytest.raises(DataError, match=r"000000.torch is a link that leaves the folder"):
        open_dataset(tmp_path / "data")
