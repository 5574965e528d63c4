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
# # GS-LRM and MVSplat: their tables beside ours
#
# GS-LRM's row on RealEstate10K takes a training that nobody published weights of. MVSplat's released weights reproduce to the second
# decimal elsewhere, which makes them the best check of our metrics.
#
# | | |
# |---|---|
# | You learn | whether our metrics agree with the field's, and what GS-LRM would take |
# | Needs | runs of `40_evaluate`; without any, every cell says NOT RUN and what it would need |
# | Leaves | every cell with its verdict in `metrics.json` |
# | Time | seconds |

# %% tags=["parameters"]
evaluations: dict[str, str] = {}  # row of a table -> folder of a run of 40_evaluate; empty folder: it was left out
worst: int = 2  # pictures of so many of the worst scenes of each run
experiment: str = ""  # only the tables of this experiment, "gslrm" or "mvsplat"; empty: all

# %%
from IPython.display import HTML, Image, Markdown, display

from pmgs_lib.suite import current_run
from pmgs_lib.suite.papers import GSLRM_MVSPLAT, open_page, provenance_table, scene_frame, sortable

run = current_run()
tables = [table for table in GSLRM_MVSPLAT if experiment in ("", table.experiment)]
page = open_page(tables, evaluations, run.resolve)

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
# ## Scenes behind the numbers
# Every run by scene, the lowest PSNR first; a click on a heading sorts. These are the runs' own numbers, whatever they were
# measured on: the protocol stands above each.

# %%
if not page.runs:
    display(Markdown("None: nobody has run what a row of these tables needs."))
for shown in page.runs:
    display(sortable(scene_frame(shown.evidence.result), shown.caption))

# %% [markdown]
# ## The worst scenes
# What the means hide: target, rendering, error and depth of the scenes with the lowest PSNR.

# %%
if not page.runs:
    display(Markdown("None, for the same reason."))
for shown in page.runs:
    for place, scene in enumerate(shown.evidence.metrics.get("worst", [])[:worst], start=1):
        title = f"{', '.join(shown.rows)}, scene {scene['scene']}: {scene['psnr']:.2f} dB"
        display(HTML(f"<p>{title}</p>"), Image(shown.folder / "figures" / f"worst-{place}.png", alt=title))

# %% [markdown]
# ## Where this comes from
# One line a run; `pmgs why RUN` prints the whole chain of one: notebook, parameters, library files, data, environment.

# %%
provenance_table([shown.folder for shown in page.runs]) if page.runs else Markdown(
    "No other run stands behind this page."
)

# %%
run.save_metrics({"tables": [table.to_json() for table in page.tables]})

# %% [markdown]
# **Limits.** pixelSplat's rows are its original numbers, as both papers quote them; its camera-ready numbers are higher.
