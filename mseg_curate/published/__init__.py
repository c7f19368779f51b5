"""Published tables as data, with their sources, and what can be recomputed from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from mseg_curate.core.metrics import harmonic_mean
from mseg_curate.core.tables import split_rows
from mseg_curate.errors import InputError

__all__ = [
    "MSEG_RELABELED",
    "MSEG_UNRELABELED",
    "TABLES",
    "ZERO_SHOT",
    "HarmonicCheck",
    "Published",
    "leave_one_out_gains",
    "load_published",
    "match_test",
    "recompute_harmonic",
]

ZERO_SHOT: Final = "mseg-zero-shot"
TABLES: Final = ("voc2012", "cityscapes", "ade20k", ZERO_SHOT, "mseg-images", "wilddash")
MSEG_RELABELED: Final = "MSeg-1m"
MSEG_UNRELABELED: Final = "MSeg-1m-w/o relabeling"
HARMONIC: Final = "h. mean"
META: Final = ("title", "source", "note", "licence")

# How the six test datasets of MSeg are called, here and elsewhere, without marks and in lower case.
KNOWN_AS: Final[Mapping[str, str]] = {
    "voc": "VOC",
    "voc2012": "VOC",
    "pascalvoc": "VOC",
    "pascalvoc2012": "VOC",
    "context": "Context",
    "pascalcontext": "Context",
    "pascalcontext60": "Context",
    "camvid": "CamVid",
    "camvid11": "CamVid",
    "wilddash": "WildDash",
    "wilddash19": "WildDash",
    "kitti": "KITTI",
    "kitti19": "KITTI",
    "scannet": "ScanNet",
    "scannet20": "ScanNet",
}


@dataclass(frozen=True)
class Published:
    """A table as it was published: texts, numbers in percent or as counted, "" where there is none."""

    name: str
    title: str
    source: str
    note: str
    licence: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def row(self, name: str) -> dict[str, str]:
        """Return the cells of the first row of a name by column; raises InputError without one."""
        for row in self.rows:
            if row[0] == name:
                return dict(zip(self.columns, row, strict=True))
        known = ", ".join(row[0] for row in self.rows)
        raise InputError(f"table {self.name} has no such row", expected=known, found=name)


@dataclass(frozen=True)
class HarmonicCheck:
    """A harmonic mean as published, and as its row gives it; in percent.

    `low` and `high` are what the row gives if every number was rounded as far as it can have been.
    """

    row: str
    published: float
    recomputed: float
    low: float
    high: float

    @property
    def agrees(self) -> bool:
        """Say whether both are equal as printed, to one decimal."""
        return f"{self.recomputed:.1f}" == f"{self.published:.1f}"

    @property
    def explained(self) -> bool:
        """Say whether rounding, or cutting off, alone can have made the published one."""
        return self.low - 0.1 < self.published < self.high + 0.05


def load_published(name: str) -> Published:
    """Read one of the tables that ship with the package; raises InputError for another name."""
    if name not in TABLES:
        raise InputError("no such published table", expected=", ".join(TABLES), found=name)
    path = f"mseg_curate/published/{name}.tsv"
    lines = (files(__name__) / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    head = [line.removeprefix("# ").partition(": ") for line in lines if line.startswith("# ")]
    meta = {key: text for key, _, text in head}
    cells = split_rows("\n".join(lines[len(head) :]), path=path, error=InputError)
    columns, *rows = [tuple(row) for _, row in cells]
    uneven = [" ".join(row) for row in rows if len(row) != len(columns)]
    if uneven or tuple(meta) != META:
        raise InputError("published table is damaged", path=path, problems=uneven)
    return Published(name=name, columns=columns, rows=tuple(rows), **meta)


def recompute_harmonic(table: Published) -> list[HarmonicCheck]:
    """Recompute each published harmonic mean from the numbers beside it; rows without one are left out."""
    checks = []
    for row in table.rows:
        cells = dict(zip(table.columns, row, strict=True))
        if not cells.get(HARMONIC):
            continue
        values = list(_tests(cells).values())
        checks.append(
            HarmonicCheck(
                row=row[0],
                published=float(cells[HARMONIC]),
                recomputed=harmonic_mean(values),
                low=harmonic_mean([value - 0.05 for value in values]),
                high=harmonic_mean([value + 0.05 for value in values]),
            )
        )
    return checks


def leave_one_out_gains(
    table: Published, *, ours: str = MSEG_RELABELED, theirs: str = MSEG_UNRELABELED
) -> dict[str, float]:
    """Return how far `ours` is above `theirs` in the harmonic mean when each test is left out, in points."""
    mine, other = _tests(table.row(ours)), _tests(table.row(theirs))

    def gain(left_out: str) -> float:
        kept = [test for test in mine if test != left_out]
        return harmonic_mean(mine[t] for t in kept) - harmonic_mean(other[t] for t in kept)

    return {test: gain(test) for test in mine}


def match_test(dataset: str) -> str | None:
    """Return the column of MSeg's table that a test dataset of this name is, None where it is none of them."""
    return KNOWN_AS.get(re.sub(r"[^a-z0-9]", "", dataset.lower()))


def _tests(cells: Mapping[str, str]) -> dict[str, float]:
    """Return the numbers of a row of the zero-shot table without its harmonic mean."""
    return {
        column: float(cells[column])
        for column in dict.fromkeys(KNOWN_AS.values())
        if cells.get(column)
    }
