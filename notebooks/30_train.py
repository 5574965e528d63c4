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
# # Train: from weights to better weights, one loss curve
#
# Trains a model on chunk files with the project's own loop: AdamW, one-cycle schedule, clipped gradients, and a stop before
# any step whose loss or gradient is not finite. With a positive `pointmap_weight` it adds PM-Loss, the regulariser that
# pulls the centres of the Gaussians onto a pointmap.
#
# | | |
# |---|---|
# | You learn | what a training step minimises, and how to start your own |
# | Needs | scenes from `10_make_scenes` |
# | Leaves | `artifacts/model.safetensors` with its card, `history.csv`, the loss curve |
# | Time | smoke: 2 s a step on two CPU cores; the embedded weights took minutes on a GPU |

# %% tags=["parameters"]
scenes: str = ""  # folder of chunk files; empty: four embedded scenes are made here
model: str = "depthsplat-tiny"  # a name from pmgs_lib.models.MODELS
weights: str = "depthsplat-tiny"  # start from these weights; empty: fresh ones
protocol: str = "embedded-smoke"  # size, depth range and training gaps
steps: int = 20  # optimiser steps
batch_size: int = 1  # scenes a step
learning_rate: float = 5.0e-5  # peak of the one-cycle schedule
pointmap_weight: float = 0.0  # weight of PM-Loss (the paper's released value: 0.005)
pointmap: str = "depth"  # whose pointmaps: "depth" (exact depth with noise) or "cached" (made by 23_make_pointmaps)
pointmap_folder: str = ""  # with "cached": the folder; made for the same protocol, steps, batch size and seed
pointmap_noise: float = 0.02  # with "depth": relative noise of the depth
health_scenes: int = 4  # so many training examples are looked at for the health of PM-Loss
seed: int = 0  # weights, order of scenes, draws

# %%
from pmgs_lib.data import make_scenes
from pmgs_lib.suite import current_run
from pmgs_lib.training import TrainingConfig, TrainingRun, run_training, training_health
from pmgs_lib.ui import plot_health, plots

run = current_run()
folder = run.resolve(scenes) if scenes else run.artifact("scenes")
if not scenes:
    make_scenes(1001, count=4, folder=folder, split="train", frames=20, height=128, width=224, overwrite=True)

# %% [markdown]
# ## What is trained
# Everything that decides the result stands in one object; a misspelt or missing field is refused here, not after an hour.

# %%
settings = TrainingConfig(
    steps=steps,
    batch_size=batch_size,
    optimizer={"learning_rate": learning_rate},
    objective={"pointmap_weight": pointmap_weight},
    seed=seed,
)
noisy = {"noise": pointmap_noise, "seed": seed}
settings

# %%
training = TrainingRun(
    model=model,
    weights=weights or None,
    scenes=str(folder),
    protocol=protocol,
    pointmap=pointmap,
    pointmap_options={"folder": str(run.resolve(pointmap_folder))} if pointmap == "cached" else noisy,
    training=settings,
)

# %% [markdown]
# ## Train

# %%
history = run_training(training, run.artifact("."))
run.save_figure(plots.plot_loss_curve(history.to_frame()), "loss")

# %% [markdown]
# The terms of the loss over the steps. A few smoke steps only show that the curve moves; the numbers in the report say how
# many steps a row was trained for.
#
# ## How PM-Loss sees the result
# Whether it was trained with or not: the first training examples with the new weights. Look for scenes that the threshold rule or a
# failed alignment takes out of the training, and for one scene that rules the mean.

# %%
health = training_health(training, run.artifact("model.safetensors"), most=health_scenes)
run.save_figure(plot_health(health), "health")

# %%
run.save_metrics(
    {"steps": steps, "pointmap_weight": pointmap_weight, "last": history.summary(), "excluded": history.excluded}
)
run.save_metrics({"health": health.to_metrics()})
history.to_frame().tail(3).round(5)

# %% [markdown]
# **Limits.** One device, no perceptual term: its VGG weights are not part of the library and are never replaced silently.
