"""Facts that hold for every process that serves a store: empty files in a hidden folder beside it.

A file can be made once, by one process, and is seen by all of them at once, after a restart too.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Literal

from mseg_curate.errors import OutputError

__all__ = ["Kind", "is_marked", "mark_once"]

Kind = Literal["links", "ended"]


def mark_once(store: Path, kind: Kind, name: str, *, now: float, kept_s: float) -> bool:
    """Make a mark, and say whether it was not there before; marks older than `kept_s` seconds are cleared away.

    Raises OutputError where it cannot be made.
    """
    folder = _folder(store, kind)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for path in folder.iterdir():
            # Another process may clear the same old mark.
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < now - kept_s:
                    path.unlink()
        (folder / name).touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        return False
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return True


def is_marked(store: Path, kind: Kind, name: str) -> bool:
    """Say whether a mark was made."""
    return (_folder(store, kind) / name).exists()


def _folder(store: Path, kind: Kind) -> Path:
    real = store.resolve()
    return real.with_name(f".{real.name}.{kind}")
