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
# # Compare: what PM-Loss changes, scene by scene
#
# Two fine-tunings from the same weights, on the same scenes in the same order, that differ in one number: the weight of
# PM-Loss. The question is not only whether the mean moves but whether it moves in every scene.
#
# | | |
# |---|---|
# | You learn | how pictures, depth and point clouds respond to the loss |
# | Needs | two runs of `40_evaluate`; without them both arms are trained and evaluated here |
# | Leaves | paired differences in `metrics.json`, figures |
# | Time | seconds with the two runs; about two minutes without, on two CPU cores |

# %% tags=["parameters"]
plain: str = ""  # folder of an evaluation run without PM-Loss; empty: train both arms here
pm_loss: str = ""  # folder of an evaluation run with PM-Loss
steps: int = 10  # training steps of each arm when both are trained here
pointmap_weight: float = 0.005  # weight of PM-Loss when both are trained here (the released value)
seed: int = 0  # order of scenes and draws when both are trained here

# %%
import json

import pandas as pd

from pmgs_lib.data import load_protocol, make_scenes
from pmgs_lib.errors import ParameterError
from pmgs_lib.models import load_checkpoint
from pmgs_lib.suite import current_run
from pmgs_lib.training import TrainingConfig, TrainingRun, run_training
from pmgs_lib.training.run import evaluate_model
from pmgs_lib.ui import plots

run = current_run()
if bool(plain) != bool(pm_loss):
    raise ParameterError("43_compare_pm_loss: plain and pm_loss belong together; give both runs or neither")

# %% [markdown]
# ## The two arms
# Read from the runs, or made here: same start, same scenes, same seed.

# %%
arms = {}
for name, folder in {"plain": plain, "PM-Loss": pm_loss}.items():
    if folder:
        arms[name] = json.loads((run.resolve(folder) / "metrics.json").read_text())["results"][-1]

# %%
if not arms:
    rules, scenes = load_protocol("embedded-smoke"), run.artifact("scenes")
    size = {"height": rules.height, "width": rules.width, "frames": 20}
    make_scenes(rules.train.seed, count=4, folder=scenes, split="train", **size, overwrite=True)
    make_scenes(rules.test.seed, count=rules.test.count, folder=scenes, split="test", **size, overwrite=True)
    for name, weight in {"plain": 0.0, "PM-Loss": pointmap_weight}.items():
        training = TrainingConfig(
            steps=steps, optimizer={"learning_rate": 5e-5}, objective={"pointmap_weight": weight}, seed=seed
        )
        arm = TrainingRun(model="depthsplat-tiny", weights="depthsplat-tiny", scenes=str(scenes), training=training)
        run_training(arm, run.artifact(name))
        model = load_checkpoint(run.artifact(name) / "model.safetensors")
        arms[name] = evaluate_model(model, scenes, rules).to_json()

# %% [markdown]
# ## Means
# Pictures inside and outside the input views' span, depth of the inputs, and the distance of the Gaussian centres from the
# exact surfaces.

# %%
table = pd.DataFrame({name: arm["means"]["overall"] for name, arm in arms.items()}).dropna()
table["difference"] = table["PM-Loss"] - table["plain"]
table.round(4)

# %% [markdown]
# ## Paired differences
# One row a scene: PM-Loss minus plain. A mean that one scene carries is no evidence.

# %%
scenes = {name: pd.DataFrame(arm["scenes"]).set_index("scene") for name, arm in arms.items()}
targets = {name: pd.DataFrame(arm["targets"]).groupby("scene")["psnr"].mean() for name, arm in arms.items()}
paired = scenes["PM-Loss"] - scenes["plain"]
paired.insert(0, "psnr", targets["PM-Loss"] - targets["plain"])
paired.round(4)

# %%
better = {"psnr": int((paired["psnr"] > 0).sum()), "overall_m": int((paired["overall_m"] < 0).sum())}
print(
    f"of {len(paired)} scenes, PM-Loss raises PSNR in {better['psnr']}; "
    f"it brings centres nearer to the surfaces in {better['overall_m']}"
)

# %%
rows = {name: arm["means"]["overall"] for name, arm in arms.items()}
run.save_figure(plots.plot_metrics(rows, ["psnr", "context_abs_rel", "overall_m"]), "means")
run.save_metrics({"scenes": len(paired), "better": better, "difference": table["difference"].to_dict()})

# %% [markdown]
# **Limits.** A few steps on a few scenes show the direction of the effect, not its size in the paper, whose setting (100,000
# steps, VGGT's pointmaps, DL3DV) is not this one. The pointmap here is exact depth with noise under a random similarity. The loss
# is in squared units of the prediction, so far surfaces dominate it, and a prediction that shrinks lowers it: on scenes in metres
# with a sky it can mend the distance and cost accuracy nearby.
