"""A store with one task and some people, made by rows alone, and a desk from which they work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from mseg_curate.clock import iso_of
from mseg_curate.core.mask import encode_runs
from mseg_curate.initialise import create_store
from mseg_curate.review import Item, Operation, Result, apply_operations, claim_masks
from mseg_curate.store import Store
from mseg_curate.store.annotators import set_status
from mseg_curate.store.bulk import bulk_insert
from mseg_curate.store.decisions import annotator_id, append_decisions
from mseg_curate.store.engine import run_query
from mseg_curate.store.settle import settle_masks
from mseg_curate.store.tasks import TaskOptions, create_task

START = 1_767_225_600.0  # 2026-01-01T00:00:00+00:00
CLASSES = ("cat", "cow", "dog")


@dataclass
class Desk:
    """People at work on one task; `now` is the clock that they all see."""

    store: Store
    people: dict[str, int]
    rng: Random = field(default_factory=lambda: Random(7))
    now: float = START

    def claim(self, name: str, count: int = 1, **asked: Any) -> list[Item]:
        """Claim masks for somebody."""
        asked = {"task": "kinds", "client": f"tab of {name}", "held": []} | asked
        return claim_masks(
            self.store, self.people[name], count=count, now=self.now, rng=self.rng, **asked
        )

    def uuid(self) -> str:
        """Return a new UUID as pages make them."""
        return UUID(int=self.rng.getrandbits(128)).hex

    def apply(self, name: str, operation: Operation) -> Result:
        """Apply one operation of somebody."""
        (result,) = apply_operations(
            self.store, self.people[name], [operation], client=f"tab of {name}", now=self.now
        )
        return result

    def say(self, name: str, item: Item, answer: str, **more: Any) -> Result:
        """Decide a leased mask: a class, or another outcome by its name."""
        return self.apply(name, self.decision(item, answer, **more))

    def decision(self, item: Item, answer: str, **more: Any) -> Operation:
        """Return the operation that decides a leased mask."""
        is_class = answer in CLASSES
        return Operation(
            "decide",
            more.pop("uuid", None) or self.uuid(),
            item.lease,
            "class" if is_class else answer,
            answer if is_class else "",
            **more,
        )

    def mask_of(self, item: Item) -> int:
        """Return the mask of a leased item: boxes are made to tell."""
        return item.box[0] * 100 + item.box[1] + 1

    def ask(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        for value in values:
            sql = sql.replace("?", repr(value), 1)
        return run_query(self.store, sql)[1]

    def status(self, mask_id: int) -> str:
        """Return the state of a mask."""
        return str(self.ask("SELECT status FROM task_mask WHERE mask_id = ?", mask_id)[0][0])

    def add_gold(self, mask_id: int, answer: str, kind: str = "evaluation", note: str = "") -> None:
        """Make a mask gold, as the curator does."""
        label = self.ask("SELECT id FROM label_class WHERE name = ?", answer)[0][0]
        at = iso_of(self.now)
        with self.store.writing() as connection:
            append_decisions(
                connection,
                [(UUID(int=mask_id).bytes, mask_id, 1, 1, None, "class", label, self.people["curator"],
                  "adjudication", None, at, None)],
            )  # fmt: skip
            connection.exec_driver_sql(
                "INSERT INTO gold (task_id, mask_id, outcome, label_class_id, kind, note, added_by, added_at, "
                "decision_id) SELECT 1, ?, 'class', ?, ?, ?, 'curator', ?, MAX(id) FROM decision",
                (mask_id, label, kind, note, at),
            )
            settle_masks(connection, 1, mask_ids=[mask_id], now=self.now)

    def pause(self, name: str) -> None:
        """Pause somebody."""
        with self.store.writing() as connection:
            set_status(connection, self.people[name], "paused")


MakeDesk = Callable[..., Desk]


@pytest.fixture
def make_desk(tmp_path: Path) -> Iterator[MakeDesk]:
    """A function that makes a desk: a task `kinds` of so many masks, options as named, and people."""
    with ExitStack() as stack:

        def make(masks: int = 6, people: str = "ann bob cid", **options: Any) -> Desk:
            path = make_store(tmp_path, masks, TaskOptions(**({"gold_rate": 0.0} | options)))
            store = stack.enter_context(Store.open(path))
            names = [*people.split(), "curator"]
            with store.writing() as connection:
                ids = {
                    n: annotator_id(connection, n, kind="person", now=iso_of(START)) for n in names
                }
                connection.exec_driver_sql(
                    "UPDATE annotator SET role = 'curator' WHERE name = 'curator'"
                )
            return Desk(store, ids)

        yield make


def make_store(folder: Path, masks: int, options: TaskOptions) -> Path:
    """Make a store of one task; mask i has its box at row (i − 1) // 100 and column (i − 1) % 100."""
    (folder / "taxonomy.tsv").write_text(
        "universal\n" + "\n".join(CLASSES) + "\nunlabeled\n", encoding="utf-8"
    )
    path = folder / "review.db"
    create_store(path, taxonomy_path=folder / "taxonomy.tsv", now=iso_of(START))
    runs = encode_runs(np.ones((1, 1), np.bool_))
    places = [(i, (i - 1) // 100, (i - 1) % 100) for i in range(1, masks + 1)]
    with Store.open(path) as store, store.writing() as connection:
        run = connection.exec_driver_sql
        run(
            "INSERT INTO dataset (id, name, role, root, layout) VALUES (1, 'd', 'train', '.', '{}')"
        )
        run("INSERT INTO dataset_class (id, dataset_id, class_id, name) VALUES (1, 1, 0, 'animal')")
        run(
            "INSERT INTO mapping_revision (id, dataset_id, taxonomy_id, author, created_at, note, sha256) "
            "VALUES (1, 1, 1, 'x', '2026', '', '')"
        )
        run(
            "INSERT INTO mapping (id, mapping_revision_id, dataset_class_id, relation) VALUES (1, 1, 1, 'split')"
        )
        run("INSERT INTO mapping_class VALUES (1, 'target', 0, 1)")
        run(
            "INSERT INTO image (id, dataset_id, split, sequence, name, image_file, label_file, height, width, "
            "image_sha256, label_sha256) VALUES (1, 1, 'train', '', 'a', 'a.jpg', 'a.png', 100, 100, '', '')"
        )
        bulk_insert(
            connection,
            "mask (id, image_id, source_class, segment, numbering, y0, x0, y1, x1, area_px)",
            [(i, 1, "animal", i, "component", y, x, y + 1, x + 1, 1) for i, y, x in places],
        )
        bulk_insert(connection, "mask_geometry (mask_id, runs)", [(i, runs) for i, _, _ in places])
        create_task(
            connection,
            "kinds",
            dataset_class_id=1,
            mapping_revision=1,
            options=options,
            candidates=[1, 2, 3],
            definitions={},
            mask_ids=[i for i, _, _ in places],
            now=iso_of(START),
        )
    return path
