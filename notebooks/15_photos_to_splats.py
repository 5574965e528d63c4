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
# # From twenty phone photos to Gaussians: no poses needed
#
# Walk past something with texture, take twenty photos (or a short video), put them into a folder and name it below. COLMAP finds
# where each was taken, the doctor checks the result, a model turns a few of them into 3D Gaussians, and you get a video and files.
#
# | | |
# |---|---|
# | You learn | the whole way from pictures to splats, and how to see at each step whether it went well |
# | Needs | a folder of photos or a video, or nothing: then an embedded scene is photographed and its poses are forgotten |
# | Leaves | `artifacts/scenes`, `artifacts/reconstruction/`: pictures, PLY, video; `metrics.json` |
# | Time | under a minute for small pictures on two free cores; minutes for fifty large ones |

# %% tags=["parameters"]
photos: str = ""  # folder of JPEG or PNG photos, or a video; empty: photos of an embedded scene
poses: str = "colmap"  # "colmap", or "vggt" (5 GB of weights, non-commercial: needs accept_licence)
threads: int = 1  # of COLMAP; more are faster, one gives the same cameras each time
accept_licence: bool = False  # of VGGT's weights
seed: int = 12  # of the embedded scene
count: int = 14  # photos of the embedded scene
height: int = 128  # pixels that the model sees; multiples of 16
width: int = 224
spacing: float = 0.12  # world units between neighbouring photos: photos do not tell the size of the world
context_frames: list[int] = []  # photos that the model sees; empty: two near the middle
weights: str = "depthsplat-tiny"  # a name from pmgs_lib.models.MODELS, or a weights file
video_frames: int = 48
device: str = "cpu"  # or "cuda"

# %%
from IPython.display import Video

from pmgs_lib.data import PhotosImporter, import_capture, inspect_scene, judge, make_scene, open_dataset
from pmgs_lib.data.photos import ColmapPoses
from pmgs_lib.evaluation.methods import render_output
from pmgs_lib.export import SaveSettings, reconstruct, save_image, save_reconstruction
from pmgs_lib.models import load_checkpoint
from pmgs_lib.models.requirements import requirements_of
from pmgs_lib.pointmaps import VggtPoses
from pmgs_lib.suite import current_run
from pmgs_lib.ui import plot_depths, plot_epipolar_lines, plot_walk, plots
from pmgs_lib.views import Example

run = current_run()

# %% [markdown]
# ## The photos
# Without photos of your own, an embedded scene is photographed; only its pictures are kept.

# %%
source = run.resolve(photos) if photos else run.artifact("photos")
if not photos:
    source.mkdir(exist_ok=True)
    for number, image in enumerate(make_scene(seed, frames=count, height=240, width=426).views(range(count)).images):
        save_image(source / f"IMG_{number:04d}.png", image)

# %% [markdown]
# ## Where were they taken?
# Photos are turned upright; those that are blurred, doubled or of another shape are left out with the reason. One lens is estimated
# for all. Nothing tells the true size of the world, so it is set by `spacing`; the doctor says below if the depth does not suit the model.

# %%
estimator = VggtPoses(accept_licence=accept_licence, device=device) if poses == "vggt" else ColmapPoses(threads=threads)
folder = run.artifact("scenes")
manifest = import_capture(
    source, folder, importer=PhotosImporter(estimator), key="photos", scale="spacing", scale_to=spacing, overwrite=True
)
print(f"{manifest.listed} photos = {manifest.imported} placed + {len(manifest.left_out)} left out")
for name, reason in manifest.left_out.items():
    print(f"  {name}: {reason}")
print(f"near {manifest.near_hint:.3g}, far {manifest.far_hint:.3g}: {manifest.hint}")

# %% [markdown]
# ## Did it go well?
# The walk should look like yours, and each dot of the right picture should lie on its line.

# %%
report = inspect_scene(folder, "photos", matching=True)
print(report)
dataset = open_dataset(folder)
stored = dataset.scene("photos")
run.save_figure(plot_walk(stored.cameras, report), "walk")

# %%
views = dataset.views(stored, range(stored.frames), *stored.image_size())
pictures = [(image.movedim(0, -1) * 255).round().byte() for image in views.images]
run.save_figure(plot_epipolar_lines(pictures, report.diagnosis, pair=1), "epipolar")

# %%
verdict = judge(report, requirements_of(weights)) if "." not in weights else None
print(verdict or "weights from a file: nothing is known of what they ask for")

# %% [markdown]
# ## Gaussians
# Two photos are enough for a model that was trained on pairs. They should show the same things from places a step apart.

# %%
middle = stored.frames // 2
seen = context_frames or [middle - 2, middle + 2]
between = [frame for frame in range(min(seen), max(seen) + 1) if frame not in seen]
context, target = (dataset.views(stored, frames, height, width) for frames in (seen, between))
model = load_checkpoint(run.resolve(weights) if "." in weights else weights, device=device)
made = reconstruct(model, context, name=weights)
print(f"{made.seconds:.1f} s on {made.device}: {made.gaussians.count:,} Gaussians from {context.count} photos")

# %%
run.save_figure(plot_depths(context, made.depth.cpu(), [f"photo {frame}" for frame in seen]), "depth")

# %% [markdown]
# ## Photos that the model never saw
# Drawn from the Gaussians at the places where COLMAP says they were taken: this measures poses and model together.

# %%
output = render_output(made.gaussians, target.to(made.device), made.settings, "auto")
shown = Example(context.to(made.device), target.to(made.device), stored.key)
run.save_figure(plots.plot_prediction(shown, output, range(min(2, target.count))), "new_views")

# %%
saved = save_reconstruction(
    run.artifact("reconstruction"),
    made,
    target,
    settings=SaveSettings(video="interpolate", frames=video_frames),
    context_frames=seen,
    target_frames=between,
    overwrite=True,
)
Video(
    run.artifact("reconstruction") / "video.mp4",
    embed=True,
    width=2 * width,
    html_attributes="controls autoplay loop muted",
)

# %% [markdown]
# ## In short

# %%
quality = {file["frame"]: file["psnr"] for file in saved["files"] if file["part"] == "rendered"}
run.save_metrics(
    {
        "photos": manifest.listed,
        "placed": manifest.imported,
        "left_out": manifest.left_out,
        "findings": [finding.check for finding in report.findings],
        "gaussians": made.gaussians.count,
        "psnr": {frame: round(value, 1) for frame, value in quality.items()},
    }
)
mean = sum(quality.values()) / len(quality)
print(
    f"{manifest.imported} of {manifest.listed} photos placed, {made.gaussians.count:,} Gaussians, {mean:.1f} dB at photos in between"
)

# %% [markdown]
# **Limits.** The embedded model is small and knows embedded scenes: its Gaussians of real photos are a first look. Name released
# weights in `weights` (with their height and width) for better ones. What moved between photos, mirrors and plain walls have no
# right answer. Next: `20_reconstruct` with `artifacts/scenes` for more ways to look at it.
