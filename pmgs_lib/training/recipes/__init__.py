"""Each paper's training as one typed description: what, value, and where the value stands. `RECIPES` maps names."""

from typing import TYPE_CHECKING, Any

from pmgs_lib._lazy import lazy_names, load_object
from pmgs_lib.errors import ParameterError

if TYPE_CHECKING:
    from pmgs_lib.training.recipes.base import Recipe

# Name of a recipe -> its address, imported when it is asked for.
RECIPES: dict[str, str] = {
    "depthsplat-small-re10k": "pmgs_lib.training.recipes.depthsplat:SMALL_RE10K",
    "depthsplat-base-re10k": "pmgs_lib.training.recipes.depthsplat:BASE_RE10K",
    "depthsplat-large-re10k": "pmgs_lib.training.recipes.depthsplat:LARGE_RE10K",
    "depthsplat-base-re10k-256x448": "pmgs_lib.training.recipes.depthsplat:BASE_RE10K_256X448",
    "depthsplat-small-dl3dv": "pmgs_lib.training.recipes.depthsplat:SMALL_DL3DV",
    "depthsplat-base-dl3dv": "pmgs_lib.training.recipes.depthsplat:BASE_DL3DV",
    "depthsplat-depth": "pmgs_lib.training.recipes.depthsplat:DEPTH",
    "pm-loss-dl3dv": "pmgs_lib.training.recipes.pm_loss:PM_LOSS",
    "pm-loss-baseline": "pmgs_lib.training.recipes.pm_loss:BASELINE",
    "pm-loss-unconstrained-without-loss": "pmgs_lib.training.recipes.pm_loss:UNCONSTRAINED_WITHOUT_LOSS",
    "mvsplat-re10k": "pmgs_lib.training.recipes.mvsplat:RE10K",
    "mvsplat-acid": "pmgs_lib.training.recipes.mvsplat:ACID",
    "gslrm-paper-stage1": "pmgs_lib.training.recipes.gslrm:PAPER_STAGE1",
    "gslrm-paper-stage2": "pmgs_lib.training.recipes.gslrm:PAPER_STAGE2",
    "gslrm-stage2-4views": "pmgs_lib.training.recipes.gslrm:STAGE2_4VIEWS",
    "gslrm-unofficial": "pmgs_lib.training.recipes.gslrm:UNOFFICIAL",
    "depthsplat-tiny-embedded": "pmgs_lib.training.recipes.embedded:DEPTHSPLAT_TINY",
    "gslrm-tiny-embedded": "pmgs_lib.training.recipes.embedded:GSLRM_TINY",
    "fine-tuning-embedded": "pmgs_lib.training.recipes.embedded:FINE_TUNING",
}

NAMES = {
    "Recipe": "pmgs_lib.training.recipes.base",
    "Source": "pmgs_lib.training.recipes.base",
    "leave_out_missing": "pmgs_lib.training.recipes.rehearsal",
}


def load_recipe(name: str, **changes: Any) -> "Recipe":
    """The recipe of that name in `RECIPES`; `changes` replace its fields, nested ones as maps.

    A changed field's source says that it was changed. `ParameterError` for an unknown name, field or value.

    >>> load_recipe("mvsplat-re10k", training={"steps": 20}).training.steps
    20
    """
    if name not in RECIPES:
        raise ParameterError(f"recipe {name!r}: there is none; expected one of {', '.join(RECIPES)}")
    recipe = load_object(RECIPES[name])
    return recipe.changed(**changes) if changes else recipe


__getattr__, __dir__ = lazy_names(__name__, NAMES)
