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
evaluations: list[str] = []  # folders of runs of 40_evaluate on the same protocol
imported: str = ""  # folder of the evaluation of the imported capture
compare: str = ""  # folder of a run of 43_compare_pm_loss
training: list[str] = []  # folders of runs of 30_train
worst: int = 2  # pictures of so many of the worst scenes of each evaluation

# %%
import json

import pandas as pd
from IPython.display import HTML, Image, display

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.metrics import METRICS
from pmgs_lib.suite import current_run, read_record
from pmgs_lib.suite.papers import provenance_table, scene_frame, sortable
from pmgs_lib.suite.tables import Column, ResultRow, results_table
from pmgs_lib.ui import plots

run = current_run()

# %%
if not evaluations:
    raise ParameterError("reports/embedded: no evaluations given; run it as part of an experiment: make reproduce")
metrics = {
    folder: json.loads((run.resolve(folder) / "metrics.json").read_text())
    for folder in [*evaluations, imported]
    if folder
}

# %% [markdown]
# ## Results
# The controls under the line say what the numbers mean: the nearest input picture copied, and one round Gaussian of fixed size
# at the exact depth of every input pixel. The second has perfect geometry and still no perfect pictures: it fills no gap, and
# what no input has seen is black. A trained model may beat its pictures, never its surfaces.


# %%
def rows_of(folder: str, controls: bool) -> list[ResultRow]:
    found, steps = metrics[folder], metrics[folder]["trained_steps"]
    name = read_record(run.resolve(folder)).id
    link = "/".join([folder.split("/")[-1], "executed.html"])
    shown = [r for r in found["results"] if controls or not r["control"]]
    return [
        ResultRow.from_metrics(r, href=link, trained_steps=None if r["control"] else steps, run=name) for r in shown
    ]


rows = [row for place, folder in enumerate(evaluations) for row in rows_of(folder, controls=place == 0)]
protocol = metrics[evaluations[0]]["results"][0]["settings"]["protocol"]
results_table(rows, caption=f"Protocol {protocol}: 2 input views, means over target views, then over scenes")

# %%
contenders = {row.method: row.means["overall"] for row in rows}
controls = [row.method for row in rows if row.control]
run.save_figure(plots.plot_metrics(contenders, ["psnr", "abs_rel", "overall_m"], controls), "metrics")
shown = ", ".join(f"{row.method} {row.means['overall']['psnr']:.2f} dB" for row in rows)
Image(run.folder / "figures" / "metrics.png", alt=f"Bars of the table's means by method. PSNR: {shown}.")

# %% [markdown]
# ## Pictures
# One scene, one target beyond the input views: picture, error and depth by every method, all on the same scales.

# %%
Image(
    run.resolve(evaluations[0]) / "figures" / "outside.png",
    alt="A target view beyond the input views, by every method: picture, error, depth.",
)

# %% [markdown]
# The same scene, a target between the input views.

# %%
Image(
    run.resolve(evaluations[0]) / "figures" / "inside.png",
    alt="A target view between the input views, by every method: picture, error, depth.",
)

# %% [markdown]
# ## Scene by scene
# Every evaluation by scene, the lowest PSNR first; a heading sorts, with a click or with Enter. A mean that one scene carries is no
# evidence.

# %%
judged = {
    folder: next(result for result in metrics[folder]["results"] if not result["control"]) for folder in evaluations
}
for result in judged.values():
    display(sortable(scene_frame(result), f"{result['method']}: {len(result['ledger']['scored'])} scenes"))

# %% [markdown]
# ## The worst scenes
# What the means hide: target, rendering, error and depth of the scenes with the lowest PSNR.

# %%
for folder, result in judged.items():
    for place, scene in enumerate(metrics[folder].get("worst", [])[:worst], start=1):
        title = f"{result['method']}, scene {scene['scene']}: {scene['psnr']:.2f} dB"
        display(HTML(f"<p>{title}</p>"), Image(run.resolve(folder) / "figures" / f"worst-{place}.png", alt=title))

# %% [markdown]
# ## What PM-Loss changes
# Two fine-tunings from the same weights on the same scenes in the same order; they differ in the weight of PM-Loss alone.

# %%
found = json.loads((run.resolve(compare) / "metrics.json").read_text())
better = [f"{METRICS[name].label} on {count}" for name, count in found["better"].items()]
print(f"Of {found['scenes']} scenes, PM-Loss is better in {', in '.join(better)}.")
pd.Series(found["difference"], name="PM-Loss minus plain").to_frame().round(4)

# %%
print("\n".join(said["text"] for said in found["statements"].values()))
for picture in sorted((run.resolve(compare) / "figures").glob("*.png")):
    name = picture.stem.replace("_", " ").replace("-", " ")
    display(Image(picture, alt=f"With and without PM-Loss, {name}; the differences are in the table above."))

# %% [markdown]
# The terms of the two losses, first without PM-Loss, then with it.

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
results_table(rows_of(imported, controls=True), pictures, caption=caption)

# %% [markdown]
# ## Where this comes from
# One line a run. `pmgs why RUN` prints the whole chain of a run: notebook, parameters, library files, data, environment.

# %%
provenance_table([run.resolve(folder) for folder in [*training, *evaluations, imported, compare] if folder])

# %%
run.save_metrics({"rows": {row.method: row.means for row in rows}})

# %% [markdown]
# **Limits.** Six small scenes; smoke training of a few steps on a CPU; no perceptual metric without VGG weights. What a
# method costs in time is not measured here.
