"""What models of the zoo ask of a scene, for `pmgs_lib.data.judge`, and `pmgs inspect`, which tells it in words."""

from collections.abc import Sequence

from pmgs_lib.data.inspection import Requirements, inspect_scene, judge
from pmgs_lib.errors import ParameterError
from pmgs_lib.models.zoo import MODELS

# Whom a scene is judged for where nobody names a model: the embedded one, and one trained on each kind of data.
USUAL = ("depthsplat-tiny", "depthsplat-gs-base-dl3dv-256x448", "depthsplat-gs-base-re10k-256x448")


def requirements_of(name: str) -> Requirements:
    """What the model `name` of `MODELS` asks for, read off its configuration and its entry."""
    if name not in MODELS:
        raise ParameterError(f"requirements_of: no model {name!r}; expected one of {', '.join(MODELS)}")
    entry = MODELS[name]
    height, width = entry.image_size
    return Requirements(
        name=name,
        multiple=entry.config.multiple,
        height=height,
        width=width,
        fewest_views=entry.context_views[0],
        near=entry.near,
        far=entry.far,
        centered=entry.config.rendering.centered_principal_point,
    )


def inspect(root: str, key: str, /, *, matching: bool = True, model: Sequence[str] = ()) -> str:
    """Look at scene KEY of the dataset at ROOT before time is spent on it: facts, faults, and whom it is fit for.

    Features are matched to see whether cameras fit pictures (some seconds; --no-matching leaves it out). --model names
    models of the zoo, and may be repeated.
    """
    report = inspect_scene(root, key, matching=matching)
    told = [str(judge(report, requirements_of(name))) for name in (model or USUAL)]
    return "\n".join([str(report), *told])
