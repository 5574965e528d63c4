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
# # GS-LRM: both stages, inference, evaluation, pruning
#
# GS-LRM has no cost volume and no prior for depth: a plain transformer learns from posed pictures alone where surfaces are. It is
# trained in two stages, small pictures first, then from those weights at twice their size. Nobody published weights or a second
# stage; here is the whole way, with the small network that `gslrm-paper-stage1` and `-stage2` have in large.
#
# | | |
# |---|---|
# | You learn | what the second stage adds, how many views help, how many Gaussians a picture needs |
# | Needs | scenes from `10_make_scenes`, or none |
# | Leaves | weights of both stages, loss curves, scores with a control, pruning table, a clip |
# | Time | about a minute on two CPU cores for a rehearsal; a quarter of an hour on a GPU for pictures worth looking at |

# %% tags=["parameters"]
scenes: str = ""  # folder of chunk files to train on; empty: four embedded scenes are made here
test_scenes: str = ""  # folder of the protocol's scenes; empty: they are made here
steps: list[int] = [12, 4]  # of the two stages
batch_size: int = 2  # scenes a step
learning_rates: list[float] = [1.0e-3, 2.5e-4]  # peaks of the two stages; the paper's ratio is 4 to 1
views: int = 4  # context views of the second stage; the first has two
pointmap_weight: float = 0.0  # PM-Loss in both stages
keep_shares: list[float] = [1.0, 0.75, 0.5, 0.25]  # shares of the Gaussians that pruning keeps, most opaque first
every: int = 3  # score each n-th scene of the protocol
seed: int = 0  # weights, order of scenes, draws

# %%
import pandas as pd
from IPython.display import Video

from pmgs_lib.data import load_protocol, make_scenes, open_dataset
from pmgs_lib.data.protocols import Protocol
from pmgs_lib.evaluation import evaluate, psnr
from pmgs_lib.evaluation.methods import GaussianMethod, NearestInput, render_output
from pmgs_lib.export import stream_video
from pmgs_lib.export.images import image_to_uint8
from pmgs_lib.export.reconstruction import camera_path, reconstruct, render_path

# %%
from pmgs_lib.models import load_checkpoint
from pmgs_lib.models.pruning import pruned
from pmgs_lib.suite import current_run
from pmgs_lib.training import run_training
from pmgs_lib.training.recipes import load_recipe
from pmgs_lib.ui import plots

run = current_run()
rules = load_protocol("embedded-smoke", every=every)

# %%
recipe = load_recipe("gslrm-tiny-embedded", training={"batch_size": batch_size, "seed": seed})
folders = {"train": scenes, "test": test_scenes}
for split, made in {"train": rules.train, "test": rules.test}.items():
    folders[split] = run.resolve(folders[split]) if folders[split] else run.artifact(f"{split}_scenes")
    if not (scenes if split == "train" else test_scenes):
        count = 4 if split == "train" else made.count
        size = {"frames": made.frames, "height": made.height, "width": made.width}
        make_scenes(made.seed, count=count, folder=folders[split], split=split, overwrite=True, **size)

# %% [markdown]
# ## Stage 1: half the size, two views
# Small pictures are cheap, and most of what is to be learnt is geometry, which they show as well.

