"""How commands print numbers and other people's words."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mseg_curate.cli.words import in_one_cell, in_one_line


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""),
        ("", ""),
        (3.5, "3.5"),
        ("größer – 猫", "größer – 猫"),
        ("two\nlines\tand a tab", r"two\nlines\tand a tab"),
        ("\x1b[2J\u202e", r"\x1b[2J\u202e"),
        ("a\\b", r"a\\b"),
    ],
)
def test_cells(value: object, cell: str) -> None:
    """A cell is one line without tabs, and nothing in it is taken for a command by a terminal."""
    assert in_one_cell(value) == cell


@given(st.text())
def test_no_cell_stands_for_two_texts(text: str) -> None:
    """What is written out is printable, and can be read back."""
    cell = in_one_cell(text)
    assert cell.isprintable()
    assert ast.literal_eval('"' + cell.replace('"', '\\"') + '"') == text


def test_a_line_has_no_breaks() -> None:
    """Notes of people come in one line, without what a terminal would obey."""
    assert in_one_line(" two\nlines\t\x1b[31m ") == "two lines [31m"
