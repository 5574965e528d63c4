"""The code that a run uses, found without running it: static imports and what names ask of registries.

A run's key holds the digests of these files. What this reading misses (an import by a computed name) is caught at the
run's end, when every loaded library file must have been found here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.source_facts import WALKS, SourceFacts, facts_of, facts_of_file

NO_DATA = {".py", ".pyc", ".pyi", ".md"}


@dataclass(frozen=True)
class Closure:
    """Modules by name, and by label (package name, then the path in it) all files: sources and the packages' data.

    led_to: further names that the given ones lead to, e.g. from a recipe's to its model's: what a result of the run may
    name to those that read it.
    """

    modules: Mapping[str, Path]
    files: Mapping[str, Path]
    led_to: frozenset[str] = frozenset()


def find_closure(source: str, packages: Mapping[str, Path], names: Iterable[str] = ()) -> Closure:
    """Closure of a Python text over `packages` (name -> folder); `names` are further names it may ask registries for.

    Rules: an import brings the module and its parents' `__init__`; a name taken from a lazy package brings the module
    that its table names; a registry entry (a dict's `"name": "module:object"`) is in as soon as its name stands as text
    in the source, in `names` or in a library file of the closure. Files beside a module that are no Python come along.
    """
    try:
        facts = facts_of(source)
    except SyntaxError as fault:
        raise ParameterError(
            f"code cells, line {fault.lineno}: {fault.msg} ({(fault.text or '').strip()!r}); correct it"
        ) from None
    walk = _Walk(packages)
    walk.take(facts)
    walk.strings |= set(names)
    while walk.follow_registries():
        pass
    return Closure(dict(sorted(walk.modules.items())), _labelled_files(walk.modules, packages), walk.led_to(set(names)))


def module_file(module: str, packages: Mapping[str, Path]) -> Path | None:
    """The source of a dotted module name within `packages`, or None."""
    top, *rest = module.split(".")
    if top not in packages:
        return None
    path = packages[top].joinpath(*rest)
    for candidate in (path / "__init__.py", path.with_suffix(".py") if rest else path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def label_of(path: Path, packages: Mapping[str, Path]) -> str:
    """`package/inner/path` of a file in one of the packages."""
    for name, folder in packages.items():
        if path.is_relative_to(folder):
            return f"{name}/{path.relative_to(folder).as_posix()}"
    raise ParameterError(f"{path}: in none of the packages {', '.join(packages)}; expected a library file")


@dataclass
class _Walk:
    packages: Mapping[str, Path]
    modules: dict[str, Path] = field(default_factory=dict)
    facts: dict[str, SourceFacts] = field(default_factory=dict)
    strings: set[str] = field(default_factory=set)
    registry: list[tuple[str, str]] = field(default_factory=list)  # (name, a text of its entry)
    seen: set[tuple[str, str | None]] = field(default_factory=set)

    def take(self, facts: SourceFacts) -> None:
        self.strings |= facts.strings
        self.registry += [(name, text) for name, texts in facts.registry.items() for text in texts]
        for module, name in facts.references:
            self.refer(module, name)

    def refer(self, module: str, name: str | None) -> None:
        """Follow `from module import name`."""
        if (module, name) in self.seen or module.partition(".")[0] not in self.packages:
            return
        self.seen.add((module, name))
        if not self.load(module):
            owner, _, table = module.rpartition(".")
            if name in WALKS and owner in self.facts:  # `owner.TABLE.items()`
                for entry in self.facts[owner].tables.get(table, ()):
                    self.refer(*entry)
        if module not in self.facts or name is None:
            return
        exports = self.facts[module].exports
        for wanted in exports if name == "*" else [name]:
            self.load(f"{module}.{wanted}")
            if wanted in exports:
                self.refer(exports[wanted], wanted)

    def load(self, module: str) -> bool:
        """Bring a module and the packages around it; False where there is no such module."""
        if module in self.modules:
            return True
        if "." in module:
            self.load(module.rpartition(".")[0])
        path = module_file(module, self.packages)
        if path is None:
            return False
        self.modules[module] = path
        try:
            self.facts[module] = facts_of_file(path, module)
        except SyntaxError as fault:
            raise ParameterError(f"{path}: line {fault.lineno}: {fault.msg}; correct it") from None
        self.take(self.facts[module])
        return True

    def follow_registries(self) -> bool:
        """Take what the known names ask of the known registries; True if that brought modules or names."""
        before = len(self.modules), len(self.strings)
        for name, text in list(self.registry):
            if name in self.strings:
                module, is_address, wanted = text.partition(":")
                if is_address:
                    self.refer(module, wanted)
                else:
                    self.strings.add(text)
        return (len(self.modules), len(self.strings)) > before

    def led_to(self, names: set[str]) -> frozenset[str]:
        """Names of registries that stand in the modules behind the registry entries of `names`."""
        known = {name for name, _ in self.registry}
        behind = {text.partition(":")[0] for name, text in self.registry if name in names and ":" in text}
        found = [self.facts[module].strings for module in behind if module in self.facts]
        return frozenset(known.intersection(set().union(*found)))


def _labelled_files(modules: Mapping[str, Path], packages: Mapping[str, Path]) -> dict[str, Path]:
    files = set(modules.values())
    for folder in {path.parent for path in modules.values()}:
        files |= set(_data_files(folder))
    return dict(sorted((label_of(path, packages), path) for path in files))


def _data_files(folder: Path) -> Iterable[Path]:
    """Files of a package folder that are no Python: protocols, weights, also in subfolders that are no packages."""
    for path in folder.iterdir():
        if path.name.startswith((".", "__pycache__")):
            continue
        if path.is_dir():
            if not (path / "__init__.py").exists():
                yield from _data_files(path)
        elif path.suffix not in NO_DATA:
            yield path
