"""The rooms of the house: who may import what."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    path
    for package in ("mseg_curate", "baselines", "app")
    for path in (ROOT / package).rglob("*.py")
    if "__pycache__" not in path.parts
)
# Each outside library, and the modules and folders that may know it.
ALLOWED = {
    "PIL": ("mseg_curate/images.py",),
    "alembic": ("mseg_curate/store/",),
    "click": ("mseg_curate/cli/", "baselines/__main__.py"),
    "cv2": (
        "mseg_curate/browse.py",
        "mseg_curate/preview.py",
        "mseg_curate/scenes/",
        "mseg_curate/segments.py",
        "mseg_curate/show.py",
    ),
    "pandas": ("mseg_curate/report/",),
    "safetensors": ("baselines/",),
    "sqlalchemy": ("mseg_curate/store/",),
    "starlette": ("app/",),
    "streamlit": ("app/",),
    "sqlite3": ("mseg_curate/store/",),
    "tensorboard": ("baselines/journal.py",),
    "torch": ("baselines/",),
    "tqdm": ("mseg_curate/progress.py", "baselines/"),
    "zlib_ng": ("mseg_curate/images.py",),
}
CORE = {"numpy", "mseg_curate.core", "mseg_curate.errors"}


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, module) of every import, wherever in the file it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.lineno, node.module or ""


@pytest.mark.parametrize("library", ALLOWED)
def test_one_library_one_room(library: str) -> None:
    """Only its own rooms import an outside library."""
    strangers = []
    for path in MODULES:
        relative = path.relative_to(ROOT).as_posix()
        if not relative.startswith(ALLOWED[library]):
            strangers += [
                f"{relative}:{line}"
                for line, module in imports_of(path)
                if module.split(".")[0] == library
            ]
    assert strangers == []


def test_the_core_knows_numpy_alone() -> None:
    """The core imports numpy, the standard library without input and output, and itself."""
    outside = {"os", "pathlib", "shutil", "subprocess", "sqlite3", "time", "random", "tempfile"}
    found = []
    for path in (ROOT / "mseg_curate/core").glob("*.py"):
        for line, module in imports_of(path):
            ours = any(module == name or module.startswith(f"{name}.") for name in CORE)
            standard = module.split(".")[0] in sys.stdlib_module_names - outside
            # Paths are named in errors; no file is opened.
            if not ours and not standard and module != "pathlib":
                found.append(f"{path.name}:{line}: {module}")
    assert found == []


def test_the_core_opens_nothing() -> None:
    """The core reads no file, no clock and no environment."""
    banned = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "now", "environ"}
    found = []
    for path in (ROOT / "mseg_curate/core").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "attr", None) if isinstance(node, ast.Attribute) else None
            name = node.id if isinstance(node, ast.Name) else name
            if name in banned:
                found.append(f"{path.name}: {name}")
    assert found == []


def test_the_trainer_knows_no_store() -> None:
    """The trainer reads exports and writes reports: nothing that it imports knows the store."""
    allowed = ("errors", "files", "images", "core", "report", "published")
    found = []
    for path in (ROOT / "baselines").rglob("*.py"):
        for line, module in imports_of(path):
            root, _, rest = module.partition(".")
            if root == "mseg_curate" and rest and rest.split(".")[0] not in allowed:
                found.append(f"{path.name}:{line}: {module}")
    assert found == []


def test_every_exported_name_is_there() -> None:
    """Each module that has `__all__` defines the names in it, sorted, each once."""
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names: list[str] = []
        defined = set()
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                defined.add(node.targets[0].id)
                if node.targets[0].id == "__all__":
                    names = ast.literal_eval(node.value)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                defined.add(node.target.id)
            elif isinstance(node, ast.ClassDef | ast.FunctionDef):
                defined.add(node.name)
            elif isinstance(node, ast.ImportFrom | ast.Import):
                defined |= {alias.asname or alias.name for alias in node.names}
        assert set(names) <= defined, path
        assert len(set(names)) == len(names), path


def test_the_contracts_are_kept() -> None:
    """The layer contracts of pyproject.toml hold."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["importlinter"]["contracts"]
    beside = Path(sys.executable).with_name("lint-imports")
    command = str(beside) if beside.exists() else shutil.which("lint-imports")
    if command is None:
        pytest.skip("import-linter is not installed")
    done = subprocess.run(
        [command, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
