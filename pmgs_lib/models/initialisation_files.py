"""Weights that training starts from: files of UniMatch and of Depth Anything V2.

Facts are from MODEL_ZOO.md of autonomousvision/unimatch and README.md of DepthAnything/Depth-Anything-V2. Neither
publishes digests: UniMatch does not say what the digits in its names are.
"""

from pmgs_lib.models.zoo_entry import InitialisationEntry, ReleasedFile

UNIMATCH_HOST = "https://s3.eu-central-1.amazonaws.com/avg-projects/unimatch/pretrained"
DEPTH_ANYTHING_HOST = "https://huggingface.co/depth-anything"


def unimatch(name: str, note: str) -> InitialisationEntry:
    layout = "under 'model', names of UniMatch"
    return InitialisationEntry(
        weights=ReleasedFile(name=name, address=f"{UNIMATCH_HOST}/{name}", layout=layout),
        parts=("backbone", "transformer"),
        licence="MIT (the repository's)",
        source="https://github.com/autonomousvision/unimatch: MODEL_ZOO.md",
        note=note,
    )


def depth_anything(vit: str, size: str, licence: str) -> InitialisationEntry:
    name = f"depth_anything_v2_{vit}.pth"
    address = f"{DEPTH_ANYTHING_HOST}/Depth-Anything-V2-{size}/resolve/main/{name}"
    return InitialisationEntry(
        weights=ReleasedFile(name=name, address=address, layout="a flat dictionary, names of Depth Anything V2"),
        parts=("pretrained",),
        licence=licence,
        source="https://github.com/DepthAnything/Depth-Anything-V2: README.md",
        note=f"For models with vit {vit!r}.",
    )


GMFLOW_THINGS = unimatch("gmflow-scale1-things-e9887eda.pth", "What the training scripts of DepthSplat start from.")
GMDEPTH_SCANNET = unimatch(
    "gmdepth-scale1-resumeflowthings-scannet-5d9d7964.pth",
    "What MVSplat starts from; DepthSplat's configuration names it too, but its code does not read that field.",
)
DEPTH_ANYTHING_V2_VITS = depth_anything("vits", "Small", "Apache-2.0")
DEPTH_ANYTHING_V2_VITB = depth_anything("vitb", "Base", "CC-BY-NC-4.0")
DEPTH_ANYTHING_V2_VITL = depth_anything("vitl", "Large", "CC-BY-NC-4.0")
