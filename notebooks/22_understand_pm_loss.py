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
# # Understand PM-Loss: why depth edges tear, and what the loss does about it
#
# A feed-forward model turns each pixel into a Gaussian at a depth. Depth steps at the outline of every object, a network is
# smooth, and so it puts some Gaussians into the empty space between foreground and background, where they float. PM-Loss
# compares the centres with a pointmap that another model drew of the same pixels. Here it is taken apart on one embedded scene:
# where it is large, where it pulls, what it mends, and what it cannot see.
#
# | | |
# |---|---|
# | You learn | what PM-Loss measures, and three of its limits, each as a number |
# | Needs | nothing: scene, weights and pointmap are made here; with `source = "vggt"` its weights |
# | Leaves | figures, `metrics.json` |
# | Time | half a minute on two CPU cores, 1 GB of memory |

# %% tags=["parameters"]
scene_seed: int = 8  # which procedural scene; even numbers are rooms, odd ones streets
context_frames: list[int] = [0, 6]  # the frames that the model sees
height: int = 128  # pixels; a multiple of 16
width: int = 224  # pixels; a multiple of 16
row: int = 70  # the row of pixels of the first view that is looked at from above
weights: str = "depthsplat-tiny"  # a splatting model with one Gaussian a pixel: a name from pmgs_lib.models.MODELS
source: str = "depth"  # whose pointmap: "depth" (exact depth with noise, in a frame of its own) or "vggt"
source_weights: str = "vggt-1b"  # with "vggt": a name, file or address; its licence must be accepted
noise: float = 0.005  # with "depth": noise of the pointmap as a share of the depth
steps: int = 20  # of descent on the points themselves
seed: int = 0  # of the pointmap's noise and frame

# %%
import pandas as pd
import torch

from pmgs_lib.data import make_scene
from pmgs_lib.evaluation import aligned_to_surface, floating_points, near_depth_edges, surface_distances
from pmgs_lib.losses import PointmapLoss, join_health, measure_health
from pmgs_lib.models import load_checkpoint
from pmgs_lib.pointmaps import build_pointmap_source
from pmgs_lib.suite import current_run
from pmgs_lib.training import descend, pull
from pmgs_lib.ui import PixelRow, plot_alignment, plot_descents, plot_edge_maps, plot_health, plot_pixel_rows
from pmgs_lib.views import Views

run = current_run()

# %% [markdown]
# ## One scene, one prediction, one pointmap
# The scene has exact depth, so "on a surface" is a fact here and no opinion. The pointmap lives in a frame and scale of its own,
# as that of a foundation model does.

# %%
views = make_scene(scene_seed, frames=max(context_frames) + 1, height=height, width=width).views(context_frames)
with torch.no_grad():
    prediction = load_checkpoint(weights)(Views.stack([views]))
centres = prediction.gaussians.means.reshape(1, views.count, height, width, 3)
options = {"noise": noise, "seed": seed} if source == "depth" else {"weights": source_weights}
pointmap = build_pointmap_source(source, **options)(views, "the scene")[None]
prediction.gaussians

# %% [markdown]
# ## Alignment first
# The loss maps the pointmap onto the centres by the best similarity, pixel on pixel, before it compares anything. Dark: centres;
# light: pointmap. Afterwards walls lie on walls, and what still differs is shape: dark points without light ones under them.

# %%
loss = PointmapLoss()
details = loss.details(centres, pointmap, per_pixel=True)
figure = plot_alignment(centres[0], pointmap[0], details.pixels.aligned[0], views.cameras)
run.save_figure(figure, "alignment")

# %% [markdown]
# ## Where the loss is large
# The exact depth steps at outlines, the predicted one slides. The map on the right shows how far each centre is from the aligned
# pointmap; the loss is the mean of the squares. White lines enclose the pixels within three of a depth step of 20 % or more.

# %%
edges = near_depth_edges(views.depth)
distances = details.pixels.distances.reshape(edges.shape)
maps = {"exact depth": views.depth[0], "predicted depth": prediction.depth[0, 0]}
run.save_figure(plot_edge_maps(views.images[0], maps, edges[0], distances[0], row), "edges")

# %%
at_edges = {
    "share_of_pixels": edges.float().mean().item(),
    "share_of_loss": (distances[edges].square().sum() / distances.square().sum()).item(),
}
print("near depth edges:", ", ".join(f"{name.replace('_', ' ')} {value:.0%}" for name, value in at_edges.items()))

# %% [markdown]
# The outlines glow. So do regions without texture, where the model is wrong as a whole: PM-Loss is no edge detector, it is a loss
# on shape.
#
# ## One row of pixels from above
# The marked row, seen from the ceiling. A floating centre is farther from every exact surface than 3 % of its depth. Its arrow
# ends where the loss wants it: at the *nearest* surface of the aligned pointmap, which may be to the side, or in another row: the
# grey line is the surface in this row only.

# %%
shape = aligned_to_surface(centres[0], views)
floating = floating_points(shape, views)
arrows = pull(lambda points: loss(points[None], pointmap), shape) / 2
rows = {"predicted, and where the loss pulls": PixelRow(shape[0, row], floating[0, row], arrows[0, row])}
surface = views.cameras.unproject(views.depth)
run.save_figure(plot_pixel_rows(rows, surface[0, row], views.cameras[0]), "row")

# %% [markdown]
# ## A few steps down
# Gradient descent on the points themselves, with no network between: once every centre is free, once it may only move along its
# ray, as the depth of a pixel can.

