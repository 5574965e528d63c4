"""A reconstruction as a folder of files, with a manifest of what is in it and of what is not, and why."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pmgs_lib.data.files import read_json, write_json
from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.export.comparison import require_labels
from pmgs_lib.export.parts import WRITERS, Part, SaveJob, SaveSettings, depth_range, obstacle
from pmgs_lib.export.reconstruction import Reconstruction
from pmgs_lib.views import Views

MANIFEST = "manifest.json"


def save_reconstruction(
    folder: str | os.PathLike[str],
    reconstruction: Reconstruction | Sequence[Reconstruction],
    target: Views | None = None,
    *,
    settings: SaveSettings | None = None,
    context_frames: Sequence[int] | None = None,
    target_frames: Sequence[int] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the parts of a reconstruction that `settings` ask for, then `manifest.json`; returns the manifest.

    Parts and their released counterparts: see `pmgs_lib.export.parts`. reconstruction: of several (of the same views,
    by models of different names) the first is saved, and the video shows all side by side. target: views of the scene
    to be drawn and compared with. context_frames, target_frames: numbers that name the files, 0, 1, ... by default.
    The manifest lists every file with its size, near and far, the settings, and under `left_out` each part that was not
    written, with the reason. Raises `ParameterError` before anything is written when a part is asked for that cannot
    be, and for a folder that is not empty unless `overwrite`, which first removes what an earlier manifest there lists
    and nothing else.
    """
    first, *others = [reconstruction] if isinstance(reconstruction, Reconstruction) else reconstruction
    if others:
        require_labels([each.model for each in (first, *others)], 1 + len(others))
    job = SaveJob(
        Path(folder),
        first,
        target,
        settings or SaveSettings(),
        _frame_numbers("context_frames", context_frames, first.context.count),
        _frame_numbers("target_frames", target_frames, 0 if target is None else target.count),
        tuple(others),
    )
    wanted, left_out = _choose_parts(job)
    facts = _facts(job)
    _make_room(job.folder, overwrite)
    files = [
        {"file": name, "part": part, "bytes": (job.folder / name).stat().st_size, **of_file}
        for part in wanted
        for name, of_file in WRITERS[part](job)
    ]
    manifest = {**facts, "files": files, "left_out": left_out}
    write_json(job.folder / MANIFEST, manifest)
    return manifest


def _choose_parts(job: SaveJob) -> tuple[list[Part], dict[Part, str]]:
    """The parts to write, and the reasons of all others."""
    obstacles = {part: obstacle(part, job) for part in get_args(Part)}
    for part in job.settings.save:
        if obstacles[part] is not None:
            raise ParameterError(f"save_reconstruction {job.folder}: no {part} to save: {obstacles[part]}")
    wanted = job.settings.save or [part for part, fault in obstacles.items() if fault is None]
    left_out = {part: fault or "not asked for" for part, fault in obstacles.items() if part not in wanted}
    return list(dict.fromkeys(wanted)), left_out


def _frame_numbers(name: str, given: Sequence[int] | None, count: int) -> tuple[int, ...]:
    numbers = tuple(range(count)) if given is None else tuple(given)
    if len(numbers) != count or len(set(numbers)) != count or any(number < 0 for number in numbers):
        raise ParameterError(
            f"save_reconstruction: {name} {list(numbers)} for {count} views, expected a number of its own for each"
        )
    return numbers


def _make_room(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ParameterError(f"save_reconstruction {folder}: is a file, expected a folder; name another place")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise ParameterError(f"save_reconstruction {folder}: is not empty; name another folder, or ask to overwrite")
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return
    content = read_json(manifest, what="manifest")
    listed = content.get("files") if isinstance(content, dict) else None
    entries = listed if isinstance(listed, list) else [None]
    names = [entry.get("file") if isinstance(entry, dict) else None for entry in entries]
    paths = [(folder / str(name)).resolve() for name in names]
    if None in names or not all(path.is_relative_to(folder.resolve()) and not path.is_dir() for path in paths):
        raise DataError(f"manifest {manifest}: lists no files of its folder; remove it, or name another folder")
    manifest.unlink()  # first: a folder without a manifest is known to be incomplete
    for path in paths:
        path.unlink(missing_ok=True)
    for emptied in {path.parent for path in paths} - {folder.resolve()}:
        if emptied.is_dir() and not any(emptied.iterdir()):
            emptied.rmdir()


def _facts(job: SaveJob) -> dict[str, Any]:
    made, context = job.reconstruction, job.reconstruction.context
    return {
        "model": made.model,
        "device": made.device,
        "seconds": made.seconds,
        "context_frames": list(job.context_frames),
        "target_frames": list(job.target_frames),
        "height": context.height,
        "width": context.width,
        "near": context.near.item(),
        "far": context.far.item(),
        "gaussians": None if made.gaussians is None else made.gaussians.count,
        "depth_colors": None if made.depth is None else list(depth_range(made.depth)),
        "rendering": made.settings.model_dump(mode="json"),
        "settings": job.settings.model_dump(mode="json"),
    }
