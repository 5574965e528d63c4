"""The house itself: floors, forbidden calls, and files that must say the same thing."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "pmgs_lib").rglob("*.py"))

# The floors of the house, ground first; on one floor, a room may only use those before it.
FLOORS = [
    ["errors", "_lazy"],
    ["geometry"],
    ["cameras", "gaussians", "views"],
    ["rasterizers", "data"],
    ["models", "pointmaps", "losses"],
    ["evaluation", "export", "training"],
    ["suite", "ui"],
    ["cli"],
]
HEIGHT = {room: (floor, place) for floor, rooms in enumerate(FLOORS) for place, room in enumerate(rooms)}


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "pmgs_lib" and len(parts) > 1 else None


def imported_modules(tree: ast.AST) -> list[str]:
    """Modules named by imports at any depth and by registry addresses such as "pmgs_lib.data.scenes:make_scene"."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
            if node.module == "pmgs_lib":
                found += [f"pmgs_lib.{alias.name}" for alias in node.names if alias.name in HEIGHT]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            address = re.fullmatch(r"(pmgs_lib(?:\.\w+)+)(?::\w+)?", node.value)
            found += [address[1]] if address else []
    return found


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_only_go_down(path):
    room = room_of(name_of(path))
    if room is None:
        return
    assert room in HEIGHT, f"{room} stands on no floor: add it to FLOORS"
    for module in imported_modules(ast.parse(path.read_text())):
        other = room_of(module)
        if other is not None and other != room:
            assert HEIGHT[other] < HEIGHT[room], f"{name_of(path)} imports {module}: that reaches up"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_library_is_free_of_forbidden_calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        where = f"{path.name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Assert):
            assert node.msg is not None, f"{where}: assert without a message"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{where}: bare except"
        if isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            if call == "torch.load":
                assert "weights_only=True" in ast.unparse(node), f"{where}: torch.load without weights_only=True"
            assert call not in {"pickle.load", "pickle.loads", "yaml.load", "eval", "exec", "print"}, f"{where}: {call}"


def test_conda_users_get_the_same_set():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = set(project["dependencies"]).union(*project["optional-dependencies"].values())
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    listed = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert {entry for entry in listed if not entry.startswith("-")} == wanted
    assert {"-c constraints.txt", "--editable ."} <= set(listed)
    assert "optional: pytorch3d" in (ROOT / "environment.yml").read_text()


def test_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = set(project["dependencies"]).union(*project["optional-dependencies"].values())
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()}
    for requirement in wanted:
        name = re.match(r"[\w-]+", requirement)[0].lower().replace("_", "-")
        assert name in pinned, f"{name} has no exact version in constraints.txt"


def committed_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_committed_file_names_a_folder_outside():
    outside = re.compile(r"(?<![\w.:/])/(?:home|work|tmp|root|mnt)/|\.\./shared")
    texts = {".py", ".md", ".ipynb", ".yaml", ".yml", ".toml", ".json", ".smk", ""}
    for path in committed_files():
        if path.suffix in texts and path != Path(__file__) and path.name != "LICENSE":
            found = outside.search(path.read_text(errors="replace"))
            assert found is None, f"{path.relative_to(ROOT)} names {found[0]}"


def test_parity_data_stays_small():
    total = sum(path.stat().st_size for path in (ROOT / "tests" / "parity").rglob("*") if path.is_file())
    assert total < 24_000_000
