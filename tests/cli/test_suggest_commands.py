"""`task suggest FILE`, `task prioritise --suspicious` and `task suspects`, from the files to the queue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mseg_curate.store import Store
from mseg_curate.store.engine import run_query

CallCli = Callable[..., Any]
SUGGESTIONS = "split,image,segment,class,score\ntrain,a,0,dog,0.9\ntrain,b,0,cow,0.4\n"
VOTES = (
    "dataset,split,image,segment,source_class,outcome,annotator\n"
    "farm,train,a,0,animal,cat,anna\nfarm,train,a,1,animal,cat,anna\n"
)


@pytest.fixture
def run(
    farm_store: Store, call_cli: CallCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CallCli:
    """Call a command on the farm, in a folder with suggestions and votes."""
    monkeypatch.setenv("MSEG_CURATE_DB", str(farm_store.path))
    (tmp_path / "files").mkdir()
    monkeypatch.chdir(tmp_path / "files")
    Path("s.csv").write_text(SUGGESTIONS, encoding="utf-8")
    Path("v.csv").write_text(VOTES, encoding="utf-8")
    return call_cli


def test_suspicious_masks_are_counted_and_come_first(run: CallCli, farm_store: Store) -> None:
    """The command says how many masks are of each kind, and what to do where nothing would hand them out."""
    assert run("task", "suggest", "kinds", "s.csv").code == 0
    run("decisions", "import", "v.csv")
    called = run("task", "prioritise", "kinds", "--suspicious")
    assert called.out.splitlines() == [
        "kinds: 2 masks have a place of their own in the queue",
        "  1 are probably decided wrongly, the most doubtful first",
        "  1 have no answer, the most uncertain first",
        "  0 are probably decided rightly, the most doubtful first",
        "  1 of the first have all the decisions that the task asks for; "
        "`mseg-curate task set kinds --redundancy N --max-redundancy N` asks for more",
    ]
    ranks = "SELECT mask_id, rank FROM task_mask ORDER BY rank, mask_id"
    assert run_query(farm_store, ranks)[1] == [(1, -2), (3, -1), (2, 0)]


def test_suspects_are_printed_as_a_table(run: CallCli) -> None:
    """The most doubtful mask is on the first line; `--count` cuts the list."""
    run("task", "suggest", "kinds", "s.csv")
    run("decisions", "import", "v.csv")
    lines = run("task", "suspects", "kinds").out.splitlines()
    assert lines[0] == "split,sequence,image,segment,standing,suggested,score,doubt"
    assert lines[1].startswith("train,,a,0,cat,dog,0.9000,0.")
    assert lines[2].startswith("train,,b,0,,cow,0.4000,")
    assert run("task", "suspects", "kinds", "--count", "1").out.splitlines() == lines[:2]


@pytest.mark.parametrize("words", [("prioritise", "kinds", "--suspicious"), ("suspects", "kinds")])
def test_without_suggestions_it_says_how_to_make_some(run: CallCli, words: tuple[str, ...]) -> None:
    """A task without suggestions is one line that names the command."""
    called = run("task", *words)
    assert (called.code, called.out) == (1, "")
    assert "`mseg-curate task suggest kinds --run DIR`" in called.message


@pytest.mark.parametrize(
    "words", [("suspects", "nothing"), ("prioritise", "nothing", "--suspicious")]
)
def test_an_unknown_task_is_named(run: CallCli, words: tuple[str, ...]) -> None:
    """The task is looked up before anything else."""
    called = run("task", *words)
    assert called.code == 1
    assert "no task 'nothing'" in called.message


def test_a_folder_that_is_no_run_is_one_line(run: CallCli, farm_store: Store) -> None:
    """A folder without result.json is refused with what would be one; nothing is stored."""
    pytest.importorskip("torch")
    called = run("task", "suggest", "kinds", "--run", ".")
    assert called.code == 1
    assert "no finished run: result.json is missing" in called.message
    assert run_query(farm_store, "SELECT COUNT(*) FROM suggestion")[1] == [(0,)]
