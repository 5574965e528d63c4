"""From an experiment to its runs with all keys, before anything runs."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.suite.cells import kernel_of, read_notebook, text_of_code
from pmgs_lib.suite.closure import Closure, find_closure
from pmgs_lib.suite.experiment import Experiment, Profile, RunEntry, references_in, require_known, substitute
from pmgs_lib.suite.parameters import check_values, read_schema
from pmgs_lib.suite.project import Project
from pmgs_lib.suite.provenance import FORMAT, digest_code, digest_data, digest_file, environment_parts, key_of
from pmgs_lib.suite.sources import Lack, lacking_table

KERNEL = "python3"
# What the runner itself executes in every kernel, so that its library files are in every closure.
END_SOURCE = "from pmgs_lib.suite.recorder import finish_run\n\nfinish_run()"


@dataclass(frozen=True)
class PlannedRun:
    """One run, decided: `parameters` are what its notebook gets, `parts` what its key is the hash of."""

    id: str
    key: str
    notebook: str
    parameters: dict[str, Any]
    parts: dict[str, Any]
    needs: dict[str, str]  # id -> key
    cell_timeout_s: float
    run_timeout_s: float
    gpu: int = 0
    page: str | None = None
    data: dict[str, str] = field(default_factory=dict)  # name -> path, from the root where it lies below

    @property
    def threads(self) -> int:
        """Threads of the numeric libraries: the parameter of that name, else 1, so that sums keep their order."""
        threads = self.parameters.get("threads", 1)
        return threads if isinstance(threads, int) and threads > 0 else 1


@dataclass(frozen=True)
class Plan:
    """All runs of an experiment in a profile, needed ones first, and what was left out with the reason."""

    experiment: str
    profile: str
    keep_going: bool
    runs: tuple[PlannedRun, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)  # the experiment's arguments
    changed_files: tuple[str, ...] = ()  # uncommitted, in a profile that wants none and was allowed them

    @property
    def name(self) -> str:
        return f"{self.experiment} ({self.profile})"

    def run(self, name: str) -> PlannedRun:
        """The run of that id or key."""
        for run in self.runs:
            if name in (run.id, run.key):
                return run
        raise ParameterError(
            f"{self.experiment}: no run `{name}`, expected one of {', '.join(run.id for run in self.runs)}"
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> "Plan":
        content = json.loads(text)
        content["changed_files"] = tuple(content.get("changed_files", ()))
        return Plan(**{**content, "runs": tuple(PlannedRun(**run) for run in content["runs"])})


def make_plan(project: Project, experiment: Experiment, profile: str) -> Plan:
    """Every run of the profile with its key. Raises ParameterError or DataError before anything has started."""
    return _Planner(project, experiment, profile).plan()


@dataclass
class _Planner:
    project: Project
    experiment: Experiment
    profile_name: str
    done: dict[str, PlannedRun] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    known_names: set[str] = field(default_factory=set)  # parameters of all notebooks
    names: dict[str, set[str]] = field(default_factory=dict)  # id -> texts in its parameters and its needed runs'
    lacks: dict[str, Lack | str] = field(default_factory=dict)  # data that is missing and not optional
    lacked_by: dict[str, list[str]] = field(default_factory=dict)  # its runs

    @cached_property
    def profile(self) -> Profile:
        return self.experiment.profile(self.profile_name)

    @cached_property
    def entries(self) -> dict[str, RunEntry]:
        return {entry.id: entry for entry in self.experiment.entries(self.profile_name)}

    @cached_property
    def environment(self) -> dict[str, str]:
        return environment_parts(self.project)

    def plan(self) -> Plan:
        for name in self._order():
            reason = self._reason_to_leave_out(self.entries[name])
            if reason:
                self.left_out[name] = reason
            else:
                self.done[name] = self._plan_run(self.entries[name])
        self._refuse_lacks()
        for name in self.profile.parameters:
            require_known(
                name, sorted(self.known_names), f"{self.experiment.name}: profile `{self.profile_name}`: parameter"
            )
        runs = tuple(self.done.values())
        return Plan(
            self.experiment.name,
            self.profile_name,
            self.profile.keep_going,
            runs,
            self.left_out,
            self.experiment.arguments,
        )

    def _order(self) -> list[str]:
        needs = {name: [need for need, _ in self._needs(entry)] for name, entry in self.entries.items()}
        for name, needed in needs.items():
            for need in needed:
                require_known(need, self.entries, f"{self.experiment.name}: run `{name}` needs run")
        try:
            return list(TopologicalSorter(needs).static_order())
        except CycleError as fault:
            raise ParameterError(
                f"{self.experiment.name}: runs need each other: {' -> '.join(fault.args[1])}; cut one"
            ) from None

    def _needs(self, entry: RunEntry) -> list[tuple[str, bool]]:
        """(id, whether it may be left out) of the runs that an entry names."""
        after = [(name.removesuffix("?"), name.endswith("?")) for name in entry.after]
        return after + [
            (name, optional) for kind, name, optional in references_in(self._values(entry)) if kind == "runs"
        ]

    def _values(self, entry: RunEntry) -> dict[str, Any]:
        return {**entry.parameters, **entry.profiles.get(self.profile_name, {})}

    def _data_of(self, entry: RunEntry) -> list[str]:
        names = [name for kind, name, _ in references_in(self._values(entry)) if kind == "data"]
        names += entry.needs_data
        for name in names:
            require_known(name, self.experiment.data, f"{self.experiment.name}: run `{entry.id}`: data")
        return names

    def _reason_to_leave_out(self, entry: RunEntry) -> str | None:
        """All data is looked at, so that what is missing is told at once."""
        reasons = []
        for name in dict.fromkeys(self._data_of(entry)):
            lack = self._lack(name)
            if lack is not None:
                reasons.append(_told(name, lack))
                if not self.experiment.data[name].optional:
                    self.lacks[name] = lack
                    self.lacked_by.setdefault(name, []).append(entry.id)
        for name, optional in self._needs(entry):
            if name in self.left_out and not optional:
                reasons.append(f"needs run `{name}`, which was left out: {self.left_out[name]}")
        return next(iter(reasons), None)

    def _lack(self, name: str) -> Lack | str | None:
        source = self.experiment.data[name]
        if source.named is not None:
            return source.named.lack(self.project.root)
        path = self._data_path(name)
        return None if path and path.exists() else f"not found at {path or source.path}; {source.hint}"

    def _refuse_lacks(self) -> None:
        if len(self.lacks) > 1:
            where = f"{self.experiment.name}, profile `{self.profile_name}`"
            raise DataError(lacking_table(where, self.lacks, self.lacked_by))
        for name, lack in self.lacks.items():
            raise DataError(f"{self.experiment.name}: run `{self.lacked_by[name][0]}`: {_told(name, lack)}")

    def _data_path(self, name: str) -> Path | None:
        """Where data lies, or None when the path needs an environment variable that is not set."""
        source = self.experiment.data[name]
        if any(kind == "env" and not os.environ.get(variable) for kind, variable, _ in references_in(source.path)):
            return None
        answers = {"env": os.environ.__getitem__, "arguments": self._argument}
        return self.project.root / str(substitute(source.path, answers))

    def _data_value(self, name: str) -> str:
        named = self.experiment.data[name].named
        return named.value(self.project.root) if named else self.project.shown(self._data_path(name))

    def _data_digest(self, name: str) -> str:
        named = self.experiment.data[name].named
        return named.digest(self.project.root) if named else digest_data(self._data_path(name), name)

    def _argument(self, name: str) -> Any:
        require_known(name, self.experiment.arguments, f"{self.experiment.name}: argument")
        return self.experiment.arguments[name]

    def _plan_run(self, entry: RunEntry) -> PlannedRun:
        where = f"{self.experiment.name}: run `{entry.id}`"
        notebook = read_notebook(self.project.root / entry.notebook)
        check_kernel(notebook, f"{where}: {entry.notebook}")
        schema = read_schema(notebook, f"{where}: {entry.notebook}")
        shared = {name: value for name, value in self.profile.parameters.items() if name in schema}
        self.known_names |= schema.keys()
        given = substitute({**shared, **self._values(entry)}, {"arguments": self._argument})
        values = {name: parameter.default for name, parameter in schema.items()} | check_values(schema, given, where)
        parts = self._parts(entry, notebook, {name: parameter.kind for name, parameter in schema.items()}, values)
        return PlannedRun(
            entry.id, key_of(parts), entry.notebook, self._resolved(values, where), parts, parts["needs"],
            self.profile.cell_timeout_s, self.profile.run_timeout_s,
            max(entry.gpu, int(values.get("device") == "cuda")), entry.page,
            {name: self._data_value(name) for name in parts["data"] if self.experiment.data[name].named is None},
        )  # fmt: skip

    def _parts(
        self, entry: RunEntry, notebook: dict[str, Any], kinds: dict[str, str], values: dict[str, Any]
    ) -> dict[str, Any]:
        needed = [self.done[name] for name, _ in self._needs(entry) if name in self.done]
        # A checkpoint of a needed run may name the model that its parameters named.
        self.names[entry.id] = texts_in(values).union(*(self.names[run.id] for run in needed))
        closure = closure_of_run(self.project, notebook, self.names[entry.id])
        self.names[entry.id] |= closure.led_to
        return {
            "format": FORMAT,
            "notebook": {"path": entry.notebook, "code": digest_code(notebook), "schema": kinds},
            "parameters": values,
            "library": {label: digest_file(path) for label, path in closure.files.items()},
            "environment": self.environment,
            "data": {name: self._data_digest(name) for name in self._data_of(entry)},
            "needs": {run.id: run.key for run in needed},
        }

    def _resolved(self, values: dict[str, Any], where: str) -> dict[str, Any]:
        answers = {
            "runs": lambda name: f"runs/{self.done[name].key}" if name in self.done else "",
            "data": self._data_value,
        }
        resolved = substitute(values, answers)
        for text in texts_in(resolved):
            if "${" in text:
                raise ParameterError(f"{where}: {text!r} is no reference, expected ${{runs.ID}}, ${{data.NAME}} or "
                                     "${arguments.NAME}; correct it")  # fmt: skip
        return resolved


def _told(name: str, lack: Lack | str) -> str:
    return f"data `{name}`{':' if isinstance(lack, Lack) else ''} {lack}"


def check_kernel(notebook: Mapping[str, Any], where: str) -> None:
    """One kernel name everywhere: another one would mean another environment, or be missing on the next machine."""
    if kernel_of(notebook) != KERNEL:
        raise ParameterError(
            f"{where}: kernel {kernel_of(notebook)!r}, expected {KERNEL!r}; choose it in JupyterLab and save"
        )


def closure_of_run(project: Project, notebook: dict[str, Any], names: Iterable[str]) -> Closure:
    """Library files of a notebook that may ask registries for `names`, the runner's own part in the kernel included."""
    return find_closure(text_of_code(notebook) + END_SOURCE, project.packages, names)


def texts_in(value: Any) -> set[str]:
    """All texts within a value, the keys of maps too."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, Mapping):
        return texts_in(list(value)) | texts_in(list(value.values()))
    return set().union(*map(texts_in, value)) if isinstance(value, list) else set()
