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

from IPython.display import Image, Markdown, display

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite import current_run
from pmgs_lib.suite.performance import PerformanceTable, compare_performance, read_measurements, read_targets
from pmgs_lib.ui.performance_plots import plot_performance

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
    display(Markdown(f"**{name}**: {content['device']}, {content['date']}. {content.get('how', '')}"))

# %% [markdown]
# ## Figures to beat
# Several values are repeats, of time on an idle device and of PSNR over target views. A figure that nobody has measured says so.

# %%
PerformanceTable(comparisons, "Measured beside what it must be")

# %%
counts = Counter(comparison.verdict for comparison in comparisons)
print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))

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

# %%
run.save_metrics({"verdicts": {comparison.target.work: comparison.verdict for comparison in comparisons}})

# %% [markdown]
# **Limits.** Random or recipe weights on one kind of device; a fast setting is worth something only at the same result, which is why
# the agreement of its renderings with float32 stands in the same table. Compilation is not in the times.
