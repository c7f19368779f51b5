"""Measure the queue of the review: how long the next mask takes in small and large tasks, and many processes at once.

    python benchmarks/review_queue.py next      # 1 000 … 1 000 000 masks; the aim is a ratio below 2
    python benchmarks/review_queue.py crowd     # 16 processes × 10 000 claims and decisions, durable commits
    python benchmarks/review_queue.py crowd --processes 4 --decisions 200
    python benchmarks/review_queue.py extremes  # the next mask where a large task is as unkind as it gets
    python benchmarks/review_queue.py changes   # how long others wait while a curator changes a large task

`next` compares with the plain way to find a mask, NOT EXISTS over all decisions, at the same size. `crowd` fails if a
mask has more decisions than its redundancy, an annotator two on one mask, a decision was lost, or a call raised.
`extremes` and `changes` print a line per case; the wait is that of another who writes to the store meanwhile.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mseg_curate.annotators import reopen_decisions
from mseg_curate.core.mask import Box, encode_runs
from mseg_curate.initialise import create_store
from mseg_curate.review import Operation, apply_operations, claim_masks
from mseg_curate.steer import set_options
from mseg_curate.store import Store
from mseg_curate.store.bulk import bulk_insert
from mseg_curate.store.decisions import annotator_id, append_decisions, verify_chain
from mseg_curate.store.engine import run_query
from mseg_curate.store.leases import ReviewMode
from mseg_curate.store.steering import store_suggestions
from mseg_curate.store.tasks import TaskOptions, create_task

NOW = "2026-01-01T00:00:00+00:00"
TASK = "which"


def make_store(folder: Path, *, masks: int, people: int, redundancy: int) -> tuple[Path, list[int]]:
    """Make a store of one task by rows alone: its masks are boxes of one image that no file belongs to."""

    (folder / "taxonomy.tsv").write_text("universal\ncat\ndog\nunlabeled\n", encoding="utf-8")
    path = folder / f"{masks}.db"
    create_store(path, taxonomy_path=folder / "taxonomy.tsv", now=NOW)
    runs = encode_runs(np.ones((8, 8), np.bool_))
    box = Box(0, 0, 8, 8)
    with Store.open(path) as store, store.writing() as connection:
        run = connection.exec_driver_sql
        run(
            "INSERT INTO dataset (id, name, role, root, layout) VALUES (1, 'd', 'train', '.', '{}')"
        )
        run("INSERT INTO dataset_class (id, dataset_id, class_id, name) VALUES (1, 1, 0, 'animal')")
        run(
            "INSERT INTO mapping_revision (id, dataset_id, taxonomy_id, author, created_at, note, sha256) "
            "VALUES (1, 1, 1, 'x', ?, '', '')",
            (NOW,),
        )
        run(
            "INSERT INTO image (id, dataset_id, split, sequence, name, image_file, label_file, height, width, "
            "image_sha256, label_sha256) VALUES (1, 1, 'train', '', 'a', 'a.jpg', 'a.png', 8, 8, '', '')"
        )
        bulk_insert(
            connection,
            "mask (id, image_id, source_class, segment, numbering, y0, x0, y1, x1, area_px)",
            [
                (i, 1, "animal", i, "component", box.top, box.left, box.bottom, box.right, 64)
                for i in range(1, masks + 1)
            ],
        )
        bulk_insert(
            connection, "mask_geometry (mask_id, runs)", [(i, runs) for i in range(1, masks + 1)]
        )
        create_task(
            connection,
            TASK,
            dataset_class_id=1,
            mapping_revision=1,
            options=TaskOptions(redundancy=redundancy, max_redundancy=redundancy, gold_rate=0.0),
            candidates=[1, 2],
            definitions={},
            mask_ids=random.Random(0).sample(range(1, masks + 1), masks),
            now=NOW,
        )
        ids = [
            annotator_id(connection, f"person {i}", kind="person", now=NOW) for i in range(people)
        ]
    return path, ids


def decide(store: Store, person: int, *, count: int, rng: random.Random) -> int:
    """Claim up to `count` masks and decide them; returns how many were stored."""
    now = time.time()
    items = claim_masks(
        store, person, task=TASK, count=count, client="bench", held=[], now=now, rng=rng
    )
    operations = [
        Operation(
            "decide",
            uuid.UUID(int=rng.getrandbits(128)).hex,
            item.lease,
            "class",
            rng.choice(("cat", "dog")),
        )
        for item in items
    ]
    results = apply_operations(store, person, operations, client="bench", now=now)
    refused = [result for result in results if result.status != "stored"]
    if refused:
        raise SystemExit(f"a decision under a live lease was refused: {refused[0]}")
    return len(results)


# --- next -----------------------------------------------------------------------------------------

PLAIN = (
    "SELECT m.mask_id FROM task_mask AS m WHERE m.task_id = 1 AND NOT EXISTS "
    "(SELECT 1 FROM decision AS d WHERE d.mask_id = m.mask_id) ORDER BY m.position LIMIT 1"
)


class Queue:
    """A store of one task whose next mask is timed."""

    def __init__(self, folder: Path, masks: int) -> None:
        self.masks = masks
        path, (self.first, self.second) = make_store(folder, masks=masks, people=2, redundancy=2)
        self.store = Store.open(path)
        self.rng = random.Random(1)
        self.claims: list[float] = []
        self.both: list[float] = []
        self.plain: list[float] = []

    def sample(self) -> None:
        """Time one claim of the one person, and one claim with its decision of the other."""
        started = time.perf_counter()
        claim_masks(
            self.store,
            self.first,
            task=TASK,
            count=1,
            client=f"{self.rng.random()}",
            held=[],
            now=time.time(),
            rng=self.rng,
        )
        self.claims.append(time.perf_counter() - started)
        started = time.perf_counter()
        decide(self.store, self.second, count=1, rng=self.rng)
        self.both.append(time.perf_counter() - started)

    def sample_plain(self) -> None:
        """Time the query that needs no queue."""
        started = time.perf_counter()
        run_query(self.store, PLAIN)
        self.plain.append(time.perf_counter() - started)


def run_next(sizes: Sequence[int], samples: int) -> None:
    """Print a table by the size of the task; the sizes take turns, so that a busy moment meets them all."""
    with tempfile.TemporaryDirectory() as folder:
        queues = [Queue(Path(folder), masks) for masks in sizes]
        for _ in range(samples):
            for queue in queues:
                queue.sample()
        for queue in queues * 5:
            queue.sample_plain()
        print(
            "| masks | claim ms | claim + decision ms | plain NOT EXISTS ms |\n| ---: | ---: | ---: | ---: |"
        )
        base = statistics.median(queues[0].claims)
        for queue in queues:
            claim, both, plain = (
                1000 * statistics.median(values)
                for values in (queue.claims, queue.both, queue.plain)
            )
            ratio = claim / 1000 / base
            print(f"| {queue.masks:,} | {claim:.2f} ({ratio:.2f}×) | {both:.2f} | {plain:.2f} |")
            queue.store.close()


# --- crowd ----------------------------------------------------------------------------------------


def work(
    path: Path, person: int, decisions: int, batch: int, out: multiprocessing.Queue[object]
) -> None:
    """Decide until `decisions` are stored; in a process of its own."""
    rng = random.Random(person)
    done, waits = 0, []
    try:
        with Store.open(path) as store:
            while done < decisions:
                started = time.perf_counter()
                stored = decide(store, person, count=min(batch, decisions - done), rng=rng)
                waits.append(time.perf_counter() - started)
                if not stored:
                    break
                done += stored
        out.put((person, done, waits))
    except BaseException as error:  # noqa: BLE001 - the parent prints it and fails
        out.put((person, error, waits))


def run_crowd(processes: int, decisions: int, redundancy: int, batch: int) -> None:
    """Let processes decide one task at once, then recount everything."""
    with tempfile.TemporaryDirectory() as folder:
        masks = -(-processes * decisions // redundancy)
        path, ids = make_store(Path(folder), masks=masks, people=processes, redundancy=redundancy)
        context = multiprocessing.get_context("fork")
        out: multiprocessing.Queue[object] = context.Queue()  # type: ignore[assignment]
        started = time.perf_counter()
        people = [context.Process(target=work, args=(path, i, decisions, batch, out)) for i in ids]
        for process in people:
            process.start()
        reports = [out.get() for _ in people]
        for process in people:
            process.join()
        took = time.perf_counter() - started
        failed = [report for report in reports if isinstance(report[1], BaseException)]  # type: ignore[index]
        if failed:
            sys.exit(f"a process failed: {failed[0]}")
        done = sum(report[1] for report in reports)  # type: ignore[index]
        waits = sorted(wait for report in reports for wait in report[2])  # type: ignore[index]
        with Store.open(path) as store:
            check_crowd(store, done=done, redundancy=redundancy)
        per_s = done / took
        print(
            f"{processes} processes, {done:,} claims and decisions of {processes * decisions:,} in {took:.1f} s "
            f"({per_s:,.0f} a second), {batch} a call; a call: median {1000 * statistics.median(waits):.1f} ms, "
            f"p99 {1000 * waits[int(0.99 * len(waits))]:.0f} ms, worst {1000 * waits[-1]:.0f} ms; "
            "nothing lost, doubled or over its redundancy"
        )


def check_crowd(store: Store, *, done: int, redundancy: int) -> None:
    """Exit with what is wrong, if anything is."""

    def count(sql: str) -> int:
        return int(run_query(store, sql)[1][0][0])  # type: ignore[call-overload]

    with store.reading() as connection:
        chained = verify_chain(connection)
    over = count(
        f"SELECT COUNT(*) FROM (SELECT 1 FROM decision GROUP BY mask_id HAVING COUNT(*) > {redundancy})"
    )
    twice = count(
        "SELECT COUNT(*) FROM (SELECT 1 FROM decision GROUP BY mask_id, annotator_id HAVING COUNT(*) > 1)"
    )
    filled = count("SELECT COUNT(*) FROM task_slot WHERE decision_id IS NOT NULL")
    if (over, twice, filled, chained) != (0, 0, done, done):
        sys.exit(
            f"over redundancy {over}, twice by one person {twice}, stored {chained} and filled {filled} of {done}"
        )


# --- extremes and changes -------------------------------------------------------------------------


class Bystander:
    """Somebody in a thread who writes to a store every few milliseconds, and notes the longest wait."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.worst_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Bystander:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        with Store.open(self.path) as store:
            while not self._stop.wait(0.005):
                began = time.perf_counter()
                with store.writing() as connection:
                    connection.exec_driver_sql("UPDATE task SET priority = priority")
                self.worst_s = max(self.worst_s, time.perf_counter() - began)


