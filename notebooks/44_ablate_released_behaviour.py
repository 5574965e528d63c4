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
# # Ablate: what each behaviour of released weights is worth
#
# The released code of DepthSplat and MVSplat does a few things that are mistakes, but its weights have learnt to live with
# them. The library reproduces each behind a field of the configuration and mends it for new training. Here each is switched
# by itself on the same weights.
#
# | | |
# |---|---|
# | You learn | which behaviour matters in which setting: two views, more views, mixed lenses, a shifted picture |
# | Needs | weights; scenes from `10_make_scenes` or an import, or none |
# | Leaves | `metrics.json`, a row a scene, situation and behaviour in `artifacts/changes.csv`, figures |
# | Time | half a minute for one scene on two CPU cores |

# %% tags=["parameters"]
weights: str = "depthsplat-tiny"  # a model that ships with the library, or a checkpoint
scenes: str = ""  # folder of chunk files; empty: embedded scenes are made here
seed: int = 20001  # of the embedded scenes
count: int = 1  # how many scenes
near: float = 0.5  # z-depth range of the scenes, in world units
far: float = 40.0
height: int = 128  # of the pictures that the model sees, in pixels
width: int = 224
zoom: float = 1.25  # longer lenses are cropped out of pictures so much larger; the scenes must have them
few: list[int] = [7, 13]  # context frames of the situation with two views
many: list[int] = [4, 7, 10, 13]  # context frames of the other situations
targets: list[int] = [9, 11]  # frames to predict

# %%
import pandas as pd

from pmgs_lib.data import make_scenes, open_dataset
from pmgs_lib.evaluation.ablation import ablate, applicable, is_released, summarise, switched
from pmgs_lib.evaluation.methods import GaussianMethod
from pmgs_lib.evaluation.situations import camera_situations
from pmgs_lib.models import load_checkpoint
from pmgs_lib.suite import current_run
from pmgs_lib.ui import plots
from pmgs_lib.ui.ablation_plots import plot_changes

run = current_run()
model = load_checkpoint(run.resolve(weights) if weights.endswith(".safetensors") else weights)

# %% [markdown]
# ## The behaviours
# What these weights were trained with, and what each behaviour is. "Mended" is what new training uses.

# %%
behaviours = applicable(model.config)
pd.DataFrame(
    {
        "these weights": ["released" if is_released(model.config, b) else "mended" for b in behaviours],
        "released behaviour": [b.meaning for b in behaviours],
    },
    index=[b.name for b in behaviours],
).style.set_properties(**{"text-align": "left"})

# %% [markdown]
# ## Four situations
# A behaviour can show only where cameras give it room. Two views with one lens are the papers' plain case. With many views
# each is matched with two neighbours. Every second view cropped out of a larger picture has a longer focal length. A target
# cropped out of a corner has its principal point off the middle.

# %%
folder = run.resolve(scenes) if scenes else run.artifact("scenes")
if not scenes:
    frames = max(*few, *many, *targets) + 1
    large = {"height": round(zoom * height), "width": round(zoom * width)}
    make_scenes(seed, count=count, folder=folder, frames=frames, **large, overwrite=True)
dataset = open_dataset(folder, near=near, far=far)

# %%
cameras = {"few": few, "many": many, "targets": targets, "size": (height, width), "zoom": zoom}
situations = {key: camera_situations(dataset, key, **cameras) for key in dataset.keys[:count]}
example = next(iter(situations.values()))
titles = [f"frame {frame}{', longer lens' if place % 2 else ''}" for place, frame in enumerate(many)]
run.save_figure(plots.plot_views(example["mixed lenses"].context, titles), "mixed_lenses")

# %% [markdown]
# The context of "mixed lenses": the second and fourth view see less, larger.
#
# ## Switch one at a time
# The same weights, one behaviour the other way round, everything else as before.

# %%
changes = [change for scene in situations.values() for change in ablate(model, scene)]
summary = summarise(changes)
run.save_figure(plot_changes(summary), "changes")

# %% [markdown]
# Left: red cells lose quality against the truth. Right: how far depth moves. An empty cell means that not one digit changed:
#
# - the **window mask** needs two neighbours a view, so it shows with three views or more only;
# - the **reference intrinsics** are wrong only where lenses differ, and then badly: every depth candidate is looked up at the wrong place;
# - **unit rays** and the **metric depth** change what the network's numbers mean, so weights need the one they were trained with, always;
# - the **harmonics** belong to other axes in released weights, and are turned a little wrongly; both touch view-dependent colour only;
# - the **symmetric frustum** matters only for a picture whose axis is off the middle, such as a crop;
# - the **near plane** matters only where a camera comes so near to Gaussians that the two planes lie on either side of them.

# %%
frame = pd.DataFrame([vars(change) for change in changes])
for situation, value in frame.groupby("situation", sort=False)["psnr_before"].mean().items():
    print(f"before, {situation}: {value:.2f} dB")
between = summary.pivot(index="behaviour", columns="situation", values="psnr_between")
between.loc[summary["behaviour"].unique(), summary["situation"].unique()].round(1)

# %% [markdown]
# What the changes start from, and PSNR in dB between the renders before and after, infinite where they are equal: 50 dB and more
# nobody sees.
#
# ## Look
# The situation in which a behaviour costs most, without those that change the meaning of the network's numbers.

# %%
seen = summary[~summary["behaviour"].isin(["metric depth input", "unit rays"])]
worst = seen.loc[seen["psnr_change"].idxmin()]
behaviour = next(b for b in behaviours if b.name == worst["behaviour"])
shown = example[worst["situation"]]
outputs = {"before": GaussianMethod(model)(shown), "switched": GaussianMethod(switched(model, behaviour))(shown)}
print(f"{behaviour.name}, {worst['situation']}: {worst['psnr_change']:+.2f} dB")
run.save_figure(plots.plot_comparison(shown, outputs), "worst")

# %% [markdown]
# Same weights, same inputs, same scales: what is bright in the right-hand error and dark in the middle one is the switch alone.

# %%
frame.to_csv(run.artifact("changes.csv"), index=False)
finite = summary.assign(psnr_between=[value if value < 200 else None for value in summary["psnr_between"]])
run.save_metrics(
    {"scenes": len(situations), "changes": finite.astype(object).where(finite.notna(), None).to_dict("records")}
)

# %% [markdown]
# **Limits.** Weights that were trained with a behaviour have adapted to it: the loss in a cell says what a wrong switch costs
# these weights, not which of the two ways would be better to train with. One scene with four views shows where a behaviour acts;
# differences of a few hundredths of a decibel mean nothing.
