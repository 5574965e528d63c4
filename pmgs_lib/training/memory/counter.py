"""Counts the bytes that tensors hold, and what held them at the moment when they were most."""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from pmgs_lib.training.memory.scratch import scratch_bytes

BLOCK = 512  # torch's CUDA allocator hands out multiples of it
aten = torch.ops.aten


class MemoryCounter(TorchDispatchMode):
    """While it is entered, every new tensor storage is counted until nothing refers to it any more.

    Works on tensors that are computed as on fake ones, which have shapes but no numbers. Each storage belongs to the
    part of a step that made it (`part`). What a kernel needs only while it runs, outside of tensors that Python sees,
    is added at that moment as `scratch_bytes` states it.

    Where a program asks a fake tensor for its number, the answer is the one of a step without faults: True, 1, and
    False for "is any ...?".
    """

    def __init__(self) -> None:
        super().__init__()
        self.held: Counter[str] = Counter()
        self.at_peak: Counter[str] = Counter()
        self._parts: dict[int, str] = {}
        self._watched: dict[int, weakref.ref] = {}
        self._part = "other"
        self._rarely_true: WeakIdKeyDictionary = WeakIdKeyDictionary()

    @property
    def peak(self) -> int:
        """Most bytes held at one moment."""
        return self.at_peak.total()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """New storages belong to `name`."""
        before, self._part = self._part, name
        try:
            yield
        finally:
            self._part = before

    def forget_peak(self) -> None:
        """From now on the peak is that of what comes."""
        self.at_peak = +self.held

    def hold(self, tensor: Tensor, part: str | None = None) -> None:
        """Count a tensor's storage, once; `part` gives one that is counted already to another part."""
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._parts:
            if part is not None:
                size = _blocks(storage.nbytes())
                self.held[self._parts[key]] -= size
                self._parts[key] = part
                self.held[part] += size
            return
        size = _blocks(storage.nbytes())
        self._parts[key] = part or self._part
        self._watched[key] = weakref.ref(storage, self._releaser(key, size))
        self.held[self._parts[key]] += size
        self._look(0)

    def _releaser(self, key: int, size: int) -> Callable[[Any], None]:
        def release(_: Any) -> None:
            self.held[self._parts.pop(key)] -= size
            self._watched.pop(key, None)

        return release

    def _look(self, scratch: int) -> None:
        if self.held.total() + scratch > self.at_peak.total():
            self.at_peak = +self.held
            self.at_peak["scratch"] += scratch

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is aten._local_scalar_dense.default and _is_fake(args[0]):
            return self._answer(args[0])
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self.hold(tensor)
        scratch = scratch_bytes(func, args, result)
        if scratch:
            self._look(scratch)
        if func.overloadpacket is aten.any:
            self._rarely_true[result] = True
        return result

    def _answer(self, tensor: Tensor) -> bool | int | float:
        if tensor.dtype is torch.bool:
            return tensor not in self._rarely_true
        return 1.0 if tensor.dtype.is_floating_point else 1


def _is_fake(tensor: Tensor) -> bool:
    return isinstance(tensor, torch._subclasses.FakeTensor)


def _blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
