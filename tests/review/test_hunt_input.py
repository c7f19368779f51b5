"""Bad input of the review's commands: one clear message that is true, exit code 1, nothing stored."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mseg_curate.errors import InputError
from mseg_curate.tasks import make_task
from tests.review.conftest import MakeDesk

CallCli = Callable[..., Any]
HUGE = "9" * 30
_HEADER = "split,image,segment,"


def dump(path: Path) -> list[str]:
    """Return all that a store holds."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@pytest.mark.parametrize("option", ["priority", "lease", "gold-min", "gold-cap", "redundancy"])
def test_numbers_beyond_reason(make_desk: MakeDesk, call_cli: CallCli, option: str) -> None:
    """A number that the store cannot hold, or nobody can mean, is refused by the name of its option."""
    desk = make_desk()
    before = dump(desk.store.path)
    done = call_cli("task", "set", "kinds", f"--{option}", HUGE, "--db", desk.store.path)
    assert done.code == 1
    assert "of a task: expected" in done.message
    assert dump(desk.store.path) == before


@pytest.mark.parametrize(
    ("cell", "found"), [("9" * 5000, "a whole number"), ("--4", "a whole number")]
)
def test_a_rank_that_is_no_number(
    make_desk: MakeDesk, call_cli: CallCli, tmp_path: Path, cell: str, found: str
) -> None:
    """A rank of thousands of digits is told like any other that is no whole number."""
    desk = make_desk()
    (tmp_path / "order.csv").write_text(f"{_HEADER}rank\ntrain,a,1,{cell}\n", encoding="utf-8")
    done = call_cli("task", "prioritise", "kinds", tmp_path / "order.csv", "--db", desk.store.path)
    assert done.code == 1
    assert f"line 2, column rank: expected {found}" in done.message


def test_masks_that_are_not_there_are_no_examples(
    make_desk: MakeDesk, call_cli: CallCli, tmp_path: Path
) -> None:
    """Of two lines that name no mask each is told so once, and neither is called an example already."""
    desk = make_desk()
    path = tmp_path / "examples.csv"
    path.write_text(f"{_HEADER}class\ntrain,x,1,cat\ntrain,y,1,cat\n", encoding="utf-8")
    done = call_cli("task", "example", "add", "kinds", path, "--db", desk.store.path)
    assert done.code == 1
    assert done.message.count("has no mask 1 of image") == 2
    assert "already" not in done.message


@pytest.mark.parametrize("name", ["", " animals", "a\x1b[31mb", "x" * 101])
def test_names_of_tasks(make_desk: MakeDesk, name: str) -> None:
    """A task has a name that can be typed and printed."""
    desk = make_desk()
    with pytest.raises(InputError, match="name of a task: expected 1 to 100 printable characters"):
        make_task(desk.store, name, dataset="d", source_class="animal", now="2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    "command",
    [
        ("gold", "list", "nothing"),
        ("gold", "list", "nothing", "--scores"),
        ("decisions", "export", "--task", "nothing"),
    ],
)
def test_no_header_without_a_task(
    make_desk: MakeDesk, call_cli: CallCli, command: tuple[str, ...]
) -> None:
    """A command on an unknown task prints no table, so that no pipe takes an empty one for an answer."""
    desk = make_desk()
    done = call_cli(*command, "--db", desk.store.path)
    assert (done.code, done.out) == (1, "")


def test_text_on_a_terminal(make_desk: MakeDesk, call_cli: CallCli) -> None:
    """Instructions are printed without what a terminal would take for a command."""
    desk = make_desk()
    done = call_cli("task", "set", "kinds", "--instructions", "a\x1b[31mb", "--db", desk.store.path)
    assert "\x1b" not in done.out
