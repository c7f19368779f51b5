"""What a server remembers for a moment, shared by its threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["Lately", "Remembered"]

Key = TypeVar("Key")
Value = TypeVar("Value")


class Remembered(Generic[Key, Value]):
    """A small table shared by the threads, which forgets everything when it is full."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._rows: dict[Key, Value] = {}

    def find(self, key: Key) -> Value | None:
        """Return what is remembered under a key, None where nothing is."""
        with self._lock:
            return self._rows.get(key)

    def keep(self, key: Key, value: Value) -> None:
        """Remember a value under a key."""
        with self._lock:
            if len(self._rows) >= self._most:
                self._rows.clear()
            self._rows[key] = value

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._rows.clear()


class Lately(Generic[Key, Value]):
    """Values that are good for some seconds after they were made."""

    def __init__(self, most: int) -> None:
        self._made: Remembered[Key, tuple[float, Value]] = Remembered(most)

    def find(self, key: Key, make: Callable[[], Value], *, good_for_s: float) -> Value:
        """Return what was made of a key lately; where that is longer ago, it is made again."""
        kept = self._made.find(key)
        if kept is None or not 0 <= time.monotonic() - kept[0] < good_for_s:
            value = make()
            kept = (time.monotonic(), value)
            self._made.keep(key, kept)
        return kept[1]
