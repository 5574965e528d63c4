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
# # Inspect a scene: do its cameras fit its pictures, and whom is it fit for?
#
# Most lost GPU hours in this field begin with a convention: poses that map the other way, axes of another program, intrinsics in
# pixels. All of these load, train and render without an error. This notebook asks the pictures: features are matched between
# frames, and cameras that are read rightly make the rays of a match meet.
#
# | | |
# |---|---|
# | You learn | what a sound scene looks like, how a wrong convention shows itself, and which models a scene is fit for |
# | Needs | a folder of chunk files, or nothing |
# | Leaves | `metrics.json` with every finding, figures |
# | Time | half a minute on two CPU cores |

# %% tags=["parameters"]
scenes: str = ""  # folder of chunk files; empty: an embedded scene is made here
scene: str = ""  # key of the scene; empty: the only one there is
seed: int = 7  # of the embedded scene
height: int = 192  # pixels of the embedded scene
width: int = 320
models: list[str] = ["depthsplat-tiny", "depthsplat-gs-base-dl3dv-256x448", "depthsplat-gs-base-re10k-256x448"]

# %%
from pmgs_lib.data import decode_image, diagnose_cameras, inspect_scene, judge, make_scenes, open_dataset
from pmgs_lib.data.scene_source import pick_scene
from pmgs_lib.geometry.pose import inverse_pose, opengl_from_opencv
from pmgs_lib.models.requirements import requirements_of
from pmgs_lib.suite import current_run
from pmgs_lib.ui import plot_epipolar_lines, plot_readings, plot_walk

run = current_run()

# %% [markdown]
# ## The report
# Sizes, angles, steps, depth, and a warning for each oddity. Matching takes some seconds; it gives the line "pictures say".

# %%
folder = run.resolve(scenes) if scenes else run.artifact("scenes")
if not scenes:
    make_scenes(seed, count=1, folder=folder, frames=20, height=height, width=width, overwrite=True)
dataset = open_dataset(folder)
stored = dataset.scene(pick_scene(dataset, scene or None))
report = inspect_scene(folder, stored.key, matching=True)
print(report)

# %% [markdown]
# ## The walk
# Left: where the cameras stood and looked. A sound walk is a smooth line whose arrows turn slowly; single arrows that jump are
# misplaced frames. Right: a bar below the dashed line is a blurred frame, which spoils training more than it adds.

# %%
run.save_figure(plot_walk(stored.cameras, report), "walk")

# %% [markdown]
# ## Epipolar lines
# A point of the left picture may lie anywhere along its ray, so the right picture must show it somewhere on a line, which the
# cameras alone decide. Each dot on its line: poses, lens and pictures belong together. Matches that are wrong in
# themselves are left out of the drawing.

# %%
images = [decode_image(encoded) for encoded in stored.images]
diagnosis = report.diagnosis
run.save_figure(plot_epipolar_lines(images, diagnosis, pair=1), "epipolar")

# %% [markdown]
# ## The same numbers, misread
# Here the poses are given OpenGL axes and inverted, as a file from another program may have them. The dots leave their lines.

# %%
raw = inverse_pose(opengl_from_opencv(stored.cameras.world_from_camera))
wrong = type(stored.cameras)(raw, stored.cameras.intrinsics)
run.save_figure(plot_epipolar_lines(images, diagnosis, pair=1, cameras=wrong), "epipolar_misread")

# %% [markdown]
# `diagnose_cameras` takes such raw numbers before any import. It reads them in every way that is usual and counts the matches that
# each explains: rays that meet, in front of both cameras, where the features are. One reading stands out.

# %%
misread = diagnose_cameras(raw, stored.cameras.intrinsics, images, pairs=diagnosis.pairs)
print(misread)
run.save_figure(plot_readings(misread), "readings")

# %% [markdown]
# ## Near and far
# A model searches depth between near and far. Too wide a range wastes its candidates, too narrow a one cuts things off.

# %%
near, far = report.depth_range or (float("nan"), float("nan"))
print(f"near {near:.3g}, far {far:.3g}: {report.depth_source}")
matched = diagnosis.depth_range()
print("from the matches alone:", matched if matched else "too few of them")

# %% [markdown]
# ## Whom is it fit for?
# What each model asks for is read off its configuration: views, sizes, depth range of its training, lens.

# %%
verdicts = {name: judge(report, requirements_of(name)) for name in models}
for verdict in verdicts.values():
    print(verdict)

# %%
run.save_metrics(
    {
        "findings": {finding.check: list(finding.frames) for finding in report.findings},
        "explained": round(max(diagnosis.shares.values(), default=0.0), 3),
        "misread_as": str(misread.reading),
        "fit": {name: verdict.fit for name, verdict in verdicts.items()},
    }
)

# %% [markdown]
# **Limits.** A camera that only moves sideways fits OpenCV and OpenGL poses alike; then the library's own reading is kept. Pictures
# without texture tell nothing. Next: `20_reconstruct` with the scene, or `15_photos_to_splats` for pictures without poses.
