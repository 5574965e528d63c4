"""An experiment file: which notebooks run, with which parameters, after which others, in which profiles.

    title: Embedded scenes, end to end
    arguments: {source: null}                 # given by `--set source=...`; null: must be given
    profiles:
      smoke: {cell_timeout_s: 300, run_timeout_s: 900, parameters: {device: cpu}}
      full: {cell_timeout_s: 86400, run_timeout_s: 604800, keep_going: true}
    data:
      capture: {path: "${arguments.source}", hint: download it from ...}
      re10k: {dataset: pixelsplat-full}       # by name: also weights of the zoo and published protocols, see `sources`
    runs:
      - id: scenes
        notebook: notebooks/10_make_scenes.ipynb
        parameters: {seed: 0}
        profiles: {smoke: {count: 4}, full: {count: 100}}
      - id: train
        notebook: notebooks/30_train.ipynb
        parameters: {scenes: "${runs.scenes}/artifacts/chunks"}

`${runs.ID}` is the folder of another run from the root and makes it a needed run, `${runs.ID?}` is empty when that run
was left out (its optional data is missing), `${data.NAME}` a path whose content counts but not its name (of weights and
protocols: their name),
`${arguments.NAME}` a value, `${env.NAME}` an environment variable (in paths of data only). An entry with a `matrix` is
several runs, one a combination of values: see `matrix`.
"""

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    ValidationError,
)

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.matrix import expand
from pmgs_lib.suite.sources import DataSource

REFERENCE = re.compile(r"\$\{(?P<kind>runs|data|arguments|env)\.(?P<name>[\w-]+(?:@[\w.+=,-]+)?)(?P<optional>\?)?\}")
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w-]*$")]
MatrixValue = (
    StrictBool | StrictInt | StrictFloat | Annotated[str, StringConstraints(pattern=r"^[\w.+-]+$", strict=True)]
)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Profile(_Part):
    """How runs are executed in a profile, and parameters for every notebook that has them."""

    cell_timeout_s: float = Field(600.0, gt=0)
    run_timeout_s: float = Field(3600.0, gt=0)
    keep_going: bool = False  # False: the first failure ends the other runs within seconds
    parameters: dict[str, Any] = {}


class RunEntry(_Part):
    """One notebook with one set of parameters; `profiles` overrides them, `only` names the profiles it belongs to.

    needs_data: names of `data` that it needs beside those that its parameters name.
    matrix: values for `${matrix.NAME}`; empty in an experiment that was read, where every run has its own entry.
    """

    id: Identifier
    notebook: str
    matrix: dict[Identifier, Annotated[tuple[MatrixValue, ...], Field(min_length=1)]] = {}
    parameters: dict[str, Any] = {}
    profiles: dict[str, dict[str, Any]] = {}
    only: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    needs_data: tuple[str, ...] = ()
    gpu: int = Field(0, ge=0)
    page: str | None = None  # HTML page made of the executed notebook, a path from the root


class Experiment(_Part):
    """The content of an experiment file; see the module's text."""

    name: str
    title: str = ""
    arguments: dict[Identifier, Any] = {}
    profiles: dict[Identifier, Profile]
    data: dict[Identifier, DataSource] = {}
    runs: tuple[RunEntry, ...] = Field(min_length=1)

    def profile(self, name: str) -> Profile:
        if name not in self.profiles:
            raise ParameterError(f"{self.name}: no profile {name!r}, expected one of {', '.join(self.profiles)}")
        return self.profiles[name]

    def entries(self, profile: str) -> tuple[RunEntry, ...]:
        return tuple(entry for entry in self.runs if not entry.only or profile in entry.only)


def read_experiment(path: Path, given: Mapping[str, Any] | None = None) -> Experiment:
    """An experiment file with `given` values for its arguments; ParameterError names the first field at fault."""
    experiment = _read(path)
    return experiment.model_copy(update={"arguments": _arguments(experiment, given or {})})


def argument_names(path: Path) -> set[str]:
    """What `--set` may give to an experiment."""
    return set(_read(path).arguments)


def _read(path: Path) -> Experiment:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as fault:
        raise ParameterError(
            f"{path.name}: not readable as YAML ({' '.join(str(fault).split())}); correct it"
        ) from None
    if not isinstance(content, dict) or "name" in content:
        raise ParameterError(f"{path.name}: expected a map with `profiles` and `runs`, named by its file; correct it")
    try:
        experiment = Experiment.model_validate({"name": path.stem, **content})
    except ValidationError as fault:
        first = fault.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ParameterError(f"{path.name}: {place}: {first['msg']}; correct it") from None
    _check_names(experiment)
    return experiment.model_copy(update={"runs": expand(experiment.name, experiment.runs)})


def _arguments(experiment: Experiment, given: Mapping[str, Any]) -> dict[str, Any]:
    for name in given:
        require_known(name, experiment.arguments, f"{experiment.name}: argument")
    values = {**experiment.arguments, **given}
    for name, value in values.items():
        if value is None:
            raise ParameterError(
                f"{experiment.name}: argument `{name}` has no value, expected one; give --set {name}=..."
            )
    return values


def _check_names(experiment: Experiment) -> None:
    ids = [entry.id for entry in experiment.runs]
    for entry in experiment.runs:
        where = f"{experiment.name}: run `{entry.id}`"
        if ids.count(entry.id) > 1:
            raise ParameterError(f"{where} is listed twice, expected each id once; rename one")
        for profile in (*entry.profiles, *entry.only):
            require_known(profile, experiment.profiles, f"{where}: profile")
        for reference in entry.after:
            require_known(reference.removesuffix("?"), ids, f"{where}: after")


def require_known(name: str, known: Mapping[str, Any] | list[str], what: str) -> None:
    """ParameterError with the nearest name when `name` is none of `known`."""
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known) or 'none'}"
        raise ParameterError(f"{what} `{name}` is not known; {hint}")


def references_in(value: Any) -> list[tuple[str, str, bool]]:
    """(kind, name, optional) of every reference in a value's texts, however deep."""
    if isinstance(value, str):
        return [(match["kind"], match["name"], bool(match["optional"])) for match in REFERENCE.finditer(value)]
    if isinstance(value, dict):
        value = list(value.values())
    return [found for item in value for found in references_in(item)] if isinstance(value, list) else []


def substitute(value: Any, answers: Mapping[str, Callable[[str], Any]]) -> Any:
    """`value` with the references of the kinds in `answers` replaced; a text that is one takes the answer's type."""
    if isinstance(value, dict):
        return {name: substitute(item, answers) for name, item in value.items()}
    if isinstance(value, list):
        return [substitute(item, answers) for item in value]
    if not isinstance(value, str):
        return value
    whole = REFERENCE.fullmatch(value)
    if whole and whole["kind"] in answers:
        return answers[whole["kind"]](whole["name"])
    return REFERENCE.sub(
        lambda match: str(answers[match["kind"]](match["name"])) if match["kind"] in answers else match[0], value
    )
