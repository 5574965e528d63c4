"""`pmgs`: a table of verbs, each one call of a library function. Arguments are read off that function's signature.

Parameters without a default and positional-only ones are arguments, `*names` one or more, the others options (`set_` is
`--set`); `bool` is a flag, `Literal` a choice, a sequence an option that may be repeated. A configuration as parameter
stands for its fields: an option each, with their descriptions, sequences as a list with commas. A text that comes back
is printed, a number is the exit status.
"""

import argparse
import inspect
import logging
import sys
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pmgs_lib._lazy import load_object
from pmgs_lib.errors import PmgsError, RunError

# verb: (what to call, one line for `pmgs --help`, which imports nothing)
VERBS: dict[str, tuple[str, str]] = {
    "run": ("pmgs_lib.suite.commands:run", "bring an experiment up to date: execute what changed, make its pages"),
    "status": ("pmgs_lib.suite.commands:status", "state of each run of an experiment"),
    "diff": ("pmgs_lib.suite.commands:diff", "two runs side by side: what they were made from, what came out"),
    "why": ("pmgs_lib.suite.commands:why", "why a run was executed, and the chain behind its numbers"),
    "report": ("pmgs_lib.suite.commands:report", "make an experiment's HTML pages"),
    "scenes": ("pmgs_lib.data.commands:scenes", "make embedded scenes"),
    "data": ("pmgs_lib.data.commands:data", "list the public data sets, fetch one"),
    "import": ("pmgs_lib.data.commands:import_", "bring a capture or a data set into chunk files"),
    "inspect": ("pmgs_lib.models.requirements:inspect", "look at a scene before spending time on it"),
    "render": ("pmgs_lib.export.commands:render", "Gaussians, depth, novel views and a video of a scene"),
    "models": ("pmgs_lib.models.commands:models", "the zoo: released models, their files, settings and numbers"),
    "train": ("pmgs_lib.training.commands:train", "train as a YAML file says, or go on where it was stopped"),
    "plan": ("pmgs_lib.training.memory.commands:plan", "whether a training fits into a GPU, and in how many parts"),
}
FAILED, REFUSED, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Exit status: 0 good, 1 a run failed, 2 refused before anything started, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        sys.stdout.write(_overview())
        return 0 if given else REFUSED
    logging.basicConfig(format="%(message)s")
    logging.getLogger("pmgs_lib").setLevel(logging.INFO)
    verb = given[0]
    if verb not in VERBS:
        sys.stderr.write(f"pmgs: no verb {verb!r}, expected one of {', '.join(VERBS)}; see pmgs --help\n")
        return REFUSED
    try:
        return _call(verb, load_object(VERBS[verb][0]), given[1:])
    except PmgsError as fault:
        sys.stderr.write(f"pmgs {verb}: {fault}\n")
        return FAILED if isinstance(fault, RunError) else REFUSED
    except KeyboardInterrupt:
        sys.stderr.write(f"pmgs {verb}: interrupted\n")
        return INTERRUPTED


def _overview() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb.ljust(width)}  {summary}" for verb, (_, summary) in VERBS.items()]
    return "\n".join(["usage: pmgs VERB [...]; pmgs VERB --help says more", "", *lines, ""])


def _call(verb: str, function: Callable[..., Any], given: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog=f"pmgs {verb}", description=inspect.getdoc(function))
    parameters = inspect.signature(function).parameters
    configurations = {name: p.annotation for name, p in parameters.items() if hasattr(p.annotation, "model_fields")}
    for name, parameter in parameters.items():
        if name not in configurations:
            _add(parser, parameter)
    for configuration in configurations.values():
        _add_fields(parser, configuration)
    values = vars(parser.parse_args(given))
    for name, configuration in configurations.items():
        fields = {field: values.pop(field) for field in configuration.model_fields if field in values}
        values[name] = configuration.build(fields, "options")
    positional = [
        values.pop(name) for name, parameter in parameters.items() if parameter.kind is parameter.POSITIONAL_ONLY
    ]
    for name, parameter in parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional += values.pop(name)
    result = function(*positional, **values)
    if isinstance(result, int):
        return result
    if result is not None:
        sys.stdout.write(f"{result}\n")
    return 0


def _add(parser: argparse.ArgumentParser, parameter: inspect.Parameter) -> None:
    kind = _without_none(parameter.annotation)
    required = parameter.default is parameter.empty
    option = f"--{parameter.name.rstrip('_').replace('_', '-')}"
    settings: dict[str, Any] = {} if required else {"default": parameter.default}
    origin = typing.get_origin(kind)
    if origin is Literal:
        settings["choices"] = typing.get_args(kind)
    elif origin in (list, tuple, Sequence):
        settings |= {"action": "append", "type": typing.get_args(kind)[0], "default": []}
    elif kind is not bool:
        settings["type"] = kind if kind in (int, float, Path) else str
    if parameter.kind is parameter.VAR_POSITIONAL:
        parser.add_argument(parameter.name, nargs="+", type=settings["type"])
    elif required or parameter.kind is parameter.POSITIONAL_ONLY:
        parser.add_argument(parameter.name, **settings, **({} if required else {"nargs": "?"}))
    elif kind is bool:
        parser.add_argument(
            option, action=argparse.BooleanOptionalAction, default=parameter.default, dest=parameter.name
        )
    else:
        parser.add_argument(option, dest=parameter.name, **settings)


def _add_fields(parser: argparse.ArgumentParser, configuration: Any) -> None:
    """An option for each field; what is not given is left to the field's default, values are read by the field."""
    for name, field in configuration.model_fields.items():
        kind = _without_none(field.annotation)
        known = "" if field.default in (None, ()) or field.is_required() else f" (default: {field.default})"
        settings: dict[str, Any] = {"help": f"{field.description}{known}", "dest": name, "default": argparse.SUPPRESS}
        if typing.get_origin(kind) is Literal:
            settings["choices"] = typing.get_args(kind)
        elif typing.get_origin(kind) in (list, tuple):
            settings |= {"type": lambda text: text.split(","), "metavar": "A,B,..."}
        elif kind is bool:
            settings["action"] = argparse.BooleanOptionalAction
        parser.add_argument(f"--{name.replace('_', '-')}", required=field.is_required(), **settings)


def _without_none(annotation: Any) -> Any:
    """The first alternative of a union that is not None: `str | Path | None` is read as text."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return next(kind for kind in typing.get_args(annotation) if kind is not type(None))
    return annotation


if __name__ == "__main__":
    sys.exit(main())