def measure(path: Path, what: str, do: Callable[[], object]) -> None:
    """Print how long something takes, and how long another had to wait because of it."""
    with Bystander(path) as bystander:
        began = time.perf_counter()
        result = do()
        took_s = time.perf_counter() - began
    print(
        f"| {what} | {result} | {1000 * took_s:,.1f} | {1000 * bystander.worst_s:,.0f} |",
        flush=True,
    )


def claim_cases(path: Path, person: int, what: str, *, class_name: str = "cat") -> None:
    """Time claims of one annotator in each mode."""
    cases: dict[ReviewMode, int] = {"single": 1, "grid": 48, "adjudication": 1}
    with Store.open(path) as store:
        for mode, count in cases.items():
            ask = partial(
                claim_masks, store, person, task=TASK, count=count, client="x", held=[], now=time.time(),
                rng=random.Random(0), mode=mode, class_name=class_name if mode == "grid" else "",
            )  # fmt: skip
            measure(
                path, f"{what}: {mode}", lambda ask=ask, count=count: f"{len(ask())} of {count}"
            )


def run_extremes(masks: int) -> None:
    """Print how long the next mask takes in one large task, state by state."""
    with tempfile.TemporaryDirectory() as folder:
        path, (first, second, third) = make_store(Path(folder), masks=masks, people=3, redundancy=3)
        print(
            "| state: mode | masks | ms | another waits at most, ms |\n| --- | ---: | ---: | ---: |"
        )
        with Store.open(path) as store, store.writing() as connection:
            run = connection.exec_driver_sql
            run("UPDATE annotator SET role = 'curator'")
        claim_cases(path, first, "nothing decided")
        with Store.open(path) as store, store.writing() as connection:
            rows = [(i, 2 if i % 10_000 else 1, None) for i in range(1, masks + 1)]
            store_suggestions(connection, 1, rows=rows, source="bench")
        claim_cases(path, second, "suggested as the class: 1 in 10,000")
        with Store.open(path) as store:
            decide_all(store, first, masks=masks)
        claim_cases(path, first, "all decided by oneself", class_name="dog")
        claim_cases(path, second, "all decided once", class_name="dog")
        with Store.open(path) as store, store.writing() as connection:
            run = connection.exec_driver_sql
            run("DELETE FROM lease")
            run("DELETE FROM task_slot WHERE decision_id IS NULL AND position < ?", (masks - 5,))
        claim_cases(path, third, "almost everything decided", class_name="dog")


