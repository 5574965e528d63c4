"""How many parameters the released models have, counted beforehand: building one to know takes a third of a second.

`parameter_counts.json` holds a number a model of the zoo that has a released file. `python -m
pmgs_lib.suite.weight_sizes` counts them again; a test compares.
"""

import json
from functools import cache
from pathlib import Path

COUNTS_FILE = Path(__file__).with_name("parameter_counts.json")
FLOAT32_BYTES = 4


@cache
def recorded_counts() -> dict[str, int]:
    """The counts of `parameter_counts.json`, by name of the model."""
    return json.loads(COUNTS_FILE.read_text(encoding="utf-8"))


@cache
def parameter_count(name: str) -> int:
    """Parameters of a model of the zoo; one that is not recorded, new in the zoo, is counted."""
    recorded = recorded_counts()
    return recorded[name] if name in recorded else counted(name)


def counted(name: str) -> int:
    """Parameters of a model of the zoo, of one built on torch's meta device: no weight takes storage."""
    import torch

    from pmgs_lib.models.zoo import build_model

    with torch.device("meta"):
        return sum(weight.numel() for weight in build_model(name).parameters())


def size_text(name: str) -> str:
    """E.g. "about 153 MB, 38 M parameters in float32"."""
    count = parameter_count(name)
    return f"about {count * FLOAT32_BYTES / 1e6:,.0f} MB, {count / 1e6:.0f} M parameters in float32"


def released_models() -> list[str]:
    """Models of the zoo that have a released file."""
    from pmgs_lib.models.zoo import MODELS
    from pmgs_lib.models.zoo_entry import ReleasedFile

    return [name for name in MODELS if isinstance(MODELS[name].weights, ReleasedFile)]


if __name__ == "__main__":
    fresh = {name: counted(name) for name in released_models()}
    COUNTS_FILE.write_text(json.dumps(fresh, indent=1) + "\n", encoding="utf-8")
