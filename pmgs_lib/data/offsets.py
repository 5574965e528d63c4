"""Where in a chunk file each picture and tensor lies, so that a few frames can be read without the rest.

A chunk is a zip archive whose entries are stored as they are: the bytes of a tensor are a piece of the file. The
pickle in it says which tensor is which. `torch.load(weights_only=True, map_location="meta")` reads that pickle alone
and notes on every storage where its bytes begin (torch's notes on serialization name the attribute, made for this).
"""

import bisect
import math
import sys
import zipfile
from itertools import chain
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from pmgs_lib.data.config import Config
from pmgs_lib.data.pieces import OpenFile

Position = Annotated[int, Field(ge=0)]
DTYPES = {
    str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.float64, torch.int64, torch.uint8)
}
SMALL_TENSORS = ("cameras", "timestamps", "size")
MOST_DIRECTORY_BYTES = 64 << 20  # a directory takes about 60 bytes a picture


class NoOffsets(Exception):  # noqa: N818 (a reason to read the chunk as a whole, not yet an error)
    """Why the pieces of a chunk cannot be read one by one."""


class StoredTensor(Config):
    """A contiguous tensor in the file: where it begins, and what it is."""

    offset: Position
    dtype: Literal["float32", "float64", "int64", "uint8"]
    shape: tuple[Position, ...]

    @property
    def end(self) -> int:
        return self.offset + math.prod(self.shape) * DTYPES[self.dtype].itemsize


class StoredScene(Config):
    """One scene of a chunk: its words, and where its tensors and the bytes of each picture lie."""

    key: str
    url: str
    cameras: StoredTensor
    timestamps: StoredTensor
    size: StoredTensor | None
    depth: StoredTensor | None
    image_offsets: tuple[Position, ...]
    image_bytes: tuple[Position, ...]


class Offsets(Config):
    """All scenes of a chunk file, in order, and how to tell that the file is still the one they were found in.

    directory: SHA-256 of the file from `directory_start` to its end. That is the directory of the archive, with name,
    place, length and CRC of every entry, so it changes with any content; a time of modification would also change when
    a file is copied, and be trusted where a file is replaced within the clock's tick.
    """

    version: Literal[1] = 1
    chunk_bytes: Position
    directory_start: Position
    directory: str
    scenes: tuple[StoredScene, ...]

    def fault(self, file: OpenFile) -> str | None:
        """Why these are no offsets of `file`, or None. Everything that will be read is checked to lie in the file."""
        if self.chunk_bytes != file.size or not 0 <= file.size - self.directory_start <= MOST_DIRECTORY_BYTES:
            return "the chunk has another size"
        if file.digest_from(self.directory_start) != self.directory:
            return "the chunk has another content"
        for scene in self.scenes:
            tensors = [tensor for tensor in (scene.cameras, scene.timestamps, scene.size, scene.depth) if tensor]
            ends = chain(
                (tensor.end for tensor in tensors),
                map(sum, zip(scene.image_offsets, scene.image_bytes, strict=False)),
            )
            if len(scene.image_offsets) != len(scene.image_bytes) or max(ends) > self.directory_start:
                return f"it leads scene {scene.key!r} out of the chunk"
        return None


def find_offsets(file: OpenFile) -> Offsets:
    """The offsets of a chunk, from its archive and pickle; no picture is read.

    Raises NoOffsets for a chunk of another layout: the old format of torch, compressed, of another byte order, with
    tensors that are no plain pieces of the file. Such a chunk can only be read as a whole, which also names its faults.
    """
    with file.stream() as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                start, entries = archive.start_dir, archive.infolist()
                _check_archive(archive, entries, file.size - start)
            stream.seek(0)
            content = torch.load(stream, weights_only=True, map_location="meta")
        except NoOffsets:
            raise
        except Exception as error:  # noqa: BLE001  damaged bytes make zipfile and the unpickler raise almost anything
            raise NoOffsets(f"its archive cannot be read ({type(error).__name__})") from None
    pieces = _Pieces(entries)
    if not isinstance(content, list) or not content or not all(isinstance(entry, dict) for entry in content):
        raise NoOffsets("it holds no list of scenes")
    found = Offsets(
        chunk_bytes=file.size,
        directory_start=start,
        directory=file.digest_from(start),
        scenes=tuple(_scene(entry, pieces) for entry in content),
    )
    fault = found.fault(file)
    if fault is not None:
        raise NoOffsets(fault)
    return found


def _check_archive(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], directory_bytes: int) -> None:
    if directory_bytes > MOST_DIRECTORY_BYTES:
        raise NoOffsets("its directory is too long")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise NoOffsets("its entries are compressed")
    for entry in entries:
        if entry.filename.endswith("/byteorder") and archive.read(entry) != sys.byteorder.encode():
            raise NoOffsets("it was written by a machine of another byte order")


class _Pieces:
    """The entries of an archive by their places, to hold what a pickle claims against them."""

    def __init__(self, entries: list[zipfile.ZipInfo]) -> None:
        self.entries = sorted(entries, key=lambda entry: entry.header_offset)
        self.starts = [entry.header_offset for entry in self.entries]

    def place(self, tensor: Any, what: str) -> StoredTensor:
        """Where a tensor on the meta device has its bytes."""
        plain = type(tensor) is Tensor and tensor.layout == torch.strided and tensor.is_contiguous()
        name = str(tensor.dtype).removeprefix("torch.") if plain else ""
        if name not in DTYPES:
            raise NoOffsets(f"{what} is no plain tensor of {', '.join(DTYPES)}")
        storage = tensor.untyped_storage()
        begin = storage._checkpoint_offset
        entry = self.entries[bisect.bisect_right(self.starts, begin) - 1] if isinstance(begin, int) else None
        if entry is None or entry.file_size != storage.nbytes():
            raise NoOffsets(f"{what} is no entry of the archive")
        offset = begin + tensor.storage_offset() * tensor.itemsize
        found = StoredTensor(offset=offset, dtype=name, shape=tuple(tensor.shape))
        if found.end > begin + storage.nbytes():
            raise NoOffsets(f"{what} is longer than its entry of the archive")
        return found


def _scene(entry: dict[str, Any], pieces: _Pieces) -> StoredScene:
    images, key, url = entry.get("images"), entry.get("key"), entry.get("url", "")
    if not _is_text(key) or not _is_text(url) or not isinstance(images, list):
        raise NoOffsets("a scene has no key, no list of pictures, or a key or url that is no text")
    placed = [pieces.place(image, "a picture") for image in images]
    if any(image.dtype != "uint8" or len(image.shape) != 1 for image in placed):
        raise NoOffsets("a picture is no flat uint8 tensor")
    tensors = {name: pieces.place(entry[name], name) for name in SMALL_TENSORS if entry.get(name) is not None}
    if not {"cameras", "timestamps"} <= tensors.keys():
        raise NoOffsets("a scene has no cameras or no timestamps")
    return StoredScene(
        key=key,
        url=url,
        cameras=tensors["cameras"],
        timestamps=tensors["timestamps"],
        size=tensors.get("size"),
        depth=None if entry.get("depth") is None else pieces.place(entry["depth"], "depth"),
        image_offsets=tuple(image.offset for image in placed),
        image_bytes=tuple(image.shape[0] for image in placed),
    )


def _is_text(value: Any) -> bool:
    """Whether a value is a string that a JSON file can hold; a pickle can hold halves of surrogate pairs."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)
