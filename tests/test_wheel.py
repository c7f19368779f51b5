"""The wheel: what is in it, and that it works from another folder than a checkout."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import pytest

Loop = Any  # the fixture of conftest.py
ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("hatchling") is None, reason="hatchling builds the wheel"
    ),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of what git would check out."""
    source = tmp_path_factory.mktemp("source") / "mseg-curate"
    for name in ("mseg_curate", "baselines", "app"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "taxonomy.tsv", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out)]
    subprocess.run([*pip, *build, str(source)], check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed into a folder of its own."""
    target = tmp_path_factory.mktemp("target")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    install = ["install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*pip, *install, str(wheel)], check=True, capture_output=True)
    return target


def test_everything_is_packed(wheel: Path) -> None:
    """Tables, migrations, type markers, the trainer, the app and the licences are in the wheel; tests are not."""
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        "mseg_curate/taxonomy.tsv",
        "mseg_curate/mseg_classes.tsv",
        "mseg_curate/py.typed",
        "mseg_curate/store/migrations/env.py",
        "mseg_curate/store/migrations/script.py.mako",
        "mseg_curate/store/migrations/versions/0001_the_first_schema.py",
        "app/.streamlit/config.toml",
        "app/py.typed",
        "baselines/py.typed",
        "baselines/__main__.py",
    }
    for package in ("mseg_curate", "baselines", "app"):
        wanted |= {p.relative_to(ROOT).as_posix() for p in (ROOT / package).rglob("*.py")}
    wanted |= {p.relative_to(ROOT).as_posix() for p in (ROOT / "app" / "pane").iterdir()}
    wanted |= {p.relative_to(ROOT).as_posix() for p in ROOT.glob("mseg_curate/published/*.tsv")}
    assert wanted <= names
    others = {name.split("/")[0] for name in names} - {"mseg_curate", "baselines", "app"}
    assert [name.endswith(".dist-info") for name in others] == [True]
    assert any(name.endswith("licenses/NOTICE") for name in names)


def test_it_runs_from_another_folder(installed: Path, tmp_path: Path, loop: Loop) -> None:
    """init, dataset add, export and train-baseline run from the installed files, far from the checkout."""
    here = tmp_path / "elsewhere"
    here.mkdir()
    run = Runner(installed, here)
    assert run("-c", "import mseg_curate; print(mseg_curate.__file__)").strip() == str(
        installed / "mseg_curate/__init__.py"
    )
    assert run("-c", "import baselines; print(baselines.__file__)").startswith(str(installed))
    cli = ("-m", "mseg_curate.cli")
    assert "194 universal classes" in run(*cli, "init", "--db", "published.db")
    assert "194 universal classes" in run(*cli, "check", "--db", "published.db")
    run(*cli, "init", "--db", "s.db", "--taxonomy", loop.root / "taxonomy.tsv")
    for name, role in (("coarse", "train"), ("zoo", "train"), ("held_out", "test")):
        mapping = loop.root / f"{name}.mapping.tsv"
        add = ("dataset", "add", name, loop.root / name, "--role", role, "--mapping", mapping)
        assert "added" in run(*cli, *add, "--db", "s.db")
    run(*cli, "export", "--db", "s.db", "--arm", "partial", "--out", "out", "--images", "copy")
    assert "complete" in run(*cli, "verify", "out")
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed: nothing is trained")
    train = ("train-baseline", "--db", "s.db", "--out", "runs", "--preset", "tiny", "--seeds", "0")
    small = ("steps=1", "batch=2", "base_px=24", "crop_px=17", "head_channels=16", "width=0.125")
    settings = [word for name in (*small, "warmup=0") for word in ("--set", name)]
    evaluation = ("--set-eval", "base_px=24", "--set-eval", "crop_px=25")
    printed = run(*cli, *train, "--arms", "relabeled,ignored", *settings, *evaluation)
    assert "Zero-shot comparison of 2 arms" in printed
    assert (here / "runs/report.md").is_file()


class Runner:
    """Runs the interpreter in a folder where mseg_curate can come from the installed wheel alone."""

    def __init__(self, installed: Path, here: Path) -> None:
        self.here = here
        site = sysconfig.get_paths()["purelib"]
        # -S keeps .pth files out: an editable install of the checkout would answer otherwise.
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MSEG_CURATE"))},
            "PYTHONPATH": os.pathsep.join((str(installed), site, sysconfig.get_paths()["platlib"])),
            "OMP_NUM_THREADS": "1",
        }

    def __call__(self, *words: object) -> str:
        """Run and return stdout."""
        done = subprocess.run(
            [sys.executable, "-S", *map(str, words)],
            cwd=self.here,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
