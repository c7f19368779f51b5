"""The demo: a small one from beginning to end, and whose folder it may clear."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mseg_curate import demo
from mseg_curate.errors import InputError, OutputError
from mseg_curate.manifest import verify_export
from mseg_curate.scenes import draw_datasets

NOW = "2026-01-02T00:00:00+00:00"


@pytest.fixture
def quick_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer and smaller pictures, one seed, and a network that trains for two steps."""
    pytest.importorskip("torch")
    from baselines.config import EVALUATIONS, PRESETS  # noqa: PLC0415

    tiny = replace(
        PRESETS["tiny"],
        steps=2,
        batch=2,
        base_px=48,
        crop_px=33,
        width=0.125,
        head_channels=16,
        warmup=0,
    )
    evaluation = replace(EVALUATIONS["tiny"], base_px=48, crop_px=49, flip=False)
    small = partial(draw_datasets, images=10, test_images=4, size_hw=(48, 64))
    monkeypatch.setattr("mseg_curate.demo.draw_datasets", small)
    monkeypatch.setattr("mseg_curate.demo.SEEDS", (0,))
    for module in ("config", "recipe"):
        monkeypatch.setattr(f"baselines.{module}.PRESETS", {"tiny": tiny})
        monkeypatch.setattr(f"baselines.{module}.EVALUATIONS", {"tiny": evaluation})


@pytest.mark.usefixtures("quick_demo")
def test_a_small_demo(tmp_path: Path, call_cli: Callable[..., Any]) -> None:
    """It draws, curates, exports four arms, trains them, prints the table and what to do next."""
    out = tmp_path / "demo"
    called = call_cli("demo", "--out", out, "--jobs", "1")
    assert called.code == 0, called.err
    for line in (
        f"Drawing three datasets into {out}/datasets",
        "  townscape: 10 images, 9 classes (train)",
        "Exporting four arms",
    ):
        assert line in called.out.splitlines()
    assert "Zero-shot comparison of 4 arms" in called.out
    assert f"The store: {out}/store.db. Things to do next:" in called.out
    for arm in ("relabeled", "unrelabeled", "ignored", "partial"):
        assert verify_export(out / "exports" / arm).arm == arm
    with closing(sqlite3.connect(out / "store.db")) as connection:
        assert connection.execute("SELECT COUNT(*) FROM run").fetchone() == (4,)
        kinds = connection.execute("SELECT DISTINCT kind FROM annotator").fetchall()
        assert kinds == [("simulated",)]
    follow_the_advice(called.out, call_cli)
    assert (out / "runs/report.md").is_file()
    assert (out / "runs/zero-shot.md").is_file()


def follow_the_advice(printed: str, call_cli: Callable[..., Any]) -> None:
    """Run the commands that the demo proposes."""
    advice = [line.strip() for line in printed.split("Things to do next:")[1].splitlines()]
    commands = [line for line in advice if line.startswith("mseg-curate ")]
    assert len(commands) == 4
    for command in commands:
        assert call_cli(*shlex.split(command)[1:]).code == 0, command
    (opened,) = (line for line in advice if line.startswith("open "))
    for path in opened.removeprefix("open ").split(", "):
        assert Path(path).exists()


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    """A folder that no demo made is never cleared."""
    mine = tmp_path / "thesis.tex"
    mine.write_text("chapter 1", encoding="utf-8")
    with pytest.raises(InputError, match="something else than an earlier demo"):
        demo.run_demo(tmp_path, now=lambda: NOW, say=print, jobs=1)
    assert mine.read_text(encoding="utf-8") == "chapter 1"
    assert list(tmp_path.iterdir()) == [mine]


def test_an_earlier_demo_is_replaced(tmp_path: Path) -> None:
    """What an earlier demo left is removed, its links are not followed, and the folder stays a demo's."""
    out, mine = tmp_path / "demo", tmp_path / "mine"
    mine.mkdir()
    (mine / "photo.jpg").touch()
    demo._clear(out)
    (out / "exports/relabeled").mkdir(parents=True)
    (out / "exports/relabeled/manifest.json").touch()
    (out / "store.db").touch()
    (out / "link").symlink_to(mine, target_is_directory=True)
    demo._clear(out)
    assert [p.name for p in out.iterdir()] == [demo.MARKER]
    assert (mine / "photo.jpg").exists()


def test_a_clearing_that_was_stopped_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A demo that was stopped while it cleared its folder may clear it the next time."""
    demo._clear(tmp_path / "demo")
    (tmp_path / "demo/datasets").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("mseg_curate.demo.shutil.rmtree", _stop)
        with pytest.raises(KeyboardInterrupt):
            demo._clear(tmp_path / "demo")
    demo._clear(tmp_path / "demo")
    assert not (tmp_path / "demo/datasets").exists()


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_working_directory_may_be_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--out .` in an empty folder works."""
    monkeypatch.chdir(tmp_path)
    demo._clear(Path())
    assert (tmp_path / demo.MARKER).exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """Where no folder can be made, the path and the reason are said."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be cleared for a demo"):
        demo._clear(tmp_path / "file" / "demo")
