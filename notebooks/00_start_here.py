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
# # Start here: two pictures in, a 3D scene out
#
# A small DepthSplat, trained on procedural scenes, turns two photographs with known cameras into 3D Gaussians in one
# forward pass. This notebook makes a scene, reconstructs it, looks at it from a camera the model never saw, and writes it
# to a PLY file that renders the same after reading it back.
#
# | | |
# |---|---|
# | You learn | the way of the data: views → model → Gaussians → rendering → file |
# | Needs | nothing: the scene is made here, the weights are part of the library |
# | Leaves | `artifacts/scene.ply`, figures, `metrics.json` |
# | Time | under a minute on two CPU cores, 1 GB of memory |

# %% tags=["parameters"]
scene_seed: int = 7  # which procedural scene; try others
height: int = 128  # pixels; a multiple of 16
width: int = 224  # pixels; a multiple of 16
context_frames: list[int] = [7, 13]  # the two frames the model sees
target_frame: int = 10  # the frame it must predict
model_name: str = "depthsplat-tiny"  # a name from pmgs_lib.models.MODELS

# %%
from pmgs_lib.data import make_scene
from pmgs_lib.evaluation.methods import GaussianMethod
from pmgs_lib.evaluation.metrics import psnr
from pmgs_lib.export import read_ply, write_ply
from pmgs_lib.models import load_checkpoint
from pmgs_lib.rasterizers import rasterize
from pmgs_lib.suite import current_run
from pmgs_lib.ui import plots

run = current_run()

# %% [markdown]
# ## A scene
# Procedural scenes have exact cameras and exact depth. Here are the two frames that the model will see, with the depth
# that it will not see.

# %%
scene = make_scene(scene_seed, frames=20, height=height, width=width)
example = scene.example(context_frames, [target_frame])
run.save_figure(plots.plot_views(example.context), "input")

# %% [markdown]
# ## Reconstruction
# One forward pass: every pixel of both pictures becomes one Gaussian, placed along its ray at the depth that the model
# reads off the disparity between the two views.

# %%
model = load_checkpoint(model_name)
output = GaussianMethod(model, name=model_name)(example)
output.gaussians

# %% [markdown]
# ## A new view
# The target camera lies between the two inputs. Left to right: input, target, our rendering, its depth, and the error on
# the scale of the colours.

# %%
run.save_figure(plots.plot_prediction(example, output), "prediction")

# %% [markdown]
# ## A file that renders the same
# A PLY in the layout of the original 3D Gaussian splatting opens in every viewer. It is proven by rendering it.

# %%
path = run.artifact("scene.ply")
write_ply(path, output.gaussians)
again = rasterize(read_ply(path), example.target.cameras, height, width).color
before = rasterize(output.gaussians, example.target.cameras, height, width).color
difference = (again - before).abs().max().item()
assert difference < 1e-3, f"the file renders differently (largest difference {difference:.4f})"

# %% [markdown]
# ## Result

# %%
# NBVAL_CHECK_OUTPUT
quality = psnr(output.color, example.target.images).item()
run.save_metrics({"psnr": quality, "gaussians": output.gaussians.count, "ply_difference": difference})
print(f"{output.gaussians.count:,} Gaussians; the unseen view is rendered at {quality:.1f} dB PSNR")

# %% [markdown]
# **Limits.** The embedded model is small and knows procedural scenes only; its Gaussians are a sheet of pixels, so turning
# far beyond the inputs shows holes. Next: `10_make_scenes` and `40_evaluate` for numbers over many scenes,
# `43_compare_pm_loss` for what PM-Loss changes, `13_import_capture` for your own photographs.
