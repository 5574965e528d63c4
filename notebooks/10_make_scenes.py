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
# # Make scenes: exact cameras, exact depth, no download
#
# Procedural rooms and streets, drawn by ray casting, written as chunk files in the layout that pixelSplat, MVSplat and
# DepthSplat read, with the depth that real data lacks.
#
# | | |
# |---|---|
# | You learn | what the embedded data looks like and where its difficulties lie |
# | Needs | nothing |
# | Leaves | `artifacts/scenes/<split>/*.torch` and `index.json` |
# | Time | about a second a scene of 20 frames at 128x224 on two CPU cores |

# %% tags=["parameters"]
seed: int = 20001  # scene i is made from seed + i
count: int = 6  # scenes
frames: int = 20  # frames a scene
height: int = 128  # pixels
width: int = 224  # pixels
split: str = "test"  # "train" or "test"

# %%
from pmgs_lib.data import inspect_scene, make_scenes, open_dataset
from pmgs_lib.suite import current_run
from pmgs_lib.ui import plots

run = current_run()

# %% [markdown]
# ## Make them
# A scene follows from its seed alone: the same seed gives the same scene on every machine.

# %%
folder = run.artifact("scenes")
keys = make_scenes(
    seed, count=count, folder=folder, split=split, frames=frames, height=height, width=width, overwrite=True
)
print(f"{len(keys)} scenes of {frames} frames: {keys[0]} to {keys[-1]}")

# %% [markdown]
# ## Look at them
# The first frames of a scene with their depth. Look for thin things before far ones: that is where a method that puts one
# Gaussian on each pixel tears.

# %%
dataset = open_dataset(folder, split, near=0.5, far=40.0)
views = dataset.views(dataset.scene(keys[0]), [0, frames // 3, 2 * frames // 3, frames - 1], height, width)
run.save_figure(plots.plot_views(views), "scene")

# %% [markdown]
# ## Check them
# What a doctor would ask of any scene: sizes, baseline, field of view, range of depth, warnings.

# %%
reports = [inspect_scene(folder, key, split=split) for key in keys]
reports[0]

# %%
run.save_metrics({"scenes": len(keys), "frames": frames, "warnings": sum(len(r.warnings) for r in reports)})

# %% [markdown]
# **Limits.** Surfaces are opaque and matt, nothing moves, and the light is simple. Numbers on these scenes compare methods
# with each other; they say nothing about the papers' tables.
