"""Counting now and then: what is dear to count is kept for a while, what is cheap never."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import streamlit

from app import counted
from app.counted import CHEAP_S, TIMES_ITS_COST, count_now_and_then, forget_counts
from mseg_curate.store import Store


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A clock that stands until it is moved, and no counts from before."""
    now = [1000.0]
    monkeypatch.setattr(counted.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(streamlit, "button", lambda *_, **__: False)
    forget_counts()
    yield now
    forget_counts()


@pytest.mark.parametrize(
    ("cost_s", "later_s", "counts"),
    [
        (0.0, 0.0, 2),
        (CHEAP_S / 2, 0.1, 2),
        (2.0, 1.0, 1),
        (2.0, TIMES_ITS_COST * 2.0 - 1, 1),
        (2.0, TIMES_ITS_COST * 2.0 + 1, 2),
    ],
)
def test_what_is_dear_is_kept(
    clock: list[float], small_store: Store, cost_s: float, later_s: float, counts: int
) -> None:
    """A count is good for a multiple of the time it took; one that took none is made each time."""
    made: list[int] = []

    def count(_: Store) -> int:
        clock[0] += cost_s
        made.append(1)
        return len(made)

    assert count_now_and_then(small_store, count) == 1
    clock[0] += later_s
    assert count_now_and_then(small_store, count) == counts
    assert len(made) == counts


def test_what_changed_is_counted_anew(clock: list[float], small_store: Store) -> None:
    """After a change on a page the next page shows it."""
    made: list[int] = []

    def count(_: Store) -> int:
        clock[0] += 9.0
        made.append(1)
        return len(made)

    assert count_now_and_then(small_store, count) == 1
    forget_counts()
    assert count_now_and_then(small_store, count) == 2


def test_what_must_not_be_fresh_is_kept(clock: list[float], small_store: Store) -> None:
    """A count that took no time is kept as long as it has to be, apart from that of those who may see it fresh."""
    made: list[int] = []

    def count(_: Store) -> int:
        made.append(1)
        return len(made)

    assert count_now_and_then(small_store, count, least_s=60.0) == 1
    clock[0] += 59.0
    assert count_now_and_then(small_store, count, least_s=60.0) == 1
    assert count_now_and_then(small_store, count) == 2
    clock[0] += 1.0
    assert count_now_and_then(small_store, count, least_s=60.0) == 3
