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
# A small DepthSplat, trained on procedural scenes, turns two pictures with known cameras into 3D Gaussians in one forward pass.
# This notebook makes a scene, reconstructs it, flies round it, looks at its depth and at what PM-Loss does to it, shows it in
# 3D, and writes a file that other viewers open.
#
# | | |
# |---|---|
# | You learn | the way of the data: views → model → Gaussians → pictures → file, and what PM-Loss measures |
# | Needs | nothing: the scene is made here, the weights are part of the library |
# | Leaves | `artifacts/scene.ply`, `artifacts/orbit.mp4`, figures, `metrics.json` |
# | Time | about a minute on two CPU cores, 1 GB of memory |

# %% tags=["parameters"]
scene_seed: int = 8  # which procedural scene; even numbers are rooms, odd ones streets
height: int = 128  # pixels; a multiple of 16
width: int = 224  # pixels; a multiple of 16
context_frames: list[int] = [0, 6]  # the two frames the model sees
target_frame: int = 3  # the frame it must predict
model_name: str = "depthsplat-tiny"  # a splatting model with one Gaussian a pixel: a name from pmgs_lib.models.MODELS
orbit_frames: int = 48  # of the clip, 24 a second
row: int = 70  # the row of pixels of the first view that is looked at from above
steps: int = 20  # of descent on PM-Loss
viewer: bool | None = None  # the 3D viewer, 3.9 MB in the saved notebook; None: only where somebody opened the notebook

# %%
from IPython.display import Video

from pmgs_lib.data import make_scene
from pmgs_lib.evaluation import aligned_to_surface, floating_points, near_depth_edges, psnr, surface_distances
from pmgs_lib.evaluation.methods import render_output
from pmgs_lib.export import camera_path, reconstruct, render_path, stream_video, write_splats
from pmgs_lib.export.images import image_to_uint8
from pmgs_lib.losses import PointmapLoss
from pmgs_lib.models import load_checkpoint
from pmgs_lib.pointmaps import build_pointmap_source
from pmgs_lib.suite import current_run
from pmgs_lib.training import descend, pull
from pmgs_lib.ui import PixelRow, plot_depths, plot_pixel_rows, plots, view_3d

run = current_run()

# %% [markdown]
# ## A scene
# Procedural scenes have exact cameras and exact depth. Here are the two pictures that the model will see, with the depth that it
# will not see. It has to find it: what moves more from the left picture to the right one is nearer.

# %%
scene = make_scene(scene_seed, frames=20, height=height, width=width)
example = scene.example(context_frames, [target_frame])
run.save_figure(plots.plot_views(example.context, [f"frame {frame}" for frame in context_frames]), "input")

# %% [markdown]
# ## Reconstruction
# One forward pass: every pixel of both pictures becomes one Gaussian, a soft coloured ellipsoid on the ray of its pixel. *Means* are
# their centres, *harmonics* their colour by direction.

# %%
made = reconstruct(load_checkpoint(model_name), example.context, name=model_name)
made.gaussians

# %% [markdown]
# ## A new view
# The target camera lies between the two inputs; the model has never seen its picture. Left to right: the input nearest to it, the
# truth, our rendering, where they differ, and both depths. Errors sit at outlines and in fine texture, where a small error of depth shows first.

# %%
output = render_output(made.gaussians, example.target, made.settings, "auto")
run.save_figure(plots.plot_prediction(example, output), "prediction")

# %% [markdown]
# ## Fly round it
# A short figure of eight around the two cameras. Steady surfaces are well placed; what swims or tears where the camera passes
# lies at a wrong depth, and black is what neither picture saw.

# %%
clip = run.artifact("orbit.mp4")
drawn = render_path(made, camera_path("wobble", made, frames=orbit_frames), height, width)
stream_video(clip, (image_to_uint8(rendering.color) for rendering in drawn), fps=24)
Video(clip, embed=True, width=2 * width, html_attributes="controls autoplay loop muted")

# %% [markdown]
# ## Depth
# The Gaussians lie at the depth that the model reads off the two pictures. The error is a share of the exact depth: small on
# textured surfaces that both pictures show; large at outlines, on what only one picture shows, and far away.

# %%
frames = [f"frame {frame}" for frame in context_frames]
run.save_figure(plot_depths(example.context, made.depth, frames), "depth")

