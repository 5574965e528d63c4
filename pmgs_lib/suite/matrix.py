"""The matrix of a run entry: one run for each combination of its values, and references between such runs.

      - id: train
        notebook: notebooks/30_train.ipynb
        matrix: {seed: [0, 1, 2], weight: [0.0, 0.005]}
        parameters: {seed: "${matrix.seed}", pointmap_weight: "${matrix.weight}"}
      - id: evaluate
        notebook: notebooks/40_evaluate.ipynb
        matrix: {seed: [0, 1, 2], weight: [0.0, 0.005]}
        parameters: {weights: "${runs.train}/artifacts/model.safetensors"}    # the training of the same values
      - id: compare
        notebook: notebooks/43_compare_pm_loss.ipynb
        parameters: {plain: "${runs.evaluate[weight=0.0]}", pm_loss: "${runs.evaluate[weight=0.005]}"}

gives six trainings `train@seed=0,weight=0.0` and so on, six evaluations, and lists of three folders. `[*]` lists all
runs of an entry, `[NAME=VALUE]` those of a value; within a list they are spliced in, and text around them goes to each.
A single run is named by its id, `${runs.evaluate@seed=0,weight=0.0}`.
`after` means all runs of an entry that agree with this one's values. A run's key is made of its own parameters: another
seed in the list leaves the runs of the first ones as they are.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from pmgs_lib.errors import ParameterError

if TYPE_CHECKING:
    from pmgs_lib.suite.experiment import RunEntry

VALUE = re.compile(r"\$\{matrix\.(?P<name>[^}]*)\}")
RUN = re.compile(r"\$\{runs\.(?P<name>[\w-]+)(?:\[(?P<choice>[^\]]*)\])?(?P<optional>\??)\}")
Scalar = bool | int | float | str
Matrix = Mapping[str, Sequence[Scalar]]


def expand(experiment: str, entries: Sequence["RunEntry"]) -> tuple["RunEntry", ...]:
    """Every entry as its runs, with `${matrix.NAME}` and references to other matrices resolved.

    Raises ParameterError for the first mistake: a value listed twice, a variable that is not known or changes nothing,
    a reference that means no run or several.
    """
    matrices = {entry.id: entry.matrix for entry in entries}
    return tuple(run for entry in entries for run in _runs_of(experiment, entry, matrices))


def run_id(entry_id: str, values: Mapping[str, Scalar]) -> str:
    """The id of the run of an entry with these values: `train@seed=0,weight=0.005`."""
    choices = ",".join(f"{name}={text_of(value)}" for name, value in values.items())
    return f"{entry_id}@{choices}" if choices else entry_id


def text_of(value: Scalar) -> str:
    """A value as in ids, as YAML would write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _combinations(matrix: Matrix) -> list[dict[str, Scalar]]:
    return [dict(zip(matrix, values, strict=True)) for values in product(*matrix.values())]


def _runs_of(experiment: str, entry: "RunEntry", matrices: Mapping[str, Matrix]) -> list["RunEntry"]:
    where = f"{experiment}: run `{entry.id}`"
    for name, values in entry.matrix.items():
        texts = [text_of(value) for value in values]
        for text in texts:
            if texts.count(text) > 1:
                raise ParameterError(f"{where}: matrix: {name}={text} is listed twice, expected it once; remove one")
    used: set[str] = set()
    runs = [_Resolver(experiment, entry, values, matrices, used).run() for values in _combinations(entry.matrix)]
    for name in entry.matrix:
        if name not in used:
            raise ParameterError(f"{where}: matrix: `{name}` changes nothing, expected it in a parameter; give "
                                 f"${{matrix.{name}}} to one or remove it")  # fmt: skip
    pages = [run.page for run in runs if run.page is not None]
    if len(set(pages)) < len(pages):
        raise ParameterError(f"{where}: {len(pages)} runs have the page {pages[0]}, expected one each; "
                             "name it with ${matrix.NAME}")  # fmt: skip
    return runs


