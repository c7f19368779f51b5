"""`mseg-curate evaluate`: what it says when it cannot begin."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CallCli = Callable[..., Any]


def test_without_torch_it_says_what_to_install(
    tmp_path: Path, call_cli: CallCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing library is one line with the command that installs it."""
    monkeypatch.setitem(sys.modules, "baselines.evaluation", None)
    words = ["evaluate", "--export", tmp_path, "--checkpoint", tmp_path / "a.pth"]
    called = call_cli(*words, "--out", tmp_path / "out")
    assert called.code == 1
    assert called.err.count("\n") == 1
    assert "pip install 'mseg-curate[train]'" in called.err


def test_a_folder_that_is_no_export_is_one_line(tmp_path: Path, call_cli: CallCli) -> None:
    """An export that was not finished is named before any checkpoint is read."""
    pytest.importorskip("torch")
    words = ["evaluate", "--export", tmp_path, "--checkpoint", tmp_path / "a.pth"]
    called = call_cli(*words, "--out", tmp_path / "out")
    assert called.code == 1
    assert called.err.startswith(f"mseg-curate: {tmp_path}: no complete export")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["--export", "--checkpoint", "--out"])
def test_it_needs_three_paths(tmp_path: Path, call_cli: CallCli, missing: str) -> None:
    """Export, checkpoint and output are asked for by name."""
    given = {"--export": tmp_path, "--checkpoint": tmp_path / "a.pth", "--out": tmp_path / "out"}
    del given[missing]
    called = call_cli("evaluate", *(word for pair in given.items() for word in pair))
    assert called.code == 2
    assert missing in called.err
