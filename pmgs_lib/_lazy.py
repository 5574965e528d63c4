"""Names that are imported when they are first used, so that a notebook loads (and depends on) only what it needs."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, table: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` for a package whose public names live in other modules.

    `table` maps a public name to the full name of the module that defines it.
    """

    def get(name: str) -> Any:
        if name not in table:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(table[name]), name)

    def names() -> list[str]:
        return sorted(table)

    return get, names


def load_object(address: str) -> Any:
    """The object that a registry address `"module:object"` names."""
    module, _, name = address.partition(":")
    return getattr(importlib.import_module(module), name)
