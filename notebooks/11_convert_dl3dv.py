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
# # Convert DL3DV: folders of frames to chunk files, without the benchmark's scenes
#
# Reads DL3DV-10K as its authors release it (480P, 960P, or the benchmark) and writes the chunk files that training and
# evaluation read. Pictures stay as they are to the byte; the 140 scenes that results are published on never reach training.
#
# | | |
# |---|---|
# | You learn | what a conversion keeps, what it leaves out and why, and how one that was ended goes on |
# | Needs | `pmgs data dl3dv-480p --part 1K` (licence and token, 730 GB in all), or nothing: then a rehearsal |
# | Leaves | `<output>/train/*.torch`, `index.json`, `dl3dv.import.json` |
# | Time | about ten seconds for the rehearsal on two idle CPU cores; for the whole set reading the disk decides |

# %% tags=["parameters"]
source: str = ""  # folder of the data set or of one of its parts; empty: rehearse on embedded scenes
output: str = ""  # where the chunks go; empty: artifacts of this run
exclude: str = ""  # index file of scenes not to train on; empty: the benchmark's, fetched and verified
pictures: str = "auto"  # "images_8" (270x480), "images_4" (540x960), or the one that is there
workers: int = 1  # processes; 0: one a core
scene_seed: int = 40001  # embedded scenes of the rehearsal

# %%
from pathlib import Path

from pmgs_lib.data import import_capture, inspect_scene, open_dataset
from pmgs_lib.data.importers.rehearsal import rehearse_dl3dv
from pmgs_lib.suite import current_run
from pmgs_lib.ui import plots

run = current_run()

# %% [markdown]
# ## The data set
# Without one, four embedded scenes are laid out as DL3DV is: `<part>/<scene>/transforms.json` with `images_8` beside it.
# One of them is declared a scene of the benchmark, and one misses a picture.

# %%
if source:
    place, index = Path(run.resolve(source)), Path(run.resolve(exclude)) if exclude else None
else:
    place, index = rehearse_dl3dv(run.artifact("rehearsal"), scene_seed)

# %% [markdown]
# ## Convert
# Each finished chunk is safe at once: end this and run it again, and it goes on. The manifest accounts for every scene.

# %%
folder = Path(run.resolve(output)) if output else run.artifact("scenes")
manifest = import_capture(
    place,
    folder,
    kind="dl3dv",
    pictures=pictures,
    workers=workers,
    exclude=str(index) if index else None,
    progress=False,
)
print(f"{manifest.listed} scenes listed = {manifest.imported} imported + {len(manifest.left_out)} left out")
manifest.reasons

# %% [markdown]
# ## Look at it
# The first scene: baseline, field of view, and what a doctor would warn of. Positions are in the units of DL3DV's own
# reconstruction, which differ from scene to scene.

# %%
key = next(iter(manifest.scenes))
report = inspect_scene(folder, key, split=manifest.split)
report

# %%
dataset = open_dataset(folder, manifest.split, near=0.5, far=200.0)
stored = dataset.scene(key)
frames = [0, stored.frames // 2, stored.frames - 1]
run.save_figure(plots.plot_views(dataset.views(stored, frames, *stored.image_size())), "first_scene")

# %%
run.save_metrics(
    {
        "listed": manifest.listed,
        "imported": manifest.imported,
        "left_out": manifest.reasons,
        "frames": sum(scene.frames for scene in manifest.scenes.values()),
    }
)

# %% [markdown]
# **Limits.** The lens is left as it is, since published numbers are: DL3DV's distortion coefficients are small but not zero.
# `lens="undone"` undoes it for work of your own. Next: `30_train` with these scenes, or `40_evaluate` on the benchmark.
