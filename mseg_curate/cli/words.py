"""Numbers and other people's words as commands print them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mseg_curate.core.accuracy import Share

__all__ = ["in_one_line", "share_in_words"]


def share_in_words(share: Share) -> str:
    """Return a share with its interval in percent, or a dash where nothing was counted."""
    if math.isnan(share.value):
        return "–"
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"


def in_one_line(text: str) -> str:
    """Return a text without line breaks, tabs, and what a terminal would take for a command."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
