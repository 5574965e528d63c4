"""The parameters cell of a notebook as a schema, and values checked against it before a kernel starts."""

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.cells import PARAMETERS_TAG, source_of, tags_of

SCALARS = {"int": int, "float": float, "str": str, "bool": bool}


@dataclass(frozen=True)
class Parameter:
    """One line `name: kind = default` of a parameters cell. `kind` is the annotation as text, e.g. `list[int]`."""

    name: str
    kind: str
    default: Any


class _MisfitError(Exception):
    """A value does not fit a kind."""


def read_schema(notebook: Mapping[str, Any], where: str) -> dict[str, Parameter]:
    """Parameters in order of the one cell tagged `parameters`: annotated literals only.

    A kind is built from int, float, str, bool, None, list[...], dict[str, ...], Literal[...] and `|`.
    """
    cells = [cell for cell in notebook["cells"] if PARAMETERS_TAG in tags_of(cell)]
    if len(cells) != 1:
        raise ParameterError(f"{where}: {len(cells)} cells are tagged `parameters`, expected exactly one; tag one cell")
    try:
        statements = ast.parse(source_of(cells[0])).body
    except SyntaxError as fault:
        raise ParameterError(f"{where}: parameters cell, line {fault.lineno}: {fault.msg}; correct it") from None
    parameters = [_read_line(statement, where) for statement in statements if not _is_docstring(statement)]
    names = [parameter.name for parameter in parameters]
    for name in names:
        if names.count(name) > 1:
            raise ParameterError(f"{where}: parameter `{name}` is set twice in the parameters cell; remove one line")
    return {parameter.name: parameter for parameter in parameters}


def check_values(schema: Mapping[str, Parameter], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`values` fitted to the schema. Text that reads as a number becomes one where the kind says float, since YAML
    reads `1e-4` as text; everything else must have its kind already. Unknown names are refused with the nearest one.
    """
    checked = {}
    for name, value in values.items():
        if name not in schema:
            near = get_close_matches(name, schema, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"parameters are: {', '.join(schema) or 'none'}"
            raise ParameterError(f"{where}: no parameter `{name}` in the notebook; {hint}")
        try:
            checked[name] = _fit(value, ast.parse(schema[name].kind, mode="eval").body)
        except _MisfitError:
            kind = schema[name].kind
            raise ParameterError(
                f"{where}: parameter `{name}` = {value!r} ({type(value).__name__}), expected {kind}; correct its value"
            ) from None
    return checked


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _read_line(statement: ast.stmt, where: str) -> Parameter:
    if (
        not isinstance(statement, ast.AnnAssign)
        or not isinstance(statement.target, ast.Name)
        or statement.value is None
    ):
        text = ast.unparse(statement).splitlines()[0]
        raise ParameterError(f"{where}: `{text}` in the parameters cell, expected `name: kind = literal`; move it on")
    name, kind = statement.target.id, ast.unparse(statement.annotation)
    if not _is_kind(statement.annotation):
        raise ParameterError(f"{where}: parameter `{name}` has kind `{kind}`, expected {', '.join(SCALARS)}, None, "
                             "list[...], dict[str, ...], Literal[...] or a union of them; annotate it so")  # fmt: skip
    try:
        default = ast.literal_eval(statement.value)
    except ValueError:
        text = ast.unparse(statement.value)
        raise ParameterError(
            f"{where}: parameter `{name}` = `{text}`, expected a literal; derive it in the next cell"
        ) from None
    try:
        return Parameter(name, kind, _fit(default, statement.annotation))
    except _MisfitError:
        raise ParameterError(f"{where}: parameter `{name}` = {default!r} is no {kind}; correct the default") from None


def _is_kind(kind: ast.expr) -> bool:
    match kind:
        case ast.Name(id=name):
            return name in SCALARS
        case ast.Constant(value=None):
            return True
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _is_kind(left) and _is_kind(right)
        case ast.Subscript(value=ast.Name(id="list"), slice=entry):
            return _is_kind(entry)
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[ast.Name(id="str"), entry])):
            return _is_kind(entry)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            return all(isinstance(choice, ast.Constant) for choice in _elements(choices))
    return False


def _elements(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _fit(value: Any, kind: ast.expr) -> Any:
    match kind:
        case ast.Name(id="float"):
            return _fit_float(value)
        case ast.Name(id=name) if type(value) is SCALARS[name]:
            return value
        case ast.Constant(value=None) if value is None:
            return None
        case ast.BinOp(left=left, right=right):
            try:
                return _fit(value, left)
            except _MisfitError:
                return _fit(value, right)
        case ast.Subscript(value=ast.Name(id="list"), slice=entry) if isinstance(value, list):
            return [_fit(item, entry) for item in value]
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[key, entry])) if isinstance(value, dict):
            return {_fit(name, key): _fit(item, entry) for name, item in value.items()}
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            for choice in _elements(choices):
                if type(choice.value) is type(value) and choice.value == value:
                    return value
    raise _MisfitError


def _fit_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _MisfitError
    try:
        number = float(value)
    except ValueError:
        raise _MisfitError from None
    if not math.isfinite(number):
        raise _MisfitError
    return number
