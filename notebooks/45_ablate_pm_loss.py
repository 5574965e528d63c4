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
# # Ablate PM-Loss: alignment, direction, weight, source, 2D against 3D
#
# The same fine-tuning several times: same weights to start from, same scenes in the same order, same seed. Each arm changes one
# thing of PM-Loss. Which of its parts carry the effect?
#
# | | |
# |---|---|
# | You learn | what the alignment, the direction, the weight and the pointmap are each worth |
# | Needs | nothing: embedded scenes with exact depth; or scenes, a protocol and a pointmap source of your own |
# | Leaves | `metrics.json`, a row an arm and scene in `artifacts/arms.csv`, figures |
# | Time | half a minute for two steps an arm on two CPU cores; an effect takes thousands of steps on a GPU |

# %% tags=["parameters"]
arms: list[str] = []  # which arms; empty: all
steps: int = 2  # of each arm
batch_size: int = 1  # scenes a step
learning_rate: float = 5.0e-5  # peak of the one-cycle schedule
weight: float = 0.005  # of PM-Loss in the released training; arms multiply it
weights: str = "depthsplat-tiny"  # what every arm starts from: a name from pmgs_lib.models.MODELS
pointmap: str = "depth"  # whose pointmaps: "depth" (exact depth with noise), "vggt", "vggt-depth", "depth-anything-3"
scenes: str = ""  # folder of chunk files with train and test; empty: embedded scenes are made here
test_scenes: str = ""  # folder of chunk files to evaluate on; empty: the test scenes of `scenes`
protocol: str = "embedded-smoke"  # what is evaluated; depth range and gaps of the training
every: int = 3  # evaluate each n-th scene of the protocol only
height: int = 64  # pictures of embedded scenes, in pixels; the protocol's own size is used with `scenes`
width: int = 112
device: str = "cpu"  # or "cuda"
seed: int = 0  # order of scenes and draws, in all arms

# %%
import pandas as pd

from pmgs_lib.data import load_protocol, make_scenes
from pmgs_lib.models import load_checkpoint
from pmgs_lib.suite import current_run
from pmgs_lib.training import TrainingConfig, TrainingRun, run_training
from pmgs_lib.training.pm_loss_arms import WITHOUT, chosen_arms, run_of
from pmgs_lib.training.run import evaluate_model
from pmgs_lib.ui import plots

run = current_run()
rules = load_protocol(run.resolve(protocol) if protocol.endswith(".json") else protocol, every=every)

# %% [markdown]
# ## The arms
# "Released" is the loss as its authors trained with it: aligned by one similarity a scene with gradient, from the centres to the
# pointmap, in 3D. Exact depth under a random similarity stands for the pointmap of a foundation model unless `pointmap` names one.

# %%
chosen = chosen_arms(arms)
if pointmap != "depth":  # the noise is of exact depth
    chosen = {name: arm for name, arm in chosen.items() if not arm.source}
pd.DataFrame(
    {
        name: {"question": arm.question, "weight": arm.weight * weight, "changed": dict(arm.options | arm.source)}
        for name, arm in chosen.items()
    }
).T

# %% [markdown]
# ## Scenes

# %%
folder = run.resolve(scenes) if scenes else run.artifact("scenes")
if not scenes:
    size = {"height": height, "width": width, "frames": rules.test.frames, "overwrite": True}
    make_scenes(rules.train.seed, count=4, folder=folder, split="train", **size)
    make_scenes(rules.test.seed, count=rules.test.count, folder=folder, split="test", **size)
    rules = rules.model_copy(update={"height": height, "width": width, "not_comparable": "an ablation in small"})
tested = run.resolve(test_scenes) if test_scenes else folder

# %% [markdown]
# ## Train and evaluate each arm

# %%
settings = TrainingConfig(
    steps=steps,
    batch_size=batch_size,
    optimizer={"learning_rate": learning_rate},
    objective={"pointmap_weight": weight},
    seed=seed,
)
start = {"model": weights, "weights": weights, "training": settings}
source = {"pointmap": pointmap, "pointmap_options": {"noise": 0.02, "seed": seed} if pointmap == "depth" else {}}
seen = {"scenes": str(folder), "protocol": protocol, "size": (rules.height, rules.width)}
base = TrainingRun(**start, **source, **seen, accelerator="gpu" if device == "cuda" else "cpu")

# %%
results = {}
for place, (name, arm) in enumerate(chosen.items()):
    output = run.artifact(f"arms/{place}")
    run_training(run_of(arm, base), output)
    model = load_checkpoint(output / "model.safetensors", device=device)
    results[name] = evaluate_model(model, tested, rules)

# %% [markdown]
# ## What each part is worth
# Means over the scenes, and the change against the arm without PM-Loss. Read the sign over many scenes and seeds; after a few steps
# all arms are still close together.

# %%
metrics = [name for name in ("psnr", "abs_rel", "overall_m") if next(iter(results.values())).means["overall"][name]]
table = pd.DataFrame({name: result.means["overall"] for name, result in results.items()}).T[metrics].astype(float)
table.insert(0, "question", [chosen[name].question for name in table.index])
table.round(4)

# %%
if WITHOUT in table.index:
    change = table[metrics] - table.loc[WITHOUT, metrics]
    run.save_metrics({"change": {name: row.to_dict() for name, row in change.astype(float).iterrows()}})
rows = {name: result.means["overall"] for name, result in results.items()}
run.save_figure(plots.plot_metrics(rows, metrics), "arms")

# %% [markdown]
# PSNR of the targets, relative error of their depth, and the distance between the centres and the exact surfaces, an arm a bar.

# %%
frames = [result.to_frame().assign(arm=name) for name, result in results.items()]
pd.concat(frames).to_csv(run.artifact("arms.csv"), index=False)
run.save_metrics({"steps": steps, "weight": weight, "pointmap": pointmap, "protocol": rules.name})
run.save_metrics({"scenes": {name: list(result.ledger.scored) for name, result in results.items()}})
run.save_metrics({"arms": {name: result.means["overall"] for name, result in results.items()}})

# %% [markdown]
# **Limits.** One seed and few scenes: an arm's rank means nothing before it repeats over seeds. The loss is in squared scene units,
# so a weight that serves here need not serve elsewhere. The paper's own ablation table could not be retrieved; there is nothing to
# compare these numbers with.
