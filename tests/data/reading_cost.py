"""Run as a script, outside the shape checker: what it takes to read six frames of a scene in a large chunk.

    python reading_cost.py write ROOT MEGABYTES        one chunk of so many pictures of 270x480 in scenes of 100 frames
    python reading_cost.py time ROOT                   seconds, ours and by unpickling, on one core
    python reading_cost.py memory ROOT WORKERS         growth of a process that reads at random; bytes of its workers

Results are one line of JSON.
"""

import io
import json
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from pmgs_lib.cameras import Cameras
from pmgs_lib.data import decode_image, open_dataset
from pmgs_lib.data.chunks import ChunkScene, encode_jpeg
from pmgs_lib.data.folders import ChunkFolder, write_scenes

FRAMES, HEIGHT, WIDTH = 100, 270, 480
ASKED = (3, 17, 40, 55, 71, 98)


def picture(draw: np.random.Generator) -> bytes:
    """Clouds and some grain: about 65 KB, as sharp photographs of that size take."""
    coarse = Image.fromarray(draw.integers(0, 256, (34, 60, 3), dtype=np.uint8)).resize((WIDTH, HEIGHT), 3)
    grain = np.asarray(coarse) + draw.normal(0, 12, (HEIGHT, WIDTH, 3))
    return encode_jpeg(torch.from_numpy(grain.clip(0, 255).astype(np.uint8)), 80)


def write(root: str, megabytes: int) -> dict:
    draw = np.random.default_rng(0)
    pictures = [picture(draw) for _ in range(16)]
    count = -(-megabytes * 10**6 // (FRAMES * len(pictures[0])))
    k = torch.tensor([[0.8, 0, 0.5], [0, 1.4, 0.5], [0, 0, 1]]).repeat(FRAMES, 1, 1)
    cameras = Cameras(torch.eye(4).repeat(FRAMES, 1, 1), k)

    def scenes():
        for number in range(count):
            images = [pictures[(number * 7 + frame) % len(pictures)] for frame in range(FRAMES)]
            yield ChunkScene(f"s{number}", cameras, images, torch.arange(FRAMES))

    write_scenes(root, "train", scenes(), scenes_per_chunk=count)
    return {"bytes": chunk(root).stat().st_size, "scenes": count}


def chunk(root: str) -> Path:
    return Path(root) / "train" / "000000.torch"


def unpickled(root: str, key: str, mmap: bool) -> list[np.ndarray]:
    entries = torch.load(chunk(root), weights_only=True, mmap=mmap)
    images = next(entry["images"] for entry in entries if entry["key"] == key)
    return [np.array(Image.open(io.BytesIO(images[frame].numpy().tobytes())).convert("RGB")) for frame in ASKED]


def by_offsets(folder: ChunkFolder, key: str) -> list[np.ndarray]:
    scene = folder.scene(key)
    return [decode_image(scene.images[frame]).numpy() for frame in ASKED]


def timed(call) -> tuple[float, list[np.ndarray]]:
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def measure_time(root: str) -> dict:
    """Seconds an example. "fresh" opens folder and chunk anew each time; "open" is a worker that goes on."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    kept = ChunkFolder(root, "train")
    draw = np.random.default_rng(1)
    ways = {
        "unpickled": lambda key: unpickled(root, key, False),
        "unpickled_mapped": lambda key: unpickled(root, key, True),
        "fresh": lambda key: by_offsets(ChunkFolder(root, "train"), key),
        "open": lambda key: by_offsets(kept, key),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(9):
        key = kept.keys[draw.integers(len(kept.keys))]
        results = {name: timed(lambda way=way: way(key)) for name, way in ways.items()}  # noqa: B023
        for name, (taken, pixels) in results.items():
            seconds[name].append(taken)
            assert all(map(np.array_equal, pixels, results["unpickled"][1])), f"{name}: other pixels"
    found = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    return found | {
        "ratio_fresh": found["unpickled"] / found["fresh"],
        "ratio_open": found["unpickled"] / found["open"],
        "openings": dict(kept.openings),
    }


class Reading(Dataset):
    """Examples at random; each gives the memory that its process alone has then (USS), in bytes."""

    def __init__(self, root: str, length: int) -> None:
        self.dataset, self.length = open_dataset(root, "train", near=1.0, far=100.0), length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        key = self.dataset.keys[np.random.default_rng(index).integers(len(self.dataset))]
        self.dataset.example(key, ASKED[:2], ASKED[2:], 256, 448)
        return psutil.Process().memory_full_info().uss if index % 20 == 19 else 0


def measure_memory(root: str, workers: int) -> dict:
    """How much one process grows by reading 200 examples, at its peak; and what forked workers have for themselves."""
    torch.set_num_threads(1)
    reading = Reading(root, 200)
    workers_bytes = max(DataLoader(reading, batch_size=None, num_workers=workers)) if workers else 0
    Path("/proc/self/clear_refs").write_text("5")
    before = psutil.Process().memory_info().rss
    for index in range(len(reading)):
        reading[index]
    peak = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return {
        "grown": (peak << 10) - before,
        "before": before,
        "workers": int(workers_bytes),
        "openings": dict(reading.dataset.folder.openings),
    }


if __name__ == "__main__":
    verb, root, *rest = sys.argv[1:]
    verbs = {"write": write, "time": measure_time, "memory": measure_memory}
    sys.stdout.write(json.dumps(verbs[verb](root, *map(int, rest))) + "\n")
