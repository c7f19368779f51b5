"""Numbers and other people's words as commands print them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mseg_curate.core.accuracy import Share

__all__ = ["in_one_cell", "in_one_line", "share_in_words"]


def share_in_words(share: Share) -> str:
    """Return a share with its interval in percent, or a dash where nothing was counted."""
    if math.isnan(share.value):
        return "–"
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"


def in_one_cell(value: object) -> str:
    """Return a value as a cell of a tab-separated table, '' for None; a character that is no print is written out.

    A backslash is doubled, so that what was written out can be told from what was there.
    """
    text = "" if value is None else str(value)
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(_written_out(c) for c in text)


def _written_out(letter: str) -> str:
    if letter.isprintable() and letter != "\\":
        return letter
    return letter.encode("unicode_escape").decode("ascii")


def in_one_line(text: str) -> str:
    """Return a text without line breaks, tabs, and what a terminal would take for a command."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
