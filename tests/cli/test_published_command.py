"""`mseg-curate published`: the list, a table, and what is recomputed from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mseg_curate.published import TABLES, load_published

CallCli = Callable[..., Any]


def test_the_list_of_tables(call_cli: CallCli) -> None:
    """Without a name every table is listed with its rows and its title."""
    called = call_cli("published")
    assert called.code == 0
    assert [line.split("\t")[0] for line in called.out.splitlines()] == list(TABLES)
    assert "cityscapes\t11 rows\tCityscapes, test set" in called.out


def test_one_table(call_cli: CallCli) -> None:
    """A table is printed with its head, every row, its source and its licence note."""
    called = call_cli("published", "wilddash")
    table = load_published("wilddash")
    lines = called.out.splitlines()
    assert lines[:2] == [table.title, "\t".join(table.columns)]
    assert "AHiSS\t39.0\tno" in lines
    assert lines[-3].startswith("source: ")
    assert lines[-1].startswith("licence: facts")


def test_harmonic_means_are_recomputed(call_cli: CallCli) -> None:
    """The zero-shot table comes with its means recomputed, those that differ marked, and leave-one-out gains."""
    lines = call_cli("published", "mseg-zero-shot").out.splitlines()
    for line in (
        "Oracle\t77.8\t45.8\t78.8\t–\t58.4\t62.3\t–",
        "MSeg-1m\t59.2\t59.19",
        "MSeg-1m-w/o relabeling\t57.6\t57.57",
        "SUN RGBD\t0.3\t0.51\tdiffers by rounding: its row allows 0.27 … 0.71",
        "all tests\t+1.62",
        "without ScanNet\t+0.35",
    ):
        assert line in lines


def test_an_unknown_table(call_cli: CallCli) -> None:
    """Another name is one line that lists the tables."""
    called = call_cli("published", "imagenet")
    assert called.code == 1
    assert "no such published table: expected voc2012, cityscapes" in called.message


def test_the_list_in_the_documentation(call_cli: CallCli) -> None:
    """docs/published.md shows the list as the command prints it."""
    text = (Path(__file__).parents[2] / "docs" / "published.md").read_text(encoding="utf-8")
    assert call_cli("published").out in text