# %%
shared = {"training.schedule.warmup": 0.1, "training.objective.pointmap_weight": pointmap_weight}
half = (rules.height // 2, rules.width // 2)
first = recipe.overridden(
    shared | {"size": half, "training.steps": steps[0], "training.optimizer.learning_rate": learning_rates[0]}
)
history = run_training(first.run(str(folders["train"])), run.artifact("stage1"))
run.save_figure(plots.plot_loss_curve(history.to_frame()), "stage1_loss")

# %% [markdown]
# The first dozen steps find no more than the mean colour of a scene; a picture takes thousands, as the quick profile has them.
#
# ## Stage 2: the whole size, from those weights
# Four times the tokens a picture, so blocks are computed again in the backward pass rather than kept. Nothing in the network
# counts views or pixels: the same weights take both.

# %%
frames = {"kind": "bounded-v2", "first_gap": (6, 9), "last_gap": (6, 12), "targets": 4, "views": (views, views)}
second = recipe.overridden(
    shared
    | {"views": frames, "model_changes": {"checkpoint_blocks": True}}
    | {"training.steps": steps[1], "training.optimizer.learning_rate": learning_rates[1]}
)
weights = str(run.artifact("stage1") / "model.safetensors")
after = run_training(second.run(str(folders["train"]), weights=weights), run.artifact("stage2"))
run.save_figure(plots.plot_loss_curve(after.to_frame()), "stage2_loss")

# %% [markdown]
# ## Evaluation with two and with four views
# The same targets, between the inner two cameras, of scenes that were never trained on. The control copies the nearest input: a
# model below it has learnt nothing yet, which is what a rehearsal of a few steps must show.

# %%
two = {"context": (7, 13), "inside": (9, 10, 11)}
counts = {"scenes": len(rules.keys), "inside": 3 * len(rules.keys), "outside": 0}
fields = {name: getattr(rules, name) for name in Protocol.model_fields}
asked = {
    count: Protocol.build(
        fields | {"views": two | {"context": context}, "expected": counts, "name": f"{count}-views"}, "protocol"
    )
    for count, context in {2: (7, 13), 4: (5, 7, 13, 15)}.items()
}

# %%
dataset = open_dataset(folders["test"], near=rules.near, far=rules.far, images=rules.images)
models = {stage: load_checkpoint(run.artifact(stage) / "model.safetensors") for stage in ("stage1", "stage2")}
results = {(2, "nearest input"): evaluate(NearestInput(), dataset, asked[2])}
for stage, model in models.items():
    for count, protocol in asked.items():
        results[count, stage] = evaluate(GaussianMethod(model, name=stage), dataset, protocol)

# %%
ledger = results[2, "stage2"].ledger
print(f"{len(ledger.listed)} listed = {len(ledger.scored)} scored + {len(ledger.skipped)} skipped")
scores = pd.DataFrame({key: result.means["inside"] for key, result in results.items()}).T
scores.rename_axis(["views", "method"])[["psnr", "ssim"]].astype(float).round(3)

# %% [markdown]
# ## Pruning by opacity
# One Gaussian a pixel a view is more than a scene needs: views overlap, and skies are flat. The least opaque are left out; look
# for the share at which the picture begins to suffer. After a rehearsal all are alike, and none is missed.

# %%
key = ledger.scored[0]
context, target, _ = asked[4].evaluation_views(key)
example = dataset.example(key, context, target, rules.height, rules.width)
made = reconstruct(models["stage2"], example.context, name="stage2")
rows = []
for share in keep_shares:
    left = pruned(made.gaussians, keep_share=share)
    picture = render_output(left.gaussians, example.target, made.settings, "auto").color
    rows.append({"share": share, "gaussians": left.kept, "psnr": psnr(picture, example.target.images).mean().item()})
pruning = pd.DataFrame(rows)
pruning.round(3)

# %% [markdown]
# ## Look, and move
# The first scene: target, rendering, error, depth; then a clip through the input cameras. Grey is what a rehearsal of a dozen
# steps has to show.

# %%
output = render_output(made.gaussians, example.target, made.settings, "auto")
run.save_figure(plots.plot_prediction(example, output, (1,)), "prediction")

# %%
path = render_path(made, camera_path("interpolate", made, frames=24), rules.height, rules.width)
stream_video(run.artifact("clip.mp4"), (image_to_uint8(part.color) for part in path), 12)
Video(run.artifact("clip.mp4"), embed=True, width=2 * rules.width, html_attributes="controls autoplay loop muted")

# %%
run.save_metrics(
    {
        "stages": {"stage1": history.summary(), "stage2": after.summary()},
        "scores": {f"{method}, {count} views": result.means["inside"] for (count, method), result in results.items()},
        "scored": len(ledger.scored),
        "skipped": len(ledger.skipped),
        "pruning": pruning.to_dict(orient="list"),
    }
)

# %% [markdown]
# **Limits.** A rehearsal's numbers say that everything works, not how good GS-LRM is. No perceptual term here: the recipes of the
# paper have it, with VGG-19 weights that are no part of the library.
