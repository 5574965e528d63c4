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
# # Explore: walk round a reconstruction, compare, cut, and read the score of what you see
#
# An explorer draws Gaussians in the kernel, live, with the rasterizer that the metrics use. Its pictures at rest are sent
# without loss: they are the pixels that `40_evaluate` measures.
#
# | | |
# |---|---|
# | You learn | where a reconstruction holds, where it tears, and what the score hides |
# | Needs | weights; a folder of chunk files or a capture, or none |
# | Leaves | stills of four modes as figures, `metrics.json` |
# | Time | some seconds on two CPU cores, then as long as you like to look; without a page the explorers show a still |

# %% tags=["parameters"]
scenes: str = ""  # folder of chunk files, or a capture with transforms.json; empty: embedded scenes are made here
keys: list[str] = []  # which scenes; empty: the first two
scene_seed: int = 7  # of the embedded scenes
context_frames: list[int] = [7, 13]  # the frames that the model sees
target_frames: list[int] = [4, 10, 16]  # held-out frames: where pictures are scored
weights: str = "depthsplat-tiny"  # a splatting model: a name from pmgs_lib.models.MODELS, or a weights file
height: int = 128  # pixels; multiples of what the model takes
width: int = 224  # pixels
near: float | None = None  # depth range in world units; None: what the import found
far: float | None = None
device: str = "cpu"  # or "cuda"; the CPU draws coarse while something moves

# %%
from dataclasses import replace
from pathlib import Path

from IPython.display import display

from pmgs_lib.data import make_scenes, open_scenes
from pmgs_lib.data.scenes import FAR, NEAR
from pmgs_lib.evaluation.methods import ExactDepth, GaussianMethod
from pmgs_lib.evaluation.metrics import psnr
from pmgs_lib.models import load_for_size
from pmgs_lib.suite import current_run
from pmgs_lib.ui.explorer import explore

run = current_run()

# %%
source = run.resolve(scenes) if scenes else run.artifact("scenes")
if not scenes:
    make_scenes(scene_seed, count=2, folder=source, frames=20, height=height, width=width, overwrite=True)
limits = {"near": near, "far": far} if scenes else {"near": NEAR, "far": FAR}
dataset = open_scenes(source, imported_to=run.artifact("imported"), **limits)
chosen = keys or list(dataset.keys[:2])
examples = {key: dataset.example(key, context_frames, target_frames, height, width) for key in chosen}
model = load_for_size(run.resolve(weights) if Path(weights).suffix else weights, height, width, device=device)

# %% [markdown]
# ## One model, any scene
# Drag on the picture to orbit; with shift or the right button to pan; the wheel comes closer. Arrow keys, shift and + or −
# do the same once the picture is clicked. **Go to the held-out view** puts the camera where a picture was kept from the
# model: the PSNR under the picture is then that of these very pixels. Elsewhere it is that of the nearest held-out view.
#
# Try: *show* → *match probability*, then raise *opacity from* and watch which parts go first, and what the PSNR says to it.

# %%
explorer = explore(examples, {weights: model}, device=device)
explorer

# %% [markdown]
# ## Two at once
# The model beside Gaussians at the exact depth of every input pixel: what is wrong on the left only is the model's; what
# is missing on both sides no input saw. Drag the slider under the picture to wipe; *show* → *depth* has one scale for both.

# %%
example = examples[chosen[0]].to(device)
exact = {} if example.context.depth is None else {"exact depth": ExactDepth()(example)}
comparison = explore(example, {weights: model}, exact, device=device)
comparison

# %% [markdown]
# ## The same without a page
# The state of an explorer is a value: keep it, set it, or draw it. Here are the four modes from the first held-out view.
# The error is zero where the picture is black; the alpha is white where the Gaussians close the picture.

# %%
for mode in ("depth", "alpha", "error", "colour"):
    comparison.state = replace(comparison.state, target=0, mode=mode)
    display(run.save_figure(comparison.still(), mode))

# %%
# NBVAL_CHECK_OUTPUT
outputs = {weights: GaussianMethod(model, name=weights)(example), **exact}
shown = {name: comparison.psnr(name) for name in outputs}
measured = {name: psnr(o.color, example.target.images).tolist() for name, o in outputs.items()}
difference = max(abs(a - b) for name in shown for a, b in zip(shown[name], measured[name], strict=True))
assert difference < 1e-4, f"the explorer's scores are up to {difference} dB off those of the evaluation"
print(f"{len(examples)} scenes; the explorer's scores equal those of the evaluation")
run.save_metrics({"psnr": shown, "gaussians": {name: o.gaussians.count for name, o in outputs.items()}})

# %% [markdown]
# **Limits.** Motion is drawn on the CPU at half the resolution with fewer Gaussians; wait for the picture to sharpen before
# judging it. Errors exist only where there is a truth: *error* always shows the nearest held-out view. After a restart of
# the kernel an explorer says that its kernel is gone: run its cell again. Next: `40_evaluate` for many scenes, `20_reconstruct`
# for files and videos.
