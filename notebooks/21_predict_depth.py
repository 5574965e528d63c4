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
# # Predict depth: from 2 to 8 views of the same stretch
#
# Depth models, and the depth branch of every splatting model, read z-depth off posed pictures. The same stretch of a camera
# walk is given as 2, 3, ... 8 views, and the error against exact depth is measured on the two views that all of these share.
#
# | | |
# |---|---|
# | You learn | what more views bring, and where depth goes wrong |
# | Needs | weights; scenes with exact depth for the table, or none |
# | Leaves | `metrics.json`, the depth of the largest set as `.npy` and pictures |
# | Time | half a minute on two CPU cores for two scenes of 128x224 |

# %% tags=["parameters"]
scenes: str = ""  # folder of chunk files, or a capture with transforms.json; empty: embedded scenes are made here
most_scenes: int = 2  # so many scenes of the folder are looked at
first_frame: int = 4  # the stretch: its two ends are in every set of views
last_frame: int = 12
view_counts: list[int] = [2, 3, 4, 6, 8]  # views given to the model, spread evenly over the stretch
weights: str = "depthsplat-tiny"  # a depth model or a splatting model: a name from pmgs_lib.models.MODELS, or a file
height: int = 128  # pixels; multiples of what the model takes
width: int = 224  # pixels
near: float | None = None  # depth range in world units; None: what the import found
far: float | None = None
device: str = "cpu"  # or "cuda"

# %%
from pathlib import Path

import pandas as pd

from pmgs_lib.data import make_scenes, open_scenes
from pmgs_lib.data.sampling import spread_frames
from pmgs_lib.data.scenes import FAR, NEAR
from pmgs_lib.evaluation import DEPTH_METRICS, depth_errors
from pmgs_lib.export import SaveSettings, reconstruct, save_reconstruction
from pmgs_lib.models import load_checkpoint
from pmgs_lib.suite import current_run
from pmgs_lib.ui import plot_depths, plot_errors_by_views

run = current_run()

# %% [markdown]
# ## Views
# All sets span the same stretch, so more views mean shorter steps between them, not more of the scene.

# %%
source = run.resolve(scenes) if scenes else run.artifact("scenes")
if not scenes:
    made_here = {"frames": last_frame + 1, "height": height, "width": width}
    make_scenes(20001, count=most_scenes, folder=source, **made_here, overwrite=True)
limits = {"near": near, "far": far} if scenes else {"near": NEAR, "far": FAR}
dataset = open_scenes(source, imported_to=run.artifact("imported"), **limits)
keys = dataset.keys[:most_scenes]
sets = {count: spread_frames(first_frame, last_frame, count) for count in view_counts}
print("\n".join(f"{count} views: frames {list(frames)}" for count, frames in sets.items()))

# %% [markdown]
# ## Depth by the number of views
# One forward pass a set and scene. The first and the last view are in every set: their errors compare.

# %%
chosen = run.resolve(weights) if Path(weights).suffix else weights
model = load_checkpoint(chosen, device=device)
predictions = {}
for key in keys:
    for count, frames in sets.items():
        views = dataset.views(dataset.scene(key), frames, height, width)
        predictions[key, count] = reconstruct(model, views, name=weights)
        print(f"{key}, {count} views: {predictions[key, count].seconds:.2f} s")

# %%
rows = []
for (key, count), made in predictions.items():
    exact = made.context.depth
    if exact is not None:
        ends = depth_errors(made.depth[[0, -1]], exact[[0, -1]])._asdict()
        rows.append({"scene": key, "views": count, **{name: ends[name].mean().item() for name in DEPTH_METRICS}})
if not rows:
    print("these scenes have no exact depth: look at the pictures below")

# %%
table = pd.DataFrame(rows, columns=["scene", "views", *DEPTH_METRICS]).drop(columns="scene").groupby("views").mean()
table.rename(columns={name: info.label for name, info in DEPTH_METRICS.items()}).round(3)

# %% [markdown]
# Mean over the two shared views and then over the scenes. No scale is fitted: the cameras' baseline gives it. Errors in metres
# are ruled by far surfaces, relative ones and the shares δ within a factor of 1.25, 1.25² and 1.25³ by all of them.

# %%
means = {int(count): row.to_dict() for count, row in table.iterrows()}
if means:
    run.save_figure(plot_errors_by_views(means, ["abs_rel", "rmse_m", "rmse_log", "delta1"]), "errors")

# %% [markdown]
# ## Look
# The first scene with the smallest and the largest set, on one scale a figure. Errors sit at depth edges, in parts that one view
# alone sees, and on bare walls; bright is an error of half the distance.

# %%
fewest, most = min(view_counts), max(view_counts)
made = predictions[keys[0], fewest]
run.save_figure(
    plot_depths(made.context.to("cpu"), made.depth.cpu(), [f"frame {f}" for f in sets[fewest]]), "fewest_views"
)

# %%
made = predictions[keys[0], most]
run.save_figure(plot_depths(made.context.to("cpu"), made.depth.cpu(), [f"frame {f}" for f in sets[most]]), "most_views")

# %%
parts = SaveSettings(save=("raw-depth", "depth", "depth-beside-image"))
save_reconstruction(run.artifact("depth"), made, settings=parts, context_frames=sets[most], overwrite=True)
run.save_metrics({"scenes": keys, "views": {count: list(frames) for count, frames in sets.items()}, "errors": means})
if means:
    best = min(means, key=lambda count: means[count]["abs_rel"])
    print(
        f"least relative error with {best} views: {means[best]['abs_rel']:.3f} (2 views: {means[fewest]['abs_rel']:.3f})"
    )

# %% [markdown]
# **Limits.** A model trained on two views (the embedded one) need not gain from eight; the released depth models were trained on
# two to eight. A few small scenes: look at which way the curve goes, not at its third digit.
