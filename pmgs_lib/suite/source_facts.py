"""What one Python source imports, names and offers, read without executing it."""

import ast
import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ADDRESS = re.compile(r"\.?[A-Za-z_]\w*(\.\w+)*:\w+")  # "module:object", the value of a registry
DOTTED = re.compile(r"[A-Za-z_]\w*(\.\w+)+")
WALKS = ("items", "values")  # by which code goes through all entries of a registry

Reference = tuple[str, str | None]  # (module, name taken from it); no name: the module itself


@dataclass(frozen=True)
class SourceFacts:
    """One source as the closure sees it.

    references: what it imports, at any depth, and what it names as "module:object" outside a registry.
    exports: what a lazy package's `__getattr__` serves, name -> module. registry: dict entries whose value names
    "module:object", name -> the texts of that value. tables: module-level registries, their name -> all addresses in
    them, for code that goes through a whole one. strings: constants by which code may ask a registry for a name.
    """

    references: frozenset[Reference]
    exports: Mapping[str, str]
    registry: Mapping[str, tuple[str, ...]]
    tables: Mapping[str, frozenset[Reference]]
    strings: frozenset[str]


def facts_of_file(path: Path, module: str) -> SourceFacts:
    """Facts of a module's file, remembered while the file stays as it is."""
    status = path.stat()
    return _facts_of_file(path, module, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _facts_of_file(path: Path, module: str, modified_ns: int, size: int) -> SourceFacts:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return facts_of(path.read_text(encoding="utf-8"), package)


def facts_of(source: str, package: str = "") -> SourceFacts:
    """Facts of a source text; `package` resolves its relative imports. Raises SyntaxError for what is no Python."""
    tree = ast.parse(source)
    exports: dict[str, str] = {}
    registry: dict[str, tuple[str, ...]] = {}
    offered: set[int] = set()  # constants that are entries of those tables, not questions to one
    for entry in _table_entries(tree):
        offered |= {id(entry.key), *map(id, entry.texts)}
        texts = tuple(_absolute(text.value, package) for text in entry.texts)
        if entry.exported:
            exports[entry.key.value] = texts[0].partition(":")[0]
        else:
            registry[entry.key.value] = registry.get(entry.key.value, ()) + texts
    nodes = list(_walk_executed(tree))
    tables = _tables(tree, package)
    walked = frozenset().union(*(tables.get(name, ()) for name in _walked_names(nodes)))
    strings = frozenset(node.value for node in nodes if _is_text(node) and id(node) not in offered)
    named = {_reference(text, package) for text in strings if ADDRESS.fullmatch(text) or DOTTED.fullmatch(text)}
    return SourceFacts(frozenset(_imports(nodes, package)) | named | walked, exports, registry, tables, strings)


@dataclass(frozen=True)
class _Entry:
    """`key: ...` in a dict literal that names modules, with the texts in its value."""

    key: ast.Constant
    texts: list[ast.Constant]
    exported: bool


def _is_text(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _reference(text: str, package: str) -> Reference:
    module, _, name = _absolute(text, package).partition(":")
    return module, name or None


def _absolute(text: str, package: str) -> str:
    return package + text if text.startswith(".") and text[1:2].isidentifier() else text


def _walk_executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that never load a module: annotations, docstrings, blocks for type checkers and the like."""
    for name, value in ast.iter_fields(node):
        children = value if isinstance(value, list) else [value]
        for child in children:
            if not isinstance(child, ast.AST) or _is_silent(node, name, child):
                continue
            yield child
            yield from _walk_executed(child)


def _is_silent(parent: ast.AST, field: str, child: ast.AST) -> bool:
    match parent, field:
        case ast.If(test=test), "body":
            return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        case _, "annotation" | "returns":
            return True
        case ast.Dict(), "keys":
            return isinstance(child, ast.Constant)
        case ast.Subscript(value=owner), "slice":
            # `batch["depth"]` asks no registry; `MODELS["depthsplat"]` may: registries are written in capitals.
            return isinstance(child, ast.Constant) and not ast.unparse(owner).rpartition(".")[2].isupper()
        case ast.Assign(targets=[ast.Name(id="__all__")]), "value":
            return True
    return isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)


def _exported_tables(tree: ast.Module) -> set[str]:
    """Names that a module-level `__getattr__` is made from: the tables of lazily imported names are among them."""
    names: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__getattr__":
            names |= _names_in(statement)
        elif isinstance(statement, ast.Assign) and "__getattr__" in _names_in(*statement.targets):
            names |= _names_in(statement.value)
    return names


def _names_in(*nodes: ast.AST) -> set[str]:
    return {node.id for root in nodes for node in ast.walk(root) if isinstance(node, ast.Name)}


def _table_entries(tree: ast.Module) -> Iterator[_Entry]:
    """Entries with text keys of lazy packages' tables, and of all dict literals whose values name "module:object"."""
    names = _exported_tables(tree)
    tables = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign) and names & _targets(node)]
    exported = {id(node) for table in tables for node in ast.walk(table)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                texts = [part for part in ast.walk(value) if _is_text(part)]
                named = id(node) in exported or any(ADDRESS.fullmatch(text.value) for text in texts)
                if _is_text(key) and texts and named:
                    yield _Entry(key, texts, id(node) in exported)


def _tables(tree: ast.Module, package: str) -> dict[str, frozenset[Reference]]:
    tables = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            texts = [node.value for node in ast.walk(statement.value) if _is_text(node)]
            addresses = frozenset(_reference(text, package) for text in texts if ADDRESS.fullmatch(text))
            tables |= dict.fromkeys(_targets(statement), addresses) if addresses else {}
    return tables


def _walked_names(nodes: list[ast.AST]) -> set[str]:
    """Names of what `.items()` or `.values()` is taken of."""
    attributes = [node for node in nodes if isinstance(node, ast.Attribute) and node.attr in WALKS]
    return {node.value.id for node in attributes if isinstance(node.value, ast.Name)}


def _targets(statement: ast.Assign | ast.AnnAssign) -> set[str]:
    return _names_in(*(statement.targets if isinstance(statement, ast.Assign) else [statement.target]))


def _imports(nodes: list[ast.AST], package: str) -> Iterator[Reference]:
    bound: dict[str, str] = {}  # local name -> dotted path of what it may be
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None
                top = alias.name.partition(".")[0]
                bound[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                module = importlib.util.resolve_name("." * node.level + module, package)
            for alias in node.names:
                yield module, alias.name
                bound[alias.asname or alias.name] = f"{module}.{alias.name}"
    yield from _attributes(nodes, bound)


def _attributes(nodes: list[ast.AST], bound: Mapping[str, str]) -> Iterator[Reference]:
    """`library.rasterizers.rasterize`, read as `from library.rasterizers import rasterize`."""
    for node in nodes:
        if isinstance(node, ast.Attribute):
            root, _, rest = ast.unparse(node).partition(".")
            if root in bound and all(part.isidentifier() for part in rest.split(".")):
                module, _, name = f"{bound[root]}.{rest}".rpartition(".")
                yield module, name
