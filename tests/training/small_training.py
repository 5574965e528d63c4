"""A training small enough to be done again and again: scenes, a protocol of their size, a model of one block."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from pmgs_lib.data import load_protocol, make_scenes
from pmgs_lib.data.protocols import Protocol, save_protocol
from pmgs_lib.models import named_config
from pmgs_lib.training import TrainingRun

HEIGHT, WIDTH = 32, 48
MODEL = named_config("depthsplat-tiny").model_dump(mode="json") | {"transformer_blocks": 1, "candidates": 16}


@contextmanager
def small_place(folder: Path) -> Iterator[Path]:
    """`make_place`, with one thread for torch: two that share busy cores with others wait most of the time."""
    threads = torch.get_num_threads()
    place = make_place(folder)  # with kernels of numba, which set torch's threads
    torch.set_num_threads(1)
    yield place
    torch.set_num_threads(threads)


def make_place(folder: Path) -> Path:
    """Three scenes to train on, one to validate on, and a protocol."""
    size = {"frames": 12, "height": HEIGHT, "width": WIDTH}
    make_scenes(1, count=3, folder=folder / "scenes", split="train", **size)
    keys = make_scenes(2, count=1, folder=folder / "scenes", split="test", **size)
    content = load_protocol("embedded-smoke").model_dump()
    views = {"context": (3, 8), "inside": (5,), "outside": (2,)}
    changes = {"name": "small", "keys": keys, "views": views, "test": None, "height": HEIGHT, "width": WIDTH}
    counts = {"expected": {"scenes": 1, "inside": 1, "outside": 1}}
    save_protocol(Protocol.model_validate(content | changes | counts), folder / "small.json")
    return folder


def small_run(place: Path, training: dict | None = None, **changes) -> TrainingRun:
    """Eight steps, with a state after each second one."""
    settings = {"steps": 8, "batch_size": 1, "optimizer": {"learning_rate": 1e-3}, **(training or {})}
    fields = {
        "model": MODEL,
        "scenes": str(place / "scenes"),
        "protocol": str(place / "small.json"),
        "training": settings,
        "save_every": 2,
        "loggers": (),
        "accelerator": "cpu",
        **changes,
    }
    return TrainingRun.model_validate(fields)


def differences(first, second, where: str = "state") -> list[str]:
    """Where two nests of dicts, lists, tensors and plain values are not the same to the bit."""
    if type(first) is not type(second):
        return [f"{where}: {type(first).__name__} and {type(second).__name__}"]
    if isinstance(first, dict):
        if list(first) != list(second):
            return [f"{where}: keys"]
        return [text for key in first for text in differences(first[key], second[key], f"{where}.{key}")]
    if isinstance(first, list | tuple):
        if len(first) != len(second):
            return [f"{where}: lengths"]
        pairs = enumerate(zip(first, second, strict=True))
        return [text for place, pair in pairs for text in differences(*pair, f"{where}.{place}")]
    if isinstance(first, torch.Tensor):
        same = first.dtype == second.dtype and torch.equal(first, second)
        return [] if same else [f"{where}: values"]
    return [] if first == second or (first != first and second != second) else [f"{where}: {first} and {second}"]
