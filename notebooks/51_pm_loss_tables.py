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
# # PM-Loss: table 1 beside ours, with the arm it lacks
#
# The paper compares DepthSplat tuned with PM-Loss against DepthSplat tuned without. The two differ in a second thing: how far a
# Gaussian may move from its pixel. The arm in between, free offsets without the loss, tells the two apart.
#
# | | |
# |---|---|
# | You learn | what of PM-Loss's comparison is the loss, and what the freedom of the offsets |
# | Needs | runs of `40_evaluate`; without any, every cell says NOT RUN and what it would need |
# | Leaves | every cell with its verdict in `metrics.json` |
# | Time | seconds |

# %% tags=["parameters"]
evaluations: dict[str, str] = {}  # row of a table -> folder of a run of 40_evaluate; empty folder: it was left out
worst: int = 2  # pictures of so many of the worst scenes of each run
arms: dict[str, str] = {}  # name of an arm -> folder of a run of 40_evaluate on scenes with exact depth: point clouds
ablation: str = ""  # folder of a run of 45_ablate_pm_loss

# %%
import pandas as pd
from IPython.display import HTML, Image, display

from pmgs_lib.suite import current_run
from pmgs_lib.suite.papers import open_page, PM_LOSS, provenance_table, read_evidence, scene_frame, sortable

run = current_run()
page = open_page(PM_LOSS, evaluations, run.resolve)

# %% [markdown]
# ## The tables
# A cell is our number, the paper's, and the verdict on their difference. A number stands here only if its run says of itself that it
# measured what the paper measured: protocol to the digest, picture size, every scene, weights. Numbers on embedded scenes never do.

# %%
display(*page.tables)

# %%
page.counts

# %% [markdown]
# How many cells have which verdict. NOT RUN is the honest state of a machine without the data and the weights.
#
# ## Point clouds
# Distance of the Gaussian centres to the exact surfaces (accuracy), of the surfaces to the centres (completeness), and their mean,
# for the same arms on scenes whose depth is known. The paper measures this on DTU by a protocol that is not published.

# %%
clouds = {arm: read_evidence(run.resolve(folder)).result for arm, folder in arms.items() if folder}
columns = ["psnr", "accuracy_m", "completeness_m", "overall_m"]
points = pd.DataFrame({arm: result["means"]["overall"] for arm, result in clouds.items()}, index=columns).T
display(sortable(points.astype(float), "point clouds, in metres", digits=4) if clouds else "no arm was run")

# %% [markdown]
# ## Ablations
# One change of PM-Loss at a time, from the same weights on the same scenes.

# %%
if ablation:
    display(Image(run.resolve(ablation) / "figures" / "arms.png", alt="PSNR, depth error and surface distance by arm"))
else:
    print("no ablation was run")

# %% [markdown]
# ## Scenes behind the numbers
# Every run by scene, the lowest PSNR first; a click on a heading sorts. These are the runs' own numbers, whatever they were
# measured on: the protocol stands above each.

# %%
for shown in page.runs:
    display(sortable(scene_frame(shown.evidence.result), shown.caption))

# %% [markdown]
# ## The worst scenes
# What the means hide: target, rendering, error and depth of the scenes with the lowest PSNR.

# %%
for shown in page.runs:
    for place, scene in enumerate(shown.evidence.metrics.get("worst", [])[:worst], start=1):
        title = f"{', '.join(shown.rows)}, scene {scene['scene']}: {scene['psnr']:.2f} dB"
        display(HTML(f"<p>{title}</p>"), Image(shown.folder / "figures" / f"worst-{place}.png", alt=title))

# %% [markdown]
# ## Where this comes from
# One line a run; `pmgs why RUN` prints the whole chain of one: notebook, parameters, library files, data, environment.

# %%
provenance_table([shown.folder for shown in page.runs])

# %%
run.save_metrics({"tables": [table.to_json() for table in page.tables]})

# %% [markdown]
# **Limits.** No number of this paper's tables could be retrieved from any source, so no cell has a verdict on a difference; the rows
# stand here for the day they can. Point clouds are of embedded scenes until somebody measures DTU.
