"""Other people's words on a page: as text, never as markup."""

from __future__ import annotations

import re

__all__ = ["as_text", "in_minutes", "percent"]

# What Markdown, and Streamlit's additions to it, give a meaning.
_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&\"'=])")


def as_text(words: str) -> str:
    """Return words such that a label or a message of Streamlit, which is Markdown, shows them as they are."""
    return _MARKUP.sub(r"\\\1", " ".join(words.split()))


def percent(share: float, low: float, high: float) -> str:
    """Return a share with its interval in percent, or a dash where it is not defined."""
    return "–" if share != share else f"{share:.1%} ({low:.1%} – {high:.1%})"  # noqa: PLR0124


def in_minutes(time: str | None) -> str:
    """Return a stored time (ISO 8601, UTC) to the minute, as one reads it; '' where there is none."""
    return "" if not time else f"{time[:16].replace('T', ' ')} UTC"
