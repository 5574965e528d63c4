"""Whether weights fit a network, and if not, which configuration they would fit. Nothing is built with real weights."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from pmgs_lib.errors import ParameterError
from pmgs_lib.models.base import ModelConfig
from pmgs_lib.models.released_weights import listed
from pmgs_lib.models.zoo import MODELS, build_model, parse_config

Shapes = Mapping[str, tuple[int, ...]]
FEW = 4  # names alone that differ: any part of a network that a field adds or removes has more tensors
SMALL = 8  # numbers up to this count layers, scales and the like: their neighbours are tried


@dataclass(frozen=True)
class Difference:
    """Names of tensors that a file lacks, has beyond, or has in another shape than a network."""

    missing: list[str]
    unexpected: list[str]
    misshapen: list[str]

    @property
    def count(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.misshapen)

    def __str__(self) -> str:
        parts = {"missing": self.missing, "unexpected": self.unexpected, "of the wrong shape": self.misshapen}
        return "; ".join(f"{len(keys)} {what}: {listed(keys)}" for what, keys in parts.items() if keys)


def difference(expected: Shapes, found: Shapes) -> Difference:
    """What stands between a file's tensors and a network's."""
    both = [key for key in expected if key in found]
    return Difference(
        missing=[key for key in expected if key not in found],
        unexpected=[key for key in found if key not in expected],
        misshapen=[f"{key} {found[key]} for {expected[key]}" for key in both if found[key] != expected[key]],
    )


class uninitialised(TorchFunctionMode):  # noqa: N801 (used like a function)
    """Networks built within keep their parameters as the memory was: for those that are filled, or only looked at."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        name, options = getattr(function, "__name__", ""), options or {}
        in_place = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"
        target = arguments[0] if arguments else options.get("tensor")
        return target if in_place and isinstance(target, nn.Parameter) else function(*arguments, **options)


@lru_cache(maxsize=128)
def shapes_of(config: ModelConfig) -> Shapes:
    """Names and shapes of the weights of a configuration, without making them."""
    with torch.device("meta"), uninitialised():
        return {key: tuple(value.shape) for key, value in build_model(config).state_dict().items()}


def explanation(config: ModelConfig, found: Shapes) -> str:
    """Which change of the configuration would explain a file that does not fit it: one field, or a model of the zoo.

    Fields are tried where there are few values to try, and widths in the ratio that the shapes suggest.
    """
    base = difference(shapes_of(config), found)
    texts = []
    if base.misshapen or base.count >= FEW:
        related = base.count < len(shapes_of(config)) // 2
        texts = [_by_one_field(config, base, found) if related else "", _by_the_zoo(config, base, found)]
    return "; ".join(text for text in texts if text) or (
        "no model of the zoo and no single field explains it: tensors of the file were left out, renamed or cut"
    )


def models_that_fit(found: Shapes) -> list[str]:
    """Models of the zoo whose weights have exactly these names and shapes."""
    return [name for name in MODELS if not difference(shapes_of(MODELS[name].config), found).count]


def _by_one_field(config: ModelConfig, base: Difference, found: Shapes) -> str:
    best, text = base.count, ""
    expected = shapes_of(config)
    ratios = {
        b / a
        for key in expected
        for a, b in zip(expected[key], found.get(key, ()), strict=False)
        if a != b and len(expected[key]) == len(found[key])
    }
    for path, value in _variations(config, ratios):
        candidate = _changed(config, path, value)
        rest = difference(shapes_of(candidate), found).count if candidate is not None else best
        if rest < best:
            how_much = "would explain it" if not rest else f"would explain all but {rest} of {base.count}"
            best, text = rest, f"{'.'.join(path)} {value} {how_much}"
        if not rest:
            break
    return text


def _by_the_zoo(config: ModelConfig, base: Difference, found: Shapes) -> str:
    counts = {name: difference(shapes_of(MODELS[name].config), found).count for name in MODELS}
    least = min(counts.values())
    if least >= base.count:
        return ""
    nearest = [name for name, count in counts.items() if count == least]
    other = MODELS[nearest[0]].config
    ours, theirs = _flat(config.model_dump()), _flat(other.model_dump())
    fields = [field for field in theirs if ours.get(field, field) != theirs[field]]
    how_near = "it fits" if not least else f"it comes within {least} tensors of"
    return f"{how_near} {' and '.join(nearest)} of the zoo, which differs in {listed(fields)}"


def _variations(
    config: ModelConfig, ratios: set[float], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Single fields with another value that might change shapes."""
    for name, field in type(config).model_fields.items():
        value, here = getattr(config, name), (*path, name)
        if isinstance(value, ModelConfig):
            if type(None) in get_args(field.annotation):
                yield here, None
            yield from _variations(value, ratios, here)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield from ((here, other) for other in _numbers(value, field.metadata, ratios))
        else:
            yield from ((here, other) for other in _choices(field.annotation) if other != value)


def _numbers(value: int, metadata: list[Any], ratios: set[float]) -> list[int]:
    least = next((rule.ge for rule in metadata if hasattr(rule, "ge")), 1)
    most = next((rule.le for rule in metadata if hasattr(rule, "le")), None)
    if most is not None:
        wanted = set(range(least, most + 1))
    else:
        wanted = {value * ratio for ratio in ratios}
        wanted |= {value - 1, value + 1, value // 2, value * 2} if value <= SMALL else set()
    return sorted({int(number) for number in wanted if number == int(number) and number >= least} - {value})


def _choices(annotation: Any) -> list[Any]:
    """Values of a `Literal`, also as part of a union; nothing for other annotations."""
    values: list[Any] = []
    for argument in get_args(annotation):
        if argument is type(None):
            values.append(None)
        elif isinstance(argument, str):
            values.append(argument)
        else:
            values += _choices(argument)
    return values


def _changed(config: ModelConfig, path: tuple[str, ...], value: Any) -> ModelConfig | None:
    """The configuration with one field replaced, or None if there is no such one."""
    fields = config.model_dump()
    parent = fields
    for name in path[:-1]:
        parent = parent[name]
    parent[path[-1]] = value
    try:
        return parse_config(fields)
    except ParameterError:
        return None


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
