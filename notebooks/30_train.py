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
# # Train: a recipe, its source, one loss curve
#
# Trains a model on chunk files with the project's own loop, from a *recipe*: one published training, or one of ours, as typed
# configuration in which every value says where it stands. With a positive `pointmap_weight` it adds PM-Loss, the regulariser
# that pulls the centres of the Gaussians onto a pointmap. A loss or gradient that is not finite stops the run before the step.
#
# | | |
# |---|---|
# | You learn | what a paper's training consists of, which of it is known, and how to start your own |
# | Needs | scenes: from `10_make_scenes`, or the recipe's data |
# | Leaves | `artifacts/model.safetensors` with its card, `history.csv`, logs, the loss curve |
# | Time | ten seconds for a rehearsal, 2 s a step for the embedded model on two CPU cores; days on many GPUs for the papers' |

# %% tags=["parameters"]
recipe: str = ""  # a name of pmgs_lib.training.recipes.RECIPES; empty: some fine-tuning of the embedded model
size: str = "smoke"  # of a named recipe: "smoke" (small, embedded scenes), "quick" (minutes on a GPU) or "full"
scenes: str = ""  # folder of chunk files; empty: four embedded scenes are made here
devices: int = 1  # more than one: torchrun starts a process for each
model: str | None = None  # here and below, None is the recipe's own: a name from pmgs_lib.models.MODELS
weights: str | None = None  # start from these weights
protocol: str | None = None  # size, depth range and pictures
steps: int | None = None  # optimiser steps
batch_size: int | None = None  # scenes a step, over all devices
learning_rate: float | None = None  # peak of the schedule
pointmap_weight: float | None = None  # weight of PM-Loss (the paper's released value: 0.005)
pointmap: str | None = None  # whose pointmaps: "depth" (exact depth with noise), "vggt", "cached" (23_make_pointmaps)
pointmap_folder: str = ""  # with "cached": the folder; made for the same protocol, steps, batch size and seed
seed: int | None = None  # weights, order of scenes, draws

# %%
import pandas as pd
from IPython.display import Image, display

from pmgs_lib.models import read_card
from pmgs_lib.suite import current_run
from pmgs_lib.training import run_training, training_health
from pmgs_lib.training.launch import launch_training
from pmgs_lib.training.recipes import load_recipe
from pmgs_lib.ui import plot_health, plots

run = current_run()
start = load_recipe(recipe or "fine-tuning-embedded")
sized = start if not recipe else {"smoke": start.smoke, "quick": start.quick, "full": start.changed}[size]()

# %% [markdown]
# ## What is trained
# Everything that decides the result, with its source: the paper, released code, inferred where its authors do not say, or
# changed here. A misspelt or impossible value is refused here, not after an hour.

# %%
given = {
    "training.steps": steps,
    "training.batch_size": batch_size,
    "training.optimizer.learning_rate": learning_rate,
    "training.objective.pointmap_weight": pointmap_weight,
    "training.seed": seed,
}
named = {"model": model, "weights": weights, "protocol": protocol, "pointmap": pointmap}
chosen = sized.overridden(given | named)
print(f"{chosen.name}: {chosen.description}")

# %%
pd.set_option("display.max_rows", 80, "display.max_colwidth", 90)
chosen.table().set_index("what")

# %%
for part in chosen.left_out:
    print("left out:", part)

# %%
folder = run.resolve(scenes) if scenes else run.artifact("scenes")
if not scenes:
    chosen.make_scenes(folder, count=4)
noisy = {"noise": 0.02, "seed": chosen.training.seed}
options = {"cached": {"folder": str(run.resolve(pointmap_folder))}, "depth": noisy}.get(chosen.pointmap, {})
training = chosen.run(str(folder), devices=devices, pointmap_options=chosen.pointmap_options | options)

# %% [markdown]
# ## Train

# %%
if devices == 1:
    history = run_training(training, run.artifact("."))
else:
    history = launch_training(training, run.artifact("."), devices=devices)
run.save_figure(plots.plot_loss_curve(history.to_frame()), "loss")

# %% [markdown]
# The terms of the loss over the steps. A few smoke steps only show that the curve moves; the numbers in the report say how
# many steps a row was trained for.

# %%
card = read_card(run.artifact("model.safetensors"))
print(f"{card['trained_steps']} steps, memory {card.get('memory') or 'not predicted on this device'}")
for picture in sorted(run.artifact("validation").rglob("*.png"))[-2:]:
    display(Image(picture))

# %%
objective = chosen.training.objective
run.save_metrics(
    {
        "recipe": chosen.name,
        "size": size if recipe else "full",
        "left_out": list(chosen.left_out),
        "steps": chosen.training.steps,
        "pointmap_weight": objective.pointmap_weight,
        "last": history.summary(),
        "excluded": history.excluded,
    }
)
history.to_frame().tail(3).round(5)

# %% [markdown]
# ## How PM-Loss sees the result
# Whether the embedded model was trained with it or not: the first training examples with the new weights. Look for scenes that
# the threshold rule or a failed alignment takes out of the training, and for one scene that rules the mean.

# %%
if objective.pointmap_weight > 0 or not recipe:
    health = training_health(training, run.artifact("model.safetensors"), most=4)
    run.save_figure(plot_health(health), "health")
    run.save_metrics({"health": health.to_metrics()})
else:
    print("no PM-Loss in this recipe")

# %% [markdown]
# **Limits.** What was left out above: without its VGG weights on the machine a rehearsal goes without the perceptual term, and
# every other size stops and says so. A rehearsal proves that a recipe runs; its numbers say nothing about the paper's.
