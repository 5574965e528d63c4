"""Where a suite lives on disk: one root with notebooks, experiments, the environment lock and `runs/`."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pmgs_lib.errors import ParameterError

ENVIRONMENT_LOCK = "constraints.txt"
LIBRARY_FOLDER = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Project:
    """A repository root: relative paths in notebooks' parameters and experiments mean "from here"."""

    root: Path

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def environment_lock(self) -> Path:
        return self.root / ENVIRONMENT_LOCK

    @cached_property
    def packages(self) -> dict[str, Path]:
        """Packages whose files decide a run's key: those in the root, and this library wherever it is installed."""
        here = {path.parent.name: path.parent for path in sorted(self.root.glob("*/__init__.py"))}
        return {LIBRARY_FOLDER.name: LIBRARY_FOLDER} | here

    def run_folder(self, key: str) -> Path:
        return self.runs / key

    def shown(self, path: Path) -> str:
        """A path as a user sees it: from the root where it lies below."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def experiment_file(self, name: str) -> Path:
        """The YAML file of an experiment given by path or by bare name."""
        candidates = [self.root / name, self.root / "experiments" / f"{name}.yaml"]
        for path in candidates:
            if path.is_file():
                return path
        known = ", ".join(sorted(path.stem for path in (self.root / "experiments").glob("*.yaml"))) or "none"
        raise ParameterError(f"experiment {name!r}: no such file or name, experiments here: {known}")


def find_project(start: Path | None = None) -> Project:
    """The project around a folder (the working folder by default): the nearest one that holds the environment lock."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / ENVIRONMENT_LOCK).is_file():
            return Project(folder)
    raise ParameterError(
        f"{start}: no {ENVIRONMENT_LOCK} here or above, expected a suite's root; change into its folder"
    )
