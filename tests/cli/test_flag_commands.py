"""`flag`: what annotators remark on masks, listed, added, closed and opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mseg_curate.store import Store
from mseg_curate.store.engine import run_query
from mseg_curate.store.flags import add_flag

CallCli = Callable[..., Any]


@pytest.fixture
def run(farm_store: Store, call_cli: CallCli, monkeypatch: pytest.MonkeyPatch) -> CallCli:
    """Call a command on the farm."""
    monkeypatch.setenv("MSEG_CURATE_DB", str(farm_store.path))
    return call_cli


def test_flags(run: CallCli, farm_store: Store) -> None:
    """Open flags are listed in one line each, whatever their comment holds, and closed by number."""
    run("annotator", "add", "anna")
    with farm_store.writing() as connection:
        for n, comment in enumerate(("two\nanimals\x1b[31m?", "half a dog")):
            add_flag(
                connection, bytes([n]) * 16, task_id=1, mask_id=2, annotator_id=1,
                comment=comment, now="2026-01-01T00:00:00+00:00",
            )  # fmt: skip
    head = (
        "flag\ttask\tdataset\tsplit\tsequence\timage\tsegment\tannotator\tat\tcomment\tclosed by\n"
    )
    line = "{}\tkinds\tfarm\ttrain\t\ta\t1\tanna\t2026-01-01T00:00:00+00:00\t{}\t{}\n"
    first, second = line.format(1, "two animals [31m?", ""), line.format(2, "half a dog", "")
    assert run("flag", "list", "--task", "kinds").out == head + first + second
    assert run("flag", "close", "2", "--author", "carla").out == "flag 2 is closed\n"
    assert run("flag", "list").out == head + first
    assert run("flag", "list", "--all").out == head + first + line.format(2, "half a dog", "carla")
    for number in ("2", "9"):
        called = run("flag", "close", number)
        assert called.code == 1
        assert f"no open flag {number}; open: 1" in called.message
    assert run("flag", "list", "--task", "nothing").code == 1
    assert run("flag", "open", "2").out == "flag 2 is open\n"
    assert run("flag", "list").out == head + first + second
    called = run("flag", "open", "2")
    assert called.code == 1
    assert "no closed flag 2; `mseg-curate flag list --all` lists them" in called.message


WORDS = ("kinds", "--split", "train", "--image", "a", "--segment", "1")


def test_a_flag_is_added(run: CallCli, farm_store: Store) -> None:
    """A remark on a mask is stored in the name of whoever makes it, as on the page."""
    assert run("flag", "list").err == "no open flag\n"
    run("annotator", "add", "anna")
    called = run("flag", "add", *WORDS, "--comment", " half a dog ", "--author", "anna")
    assert called.out == "mask 1 of a is flagged\n"
    assert run_query(farm_store, "SELECT task, image, segment, annotator, comment FROM v_flag")[
        1
    ] == [("kinds", "a", 1, "anna", "half a dog")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*WORDS, "--comment", " "), "a comment is missing"),
        ((*WORDS, "--comment", "x", "--author", "zoe"), "`mseg-curate annotator add 'zoe'`"),
        ((*WORDS[:-1], "9", "--comment", "x"), "the task kinds has no mask 9 of image 'a'"),
        (("nothing", *WORDS[1:], "--comment", "x"), "no task 'nothing'"),
    ],
)
def test_a_flag_of_nothing_is_refused(
    run: CallCli, farm_store: Store, words: tuple[str, ...], message: str
) -> None:
    """A remark needs words, a mask of the task, and somebody who makes it."""
    run("annotator", "add", "anna")
    called = run("flag", "add", *words, *(() if "--author" in words else ("--author", "anna")))
    assert called.code == 1
    assert message in called.message
    assert run_query(farm_store, "SELECT COUNT(*) FROM flag")[1] == [(0,)]
