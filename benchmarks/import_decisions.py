"""How fast are published decisions imported, beside a bare `executemany` of the very same rows?

    python benchmarks/import_decisions.py --data DATA

DATA holds relabeled_index.tsv and relabeled_data, or is a checkout of mseg-api. Each repetition makes a new store
and times `import_published` on it: reading and checking the lists, keys, hashes, SQL and the commit. Then it puts
the rows of image, mask and decision that came of it into an equal empty store, through `sqlite3` alone, in one
transaction: once with sqlite3's own settings (no foreign keys checked), once with those of the store. The aim is
half the speed of the first or better.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from statistics import median
from time import perf_counter

from mseg_curate.decide import import_published
from mseg_curate.initialise import create_store
from mseg_curate.store import Store

NOW = "2026-01-01T00:00:00+00:00"
TABLES = ("image", "mask", "decision")
STORE_PRAGMAS = ("foreign_keys = ON", "cache_size = -65536", "synchronous = FULL")

Rows = dict[str, list[tuple[object, ...]]]


def import_once(empty: Path, data: Path, *, path: Path) -> tuple[float, int]:
    """Import into a copy of an empty store; returns the seconds and how many decisions were new."""
    shutil.copyfile(empty, path)
    with Store.open(path) as store:
        start = perf_counter()
        done = import_published(store, data, now=NOW)
        return perf_counter() - start, done.new


def insert_bare(empty: Path, rows: Rows, *, path: Path, pragmas: tuple[str, ...] = ()) -> float:
    """Insert the rows into a copy of an empty store by `executemany` alone; returns the seconds."""
    shutil.copyfile(empty, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
        start = perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        for table, values in rows.items():
            marks = ", ".join("?" * len(values[0]))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", values)
        connection.execute("COMMIT")
        return perf_counter() - start


def prepare_bare(folder: Path, filled: Path) -> tuple[Path, Rows]:
    """Return a store that lacks nothing but the rows of TABLES, and those rows as tuples."""
    empty = folder / "bare.db"
    with closing(sqlite3.connect(filled)) as connection:
        rows = {t: connection.execute(f"SELECT * FROM {t} ORDER BY id").fetchall() for t in TABLES}
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copyfile(filled, empty)
    with closing(sqlite3.connect(empty)) as connection:
        for table in reversed(TABLES):
            connection.execute(f"DELETE FROM {table}")
        connection.commit()
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return empty, rows


def run(data: Path, *, repetitions: int) -> None:
    """Time the three in turn, so that a busy machine slows all of them alike, and print the medians."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fresh, filled = folder / "fresh.db", folder / "filled.db"
        create_store(fresh, now=NOW)
        _, count = import_once(fresh, data, path=filled)
        empty, rows = prepare_bare(folder, filled)
        imports, bare, checked = [], [], []
        for number in range(repetitions):
            imports.append(import_once(fresh, data, path=folder / f"import{number}.db")[0])
            bare.append(insert_bare(empty, rows, path=folder / f"bare{number}.db"))
            checked.append(
                insert_bare(empty, rows, path=folder / f"checked{number}.db", pragmas=STORE_PRAGMAS)
            )
    listed = ", ".join(f"{len(values):,} {table}s" for table, values in rows.items())
    print(f"{listed}; medians of {repetitions}")
    print(f"import_published                  {median(imports):6.2f} s")
    for what, times in (("its own", bare), ("the store's", checked)):
        print(
            f"bare executemany, {what + ' settings':<16}{median(times):6.2f} s: "
            f"the import runs at {median(times) / median(imports):.0%} of that speed"
        )
    if count != len(rows["decision"]):
        raise SystemExit(f"{count:,} decisions imported, {len(rows['decision']):,} in the store")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the published decisions")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    run(arguments.data, repetitions=arguments.repetitions)
