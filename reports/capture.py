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
# # A capture of your own
#
# Photographs with poses, imported, given two at a time to a model that never saw anything like them, and scored on the frames
# between and beyond. The control copies the nearest input picture: a row below it has not understood the scene.

# %% tags=["parameters"]
imported: str = ""  # folder of a run of 13_import_capture
evaluation: str = ""  # folder of the run of 40_evaluate on it

# %%
import json

from IPython.display import Image, display

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite import current_run
from pmgs_lib.suite.tables import Column, ResultRow, results_table

run = current_run()
if not (imported and evaluation):
    raise ParameterError("reports/capture: no runs given; run it by: make capture SOURCE=folder")
capture, scores = (json.loads((run.resolve(folder) / "metrics.json").read_text()) for folder in (imported, evaluation))

# %% [markdown]
# ## The capture

# %%
print(f"{capture['listed']} photographs listed = {capture['imported']} imported + {len(capture['left_out'])} left out")
print(f"z-depth range suggested by the import: {capture['near_hint']:.2f} to {capture['far_hint']:.2f} capture units")
Image(run.resolve(imported) / "figures" / "imported.png")

# %% [markdown]
# ## Results
# Each number links to the executed notebook it is from.

# %%
link = "/".join([evaluation.split("/")[-1], "executed.html"])
steps = scores["trained_steps"]
rows = [ResultRow.from_metrics(r, href=link, trained_steps=None if r["control"] else steps) for r in scores["results"]]
columns = [*(Column("psnr", split) for split in ("overall", "inside", "outside")), Column("ssim"), Column("lpips")]
results_table(rows, columns, caption=f"Protocol {scores['results'][0]['settings']['protocol']}: 2 input views")

# %%
display(*(Image(run.resolve(evaluation) / "figures" / f"{name}.png") for name in ("inside", "outside")))

# %%
run.save_metrics({"rows": {row.method: row.means for row in rows}})

# %% [markdown]
# **Limits.** The embedded model was trained on procedural scenes only and is small; nothing here says how a released model
# would do. Depth is not known, so there are picture metrics only.
