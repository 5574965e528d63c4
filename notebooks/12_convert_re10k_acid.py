# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Convert RealEstate10K and ACID: camera text files and frames, or finished chunks
#
# Two ways lead to the chunk files that training and evaluation read: from the published camera text files with frames cut
# from the videos, and from chunks that others have made, which are verified scene by scene and indexed.
#
# | | |
# |---|---|
# | You learn | what the two layouts look like, and that both ways end in the same scenes |
# | Needs | text files and frames, or chunks (`pmgs data` lists both), or nothing: then a rehearsal |
# | Leaves | `<output>/<split>/*.torch`, `index.json`, `<kind>.import.json` |
# | Time | about ten seconds for the rehearsal on two idle CPU cores; for the whole set reading the disk decides |

# %% tags=["parameters"]
source: str = ""  # folder of text files with frames, or of chunks; empty: rehearse on embedded scenes
kind: str = "auto"  # "re10k" or "acid" (text files and frames), "chunks", or told by the files
frames: str = ""  # folder of the frames, if they are not beside the text files
split: str = "test"  # "train" or "test"
output: str = ""  # where the chunks go; empty: artifacts of this run
workers: int = 1  # processes; 0: one a core
scene_seed: int = 41001  # embedded scenes of the rehearsal

# %%
from pathlib import Path

from pmgs_lib.data import import_capture, inspect_scene, open_dataset
from pmgs_lib.data.importers import recognised_kind
from pmgs_lib.data.importers.rehearsal import rehearse_re10k
from pmgs_lib.suite import current_run
from pmgs_lib.ui import plots

run = current_run()

# %% [markdown]
# ## The data set
# Without one, four embedded scenes are laid out as RealEstate10K is: a text file a scene (the video's address, then a line
# a frame with time, intrinsics and pose) and a folder of frames named by their times. One scene misses its frames.

# %%
place = Path(run.resolve(source)) if source else rehearse_re10k(run.artifact("rehearsal"), scene_seed)
found = recognised_kind(place) if kind == "auto" else kind
print(f"imported as {found}")

# %% [markdown]
# ## Convert
# Every pose must be a rotation, every frame there and every picture whole; what is not is left out and named.

# %%
folder = Path(run.resolve(output)) if output else run.artifact("scenes")
options = {"frames": run.resolve(frames)} if frames else {}
manifest = import_capture(place, folder, kind=found, split=split, workers=workers, progress=False, **options)
print(f"{manifest.listed} scenes listed = {manifest.imported} imported + {len(manifest.left_out)} left out")
manifest.reasons

# %% [markdown]
# ## The other way
# The chunks just written, taken over as if they were somebody else's: each scene is opened and validated again. The same
# scenes must come out.

# %%
chunks = import_capture(
    folder, run.artifact("from_chunks"), kind="chunks", split=split, workers=workers, progress=False
)
assert set(manifest.scenes) <= set(chunks.scenes)
print(f"{chunks.imported} scenes verified in {chunks.notes['chunks']} chunks")

# %% [markdown]
# ## Look at it

# %%
key = next(iter(manifest.scenes))
report = inspect_scene(folder, key, split=split)
report

# %%
dataset = open_dataset(folder, split, near=0.5, far=100.0)
stored = dataset.scene(key)
shown = [0, stored.frames // 2, stored.frames - 1]
run.save_figure(plots.plot_views(dataset.views(stored, shown, *stored.image_size())), "first_scene")

# %%
run.save_metrics(
    {
        "listed": manifest.listed,
        "imported": manifest.imported,
        "left_out": manifest.reasons,
        "verified_in_chunks": chunks.imported,
        "frames": sum(scene.frames for scene in manifest.scenes.values()),
    }
)

# %% [markdown]
# **Limits.** Videos that were taken down are gone: a set fetched today has fewer scenes than the published index lists, and
# an evaluation says which. Next: `40_evaluate` with a published protocol, or `30_train`.
