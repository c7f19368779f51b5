"""Long work on a store, done in steps so short that nobody waits for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter, sleep
from typing import TypeVar

from sqlalchemy import Connection

from mseg_curate.store.engine import Store

__all__ = ["PAUSE_S", "STEP_S", "write_in_steps"]

STEP_S = 0.025
"""How long a step may keep the store from others."""

PAUSE_S = 0.008
"""The pause between two steps, in which the others have their turn."""

_AT_ONCE = 100

T = TypeVar("T")


def write_in_steps(
    store: Store, rows: Sequence[T], *, write: Callable[[Connection, Sequence[T]], None]
) -> None:
    """Write rows in their order, some at a time; whoever stops it finds the first of them written."""
    done = 0
    while done < len(rows):
        with store.writing() as connection:
            until = perf_counter() + STEP_S
            while done < len(rows) and perf_counter() < until:
                write(connection, rows[done : done + _AT_ONCE])
                done += _AT_ONCE
        if done < len(rows):
            sleep(PAUSE_S)
