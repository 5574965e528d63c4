"""What stands behind a number: its scenes (see `suite.sortable`), and where the runs come from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pmgs_lib.evaluation.results import TARGET_METRICS
from pmgs_lib.suite.records import read_record

if TYPE_CHECKING:
    import pandas


def scene_frame(result: Mapping[str, Any]) -> "pandas.DataFrame":
    """One row a scene of an evaluation (an entry of `results` in `metrics.json`): targets, means over them, and the
    scene's own metrics; the scenes with the lowest PSNR first.
    """
    import pandas

    targets = pandas.DataFrame(result["targets"])
    if targets.empty:
        return pandas.DataFrame(columns=["targets", *TARGET_METRICS])
    names = [name for name in TARGET_METRICS if name in targets]
    by_scene = targets.groupby("scene", sort=False)
    frame = by_scene[names].mean()
    frame.insert(0, "targets", by_scene.size())
    own = pandas.DataFrame(result["scenes"]).set_index("scene")
    return frame.join(own).sort_values("psnr", kind="stable")


def provenance_table(folders: Sequence[Path]) -> "pandas.DataFrame":
    """A line a run: notebook, key, when and where it ran, versions, and the digest of its environment."""
    import pandas

    records = [read_record(folder) for folder in folders]
    lines = [
        {
            "run": record.id,
            "notebook": record.content["notebook"],
            "key": record.key,
            "profile": record.content["profile"],
            "finished": record.content["finished"][:16].replace("T", " "),
            "seconds": round(record.seconds, 1),
            "device": record.content.get("device", ""),
            "torch": (record.content.get("versions") or {}).get("torch", ""),
            "library files": len(record.parts["library"]),
        }
        for record in records
    ]
    columns = ["run", "notebook", "key", "profile", "finished", "seconds", "device", "torch", "library files"]
    # The index is named as columns are: one row of headings, not a second one for the word "run" alone.
    return pandas.DataFrame(lines, columns=columns).set_index("run").rename_axis(index=None, columns="run")