@dataclass
class _Resolver:
    """One run of an entry: its values put in, its references made to name single runs."""

    experiment: str
    entry: "RunEntry"
    values: Mapping[str, Scalar]
    matrices: Mapping[str, Matrix]
    used: set[str] = field(default_factory=set)  # variables that change a parameter, over all runs of the entry

    @property
    def where(self) -> str:
        return f"{self.experiment}: run `{run_id(self.entry.id, self.values)}`"

    def run(self) -> "RunEntry":
        entry = self.entry
        changes = {
            "id": run_id(entry.id, self.values),
            "matrix": {},
            "parameters": self._resolved(entry.parameters),
            "profiles": self._resolved(entry.profiles),
            "after": tuple(name for reference in entry.after for name in self._after(reference)),
            "page": None if entry.page is None else VALUE.sub(lambda match: text_of(self._value(match)), entry.page),
        }
        return entry.model_copy(update=changes)

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._resolved(item) for name, item in value.items()}
        if isinstance(value, list):
            return [one for item in value for one in self._items(item)]
        return self._text(value) if isinstance(value, str) else value

    def _items(self, item: Any) -> list[Any]:
        """An item of a list, or several in its place where it refers to several runs."""
        resolved = self._resolved(item)
        return resolved if isinstance(item, str) and isinstance(resolved, list) else [resolved]

    def _text(self, text: str) -> Any:
        whole = VALUE.fullmatch(text)
        if whole:
            return self._value(whole)
        text = VALUE.sub(lambda match: text_of(self._value(match)), text)
        lists = [match for match in RUN.finditer(text) if match["choice"] is not None]
        if len(lists) > 1:
            raise ParameterError(f"{self.where}: {text!r} names {len(lists)} lists of runs, expected one; "
                                 "write one item each")  # fmt: skip
        if not lists:
            return RUN.sub(self._same, text)
        (several,) = lists
        before, behind = (RUN.sub(self._same, part) for part in (text[: several.start()], text[several.end() :]))
        return [f"{before}{_reference(name, several)}{behind}" for name in self._chosen(several)]

    def _value(self, match: re.Match[str]) -> Scalar:
        name = match["name"]
        if name not in self.values:
            known = ", ".join(self.values) or "none"
            raise ParameterError(f"{self.where}: {match[0]} is not known, its matrix has: {known}; correct the name")
        self.used.add(name)
        return self.values[name]

    def _same(self, match: re.Match[str]) -> str:
        """A reference to an entry with a matrix, as one to its run of the same values."""
        matrix = self.matrices.get(match["name"], {})
        for variable, values in matrix.items():
            if variable not in self.values:
                raise ParameterError(f"{self.where}: {match[0]} means several runs, `{variable}` is not in this one's "
                                     f"matrix; list them with ${{runs.{match['name']}[*]}}")  # fmt: skip
            if text_of(self.values[variable]) not in map(text_of, values):
                raise ParameterError(f"{self.where}: {match[0]} has no run of {variable}={self.values[variable]}, only "
                                     f"of {', '.join(map(text_of, values))}; list the same values")  # fmt: skip
        self.used.update(matrix)
        same = {variable: self.values[variable] for variable in matrix}
        return _reference(run_id(match["name"], same), match)

    def _chosen(self, match: re.Match[str]) -> list[str]:
        matrix = self.matrices.get(match["name"])
        if not matrix:
            raise ParameterError(f"{self.where}: {match[0]}: `{match['name']}` is no run with a matrix, expected one; "
                                 f"write ${{runs.{match['name']}}}")  # fmt: skip
        wanted = {} if match["choice"].strip() == "*" else self._choice(match, matrix)
        agreeing = [combination for combination in _combinations(matrix) if _agree(combination, wanted)]
        return [run_id(match["name"], combination) for combination in agreeing]

    def _choice(self, match: re.Match[str], matrix: Matrix) -> dict[str, str]:
        wanted = {}
        for part in match["choice"].split(","):
            name, _, text = (piece.strip() for piece in part.partition("="))
            if text not in map(text_of, matrix.get(name, ())):
                known = "; ".join(f"{name} = {', '.join(map(text_of, values))}" for name, values in matrix.items())
                raise ParameterError(f"{self.where}: {match[0]}: {part.strip()!r} chooses no run, expected * or "
                                     f"NAME=VALUE of {known}; correct it")  # fmt: skip
            wanted[name] = text
        return wanted

    def _after(self, reference: str) -> list[str]:
        name, mark = reference.removesuffix("?"), "?" if reference.endswith("?") else ""
        own = {variable: text_of(value) for variable, value in self.values.items()}
        agreeing = [values for values in _combinations(self.matrices[name]) if _agree(values, own)]
        if not agreeing:
            raise ParameterError(f"{self.where}: after: no run of `{name}` has its values; list the same values")
        return [f"{run_id(name, values)}{mark}" for values in agreeing]


def _agree(combination: Mapping[str, Scalar], wanted: Mapping[str, str]) -> bool:
    return all(text_of(value) == wanted.get(name, text_of(value)) for name, value in combination.items())


def _reference(name: str, match: re.Match[str]) -> str:
    return f"${{runs.{name}{match['optional']}}}"
