"""Which store the app serves: one Store per process, shared by its threads."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from mseg_curate.store import Store

__all__ = ["VARIABLE", "open_store", "store_path"]

VARIABLE = "MSEG_CURATE_DB"

_lock = threading.Lock()
_opened: dict[Path, Store] = {}


def store_path() -> Path:
    """Return the store's path: the environment variable MSEG_CURATE_DB, else mseg-curate.db in the working folder."""
    return Path(os.environ.get(VARIABLE) or "mseg-curate.db").resolve()


def open_store() -> Store:
    """Return this process's Store, opened at the first call.

    Raises StoreError where there is none and StoreVersionError where it is of another version; the next call
    tries again.
    """
    path = store_path()
    with _lock:
        if path not in _opened or not path.exists():
            _opened[path] = Store.open(path)
        return _opened[path]
