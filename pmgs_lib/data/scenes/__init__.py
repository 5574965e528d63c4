"""Embedded scenes: procedural rooms and streets, from a seed to pictures with exact depth.

`embedded` is the way in: it draws a layout (`room`, `street`, with `furniture`, `buildings`), sorts its primitives
into a tree (`geometry`), finds a camera walk (`paths`), and traces it (`*_kernels`) with `textures` and light.
"""

from pmgs_lib._lazy import lazy_names

NAMES = {
    "FAR": "pmgs_lib.data.scenes.embedded",
    "NEAR": "pmgs_lib.data.scenes.embedded",
    "RenderedScene": "pmgs_lib.data.scenes.embedded",
    "make_scene": "pmgs_lib.data.scenes.embedded",
    "make_scenes": "pmgs_lib.data.scenes.embedded",
    "scene_key": "pmgs_lib.data.scenes.embedded",
    "scene_seed": "pmgs_lib.data.scenes.embedded",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
