"""Pieces of an open file, read when they are asked for: bytes at a place, pictures of a scene, mapped tensors."""

import hashlib
import io
import mmap
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pmgs_lib.errors import DataError

MAPPED_FROM_BYTES = 1 << 20
HEADER_BYTES = 1024  # 623 in a JPEG without a preview or a camera's notes


class OpenFile:
    """A file opened for reading at any place, by any number of processes. Goes on with the old content if replaced."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.descriptor)
        self.size = os.fstat(self.descriptor).st_size

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`. Raises DataError when the file ends before."""
        try:
            content = os.pread(self.descriptor, count, offset)
        except OSError as error:
            raise DataError(
                f"chunk {self.path}: cannot be read ({error.strerror or error}); check the disk and the mount"
            ) from error
        if len(content) != count:
            raise DataError(f"chunk {self.path}: was cut while it was open; write or download it again")
        return content

    def tensor(self, offset: int, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
        """The tensor whose bytes begin at `offset`, mapped when it is large: then each page is read when touched.

        Writing to it changes no file.
        """
        count = torch.Size(shape).numel()
        if count == 0:
            return torch.empty(tuple(shape), dtype=dtype)
        if count * dtype.itemsize < MAPPED_FROM_BYTES:
            return torch.frombuffer(bytearray(self.read(offset, count * dtype.itemsize)), dtype=dtype).reshape(
                tuple(shape)
            )
        begin = offset - offset % mmap.ALLOCATIONGRANULARITY
        end = offset + count * dtype.itemsize
        try:
            pages = mmap.mmap(self.descriptor, end - begin, access=mmap.ACCESS_COPY, offset=begin)
        except (OSError, ValueError) as error:
            raise DataError(f"chunk {self.path}: cannot be mapped ({error}); write or download it again") from error
        return torch.frombuffer(pages, dtype=dtype, count=count, offset=offset - begin).reshape(tuple(shape))

    def digest_from(self, offset: int) -> str:
        """SHA-256 of the content from `offset` to the end."""
        return hashlib.sha256(self.read(offset, self.size - offset)).hexdigest()

    def stream(self) -> io.BufferedReader:
        """The content as a stream, to be closed by the caller. One at a time: its place is the descriptor's own."""
        return os.fdopen(os.dup(self.descriptor), "rb")


class StoredImages(Sequence[bytes]):
    """The encoded pictures of a scene: as a list of bytes, but each is read from the file when it is asked for."""

    def __init__(self, file: OpenFile, offsets: Sequence[int], byte_counts: Sequence[int]) -> None:
        self._file, self._offsets, self._byte_counts = file, offsets, byte_counts

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return self._file.read(self._offsets[index], self._byte_counts[index])

    def beginning(self, index: int) -> bytes:
        """The first bytes of a picture, where its header mostly ends."""
        return self._file.read(self._offsets[index], min(self._byte_counts[index], HEADER_BYTES))

    def __iter__(self) -> Iterator[bytes]:
        return (self[number] for number in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(bytes.__eq__, self, other))

    __hash__ = None  # as a list has none

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return list, (list(self),)  # an open file is of no use in another process
