"""`annotator`: what each command prints, and what it refuses."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mseg_curate.store import Store
from mseg_curate.store.engine import run_query

CallCli = Callable[..., Any]


@pytest.fixture
def run(farm_store: Store, call_cli: CallCli, monkeypatch: pytest.MonkeyPatch) -> CallCli:
    """Call a command on the farm."""
    monkeypatch.setenv("MSEG_CURATE_DB", str(farm_store.path))
    return call_cli


def test_people_are_added_and_given_roles(run: CallCli, farm_store: Store) -> None:
    """A name is added once; its role, its pause and its identity are changed by name, and noted with who did it."""
    assert run("annotator", "add", "anna", "--author", "root").out == "anna: annotator, active\n"
    words = ("annotator", "add", "anna", "--role", "curator", "--author", "root")
    assert run(*words).out == "anna: curator, active\n"
    assert run("annotator", "add", "anna").out == "anna: curator, active\n"
    assert (
        run("annotator", "role", "anna", "admin", "--author", "root").out == "anna: admin, active\n"
    )
    words = ("annotator", "pause", "anna", "--note", "on leave", "--author", "root")
    assert run(*words).out == "anna: admin, paused\n"
    words = ("annotator", "resume", "anna", "--note", "is back", "--author", "root")
    assert run(*words).out == "anna: admin, active\n"
    assert run("annotator", "add", "ben", "--login", "https://issuer 42").code == 0
    events = "SELECT kind, by FROM annotator_event ORDER BY id"
    assert run_query(farm_store, events)[1][:5] == [
        ("joined", "anna"),
        ("role", "root"),
        ("role", "root"),
        ("paused", "root"),
        ("resumed", "root"),
    ]
    assert run_query(farm_store, "SELECT name, login FROM annotator ORDER BY name")[1] == [
        ("anna", None),
        ("ben", "https://issuer 42"),
    ]


def test_who_cannot_be_added_whole_is_not_added(run: CallCli, farm_store: Store) -> None:
    """Where the identity or the role is refused, there is no annotator of that name afterwards."""
    assert run("annotator", "list").err.startswith("nobody yet; add somebody")
    assert run("annotator", "add", "ben", "--login", "https://issuer 42").code == 0
    for words in (
        ("--login", " "),
        ("--login", "https://issuer 42", "--role", "admin"),
        ("--role", "curator", "--login", "two\nlines"),
    ):
        called = run("annotator", "add", "dora", *words)
        assert called.code == 1
        assert "identity" in called.message
    assert run_query(farm_store, "SELECT name, role FROM annotator")[1] == [("ben", "annotator")]
    assert run_query(farm_store, "SELECT COUNT(*) FROM annotator_event")[1] == [(2,)]


def test_the_list_shows_how_people_work(run: CallCli, tmp_path: Path) -> None:
    """A line per annotator: counts, shares with their intervals, pace; dashes where nothing is known."""
    path = tmp_path / "votes.csv"
    path.write_text(
        "dataset,split,image,segment,source_class,outcome,annotator,decided_at,milliseconds,mode\n"
        "farm,train,a,0,animal,dog,anna,2026-01-01T10:00:00Z,2000,single\n"
        "farm,train,a,0,animal,dog,ben,,,import\n",
        encoding="utf-8",
    )
    assert run("decisions", "import", path).code == 0
    lines = [line.split("\t") for line in run("annotator", "list").out.splitlines()]
    assert lines[0][:4] == ["name", "role", "status", "decisions"]
    assert lines[1] == [
        "anna", "annotator", "active", "1", "–", "100.0% [20.7%, 100.0%]", "2.0", "–", "0", "0%",
        "2026-01-01T10:00:00+00:00", "",
    ]  # fmt: skip
    assert lines[2][6:8] == ["–", "–"]
    called = run("annotator", "reopen", "anna", "kinds", "--note", "guessed", "--author", "root")
    assert called.out == "1 decisions of anna in kinds are withdrawn\nnext: mseg-curate resolve\n"


def test_a_link_signs_in(run: CallCli, farm_store: Store) -> None:
    """`annotator link` prints an address of the review whose token names the annotator."""
    tokens = pytest.importorskip("app.tokens")
    run("annotator", "add", "anna")
    out = run("annotator", "link", "anna", "--url", "http://127.0.0.1:9000/").out
    address, _, token = out.strip().rpartition("/")
    assert address == "http://127.0.0.1:9000/review/link"
    assert tokens.read_link(farm_store.path, token, now=time.time()).person_id == 1


def test_a_link_needs_the_app(run: CallCli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the review is not installed, the message says how to install it."""
    monkeypatch.setitem(sys.modules, "app.tokens", None)
    run("annotator", "add", "anna")
    called = run("annotator", "link", "anna")
    assert called.code == 1
    assert "pip install 'mseg-curate[app]'" in called.message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("add", " "), "1 to 64 printable characters"),
        (("add", "mseg-published"), "stands for imported or simulated decisions"),
        (("role", "nobody", "admin"), "no annotator 'nobody'"),
        (("pause", "nobody", "--note", "x"), "no annotator 'nobody'"),
        (("pause", "anna", "--note", " "), "a reason is missing"),
        (("resume", "anna", "--note", "x"), "'anna' is active already"),
        (("reopen", "anna", "nothing", "--note", "x"), "no task 'nothing'"),
        (("reopen", "nobody", "kinds", "--note", "x"), "no annotator 'nobody'"),
        (("link", "nobody"), "no annotator 'nobody'"),
    ],
)
def test_bad_input(run: CallCli, words: tuple[str, ...], message: str) -> None:
    """A bad name, an unknown annotator or task and a missing reason are one clear line."""
    pytest.importorskip("app.tokens")
    run("annotator", "add", "anna")
    called = run("annotator", *words)
    assert (called.code, called.out) == (1, "")
    assert message in called.message


def test_wrong_words_exit_with_2(run: CallCli) -> None:
    """An unknown role and a missing reason are mistakes in the command itself."""
    run("annotator", "add", "anna")
    assert run("annotator", "role", "anna", "boss").code == 2
    assert run("annotator", "pause", "anna").code == 2
