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
# # Evaluate: one method and two controls on a fixed protocol
#
# Renders target views between the input views and beyond them, and scores pictures, depth and geometry. Two controls say
# what the numbers mean: copying the nearest input picture, and Gaussians unprojected from exact depth. No scene is lost on
# the way: scored + skipped = listed.
#
# | | |
# |---|---|
# | You learn | what a method does inside and outside the span of its inputs |
# | Needs | weights; scenes from `10_make_scenes`, or none |
# | Leaves | `metrics.json`, a row a target view in `artifacts/targets.csv`, pictures |
# | Time | about ten seconds for six scenes on two CPU cores |

# %% tags=["parameters"]
scenes: str = ""  # folder of chunk files; empty: the protocol's embedded scenes are made here
protocol: str = "embedded-smoke"  # name of a protocol, or a .json file
weights: str = "depthsplat-tiny"  # a model that ships with the library, or a checkpoint
label: str = "DepthSplat tiny"  # how the report calls this row
trained_steps: int = 0  # additional steps of training, for the report