# %% [markdown]
# ## PM-Loss, off and on
# Depth steps at an outline, a network is smooth: so some Gaussians end up between the near thing and the wall behind it, where they
# float. PM-Loss compares all centres with a *pointmap*, the shape that another model saw in the same pictures (here the exact one
# with 0.5 % noise): it aligns the two clouds, and each centre pays the squared distance to the nearest point.
#
# One row of pixels, seen from the ceiling: grey is the exact surface, crosses float, arrows end where the loss pulls. Left: as
# predicted. Right: after some steps down the loss, when each centre may move along its ray. Look at the bridges from near to far.

# %%
context, loss = example.context, PointmapLoss()
centres = made.gaussians.means.reshape(1, context.count, height, width, 3)
pointmap = build_pointmap_source("depth", noise=0.005, seed=0)(context, "the scene")[None]
_, rays = context.cameras.rays(height, width)
moved = descend(lambda points: loss(points, pointmap), centres, steps=steps, first_move=0.04, directions=rays[None])
states = {"PM-Loss off": centres[0], "PM-Loss on": moved.points[0]}

# %%
shapes = {name: aligned_to_surface(points, context) for name, points in states.items()}
afloat = {name: floating_points(points, context) for name, points in shapes.items()}
arrows = {name: pull(lambda points: loss(points[None], pointmap), shape) / 2 for name, shape in shapes.items()}
rows = {name: PixelRow(shapes[name][0, row], afloat[name][0, row], arrows[name][0, row]) for name in states}
surface = context.cameras.unproject(context.depth)
run.save_figure(plot_pixel_rows(rows, surface[0, row], context.cameras[0]), "pm_loss")

# %%
edges = near_depth_edges(context.depth)
floating = {name: mask[edges].float().mean().item() for name, mask in afloat.items()}
shape_error = {name: surface_distances(points, context).mean().item() for name, points in shapes.items()}
for name, share in floating.items():
    print(f"{name}: {share:.0%} of the centres near edges float, shape error {100 * shape_error[name]:.1f} cm")

# %% [markdown]
# A better shape need not be a better picture: in trainings on embedded scenes PM-Loss did not raise PSNR. `43_compare_pm_loss` tests
# what it changes, `22_understand_pm_loss` takes it apart.
#
# ## In 3D
# The same Gaussians, both cameras with their pictures, and hidden at first the exact surface and both states of the centres: the
# button in the corner of the viewer lists them, an eye shows and hides each. Show *exact surface* and *PM-Loss off* alone, turn,
# then take *PM-Loss on* instead. In a batch run the viewer is left out and its first picture stays.

# %%
clouds = {"exact surface": surface.reshape(-1, 3)} | {name: p.reshape(-1, 3) for name, p in states.items()}
view_3d(made.gaussians, {"inputs": context}, clouds, hidden=list(clouds), embed=viewer)

# %% [markdown]
# ## A file that renders the same
# A PLY in the layout of the original 3D Gaussian splatting opens in every viewer of splats. It gets a certificate: it is read back,
# drawn with three cameras and compared with what was written; under 60 dB it is refused.

# %%
cameras = scene.views([*context_frames, target_frame]).cameras
certificate = write_splats(run.artifact("scene.ply"), made.gaussians, certify_with=cameras, height=height, width=width)
print(f"scene.ply, {run.artifact('scene.ply').stat().st_size / 1e6:.1f} MB: {certificate}")

# %% [markdown]
# ## Result

# %%
# NBVAL_CHECK_OUTPUT
quality = psnr(output.color, example.target.images).item()
run.save_metrics({"psnr": quality, "gaussians": made.gaussians.count, "ply_difference": certificate.largest_difference})
run.save_metrics({"floating_near_edges": floating, "shape_error_m": shape_error})
print(f"{made.gaussians.count:,} Gaussians; the unseen view is rendered at {quality:.1f} dB PSNR")

# %% [markdown]
# **Limits.** The embedded model is small and knows procedural scenes only; its Gaussians are a sheet of pixels, so turning far beyond
# the inputs shows holes. The descent moves points, not a network: it shows where PM-Loss pulls, not what training with it gives.
#
# **Next.** `80_explore` flies by mouse, with the score of what you see; `13_import_capture` and `15_photos_to_splats` take your own
# pictures; `40_evaluate` gives numbers over many scenes, `30_train` trains.
