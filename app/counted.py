"""Numbers that take long to count are counted now and then: a page runs again at every click.

How long a count is good for is a multiple of what it took: of a small store every page shows the numbers of now, and
of a large one nobody waits at each click.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import streamlit as st

from app.remembered import Remembered
from mseg_curate.store import Store

__all__ = ["count_now_and_then", "forget_counts"]

TIMES_ITS_COST = 20
# What is counted quicker than this is counted each time.
CHEAP_S = 0.5
# What was counted within this time is fresh, and needs no word on its age.
FRESH_S = 5.0

Found = TypeVar("Found")


@dataclass(frozen=True)
class _Count:
    at: float
    cost_s: float
    found: object


_counts: Remembered[tuple[Path, str, float], _Count] = Remembered(100)


def count_now_and_then(
    store: Store, count: Callable[[Store], Found], *, least_s: float = 0.0
) -> Found:
    """Return what `count` finds in a store, counted lately; where that is a while ago the page says when.

    With `least_s` a count is kept for so many seconds whatever it cost, and nobody can ask for a newer one: numbers
    that move with each answer would tell annotators which masks are gold.
    """
    key = (store.path, f"{count.__module__}.{count.__qualname__}", least_s)
    kept = _counts.find(key)
    now = time.monotonic()
    if kept is None or now - kept.at >= max(least_s, _good_for_s(kept)):
        with st.spinner("Counting", show_time=True):
            found = count(store)
        kept = _Count(time.monotonic(), time.monotonic() - now, found)
        _counts.keep(key, kept)
    age_s = time.monotonic() - kept.at
    if age_s > FRESH_S:
        _say_age(age_s, count.__qualname__ if least_s == 0 else "")
    found_before: Found = kept.found  # type: ignore[assignment]
    return found_before


def _good_for_s(kept: _Count) -> float:
    return 0.0 if kept.cost_s < CHEAP_S else TIMES_ITS_COST * kept.cost_s


def _say_age(age_s: float, again: str) -> None:
    """Say how old a count is, with a button to count again where it has a name."""
    left, right = st.columns([5, 1], vertical_alignment="center")
    left.caption(f"The numbers are of {round(age_s)} seconds ago.")
    if again and right.button("Count again", key=f"count-{again}", width="stretch"):
        forget_counts()
        st.rerun()


def forget_counts() -> None:
    """Let everything be counted anew: something was changed."""
    _counts.clear()
