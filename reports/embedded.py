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
# # Embedded scenes, end to end
#
# What the smoke suite found: two input pictures, target views between them (inside) and beyond them (outside), procedural
# rooms and streets with exact depth. Each number links to the executed notebook it is from. These numbers compare methods
# with each other on small scenes; they are not those of the papers' tables and never stand in one. A number's tool tip is its name
# for `pmgs why`.

# %% tags=["parameters"]
evaluation: str = ""  # folder of a run of 40_evaluate: the embedded model as it is, and the controls
plain: list[str] = []  # folders of evaluations of it fine-tuned without PM-Loss, one a seed
pm_loss: list[str] = []  # the same with PM-Loss
compare: str = ""  # folder of the run of 43_compare_pm_loss on them
training: list[str] = []  # folders of runs of 30_train whose loss is shown: one of each arm
imported: str = ""  # folder of the evaluation of the imported capture
worst: int = 2  # pictures of so many of the worst scenes of each method

# %%
import json

import pandas as pd
from IPython.display import HTML, Image, Markdown, display

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation import interval_over_seeds
from pmgs_lib.suite import current_run, read_record
from pmgs_lib.suite.papers import provenance_table, scene_frame, sortable
from pmgs_lib.suite.tables import Column, ResultRow, label_of, results_table
from pmgs_lib.ui import plot_seed_means

run = current_run()

# %%
if not (evaluation and plain and pm_loss and compare and imported):
    raise ParameterError("reports/embedded: runs are missing; run it as part of an experiment: make reproduce")
TINY, PLAIN, WITH = "DepthSplat tiny", "fine-tuned", "fine-tuned + PM-Loss"
folders = {TINY: [evaluation], PLAIN: plain, WITH: pm_loss}
metrics = {
    folder: json.loads((run.resolve(folder) / "metrics.json").read_text())
    for folder in [evaluation, *plain, *pm_loss, imported, compare]
}
# What each method's runs say of it, one result a seed: an evaluation's last entry, after the controls.
results = {name: [metrics[folder]["results"][-1] for folder in given] for name, given in folders.items()}
seeds = len(plain)

# %% [markdown]
# ## Results
# Both fine-tunings start from the first row's weights, and each was done with several seeds: the order of scenes and the draws of
# cameras. Their rows are means over the seeds. The controls under the line say what the numbers mean: the nearest input picture
# copied, and one round Gaussian of fixed size at the exact depth of every input pixel. The second has perfect geometry and
# still no perfect pictures: it fills no gap, and what no input has seen is black. A trained model may beat its pictures, never its
# surfaces.


# %%
def link_to(folder: str) -> dict[str, str]:
    """Where a row's numbers are from: the executed notebook, and the run's id for `pmgs why`."""
    return {"href": "/".join([folder.split("/")[-1], "executed.html"]), "run": read_record(run.resolve(folder)).id}


def rows_of(folder: str) -> list[ResultRow]:
    """An evaluation of one training with its controls."""
    found = metrics[folder]
    steps = {False: found["trained_steps"], True: None}
    return [ResultRow.from_metrics(r, trained_steps=steps[r["control"]], **link_to(folder)) for r in found["results"]]


# %%
def arm_row(name: str, arm: str) -> ResultRow:
    """Several trainings of one method: means over seeds, as the comparison computed them."""
    first, together = results[name][0], metrics[compare]["arms"][arm]
    steps = metrics[folders[name][0]]["trained_steps"]
    return ResultRow.over_seeds(first, together, method=name, trained_steps=steps, arm=arm, **link_to(compare))


tiny, *controls = sorted(rows_of(evaluation), key=lambda row: row.control)
rows = [tiny, arm_row(PLAIN, "plain"), arm_row(WITH, "PM-Loss"), *controls]
protocol = results[TINY][0]["settings"]["protocol"]
results_table(rows, caption=f"Protocol {protocol}: 2 input views, means over target views, then over scenes")

# %%
drawn = ["psnr", "abs_rel", "overall_m"]
shown = {row.method: dict(row.means["overall"]) for row in rows}
for name in (PLAIN, WITH) if seeds > 1 else ():
    shown[name] |= {m: interval_over_seeds([r["means"]["overall"][m] for r in results[name]]) for m in drawn}
run.save_figure(plot_seed_means(shown, drawn, [row.method for row in controls]), "metrics")
spoken = ", ".join(f"{row.method} {row.means['overall']['psnr']:.2f} dB" for row in rows)
Image(run.folder / "figures" / "metrics.png", alt=f"The table's means with their intervals over seeds. PSNR: {spoken}.")

