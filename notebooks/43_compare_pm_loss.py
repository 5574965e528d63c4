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
# Fine-tunings from the same weights on the same scenes, which differ in one number: the weight of PM-Loss. Two trainings with one
# seed see the scenes in the same order. The question is not only whether the mean moves but whether it moves in every scene, and
# with every seed.
#
# | | |
# |---|---|
# | You learn | how pictures, depth and point clouds respond to the loss |
# | Needs | a run of `40_evaluate` for each arm, or one a seed; without them both arms are trained and evaluated here |
# | Leaves | paired differences and tested statements in `metrics.json`, figures |
# | Time | seconds with the two runs; about two minutes without, on two CPU cores |

# %% tags=["parameters"]
plain: list[str] | str = []  # folders of evaluation runs without PM-Loss, one a seed; empty: train both arms here
pm_loss: list[str] | str = []  # the same with PM-Loss, seeds in the same order
metrics: list[str] = ["psnr", "ssim", "context_abs_rel", "overall_m"]  # tested together: chosen before looking
steps: int = 10  # training steps of each arm when both are trained here
pointmap_weight: float = 0.005  # weight of PM-Loss when both are trained here (the released value)
seed: int = 0  # order of scenes and draws when both are trained here

# %%
import json
from dataclasses import asdict

import pandas as pd

from pmgs_lib.data import load_protocol, make_scenes
from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation import difference_over_seeds, interval_over_seeds, over_seeds, paired_tests
from pmgs_lib.evaluation import scene_values, seed_scores, sentences, statement
from pmgs_lib.models import load_checkpoint
from pmgs_lib.suite import current_run
from pmgs_lib.training import TrainingConfig, TrainingRun, run_training
from pmgs_lib.training.run import evaluate_model
from pmgs_lib.ui import plots, plot_paired_differences, plot_seed_means

# %%
run = current_run()
given = {"plain": plain, "PM-Loss": pm_loss}
given = {name: [folders] if isinstance(folders, str) else folders for name, folders in given.items()}
given = {name: [folder for folder in folders if folder] for name, folders in given.items()}
if bool(given["plain"]) != bool(given["PM-Loss"]):
    raise ParameterError("43_compare_pm_loss: plain and pm_loss belong together; give runs of both or of neither")
if len(given["plain"]) != len(given["PM-Loss"]):
    counts = f"{len(given['plain'])} runs without PM-Loss, {len(given['PM-Loss'])} with it"
    raise ParameterError(f"43_compare_pm_loss: {counts}, expected as many; give both the same seeds, in one order")

# %% [markdown]
# ## The two arms
# Read from the runs, a result a seed, or made here: same start, same scenes, same seed.

# %%
arms = {
    name: [json.loads((run.resolve(folder) / "metrics.json").read_text())["results"][-1] for folder in folders]
    for name, folders in given.items()
}

# %%
if not arms["plain"]:
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
        arms[name] = [evaluate_model(model, scenes, rules).to_json()]

# %%
protocols = {
    json.dumps([r["settings"][f] for f in ("protocol_digest", "height", "width")]) for a in arms.values() for r in a
}
if len(protocols) > 1:
    raise ParameterError("43_compare_pm_loss: the runs are of different protocols or sizes; evaluate all on one")

# %% [markdown]
# ## Means
# Pictures inside and outside the input views' span, depth of the inputs, and the distance of the Gaussian centres from the
# exact surfaces: accuracy from a centre to the surface, completeness from the surface to a centre, "overall" their mean. With
# several seeds: the mean over them, and the 95 % interval of that mean (Student's t).

# %%
together = {name: over_seeds(arm) for name, arm in arms.items()}
table = pd.DataFrame({name: found.means["overall"] for name, found in together.items()}).dropna()
table["difference"] = table["PM-Loss"] - table["plain"]
for name, found in together.items():
    for metric, (low, high) in found.intervals.get("overall", {}).items():
        table.loc[metric, f"{name}, interval"] = f"[{low:.4f}, {high:.4f}]"
table.round(4)

# %%
tested = [metric for metric in metrics if metric in table.index]
if tested != metrics:
    print(f"not tested, since an arm has no such number: {', '.join(sorted(set(metrics) - set(tested)))}")
scored = {
    name: {metric: [scene_values(result, metric) for result in arm] for metric in tested} for name, arm in arms.items()
}

# %%
seeds = len(arms["plain"])
if seeds > 1:
    spread = {
        name: {metric: interval_over_seeds(seed_scores(values)) for metric, values in by_metric.items()}
        for name, by_metric in scored.items()
    }
    figure = plot_seed_means(spread, tested)
else:
    bars = {name: values.to_dict() for name, values in table[["plain", "PM-Loss"]].items()}
    figure = plots.plot_metrics(bars, tested)
run.save_figure(figure, "means")

# %% [markdown]
# With one seed an arm the bars are single trainings: how far another seed would fall is not known. With several, the hollow marks
# are the seeds and the bars 95 % intervals of their mean (Student's t).

# %% [markdown]
# ## Paired differences
# PM-Loss minus plain, a dot a scene; seeds of a scene are averaged first. A mean that one scene carries is no evidence.

# %%
tests = paired_tests(scored["plain"], scored["PM-Loss"])
run.save_figure(plot_paired_differences(tests, "PM-Loss", "plain"), "paired")

# %%
paired = pd.DataFrame({test.metric: dict(zip(test.scenes, test.interval.values, strict=True)) for test in tests})
paired.round(4)

# %% [markdown]
# ## What may be said
# Two questions. Would other **scenes** show the difference? Wilcoxon's signed-rank test, two-sided, with Holm's correction over the
# metrics, pairs the arms scene by scene; its n counts scenes, however many seeds each was trained with. Would other **seeds**? The
# interval of the difference over pairs of trainings with one seed says so. "No difference shown" is no proof that there is none.

# %%
by_seed = {}
if seeds > 1:
    by_seed = {name: difference_over_seeds(scored["plain"][name], scored["PM-Loss"][name]) for name in tested}
said = {
    test.metric: sentences(test, "PM-Loss", "plain", seeds=seeds, difference=by_seed.get(test.metric)) for test in tests
}
for lines in said.values():
    print(*lines, sep="\n")

# %%
better = {test.metric: test.better for test in tests}
run.save_metrics({"scenes": len(tests[0].scenes), "better": better, "difference": table["difference"].to_dict()})
run.save_metrics({"arms": {name: asdict(found) for name, found in together.items()}})
run.save_metrics({"tests": {test.metric: asdict(test) for test in tests}})
run.save_metrics({"over_seeds": {metric: asdict(found) for metric, found in by_seed.items()}})
run.save_metrics({"statements": {test.metric: asdict(statement(test, "PM-Loss", "plain")) for test in tests}})
run.save_metrics({"sentences": said})

# %% [markdown]
# **Limits.** A few steps on a few scenes show the direction of the effect, not its size in the paper, whose setting (100,000
# steps, VGGT's pointmaps, DL3DV) is not this one. The pointmap here is exact depth with noise under a random similarity. The loss
# is in squared units of the prediction, so far surfaces dominate it, and a prediction that shrinks lowers it: on scenes in metres
# with a sky it can mend the distance and cost accuracy nearby. Three seeds give an interval of their mean, a wide one: t has two
# degrees of freedom.