def run_changes(masks: int) -> None:
    """Print how long a curator's changes of one large task take, and how long they keep others waiting."""
    with tempfile.TemporaryDirectory() as folder:
        path, (first, *_) = make_store(Path(folder), masks=masks, people=2, redundancy=2)
        with Store.open(path) as store:
            decide_all(store, first, masks=masks)
            print(
                "| change | result | ms | another waits at most, ms |\n| --- | ---: | ---: | ---: |"
            )
            for redundancy in (3, 2):
                changes = {"redundancy": redundancy, "max_redundancy": redundancy}
                change = partial(set_options, store, TASK, changes=changes, now=time.time())
                measure(path, f"redundancy {redundancy}", lambda change=change: change().redundancy)
            reopen = partial(
                reopen_decisions, store, "person 0", TASK, by="bench", note="x", now=time.time()
            )
            measure(path, "one annotator's decisions re-opened", reopen)


def decide_all(store: Store, person: int, *, masks: int) -> None:
    """Have one annotator decide every mask, by rows alone."""
    made = [
        (uuid.UUID(int=i).bytes, i, 1, 1, None, "class", 1, person, "single", 1000, NOW, None)
        for i in range(1, masks + 1)
    ]
    with store.writing() as connection:
        append_decisions(connection, made)
        connection.exec_driver_sql("DELETE FROM lease")
        connection.exec_driver_sql(
            "UPDATE task_slot SET annotator_id = ?, decision_id = mask_id WHERE number = 0",
            (person,),
        )


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True)
    following = commands.add_parser("next")
    following.add_argument(
        "--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000]
    )
    following.add_argument("--samples", type=int, default=300)
    crowd = commands.add_parser("crowd")
    crowd.add_argument("--processes", type=int, default=16)
    crowd.add_argument("--decisions", type=int, default=10_000)
    crowd.add_argument("--redundancy", type=int, default=2)
    crowd.add_argument("--batch", type=int, default=4, help="masks claimed in a call")
    for what in ("extremes", "changes"):
        commands.add_parser(what).add_argument("--masks", type=int, default=1_000_000)
    asked = parser.parse_args()
    if asked.what == "next":
        run_next(asked.sizes, asked.samples)
    elif asked.what == "extremes":
        run_extremes(asked.masks)
    elif asked.what == "changes":
        run_changes(asked.masks)
    else:
        run_crowd(asked.processes, asked.decisions, asked.redundancy, asked.batch)


if __name__ == "__main__":
    main()