# %% [markdown]
# Bars are 95 % intervals of the mean over seeds (Student's t), the hollow marks below it the seeds themselves; a method without a
# bar is a single training, or none.

# %% [markdown]
# ## Pictures
# One scene, one target beyond the input views: picture, error and depth by every method, all on the same scales.

# %%
Image(
    run.resolve(evaluation) / "figures" / "outside.png",
    alt="A target view beyond the input views, by every method: picture, error, depth.",
)

# %% [markdown]
# The same scene, a target between the input views.

# %%
Image(
    run.resolve(evaluation) / "figures" / "inside.png",
    alt="A target view between the input views, by every method: picture, error, depth.",
)

# %% [markdown]
# ## Scene by scene
# Every method by scene, the lowest PSNR first, means over the seeds of a method where there are several; a heading sorts, with a
# click or with Enter. A mean that one scene carries is no evidence.

# %%
for name, found in results.items():
    over = f", means over {len(found)} seeds" if len(found) > 1 else ""
    by_scene = pd.concat([scene_frame(result) for result in found]).groupby(level=0).mean().sort_values("psnr")
    display(sortable(by_scene, f"{name}: {len(by_scene)} scenes{over}"))

# %% [markdown]
# ## The worst scenes
# What the means hide: target, rendering, error and depth of the scenes with the lowest PSNR, of a method's first seed.

# %%
for name, (folder, *_) in folders.items():
    for place, scene in enumerate(metrics[folder].get("worst", [])[:worst], start=1):
        title = f"{name}, scene {scene['scene']}: {scene['psnr']:.2f} dB"
        display(HTML(f"<p>{title}</p>"), Image(run.resolve(folder) / "figures" / f"worst-{place}.png", alt=title))

# %% [markdown]
# ## What PM-Loss changes
# Fine-tunings from the same weights on the same scenes, with PM-Loss and without ("plain"); pairs with one seed see the scenes in
# the same order. Which metric is tested was chosen before looking: overall, the mean of accuracy (from a Gaussian's
# centre to the nearest surface) and completeness (from the surface to the nearest centre). Two questions are asked of it: would
# other scenes show the difference (paired test over scenes), and would other seeds (interval over pairs of trainings)?

# %%
said = [sentence for sentences in metrics[compare]["sentences"].values() for sentence in sentences]
Markdown("\n".join(f"- {sentence}" for sentence in said))

# %%
for name, alt in {
    "paired": "PM-Loss minus plain in each scene, with the mean and its interval; the sentences above give its numbers.",
    "means": "Means of the tested metric without and with PM-Loss, their intervals over seeds, and every seed.",
}.items():
    display(Image(run.resolve(compare) / "figures" / f"{name}.png", alt=alt))

# %% [markdown]
# Every metric, mean over seeds; all but the tested one are here to look at, not to conclude from.

# %%
arms = {
    name: metrics[compare]["arms"][arm]["means"]["overall"] for name, arm in {PLAIN: "plain", WITH: "PM-Loss"}.items()
}
table = pd.DataFrame(arms).dropna()
table["difference"] = table[WITH] - table[PLAIN]
table.rename(index=lambda metric: label_of(metric, arrow=True)).round(4)

# %% [markdown]
# The terms of the loss of one training each (the first seed), first without PM-Loss, then with it.

# %%
losses = [
    Image(
        run.resolve(folder) / "figures" / "loss.png",
        alt=f"Terms of the loss by step, {read_record(run.resolve(folder)).id}",
    )
    for folder in training
]
display(*losses)

# %% [markdown]
# ## An imported capture
# An embedded scene, photographed through a distorting lens and imported again like anybody's photographs: the importer's
# road from `transforms.json` to a score. Depth of a capture is not known, so there are picture metrics only.

# %%
pictures = [*(Column("psnr", split) for split in ("overall", "inside", "outside")), Column("ssim"), Column("lpips")]
caption = f"Protocol {metrics[imported]['results'][0]['settings']['protocol']}: 2 input views"
results_table(rows_of(imported), pictures, caption=caption)

# %% [markdown]
# ## Where this comes from
# One line a run. `pmgs why RUN` prints the whole chain of a run: notebook, parameters, library files, data, environment.

# %%
provenance_table([run.resolve(folder) for folder in [*training, evaluation, *plain, *pm_loss, imported, compare]])

# %%
run.save_metrics({"rows": {row.method: row.means for row in rows}})

# %% [markdown]
# **Limits.** Six small scenes; trainings of a few steps on a CPU; no perceptual metric without VGG weights. Three seeds give a wide
# interval. What a method costs in time is not measured here.
