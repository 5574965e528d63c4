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
# # Make pointmaps: once for a data set, so that training need not hold the model
#
# PM-Loss needs a pointmap of every set of context views. VGGT makes them, at a cost per training step and gigabytes of memory;
# made once and kept on disk they cost a file read. This notebook fills such a cache and can be called again: what is there and
# sound stays, what is damaged is made anew, and what could not be made is named.
#
# | | |
# |---|---|
# | You learn | how to fill a pointmap cache, continue it, and train from it |
# | Needs | scenes as chunk files; for real pointmaps VGGT's weights (5 GB, non-commercial licence) and preferably a GPU |
# | Leaves | a folder of pointmaps for `30_train` with `pointmap = "cached"`, `metrics.json`, a figure |
# | Time | rehearsal: half a minute on two CPU cores; VGGT itself: a fraction of a second a set on a GPU |

# %% tags=["parameters"]
scenes: str = ""  # folder of chunk files; empty: two embedded scenes are made here
protocol: str = "embedded-smoke"  # size, depth range, and which frames belong together
views: str = "training"  # "training": the sets that 30_train draws; "evaluation": those of the protocol
steps: int = 4  # with "training": as many steps, with the same batch size and seed, as 30_train will take
batch_size: int = 1  # with "training"
source: str = "vggt"  # or "vggt-depth", "depth-anything-3", "depth"
weights: str = "rehearsal"  # of VGGT: "vggt-1b", a file, or "rehearsal": a reduced model with random weights
precision: str = "float32"  # of VGGT: "float32", or "bf16" as PM-Loss runs it on a GPU
accept_licence: bool = False  # of VGGT's weights; without it the licence is shown and nothing is fetched
folder: str = ""  # where the cache is kept; empty: in this run. A folder of your own survives a killed run
stored_type: str = "float32"  # or "float16": half the size, coordinates to 4.9e-4 of themselves
device: str = "cpu"  # or "cuda"
checked: int = 4  # so many pointmaps are compared with exact depth, where there is some
seed: int = 0  # of the sets that training draws, and of the rehearsal's weights

# %%
import time

from pmgs_lib.data import load_protocol, make_scenes, open_dataset
from pmgs_lib.errors import ParameterError
from pmgs_lib.pointmaps import build_pointmap_source, fill_cache, reduced_weights_server
from pmgs_lib.pointmaps import protocol_contexts, training_contexts
from pmgs_lib.suite import current_run
from pmgs_lib.training import TrainingConfig, TrainingRun, pointmap_health, training_examples
from pmgs_lib.ui import plot_health

run = current_run()
if views not in ("training", "evaluation"):
    raise ParameterError(f"23_make_pointmaps: views is {views!r}, expected 'training' or 'evaluation'")

# %% [markdown]
# ## Which views
# A pointmap belongs to one set of images, to the last bit: other frames, another size or a mirrored picture are another pointmap.
# So the sets are drawn here exactly as training or evaluation will draw them.

# %%
rules = load_protocol(protocol)
place = run.resolve(scenes) if scenes else run.artifact("scenes")
if not scenes:
    size = {"height": rules.height, "width": rules.width, "frames": 20}
    make_scenes(1001, count=2, folder=place, split="train", **size, overwrite=True)
if views == "training":
    drawn = TrainingConfig(steps=steps, batch_size=batch_size, seed=seed)
    training = TrainingRun(model="depthsplat-tiny", scenes=str(place), protocol=protocol, training=drawn)
    contexts = training_contexts(training_examples(training, rules))
else:
    contexts = protocol_contexts(
        open_dataset(place, "test", near=rules.near, far=rules.far, images=rules.images), rules
    )
print(f"{len(contexts)} sets of views of {rules.height} x {rules.width} pixels")

# %% [markdown]
# ## Whose pointmaps
# The rehearsal serves a file of the released layout, with random numbers in a reduced network, on this machine's loopback address.
# Download, verification, loading by name and forward pass are the real code; only what the weights know is missing.

# %%
if weights == "rehearsal" and source.startswith("vggt"):
    with reduced_weights_server(run.artifact(f"served-{seed}"), seed) as address:
        kept = str(run.artifact(f"weights-{seed}"))
        maker = build_pointmap_source(source, weights=address, size="reduced", precision=precision, folder=kept)
elif source.startswith("vggt"):
    maker = build_pointmap_source(source, weights=weights, precision=precision, accept_licence=accept_licence)
else:
    maker = build_pointmap_source(source)
dict(maker.identity)

# %% [markdown]
# ## Fill the cache
# Killed and called again, it goes on where it stopped, if `folder` names a place of your own.


# %%
def tell(done, listed, key):
    if done == listed or done % max(1, listed // 10) == 0:
        print(f"{done} of {listed}: {key}")


cache = run.resolve(folder) if folder else run.artifact("pointmaps")
start = time.perf_counter()
report = fill_cache(maker, contexts, cache, stored_type=stored_type, device=device, progress=tell)
seconds = time.perf_counter() - start

# %%
size_bytes = sum(path.stat().st_size for path in cache.glob("*.safetensors"))
counts = {name: getattr(report, name) for name in ("listed", "made", "found", "remade")}
print(counts | {"refused": len(report.failed)})
print(f"{seconds / report.listed:.2f} s a set, {size_bytes / 1e6:.1f} MB on disk")
for key, reason in report.failed:
    print(f"refused: {key}: {reason}")

# %% [markdown]
# ## Are they any good?
# Where exact depth is known, its points take the part of the prediction: the residual says how far counterparts lie apart after the
# best alignment. Read back through the cache alone, without the model. A rehearsal's pointmaps are noise, and look it.

# %%
cached = build_pointmap_source("cached", folder=str(cache))
health = pointmap_health(cached, contexts, most=checked)
run.save_figure(plot_health(health), "health") if health else print("these scenes have no exact depth")

# %%
ready = report.listed - len(report.failed)
failed = [{"scene": key, "reason": reason} for key, reason in report.failed]
run.save_metrics({"listed": report.listed, "ready": ready, "failed": failed, "bytes": size_bytes})
run.save_metrics({"source": dict(maker.identity), "health": health.to_metrics() if health else None})
print(f"{ready} of {report.listed} pointmaps are ready")

# %% [markdown]
# **Limits.** A training that draws anew in every epoch needs a pointmap for each drawing: 100,000 steps of six views of 256x448 are
# over 800 GB as float32. For such a training give `pmgs train` the source itself (`pointmap: vggt`). Next: `30_train` with `pointmap = "cached"` and this
# folder.
