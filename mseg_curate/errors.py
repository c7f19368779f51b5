"""The exception tree: every error that a caller may want to catch, and the words it speaks in.

MsegCurateError
├── InputError              something the caller handed in is wrong; names file, place and remedy
│   ├── TaxonomyError       taxonomy.tsv or a class list
│   ├── MappingError        a mapping file, or a mapping that names what is not there
│   ├── DatasetError        a dataset folder: pairs, sizes, ids, colours, split lists
│   ├── ImageError          one picture file: truncated, oversized, of another kind
│   ├── DecisionError       a file of decisions
│   └── ExportError         a folder that is no export, a damaged one, or arms that do not match
├── StoreError              the store cannot do what was asked
│   └── StoreVersionError   the store was made by another version, or is no store
├── ReviewError             an annotator may not do this, or not any more; `reason` says why in a word
├── OutputError             a file could not be written: disk full, no permission
├── TrainingError           the trainer cannot go on: a loss that is not finite, weights that do not fit
│   └── TrainingStoppedError  it was asked to stop; what it has done is kept
└── MissingExtraError       an optional dependency is not installed
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

__all__ = [
    "DatasetError",
    "DecisionError",
    "ExportError",
    "ImageError",
    "InputError",
    "MappingError",
    "MissingExtraError",
    "MsegCurateError",
    "OutputError",
    "ReviewError",
    "StoreError",
    "StoreVersionError",
    "TaxonomyError",
    "TrainingError",
    "TrainingStoppedError",
]

SHOWN_PROBLEMS = 20


class MsegCurateError(Exception):
    """Base of all errors that this package raises on purpose."""


class InputError(MsegCurateError):
    """Input that cannot be used.

    The message reads `path:place: what: expected …, found …; hint`, each part left out where it is
    not known. `problems` holds the lines of an error that collects several.
    """

    def __init__(
        self,
        what: str,
        *,
        path: Path | str | None = None,
        place: str | int | None = None,
        expected: str | None = None,
        found: str | None = None,
        hint: str | None = None,
        problems: Sequence[str] = (),
    ) -> None:
        self.what = what
        self.path = path
        self.place = place
        self.expected = expected
        self.found = found
        self.hint = hint
        self.problems = tuple(problems)
        super().__init__(self._line())

    @classmethod
    def of(
        cls,
        problems: Sequence[str],
        *,
        several: str,
        path: Path | str | None = None,
        hint: str | None = None,
    ) -> Self:
        """Make the error of one or more problems: one is the message itself, more are listed under `several`."""
        if len(problems) == 1:
            return cls(problems[0], path=path, hint=hint)
        return cls(several, path=path, hint=hint, problems=problems)

    def _line(self) -> str:
        where = ":".join(str(part) for part in (self.path, self.place) if part is not None)
        line = f"{where}: {self.what}" if where else self.what
        comparison = []
        if self.expected is not None:
            comparison.append(f"expected {self.expected}")
        if self.found is not None:
            comparison.append(f"found {self.found}")
        if comparison:
            line += ": " + ", ".join(comparison)
        if self.hint is not None:
            line += f"; {self.hint}"
        shown = self.problems[:SHOWN_PROBLEMS]
        line += "".join(f"\n  {problem}" for problem in shown)
        if len(self.problems) > len(shown):
            line += f"\n  … and {len(self.problems) - len(shown)} more"
        return line


class TaxonomyError(InputError):
    """taxonomy.tsv or a class list cannot be used."""


class MappingError(InputError):
    """A mapping names what is not there, or leaves a class without a place."""


class DatasetError(InputError):
    """A dataset folder has faults; `problems` lists every one."""


class ImageError(InputError):
    """A picture file cannot be decoded as what it should be."""


class DecisionError(InputError):
    """A file of decisions has a line that cannot be used; nothing of it was stored."""


class ExportError(InputError):
    """A folder is no export, is damaged, or does not match the others of an experiment."""


class StoreError(MsegCurateError):
    """The store cannot do what was asked."""


class StoreVersionError(StoreError):
    """The file is no store of ours, or one of another schema version."""


class ReviewError(MsegCurateError):
    """An annotator may not do this, or not any more.

    `reason` is a word for programs: paused, task_closed, unknown_task, forbidden or not_yours.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class OutputError(MsegCurateError):
    """A file could not be written; what was there before is untouched."""


class TrainingError(MsegCurateError):
    """The trainer cannot go on."""


class TrainingStoppedError(TrainingError):
    """Training was asked to stop; what it has done is kept, and a second call goes on."""


class MissingExtraError(MsegCurateError):
    """An optional dependency is missing; the message says how to install it."""
