"""The data verbs as the command line calls them; arguments and options are read off the signatures."""

from typing import Literal

from pmgs_lib.data.importers import import_capture
from pmgs_lib.data.inspection import inspect_scene
from pmgs_lib.data.scenes.embedded import make_scenes


def scenes(
    output: str,
    /,
    *,
    seed: int = 20001,
    count: int = 6,
    split: Literal["train", "test"] = "test",
    frames: int = 20,
    height: int = 256,
    width: int = 448,
    overwrite: bool = False,
) -> str:
    """Make embedded scenes as chunk files under the folder OUTPUT: scene i follows from the seed and i alone."""
    size = {"frames": frames, "height": height, "width": width}
    keys = make_scenes(seed, count=count, folder=output, split=split, overwrite=overwrite, **size)
    return f"{output}/{split}: {len(keys)} scenes of {frames} frames, {keys[0]} to {keys[-1]}"


def import_(
    source: str,
    /,
    *,
    output: str = "datasets/captures",
    key: str | None = None,
    split: Literal["train", "test"] = "test",
    scale: Literal["none", "spacing", "span"] = "none",
    overwrite: bool = False,
) -> str:
    """Turn the capture in SOURCE (transforms.json and pictures) into a scene: lens undone, cameras converted."""
    manifest = import_capture(source, output, key=key, split=split, scale=scale, overwrite=overwrite)
    left_out = [f"  left out {frame}: {reason}" for frame, reason in manifest.left_out.items()]
    head = (
        f"{output}/{split}: scene {manifest.key}, {manifest.listed} photographs listed = {manifest.imported} imported"
    )
    return "\n".join([f"{head} + {len(manifest.left_out)} left out; {manifest.hint}", *left_out])


def inspect(root: str, key: str, /) -> str:
    """Look at scene KEY of the dataset at ROOT before spending time on it."""
    return str(inspect_scene(root, key))
