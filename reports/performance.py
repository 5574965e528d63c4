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
# # Performance on a GPU
#
# Times and memory that were measured, beside what they must be and what the released code takes on the same kind of device. This
# page measures nothing: it reads files of measurements and says of each number when, where and at which commit it was made.

# %% tags=["parameters"]
measured: list[str] = []  # files of measurements, reports/performance_*.json
targets: str = ""  # file of the figures to beat, reports/performance_targets.json

# %%
from collections import Counter

import pandas as pd
from IPython.display import Image, Markdown, display

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite import current_run
from pmgs_lib.suite.performance import PerformanceTable, compare_performance, read_measurements, read_targets
from pmgs_lib.ui.performance_plots import plot_performance
from pmgs_lib.ui.plots import plot_loss_curve

# %%
run = current_run()
if not (measured and targets):
    raise ParameterError("reports/performance: no files given; run it by: pmgs run experiments/performance.yaml")
files = {run.resolve(file).name: read_measurements(run.resolve(file)) for file in measured}
comparisons = compare_performance(read_targets(run.resolve(targets)), files)

# %% [markdown]
# ## Where it was measured
# How to measure again stands in each file; `notebooks/60_benchmark.ipynb` with `device` set to cuda times the same calls.

# %%
for name, content in files.items():
    how = content.get("how", "")
    display(Markdown(f"**{name}**: {content['device']}, {content['date']}. {how[:1].upper()}{how[1:].rstrip('.')}."))

# %% [markdown]
# ## Figures to beat
# Several values are repeats, of time on an idle device and of PSNR over target views. A figure that nobody has measured says so.

# %%
PerformanceTable(comparisons, "Measured beside what it must be")

# %%
counts = Counter(comparison.verdict for comparison in comparisons)
Markdown(f"Of {counts.total()} figures: {', '.join(f'{count} {verdict}' for verdict, count in counts.items())}.")

# %% [markdown]
# ## Times
# Dots left of their bars are within the limit.

# %%
times = [c for c in comparisons if c.target.unit == "ms"]
run.save_figure(plot_performance(times, "ms"), "times")
spoken = "; ".join(f"{c.target.work}: {c.median:.1f} of {c.target.at_most:g} ms" for c in times if c.median is not None)
Image(run.folder / "figures" / "times.png", alt=f"Our medians of their limits. {spoken}.")

# %% [markdown]
# ## Memory

# %%
memory = [c for c in comparisons if c.target.unit == "GiB"]
run.save_figure(plot_performance(memory, "GiB"), "memory")
spoken = "; ".join(
    f"{c.target.work}: {c.median:.1f} of {c.target.at_most:g} GiB" for c in memory if c.median is not None
)
Image(run.folder / "figures" / "memory.png", alt=f"Our peaks of their limits. {spoken}.")

# %% [markdown]
# ## Learning from scratch
# Small networks on scenes that the library makes, scored on held-out scenes (protocol embedded-smoke) beside the nearest input
# picture. The curve is the photometric term in training; single values are means over many steps.

# %%
for content in files.values():
    for name, learned in content.get("learning", {}).items():
        psnr = learned["psnr_db"]
        display(
            Markdown(
                f"**{name}**: {learned['steps']:,} steps in {learned['duration_s']:.0f} s on {learned['training_scenes']} scenes, "
                f"{learned['parameters'] / 1e6:.1f} million parameters. PSNR {psnr['overall']:.2f} dB (between the inputs "
                f"{psnr['inside']:.2f}, beyond them {psnr['outside']:.2f}), nearest input {learned['nearest_input_psnr_db']:.2f} dB: "
                f"{learned['above_nearest_input_db']:+.2f} dB. `{learned['command']}`, seed {learned['seed']}, "
                f"{learned['device']}, commit {learned['commit']}."
            )
        )
        run.save_figure(plot_loss_curve(pd.DataFrame(learned["curve"])), f"learning_{name}")
        spoken = f"Photometric loss of {name} over {learned['steps']:,} steps, {learned['curve']['photometric'][-1]:.4f} at the end."
        display(Image(run.folder / "figures" / f"learning_{name}.png", alt=spoken))

# %%
run.save_metrics({"verdicts": {comparison.target.work: comparison.verdict for comparison in comparisons}})

# %% [markdown]
# **Limits.** Random or recipe weights on one kind of device; a fast setting is worth something only at the same result, which is why
# the agreement of its renderings with float32 stands in the same table. Compilation is not in the times.
