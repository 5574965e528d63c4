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
# # Import a capture: from photographs with poses to chunk files
#
# Reads a Nerfstudio or instant-ngp `transforms.json`, undoes the lens distortion, converts the cameras, and writes the one
# chunk layout that every notebook here reads. Without a capture of your own, the notebook photographs an embedded scene
# through a distorting lens first, so it also shows that the import loses nothing.
#
# | | |
# |---|---|
# | You learn | what an import does to pictures and cameras, and what it leaves out and why |
# | Needs | a folder with `transforms.json`, or nothing |
# | Leaves | `artifacts/scenes/test/*.torch`, a manifest, a protocol for `40_evaluate` |
# | Time | ten seconds for 50 photographs |

# %% tags=["parameters"]
source: str = ""  # folder of the capture; empty: photograph an embedded scene
scene_seed: int = 30001  # the embedded scene to photograph
height: int = 128  # pixels of the evaluation protocol; multiples of 16
width: int = 224  # pixels

# %%
from pathlib import Path

from pmgs_lib.data import import_capture, inspect_scene, make_scene, open_dataset
from pmgs_lib.data.capture_protocols import capture_protocol
from pmgs_lib.data.protocols import save_protocol
from pmgs_lib.export.nerfstudio import write_nerfstudio
from pmgs_lib.suite import current_run
from pmgs_lib.ui import plots

run = current_run()

# %% [markdown]
# ## The capture
# Without a source, an embedded scene is photographed through a lens that bends straight lines, and forgotten: what follows
# knows the photographs and `transforms.json` only.

# %%
capture = Path(run.resolve(source)) if source else run.artifact("capture")
if not source:
    scene = make_scene(scene_seed, frames=20, height=192, width=320)
    write_nerfstudio(capture, scene.images, scene.cameras, distortion=(0.08, -0.02, 0.001, -0.001))

# %% [markdown]
# ## Import
# The lens is undone, the picture cropped to where every pixel was really photographed, poses are turned to OpenCV axes, and
# what was left out is named with its reason.

# %%
folder = run.artifact("scenes")
key = capture.resolve().name if source else f"capture-{scene_seed}"
manifest = import_capture(capture, folder, key=key, overwrite=True)
print(f"{manifest.listed} photographs listed = {manifest.imported} imported + {len(manifest.left_out)} left out")

# %%
report = inspect_scene(folder, key)
report

# %% [markdown]
# ## Look at it
# Straight edges are straight again. Frames a third of the way apart:

# %%
dataset = open_dataset(folder)
stored = dataset.scene(key)
frames = [0, stored.frames // 3, 2 * stored.frames // 3]
run.save_figure(plots.plot_views(dataset.views(stored, frames, *stored.image_size())), "imported")

# %% [markdown]
# ## A protocol for it
# Nobody chose context and target frames for a new capture, so pairs of frames are spread evenly along it, and written down
# as a protocol before any method sees them.

# %%
protocol = capture_protocol(dataset, key, height=height, width=width)
save_protocol(protocol, run.artifact("protocol.json"))
run.save_metrics(
    {
        "listed": manifest.listed,
        "imported": manifest.imported,
        "left_out": manifest.left_out,
        "near_hint": manifest.near_hint,
        "far_hint": manifest.far_hint,
        "cases": len(protocol.keys),
    }
)

# %% [markdown]
# **Limits.** Poses are taken as they are; nothing here refines them. Depth of a real capture is not known, so its evaluation
# has picture metrics only. Next: `40_evaluate` with this run's scenes and protocol.
