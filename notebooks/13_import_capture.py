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
# # Import a capture: from photographs with poses to chunk files
#
# Reads a Nerfstudio or instant-ngp `transforms.json`, undoes the lens distortion, converts the cameras, and writes the one
# chunk layout that every notebook here reads. Without a capture of your own, the notebook photographs an embedded scene
# through a distorting lens first, so it also shows that the import loses nothing.
#
# | | |
# |---|---|
# | You learn | what an import does to pictures and cameras, and what it leaves out and why |
# | Needs | a folder with `transforms.json`, or nothing |
# | Leaves | `artifacts/scenes/test/*.torch`, a manifest, a protocol for `40_evaluate` |
# | Time | ten seconds for 50 photographs |

# %% tags=["parameters"]
source: str = ""  # folder of the capture; empty: photograph an embedded scene
scene_seed: int = 30001  # the embedded scene to photograph
height: int = 128  # pixels of the evaluation protocol; multiples of 16
width: int = 224  # pixels
