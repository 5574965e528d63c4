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
# # Evaluate: one method and two controls on a fixed protocol
#
# Renders target views between the input views and beyond them, and scores pictures, depth and geometry. Two controls say
# what the numbers mean: copying the nearest input picture, and Gaussians unprojected from exact depth. No scene is lost on
# the way: scored + skipped = listed.
#
# | | |
# |---|---|
# | You learn | what a method does inside and outside the span of its inputs |
# | Needs | weights; scenes from `10_make_scenes`, or none |
# | Leaves | `metrics.json`, a row a target view in `artifacts/targets.csv`, pictures, those of the worst scenes among them |
# | Time | about ten seconds for six scenes on two CPU cores |

# %% tags=["parameters"]
scenes: str = ""  # folder of chunk files; empty: the protocol's embedded scenes are made here
protocol: str = "embedded-smoke"  # name of a protocol, e.g. "depthsplat-re10k-256", or a .json file
allow_missing: bool = False  # score the scenes that are there where others are not: marked NOT COMPARABLE
every: int = 1  # score each n-th scene only: a quick look, marked NOT COMPARABLE
weights: str = "depthsplat-tiny"  # a model that ships with the library, or a checkpoint
label: str = "DepthSplat tiny"  # how the report calls this row
worst: int = 3  # pictures of so many scenes with the lowest PSNR
lpips_weights: str = ""  # VGG-16 of torchvision, a file; empty: where torch keeps it
device: str = "cpu"  # or "cuda"

# %%
import pandas as pd

from pmgs_lib.data import load_protocol, make_scenes, open_dataset
from pmgs_lib.evaluation import WorstScenes, evaluate, load_lpips
from pmgs_lib.evaluation.methods import ExactDepth, GaussianMethod, NearestInput
from pmgs_lib.models import load_for_size, weight_facts
from pmgs_lib.suite import current_run
from pmgs_lib.ui import plots

run = current_run()
rules = load_protocol(run.resolve(protocol) if protocol.endswith(".json") else protocol, every=every)

# %% [markdown]
# ## Scenes and protocol
# Which frames are given and which are asked for was fixed in a file before anything was trained.

# %%
folder = run.resolve(scenes) if scenes else run.artifact("scenes")
if not scenes:
    made = rules.test
    make_scenes(
        made.seed,
        count=made.count,
        folder=folder,
        frames=made.frames,
        height=made.height,
        width=made.width,
        overwrite=True,
    )
dataset = open_dataset(folder, near=rules.near, far=rules.far, images=rules.images)
print(f"protocol {rules.name}, {rules.expected.scenes} scenes, digest {rules.digest[:12]}")

# %% [markdown]
# ## Methods
# The model, and the controls: a copy of the nearest input, and Gaussians at the exact depth of every input pixel where that
# is known. A model below the first control has learnt nothing; what separates it from the second is its geometry.

# %%
chosen = run.resolve(weights) if weights.endswith(".safetensors") else weights
facts = weight_facts(chosen)
model = load_for_size(chosen, rules.height, rules.width, device=device)
methods = [NearestInput(), ExactDepth(), GaussianMethod(model, name=label)]

# %% [markdown]
# ## Evaluate

# %%
lpips = load_lpips(run.resolve(lpips_weights) if lpips_weights else None)
first, looked_at = {}, WorstScenes(worst)
results = []
for method in methods:

    def keep(key, example, output, name=method.name, control=method.control):
        first.setdefault(name, (key, example, output))
        if not control:
            looked_at.keep(key, example, output)

    how = {"device": device, "lpips_network": lpips, "allow_missing": allow_missing}
    results.append(evaluate(method, dataset, rules, on_scene=keep, **how))

# %%
# NBVAL_CHECK_OUTPUT
account = results[-1].ledger
print(f"{len(account.listed)} listed = {len(account.scored)} scored + {len(account.skipped)} skipped")
for result in (scored for scored in results if scored.scores):
    found = {split: means["psnr"] for split, means in result.means.items() if split != "overall" and means["psnr"]}
    print(f"{result.method}: {', '.join(f'{value:.1f} dB {split}' for split, value in found.items())}")

# %% [markdown]
# Means over target views and then over scenes; "inside" lies between the input views, "outside" beyond them, where a method
# must know surfaces rather than interpolate pictures.

# %%
table = pd.DataFrame(
    {
        (result.method, split): {name: value for name, value in means.items() if value is not None}
        for result in results
        for split, means in result.means.items()
    }
).T.dropna(axis=1, how="all")
table.round(3)

# %% [markdown]
# ## Look
# The first scene, one target outside the span of the inputs, by every method on the same scales: the holes and the torn edges
# are what the numbers above measure.

# %%
key, example, _ = first[label]
outputs = {name: output for name, (shown, _, output) in first.items() if shown == key}
run.save_figure(plots.plot_comparison(example, outputs, target=example.target.count - 1), "outside")

# %%
run.save_figure(plots.plot_comparison(example, outputs, target=0), "inside")

# %% [markdown]
# The scenes with the lowest PSNR, each by its last target: what a mean hides.

# %%
for place, (key, value, shown, output) in enumerate(looked_at.scenes, start=1):
    print(f"{place}. {key}: {value:.2f} dB")
    figure = plots.plot_comparison(shown, {label: output}, target=shown.target.count - 1)
    run.save_figure(figure, f"worst-{place}")

# %%
for name, reasons in results[-1].missing.items():
    print(f"{name}: no value, {'; '.join(reasons)}")

# %%
pd.concat([result.to_frame().assign(method=result.method) for result in results]).to_csv(
    run.artifact("targets.csv"), index=False
)
run.save_metrics({"weights": facts, "trained_steps": facts["trained_steps"]})
run.save_metrics({"worst": [{"scene": key, "psnr": value} for key, value, _, _ in looked_at.scenes]})
run.save_metrics({"results": [result.to_json() for result in results]})

# %% [markdown]
# **Limits.** A handful of small scenes: differences of a few hundredths of a decibel mean nothing here. LPIPS needs VGG weights
# that are not part of the library; without them its cells say so.
