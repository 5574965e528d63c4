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
# # Benchmark: time and memory against views and picture size
#
# Forward passes of one model in its exact setting and in its fast one, and how the cost grows.
#
# | | |
# |---|---|
# | You learn | what a prediction costs on this machine, and what makes it grow |
# | Needs | a model's name; no data: inputs are noise, since cost does not depend on what there is to see |
# | Leaves | `artifacts/timings.csv`, `artifacts/growth.csv`, a figure; no times in `metrics.json`, which must compare between runs |
# | Time | half a minute on two CPU cores; on a GPU a minute or two a point where the fast setting compiles |

# %% tags=["parameters"]
model_name: str = "depthsplat-tiny"  # a name from pmgs_lib.models.MODELS; weights do not matter here
views: list[int] = [2, 4, 6]  # numbers of views, at the first size
sizes: list[list[int]] = [[64, 112], [96, 160], [128, 224]]  # height and width, at the first number of views
device: str = "cpu"  # cpu or cuda
precision: str = "mixed"  # of the fast setting: mixed, float16, bfloat16 or float32
compiled: bool = False  # whether the fast setting is compiled; worth it on a GPU
repeats: int = 5  # measured calls a point, after the warm-up
warmup: int = 1
seed: int = 0  # of the weights

# %%
import torch

from pmgs_lib.evaluation.scaling import fit_growth, loads, synthetic_context, time_model
from pmgs_lib.models import build_model
from pmgs_lib.models.acceleration import accelerate
from pmgs_lib.suite import current_run
from pmgs_lib.ui.timing_plots import plot_growth

run = current_run()
torch.manual_seed(seed)
exact = build_model(model_name).to(device).eval()
models = {"exact": exact, f"fast, {precision}": accelerate(exact, precision=precision, compile=compiled)}
name = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} CPU threads"
print(f"{model_name}: {sum(p.numel() for p in exact.parameters()):,} parameters, on {name}")

# %% [markdown]
# ## Measure
# Every number of views at the first size, then the first number of views at every other size. A warm-up comes first; then
# each repeat is timed by itself.

# %%
points = loads(views, sizes)
timings = time_model(models, points, device=device, repeats=repeats, warmup=warmup)
timings.to_csv(run.artifact("timings.csv"), index=False)
shown = timings.assign(peak_gib=timings["peak_bytes"].astype(float) / 2**30).drop(columns=["pixels", "peak_bytes"])
shown.dropna(axis=1, how="all").round(4)

# %% [markdown]
# Medians in seconds, with the fastest and the slowest repeat. Memory is the most that torch had in use on a GPU; on a CPU
# torch keeps no such count, so there is no column.

# %%
run.save_figure(plot_growth(timings), "growth")

# %% [markdown]
# Straight lines are power laws: time ~ views^a, and time ~ pixels^b. Their exponents a and b:

# %%
exponents = fit_growth(timings)
exponents.to_csv(run.artifact("growth.csv"), index=False)
exponents.round(2)

# %% [markdown]
# **Why it grows so.** Most of the work is done for each pixel of each view: convolutions, the image transformer's linear layers
# and the plane sweep, which looks at two neighbours a view however many views there are. That part grows with exponent 1. Two
# parts grow with the square: attention inside the image transformer (in pixels), and attention in the U-Net, which joins the
# tokens of *all* views (in views and in pixels). They are cheap until there are many tokens: for small inputs the exponents
# are near 1, and they rise with larger ones. Below 1, something does not grow at all, such as the time it takes to start kernels.

# %% [markdown]
# ## The fast setting's error
# Speed is worth something only at the same result: the difference in depth at the first point.

# %%
context = synthetic_context(points[0], device)
with torch.no_grad():
    depths = [model(context).depth for model in models.values()]
difference = ((depths[1] - depths[0]).abs() / depths[0]).median().item()
print(f"median relative difference of depth: {difference:.1e}")
run.save_metrics({"points": len(timings), "parameters": sum(p.numel() for p in exact.parameters())})

# %% [markdown]
# **Limits.** Fresh weights and noise: times are those of trained weights, the error of the fast setting is not. Compilation is not in the times. On a machine that others use, the slowest repeat says more about
# them than about the model.
