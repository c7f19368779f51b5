"""`gold`: what each command prints, and what it refuses."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mseg_curate.store import Store

CallCli = Callable[..., Any]


@pytest.fixture
def run(
    farm_store: Store, call_cli: CallCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CallCli:
    """Call a command on the farm, in a folder with files, as the curator carla."""
    monkeypatch.setenv("MSEG_CURATE_DB", str(farm_store.path))
    monkeypatch.chdir(tmp_path)
    assert call_cli("annotator", "add", "carla", "--role", "curator").code == 0
    Path("gold.csv").write_text(
        "split,image,segment,outcome\ntrain,a,0,dog\ntrain,b,0,bad_mask\n", encoding="utf-8"
    )
    return call_cli


def count_gold(path: Path) -> int:
    """Return how many rows of gold a store has."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM gold").fetchone()[0])


def test_gold_is_added_listed_and_retired(run: CallCli) -> None:
    """Gold comes from a file, is listed with its exposures, and leaves with a reason."""
    called = run("gold", "add", "kinds", "gold.csv", "--author", "carla", "--note", "look\tclosely")
    assert (called.code, called.out) == (0, "2 masks of kinds are evaluation gold now\n")
    called = run(
        "gold", "retire", "kinds", "--split", "train", "--image", "a", "--segment", "0",
        "--note", "a cat\x1b[2J", "--wrong", "--author", "carla",
    )  # fmt: skip
    assert called.out == "mask 0 of a is gold no more; its answer is withdrawn\n"
    head = "split\tsequence\timage\tsegment\toutcome\tkind\tshown\tright\tadded by\tretired\n"
    left = "train\t\tb\t0\tbad_mask\tevaluation\t0\t0/0\tcarla\t\n"
    assert run("gold", "list", "kinds").out == head + left
    gone = "train\t\ta\t0\tdog\tevaluation\t0\t0/0\tcarla\tcarla: a cat [2J\n"
    assert run("gold", "list", "kinds", "--all").out == head + gone + left
    assert run("gold", "list", "kinds", "--scores").out == (
        "annotator\tsingle\tgrid\ttraining\taccuracy (95 %)\n"
    )


def test_gold_is_written_as_it_is_read(run: CallCli) -> None:
    """The active gold of one kind comes out as the file that adds it: gold moves to another task or store so."""
    assert run("gold", "list", "kinds").err.startswith("no gold yet; mseg-curate gold propose")
    assert run("gold", "add", "kinds", "gold.csv", "--author", "carla").code == 0
    written = run("gold", "export", "kinds").out
    assert written == (
        "split,sequence,image,segment,outcome\ntrain,,a,0,dog\ntrain,,b,0,bad_mask\n"
    )
    assert run("gold", "export", "kinds", "--kind", "training").out.count("\n") == 1
    for image in ("a", "b"):
        words = ("--split", "train", "--image", image, "--segment", "0", "--note", "again")
        assert run("gold", "retire", "kinds", *words, "--author", "carla").code == 0
    assert run("gold", "export", "kinds").out.count("\n") == 1
    Path("back.csv").write_text(written, encoding="utf-8")
    assert run("gold", "add", "kinds", "back.csv", "--author", "carla").code == 0
    assert run("gold", "export", "kinds").out == written


def test_without_proposals_the_way_is_told(run: CallCli) -> None:
    """Where no mask has votes enough, the answer is empty and what else can be done stands beside it."""
    called = run("gold", "propose", "kinds")
    assert called.out == "split,sequence,image,segment,outcome,votes,adjudicated\n"
    assert "fill in rows of `mseg-curate task show kinds`" in called.err


def test_proposals_can_be_added(run: CallCli) -> None:
    """What `gold propose` prints is what `gold add` reads."""
    votes = "dataset,split,image,segment,source_class,outcome,annotator\n" + "".join(
        f"farm,train,a,0,animal,dog,{name}\n" for name in ("anna", "ben")
    )
    Path("votes.csv").write_text(votes, encoding="utf-8")
    assert run("decisions", "import", "votes.csv").code == 0
    called = run("gold", "propose", "kinds", "--count", "5")
    assert called.out == (
        "split,sequence,image,segment,outcome,votes,adjudicated\ntrain,,a,0,dog,2,0\n"
    )
    Path("proposed.csv").write_text(called.out, encoding="utf-8")
    words = ("gold", "add", "kinds", "proposed.csv", "--kind", "training", "--author", "carla")
    assert run(*words).out == "1 masks of kinds are training gold now\n"


@pytest.mark.parametrize(
    ("text", "author", "words"),
    [
        ("train,a,0,dgo\ntrain,a,9,dog\n", "carla", ["2 faults", "found 'dgo'", "no such mask"]),
        ("train,a,0,dog\n", "anna", ["'anna' is no curator", "annotator add"]),
        ("train,a,zero,dog\n", "carla", ["gold.csv", "line 2, column segment"]),
        ("", "carla", ["no rows below the header"]),
    ],
)
def test_bad_gold(
    run: CallCli, farm_store: Store, text: str, author: str, words: list[str]
) -> None:
    """Bad gold is one message that names every fault; nothing is stored."""
    Path("gold.csv").write_text("split,image,segment,outcome\n" + text, encoding="utf-8")
    called = run("gold", "add", "kinds", "gold.csv", "--author", author)
    assert called.code == 1
    assert called.out == ""
    for word in words:
        assert word in called.message
    assert count_gold(farm_store.path) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gold", "list", "nothing"), "no task 'nothing'"),
        (("gold", "propose", "nothing"), "no task 'nothing'"),
        (("gold", "add", "kinds", "missing.csv"), "no such file"),
        (
            ("gold", "retire", "kinds", "--split", "train", "--image", "a", "--segment", "1",
             "--note", "x", "--author", "carla"),
            "mask 1 of image 'a' of split 'train' is no gold",
        ),
    ],
)  # fmt: skip
def test_what_is_not_there(run: CallCli, words: tuple[str, ...], message: str) -> None:
    """A task, a file and a gold mask that are not there are named."""
    called = run(*words)
    assert called.code == 1
    assert message in called.message


def test_wrong_words_exit_with_2(run: CallCli) -> None:
    """A missing reason, an unknown kind and a count below one are mistakes in the command itself."""
    for words in (
        ("gold", "retire", "kinds", "--split", "train", "--image", "a", "--segment", "0"),
        ("gold", "add", "kinds", "gold.csv", "--kind", "exam"),
        ("gold", "propose", "kinds", "--count", "0"),
    ):
        assert run(*words).code == 2
