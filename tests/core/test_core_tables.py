"""Delimited text: rows with their lines, and files that something else than commas separates."""

from __future__ import annotations

import pytest

from mseg_curate.core.tables import refuse_other_separators, split_rows
from mseg_curate.errors import DecisionError


def test_rows_know_the_line_they_begin_on() -> None:
    """A quoted cell over several lines moves the number of the next row."""
    rows = split_rows('a,b\n1,"x\ny"\n2,z\n', path="t.csv", error=DecisionError, delimiter=",")
    assert rows == [(1, ["a", "b"]), (2, ["1", "x\ny"]), (4, ["2", "z"])]


def test_a_quote_that_is_never_closed_is_named() -> None:
    """It would swallow the rest of the file: the line where it begins is named."""
    with pytest.raises(DecisionError, match=r"t\.csv:2: unreadable quoting"):
        split_rows('a,b\n1,"x\n2,z\n', path="t.csv", error=DecisionError, delimiter=",")


@pytest.mark.parametrize(("sign", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_other_separators_are_named(sign: str, name: str) -> None:
    """What a spreadsheet of another country writes is recognised by its header."""
    header = [sign.join(("split", "image", "segment"))]
    with pytest.raises(
        DecisionError, match=rf"t\.csv:1: separators: .* found {name}; save the file"
    ):
        refuse_other_separators(header, path="t.csv")


@pytest.mark.parametrize("header", [[], ["split"], ["a;b;c", "d"], ["split", "image"]])
def test_other_headers_pass(header: list[str]) -> None:
    """Headers of several columns, and of one without such signs, are somebody else's to judge."""
    refuse_other_separators(header, path="t.csv")
