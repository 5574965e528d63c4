"""The data verbs as the command line calls them; arguments and options are read off the signatures."""

from collections.abc import Sequence
from typing import Literal

from pmgs_lib.data.importers import import_capture
from pmgs_lib.data.manifests import CaptureManifest, CollectionManifest
from pmgs_lib.data.scenes.embedded import make_scenes
from pmgs_lib.errors import ParameterError


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
    workers: int = 0,
) -> str:
    """Make embedded scenes as chunk files under the folder OUTPUT: scene i follows from the seed and i alone.

    With many cores, --workers as many makes as many scenes side by side.
    """
    size = {"frames": frames, "height": height, "width": width}
    keys = make_scenes(seed, count=count, folder=output, split=split, overwrite=overwrite, workers=workers, **size)
    return f"{output}/{split}: {len(keys)} scenes of {frames} frames, {keys[0]} to {keys[-1]}"


def import_(
    source: str,
    /,
    *,
    output: str = "datasets/captures",
    kind: str = "auto",
    key: str | None = None,
    split: Literal["train", "test"] | None = None,
    scale: Literal["none", "spacing", "span"] | None = None,
    set_: Sequence[str] = (),
    overwrite: bool = False,
) -> str:
    """Bring what lies in SOURCE into the chunk files under OUTPUT; its kind is told from the files.

    Captures: transforms.json or a COLMAP model, with pictures; pictures or a video alone (poses by COLMAP). Data sets:
    DL3DV, RealEstate10K and ACID (camera text files and frames), DTU, finished chunk files. --set NAME=VALUE gives
    further options, as `workers=4`, `limit=10`, `pictures=images_4`, `frames=FOLDER`, `place=link`. An import that was
    ended goes on where it was.
    """
    given = {"key": key, "split": split, "scale": scale, "overwrite": overwrite or None}
    options = {name: value for name, value in given.items() if value is not None} | _settings(set_)
    manifest = import_capture(source, output, kind=kind, **options)
    return _collection_told(manifest, output) if isinstance(manifest, CollectionManifest) else _told(manifest, output)


def _settings(texts: Sequence[str]) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise ParameterError(f"--set {text}: expected NAME=VALUE")
    return dict(text.split("=", 1) for text in texts)


def _told(manifest: CaptureManifest, output: str) -> str:
    left_out = [f"  left out {frame}: {reason}" for frame, reason in manifest.left_out.items()]
    split = manifest.options.split
    head = (
        f"{output}/{split}: scene {manifest.key}, {manifest.listed} photographs listed = {manifest.imported} "
        f"imported + {len(manifest.left_out)} left out ({manifest.kind}); {manifest.hint}"
    )
    return "\n".join([head, *left_out])


def _collection_told(manifest: CollectionManifest, output: str) -> str:
    waiting = f" + {manifest.waiting} waiting" if manifest.waiting else ""
    head = (
        f"{output}/{manifest.split}: {manifest.kind}, {manifest.listed} scenes listed = {manifest.imported} imported + "
        f"{len(manifest.left_out)} left out{waiting}; {manifest.kind}.import.json names each"
    )
    return "\n".join([head, *(f"  {count} left out: {reason}" for reason, count in manifest.reasons.items())])


def data(name: str | None = None, /, *, part: str | None = None, details: bool = False) -> str:
    """List the public data sets, or fetch the one called NAME into `sources` under the data root (PMGS_DATA)."""
    from pmgs_lib.data.acquisition import catalogue_table, fetch_data
    from pmgs_lib.data.catalogue import data_entry
    from pmgs_lib.data.roots import data_root, dataset_folder

    if name is None:
        return f"data root: {data_root()}\n" + _listed(catalogue_table(), details)
    folder, entry = fetch_data(name, part=part), data_entry(name)
    further = f"; next: pmgs import {folder} --kind {entry.kind} --output {dataset_folder(entry.dataset)}"
    return f"{name}: fetched into {folder}{further if entry.kind else ''}"


def _listed(rows: list[dict[str, str]], details: bool) -> str:
    """A line for each entry, aligned; with `details` all that is known of it below."""
    width = max(len(row["name"]) for row in rows)
    size = max(len(row["size"]) for row in rows)
    lines = []
    for row in rows:
        lines.append(f"  {row['name']:{width}}  {row['size']:{size}}  {row['what']}; {row['here']}")
        lines += [f"  {'':{width}}    {fact}: {row[fact]}" for fact in ("licence", "from", "how")] if details else []
    return "\n".join([*lines, *([] if details else ["pmgs data --details says licences and how to get each"])])
