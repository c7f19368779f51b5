"""What a run writes down while it trains: JSON lines, and TensorBoard's event files where asked."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TextIO

from mseg_curate.errors import InputError, MissingExtraError, OutputError
from mseg_curate.files import read_text, write_text_atomically

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["EVENTS_NAME", "LOG_NAME", "Journal"]

LOG_NAME: Final = "log.jsonl"
EVENTS_NAME: Final = "tensorboard"


class Journal:
    """The log of a run in `run_dir`: one JSON object per line of log.jsonl, and event files if asked.

    Used in a `with` block. Lines are in the file when `write` returns.
    """

    def __init__(self, run_dir: Path, *, step: int, tensorboard: bool) -> None:
        """Take up the log of a run that has done `step` steps; what it says of later ones is dropped.

        Raises MissingExtraError where TensorBoard is asked for and not installed, OutputError where the
        log cannot be written.
        """
        self._path = run_dir / LOG_NAME
        self._step = step
        self._events = _open_events(run_dir / EVENTS_NAME, step) if tensorboard else None
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        """Cut the log to what is known and open it."""
        write_text_atomically(self._path, "".join(_read_lines(self._path, self._step)))
        try:
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise self._refuse(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files."""
        try:
            if self._file is not None:
                self._file.close()
            if self._events is not None:
                self._events.close()
        except OSError as failure:
            # Closing tries again to write what could not be written: the first failure is the one to tell.
            if error is None:
                raise self._refuse(failure) from failure

    def write(self, step: int, **values: float) -> None:
        """Note `values` after `step` steps."""
        try:
            if self._file is not None:
                self._file.write(json.dumps({"step": step, **values}) + "\n")
                self._file.flush()
            if self._events is not None:
                for name, value in values.items():
                    self._events.add_scalar(f"train/{name}", value, step)
                self._events.flush()
        except OSError as error:
            raise self._refuse(error) from error

    def _refuse(self, error: OSError) -> OutputError:
        return OutputError(f"{self._path}: cannot be written ({error.strerror or error})")


def _read_lines(path: Path, step: int) -> list[str]:
    """Return the lines up to `step`; a last one that a crash cut short is dropped.

    Raises InputError for a line that no journal wrote.
    """
    lines = read_text(path).splitlines(keepends=True) if path.is_file() else []
    kept = []
    for number, line in enumerate(lines, start=1):
        if not line.endswith("}\n"):
            continue
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                "not a line of a training log",
                path=path,
                place=f"line {number}",
                hint="delete the file, or the line",
            ) from error
    return kept


def _open_events(folder: Path, step: int) -> SummaryWriter:
    if importlib.util.find_spec("tensorboard") is None:
        raise MissingExtraError(
            "tensorboard=true needs the package tensorboard: pip install tensorboard"
        )
    # Imported here: it is wanted by few runs, and loading it takes seconds.
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)