# %%
_, rays = views.cameras.rays(height, width)
settings = {"steps": steps, "first_move": 0.04}  # metres in the mean
descents = {
    "free centres": descend(lambda points: loss(points, pointmap), centres, **settings),
    "along rays": descend(lambda points: loss(points, pointmap), centres, directions=rays[None], **settings),
}

# %%
states = {"predicted": centres[0], **{name: descent.points[0] for name, descent in descents.items()}}
shapes = {name: aligned_to_surface(points, views) for name, points in states.items()}
afloat = {name: floating_points(points, views) for name, points in shapes.items()}
rows = {name: PixelRow(shapes[name][0, row], afloat[name][0, row]) for name in states}
run.save_figure(plot_pixel_rows(rows, surface[0, row], views.cameras[0]), "rows_after")

# %% [markdown]
# The bridges between foreground and background are torn down: each centre went to the side that was nearer. Along its ray a centre
# cannot always reach the nearest surface, so more of them stay afloat; what a network can do lies between the two.

# %%
table = pd.DataFrame(
    {
        "floating near edges": {name: mask[edges].float().mean().item() for name, mask in afloat.items()},
        "floating elsewhere": {name: mask[~edges].float().mean().item() for name, mask in afloat.items()},
        "shape error [m]": {name: surface_distances(p, views).mean().item() for name, p in shapes.items()},
        "place error [m]": {name: surface_distances(p, views).mean().item() for name, p in states.items()},
    }
)
table.round(3)

# %% [markdown]
# Shares of the pixels, and mean distances to the nearest exact surface: *shape* after the cloud is aligned with the truth, *place*
# as it stands in the world.
#
# ## What it cannot see
# **Scale and place of the whole.** Alignment comes first, so an error of the whole cloud costs nothing: the shape error falls much
# more than the place error does. Cameras and the photometric loss must hold the place.
#
# **Its own unit.** The loss is in squared units of the *prediction*. Below, the same centres are shrunk and blown up.

# %%
normalised = PointmapLoss(normalization="pointmap")
factors = [0.6, 0.8, 1.0, 1.2]
rewards = pd.DataFrame(
    {
        "default": {factor: (loss(factor * centres, pointmap) / loss(centres, pointmap)).item() for factor in factors},
        "normalised": {f: (normalised(f * centres, pointmap) / normalised(centres, pointmap)).item() for f in factors},
    }
).rename_axis("size")
rewards.round(3)

# %% [markdown]
# Shrinking by 40 % lowers the default by 64 % and mends nothing; with `normalization="pointmap"` distances are in the pointmap's
# unit, and the reward is gone. In a descent this is a slow drift: the default keeps the cloud shrinking, the normalised loss lets
# it grow towards the exact size.

# %%
descents["along rays, normalised"] = descend(
    lambda points: normalised(points, pointmap), centres, directions=rays[None], **settings
)
exact_size = (surface - surface.reshape(-1, 3).mean(0)).square().sum(-1).mean().sqrt().item()
run.save_figure(plot_descents(descents, exact_size), "descents")

# %%
frozen = pull(lambda points: PointmapLoss(detach_alignment=True)(points, pointmap), centres)
whole = pull(lambda points: loss(points, pointmap), centres)
alignment_share = ((whole - frozen).norm() / frozen.norm()).item()
print(f"through the alignment goes a gradient {alignment_share:.0%} as large as the rest")

# %% [markdown]
# **The alignment moves too.** Each centre has a say in the similarity, so the gradient at one pixel depends on all others. Where
# that disturbs, `PointmapLoss(detach_alignment=True)` holds the alignment constant.
#
# ## The health panel
# What to watch in training, here on stand-ins for scenes: the same centres against pointmaps of growing noise; the scene in
# centimetres, where the threshold of 100 squared units takes hold and the scene all but stops counting; and a broken pointmap,
# which is left out by name.

# %%
broken = pointmap.clone()
broken[0, 0, 0, 0] = torch.nan
cases = {"as above": (centres, pointmap), "in centimetres": (100 * centres, pointmap), "broken": (centres, broken)}
for level in (0.02, 0.1):
    cases[f"noise {level:.0%}"] = (centres, build_pointmap_source("depth", noise=level, seed=seed)(views)[None])
health = join_health(measure_health(loss, *clouds, [name]) for name, clouds in cases.items())
run.save_figure(plot_health(health), "health")

# %% [markdown]
# **A fog is near to everything.** The pointmap with the most noise has the *lowest* loss: the distance goes one way, to the nearest
# point, and among scattered points one is always near. A small loss does not say that the pointmap is good; the residual of the
# alignment, counterpart to counterpart, does see the noise.

# %%
losses = {name: {"first": descent.losses[0], "last": descent.losses[-1]} for name, descent in descents.items()}
run.save_metrics({"at_edges": at_edges, "states": table.to_dict("index"), "losses": losses})
run.save_metrics({"shrinking": rewards.to_dict(), "alignment_share": alignment_share, "health": health.to_metrics()})
ratio = table.loc["free centres", "floating near edges"] / table.loc["predicted", "floating near edges"]
print(f"floating centres near edges: {ratio:.0%} of before, after {steps} steps with free centres")

# %% [markdown]
# **Limits.** One scene, a small model, and a pointmap that is exact up to noise: VGGT's own depth edges are not. Descent on points
# shows the direction of the loss; what a network makes of it is `43_compare_pm_loss`. Next: `23_make_pointmaps` for a whole data
# set, `24_use_pm_loss` for your own model.
