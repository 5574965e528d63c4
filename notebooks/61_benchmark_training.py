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
# # Benchmark: what a training step costs
#
# Whole steps of a published training on noise: forward, targets drawn, all its losses, backward, optimizer; the peak of memory
# beside what the planner predicted; and GS-LRM's transformer against the rate of plain matrix products.
#
# | | |
# |---|---|
# | You learn | images a second, how much of a device's arithmetic is used, whether a batch fits |
# | Needs | a recipe's name; no data and no trained weights: a step costs the same on noise |
# | Leaves | `artifacts/steps.json`; no times in `metrics.json`, which must compare between runs |
# | Time | smoke: half a minute on two CPU cores; on a GPU a minute a recipe of full size |

# %% tags=["parameters"]
recipes: list[str] = ["gslrm-paper-stage1"]  # names from pmgs_lib.training.recipes.RECIPES
size: str = "smoke"  # smoke: the recipe's rehearsal; full: its own network and numbers, with one device's scenes
views: int = 2  # context views of a scene
targets: int = 2  # targets of a scene
height: int = 32  # pixels
width: int = 32  # pixels
scenes: int = 1  # scenes at a time
transformer: str = "gslrm-tiny"  # whose transformer is measured by itself (GPU: gslrm-paper-256x256)
product_size: int = 512  # side of the matrices that it is compared with (GPU: 8192)
compiled: bool = False  # compile the network's regions; worth it on a GPU
device: str = "cpu"  # cpu or cuda
repeats: int = 2  # measured steps
warmup: int = 1  # steps before them; more on a GPU, five

# %%
import json

import pandas as pd

from pmgs_lib.models import named_config
from pmgs_lib.suite import current_run
from pmgs_lib.training.benchmark import measure_training, step_of_recipe, time_trunk
from pmgs_lib.training.recipes import load_recipe

run = current_run()

# %% [markdown]
# ## Whole steps
# The perceptual term runs with random weights and pointmaps lie ready: neither changes what a step costs.

# %%
shape = {"views": views, "targets": targets, "height": height, "width": width, "scenes": scenes}
found = {}
for name in recipes:
    model, load = step_of_recipe(load_recipe(name), size, steps=warmup + repeats, compiled=compiled, **shape)
    found[name] = measure_training(model, load, device=device, warmup=warmup, repeats=repeats)
table = pd.DataFrame({name: step.to_metrics() for name, step in found.items()}).T

# %%
shown = table[["median_s", "images_per_second"]].assign(
    predicted_gib=table["predicted_bytes"] / 2**30,
    measured_gib=table["peak_bytes"].astype(float) / 2**30,
)
shown.astype(float).round(3)

# %% [markdown]
# On a CPU no peak is measured: the resident size of a process holds too much else.
#
# ## The transformer against matrix products
# Forward and backward, nothing recomputed, as a share of the rate that one large product reaches on this machine.

# %%
batch = {"scenes": scenes, "views": views, "height": height, "width": width}
measuring = {"device": device, "compile": compiled, "repeats": repeats, "product_size": product_size}
trunk = time_trunk(named_config(transformer), **batch, **measuring)
print(f"{trunk.fraction:.0%} of the rate of matrix products")

# %%
measured = {"steps": {name: step.to_metrics() for name, step in found.items()}, "trunk": trunk.to_metrics()}
run.artifact("steps.json").write_text(json.dumps(measured, indent=1))
run.save_metrics({name: {"predicted_bytes": step.predicted_bytes} for name, step in found.items()})

# %% [markdown]
# **Limits.** Loading data is not measured. Fresh networks make larger Gaussians than trained ones, which take longer to draw.
