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
# # Reconstruct: a scene or capture in, Gaussians, depths, new views and a video out
#
# One forward pass of any model of the zoo turns posed pictures into 3D Gaussians. This notebook looks at what came out, puts
# it beside what the model never saw, flies through it, and leaves everything as files. `pmgs render` does the same from the
# command line.
#
# | | |
# |---|---|
# | You learn | what a feed-forward reconstruction consists of, and where it holds |
# | Needs | weights; a folder of chunk files or a capture with `transforms.json`, or none |
# | Leaves | `artifacts/reconstruction/`: pictures, depths, PLY, video, manifest; `metrics.json` |
# | Time | half a minute on two CPU cores for two views of 128x224; a GPU and larger pictures change the numbers, not the steps |

# %% tags=["parameters"]
scenes: str = ""  # folder of chunk files, or a capture with transforms.json; empty: an embedded scene is made here
scene: str = ""  # key of the scene; empty: the only one there is, or the first of the protocol
protocol: str = (
    ""  # whose frames, size and depth range are taken, e.g. "depthsplat-dl3dv-video-12v"; empty: those below
)
context_frames: list[int] = [7, 13]  # the frames that the model sees
target_frames: list[int] = [4, 9, 11, 16]  # frames it must predict: between its frames and beyond them
weights: str = "depthsplat-tiny"  # a splatting model: a name from pmgs_lib.models.MODELS, or a weights file
height: int = 128  # pixels; multiples of what the model takes
width: int = 224  # pixels
near: float | None = None  # depth range in world units; None: what the import found
far: float | None = None
video: str = "interpolate"  # path of the video: interpolate, wobble, spin, target or stabilized
video_frames: int = 60
device: str = "cpu"  # or "cuda"

# %%
from pathlib import Path

from IPython.display import Video

from pmgs_lib.data import load_protocol, make_scenes, open_dataset, open_scenes
from pmgs_lib.data.scene_source import pick_scene, protocol_scene
from pmgs_lib.data.scenes import FAR, NEAR
from pmgs_lib.evaluation.methods import render_output
from pmgs_lib.export import SaveSettings, read_ply, reconstruct, save_reconstruction
from pmgs_lib.models import load_for_size
from pmgs_lib.suite import current_run
from pmgs_lib.ui import plot_depths, plots
from pmgs_lib.views import Example

run = current_run()

# %% [markdown]
# ## The scene
# A capture is imported on the way: lens undone, cameras converted. Here are the pictures that the model will see, with the
# exact depth where it is known, which the model will not see.

# %%
source = run.resolve(scenes) if scenes else run.artifact("scenes")
if not scenes:
    make_scenes(7, count=1, folder=source, frames=20, height=height, width=width, overwrite=True)
if protocol:
    rules = load_protocol(protocol)
    dataset = open_dataset(source, near=rules.near, far=rules.far, images=rules.images)
    key = protocol_scene(dataset, rules, scene or None)
    views, (height, width) = rules.views_of(key), (rules.height, rules.width)
    context_frames, target_frames = list(views.context), [frame for frame, _ in views.targets][::10]
else:
    limits = {"near": near, "far": far} if scenes else {"near": NEAR, "far": FAR}
    dataset = open_scenes(source, imported_to=run.artifact("imported"), **limits)
    key = pick_scene(dataset, scene or None)

# %%
stored = dataset.scene(key)
context = dataset.views(stored, context_frames, height, width)
target = dataset.views(stored, target_frames, height, width)
run.save_figure(plots.plot_views(context, [f"frame {frame}" for frame in context_frames]), "input")

# %% [markdown]
# ## One forward pass
# Every pixel of every picture becomes one Gaussian. The time includes what the first call of a process prepares.

# %%
chosen = run.resolve(weights) if Path(weights).suffix else weights
made = reconstruct(load_for_size(chosen, height, width, device=device), context, name=weights)
print(f"{made.seconds:.2f} s on {made.device}: {made.gaussians.count:,} Gaussians from {context.count} pictures")
made.gaussians

# %% [markdown]
# ## Depth
# The Gaussians lie at the depth that the model reads off the disparity between the views. Look at the edges of near things,
# where depth jumps, and at parts that only one picture shows: there is nothing to match, so the model guesses.

# %%
frames = [f"frame {frame}" for frame in context_frames]
run.save_figure(plot_depths(context, made.depth.cpu(), frames), "depth")

# %% [markdown]
# ## New views
# Frames that the model never saw, a row each in the order of `target_frames`. Between the inputs a sheet of pixels from each side closes the gaps; beyond them
# holes open behind near things, black because nobody saw what is there.

# %%
output = render_output(made.gaussians, target.to(made.device), made.settings, "auto")
shown = Example(context.to(made.device), target.to(made.device), stored.key)
run.save_figure(plots.plot_prediction(shown, output, range(target.count)), "new_views")

# %% [markdown]
# ## All of it as files
# The manifest says what was written and what was not, and why. The video's frames are drawn a few at a time, so a long path
# takes no more memory than a short one.

# %%
folder = run.artifact("reconstruction")
settings = SaveSettings(video=video, frames=video_frames)
labels = {"context_frames": context_frames, "target_frames": target_frames}
manifest = save_reconstruction(folder, made, target, settings=settings, **labels, overwrite=True)
for part in dict.fromkeys(file["part"] for file in manifest["files"]):
    files = [file for file in manifest["files"] if file["part"] == part]
    print(f"{part}: {len(files)} files, {sum(file['bytes'] for file in files) / 1e3:,.0f} kB")
for part, reason in manifest["left_out"].items():
    print(f"{part}: left out, {reason}")

# %% [markdown]
# The video: steady surfaces are well placed; what swims or tears where the camera passes lies at a wrong depth.

# %%
Video(folder / "video.mp4", embed=True, width=2 * width, html_attributes="controls autoplay loop muted")

# %% [markdown]
# ## The PLY renders the same
# It opens in any viewer of 3D Gaussians. The file was read back and drawn when it was saved; the first line says how near it
# came at the input cameras, 60 dB being the least that is accepted. Here is the same for the new views.

# %%
again = render_output(read_ply(folder / "gaussians.ply").to(made.device), target.to(made.device), made.settings, "auto")
difference = (again.color - output.color).abs().max().item()
assert difference < 1e-3, f"the file renders differently (largest difference {difference:.4f})"
certified = next(file["certified"] for file in manifest["files"] if file["part"] == "gaussians")
print(f"gaussians.ply {certified}\nnew views: largest difference {difference:.1e}")

# %%
quality = {file["frame"]: file["psnr"] for file in manifest["files"] if file["part"] == "rendered"}
run.save_metrics({"psnr": quality, "gaussians": made.gaussians.count, "ply_difference": difference})
run.save_metrics({"left_out": manifest["left_out"]})
print(", ".join(f"frame {frame}: {value:.2f} dB" for frame, value in quality.items()))

# %% [markdown]
# **Limits.** One scene says little about a model: `40_evaluate` measures on a fixed protocol with controls beside it. Poses are
# taken as given. Next: `21_predict_depth` for depth by the number of views.
