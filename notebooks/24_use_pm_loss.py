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
# # Use PM-Loss: three lines in a training that is not ours
#
# A small network, plain torch and no part of this library, refines a coarse depth of two pictures, as the last stage of many
# networks does. The target it is trained on is coarse too, so it keeps the smeared depth edges. Three lines add PM-Loss; nothing
# else changes.
#
# | | |
# |---|---|
# | You learn | what your own training needs to give PM-Loss: centres, a pointmap, a weight |
# | Needs | nothing; in your project `pip install` of this package without extras: torch, numpy, scipy, numba, roma, jaxtyping |
# | Leaves | figures, `metrics.json` |
# | Time | under 20 seconds on two CPU cores |

# %% tags=["parameters"]
scene_seed: int = 8  # which procedural scene lends its pictures
steps: int = 120  # optimiser steps of each training
weight: float = 1.0  # of PM-Loss beside this toy's own loss; other losses want another weight
row: int = 35  # the row of pixels that is looked at from above
seed: int = 0  # of the network's weights and of the pointmap's noise

# %% [markdown]
# ## Somebody else's data
# Two pictures, their cameras, a depth target at an eighth of the resolution, and a pointmap. Here it is exact depth with noise, in a
# frame and scale of its own; `23_make_pointmaps` makes them with VGGT.

# %%
import torch
from torch import nn
from torch.nn import functional

from pmgs_lib.data import make_scene
from pmgs_lib.pointmaps import build_pointmap_source

views = make_scene(scene_seed, frames=7, height=64, width=112).views([0, 6])
pictures, depth = views.images, views.depth[:, None]
coarse = functional.interpolate(depth, scale_factor=1 / 8, mode="area")
target = functional.interpolate(coarse, size=depth.shape[-2:], mode="bilinear")
pointmap = build_pointmap_source("depth", noise=0.01, seed=seed)(views)[None]

# %% [markdown]
# ## Somebody else's model
# Pictures and coarse depth in, finer depth out, and a point for each pixel from the camera's rays.

# %%
origins, rays = views.cameras.rays(*depth.shape[-2:])


def points_of(depth):
    return (origins[:, None, None] + rays * depth[:, 0, :, :, None])[None]


# %%
def make_model():
    torch.manual_seed(seed)
    layers = [nn.Conv2d(4, 16, 5, padding=2), nn.GELU()]
    for dilation in (1, 2, 4):
        layers += [nn.Conv2d(16, 16, 3, padding=dilation, dilation=dilation), nn.GELU()]
    model = nn.Sequential(*layers, nn.Conv2d(16, 1, 3, padding=1))
    return model, torch.optim.Adam(model.parameters(), lr=2e-3)


def predict(model):
    return target * torch.exp(model(torch.cat((pictures, target.log()), dim=1)))


# %% [markdown]
# ## The three lines
# Import it, make it, add it. Centres and pointmap have the shape (batch, view, height, width, 3); (batch, point, 3) will do as well,
# if point i of the pointmap shows the pixel of centre i. The normalisation takes away a reward for shrinking
# (`22_understand_pm_loss`).

# %%
from pmgs_lib.losses import PointmapLoss  # line 1

pointmap_loss = PointmapLoss(normalization="pointmap")  # line 2


def train(weight):
    (model, optimizer), curve = make_model(), []
    for _ in range(steps):
        predicted = predict(model)
        pm_loss = pointmap_loss(points_of(predicted), pointmap)  # line 3
        optimizer.zero_grad()
        ((predicted / target).log().square().mean() + weight * pm_loss).backward()
        optimizer.step()
        curve.append(pm_loss.item())
    return predict(model).detach(), curve


# %%
results = {"without PM-Loss": train(0.0), "with PM-Loss": train(weight)}

# %% [markdown]
# ## What it changed
# Scored against exact depth, which neither training has seen. From here on it is only looking.

# %%
import pandas as pd

from pmgs_lib.evaluation import aligned_to_surface, floating_points, near_depth_edges, surface_distances
from pmgs_lib.suite import current_run
from pmgs_lib.ui import PixelRow, plot_loss_curve, plot_pixel_rows

run = current_run()
history = pd.DataFrame({"step": range(1, steps + 1), **{name: curve for name, (_, curve) in results.items()}})
run.save_figure(plot_loss_curve(history), "pm_loss")

# %% [markdown]
# PM-Loss of both trainings, in squared units of the pointmap: without it nothing pulls at the edges, and it stays where it began.

# %%
edges = near_depth_edges(views.depth, reach=2)
shapes = {name: aligned_to_surface(points_of(depth)[0], views) for name, (depth, _) in results.items()}
errors = {name: surface_distances(points, views) for name, points in shapes.items()}
table = pd.DataFrame(
    {
        "near edges [m]": {name: error[edges].mean().item() for name, error in errors.items()},
        "elsewhere [m]": {name: error[~edges].mean().item() for name, error in errors.items()},
    }
)
table.round(4)

# %% [markdown]
# Mean distance of the points to the nearest exact surface, after the best similarity. Below, one row of pixels of the first picture
# from above, with crosses for points that float. With PM-Loss the bridges from the furniture to the wall stand
# steeper; those over what the coarse target hides altogether stay.

# %%
floating = {name: floating_points(points, views) for name, points in shapes.items()}
rows = {name: PixelRow(shapes[name][0, row], floating[name][0, row]) for name in shapes}
run.save_figure(plot_pixel_rows(rows, views.cameras.unproject(views.depth)[0, row], views.cameras[0]), "row")

# %%
last = {name: curve[-1] for name, (_, curve) in results.items()}
run.save_metrics({"pm_loss": last, "surface_error_m": table.to_dict("index")})
change = table.loc["with PM-Loss"] / table.loc["without PM-Loss"] - 1
print(f"error near depth edges {change['near edges [m]']:+.0%}, elsewhere {change['elsewhere [m]']:+.0%}")

# %% [markdown]
# **Limits.** One scene, learnt by heart: this shows how to add the loss, not what it gains (`43_compare_pm_loss`). A weight too
# large lets the network fold the surface onto the nearest points anywhere. `PointmapLoss().details(...)` says per scene how the
# alignment went and what was left out; `measure_health` collects it.
