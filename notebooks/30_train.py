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
pointmap_noise: float = 0.02  # relative depth noise of the pointmap made from exact depth
seed: int = 0  # weights, order of scenes, draws

# %%
from pmgs_lib.data import make_scenes
from pmgs_lib.suite import current_run
from pmgs_lib.training import TrainingConfig, TrainingRun, run_training
from pmgs_lib.ui import plots

run = current_run()
folder = run.resolve(scenes) if scenes else run.artifact("scenes")
if not scenes:
    make_scenes(1001, count=4, folder=folder, split="train", frames=20, height=128, width=224, overwrite=True)

# %% [markdown]
# ## What is trained
# Everything that decides the result stands in one object; a misspelt or missing field is refused here, not after an hour.

# %%
training = TrainingRun(
    model=model,
    weights=weights or None,
    scenes=str(folder),
    protocol=protocol,
    pointmap_options={"noise": pointmap_noise, "seed": seed},
    training=TrainingConfig(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        pointmap_weight=pointmap_weight,
        seed=seed,
    ),
)
training.training

# %% [markdown]
# ## Train

# %%
history = run_training(training, run.artifact("."))
run.save_figure(plots.plot_loss_curve(history.to_frame()), "loss")

# %% [markdown]
# The terms of the loss over the steps. A few smoke steps only show that the curve moves; the numbers in the report say how
# many steps a row was trained for.

# %%
run.save_metrics(
    {"steps": steps, "pointmap_weight": pointmap_weight, "last": history.summary(), "excluded": history.excluded}
)
history.to_frame().tail(3).round(5)

# %% [markdown]
# **Limits.** One device, no perceptual term: its VGG weights are not part of the library and are never replaced silently.
