"""Rows of decisions: append-only, chained, superseded; masks that decisions know before their pixels."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from mseg_curate.core.mask import mask_of
from mseg_curate.errors import StoreError
from mseg_curate.store import Store
from mseg_curate.store.datasets import load_dataset
from mseg_curate.store.decisions import (
    NewDecision,
    annotator_id,
    append_decisions,
    current_decisions,
    known_uuids,
    latest_decision,
    mask_ids,
    stored_masks,
    verify_chain,
)
from mseg_curate.store.engine import run_query
from mseg_curate.store.masks import bind_masks

NOW = "2026-01-02T03:04:05+00:00"


def unsure(
    number: int, *, mask: int = 1, by: int = 1, instead_of: int | None = None
) -> NewDecision:
    """Build a decision that names no class."""
    uuid = number.to_bytes(16, "big")
    return (uuid, mask, None, None, None, "unsure", None, by, "single", 900, None, instead_of)


def append(store: Store, *rows: NewDecision) -> None:
    """Append decisions of one annotator."""
    with store.writing() as connection:
        annotator_id(connection, "one", kind="person", now=NOW)
        append_decisions(connection, rows)


def test_each_row_hash_follows_from_the_one_before(farm_store: Store) -> None:
    """The chain is SHA-256 over the last hash and the row, from 32 zero bytes on."""
    append(farm_store, unsure(1), unsure(2))
    append(farm_store, unsure(3))
    expected = bytes(32)
    for number in (1, 2, 3):
        expected = hashlib.sha256(expected + repr(unsure(number)).encode()).digest()
    with farm_store.reading() as connection:
        assert latest_decision(connection) == (3, expected)
        assert verify_chain(connection) == 3
        assert known_uuids(connection) == {n.to_bytes(16, "big") for n in (1, 2, 3)}


def test_a_store_without_decisions_has_an_empty_chain(small_store: Store) -> None:
    """Zero decisions verify."""
    with small_store.reading() as connection:
        assert (verify_chain(connection), latest_decision(connection)) == (0, (0, bytes(32)))


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE decision SET outcome = 'bad_mask' WHERE id = 2",
        "UPDATE decision SET milliseconds = 901 WHERE id = 2",
        "UPDATE decision SET row_hash = zeroblob(32) WHERE id = 2",
        "DELETE FROM decision WHERE id = 2",
        "UPDATE decision SET id = 9 WHERE id = 2",
        "UPDATE decision SET mask_id = 2 WHERE id = 3",
    ],
)
def test_tampering_is_found(farm_store: Store, sql: str) -> None:
    """A row that was changed, removed or moved breaks the chain, and the first broken row is named."""
    append(farm_store, unsure(1), unsure(2), unsure(3))
    with closing(sqlite3.connect(farm_store.path)) as connection:
        connection.execute(sql)
        connection.commit()
    with (
        farm_store.reading() as connection,
        pytest.raises(StoreError, match=r"decision [23] or one before it was changed outside"),
    ):
        verify_chain(connection)


def test_a_uuid_is_stored_once(farm_store: Store) -> None:
    """The database itself refuses a second row of a UUID, and keeps nothing of that transaction."""
    append(farm_store, unsure(1))
    with pytest.raises(StoreError, match=r"UNIQUE constraint failed: decision\.uuid"):
        append(farm_store, unsure(2), unsure(1))
    assert run_query(farm_store, "SELECT COUNT(*) FROM decision")[1] == [(1,)]


def test_a_decision_is_superseded_once(farm_store: Store) -> None:
    """Two decisions cannot take the place of the same one."""
    append(farm_store, unsure(1), unsure(2, instead_of=1))
    with pytest.raises(StoreError, match="supersedes_id"):
        append(farm_store, unsure(3, instead_of=1))


@pytest.mark.parametrize(
    "change",
    [
        {5: "class"},
        {6: 1},
        {5: "perhaps"},
        {8: "telephone"},
        {1: 99},
    ],
    ids=["class unnamed", "named without class", "outcome", "mode", "mask"],
)
def test_the_schema_refuses_what_is_no_decision(
    farm_store: Store, change: dict[int, object]
) -> None:
    """Outcome and class agree, outcome, mode and mask exist: the database checks it too."""
    row = [change.get(place, value) for place, value in enumerate(unsure(1))]
    with pytest.raises(StoreError, match="constraint failed"):
        append(farm_store, tuple(row))  # type: ignore[arg-type]


def test_the_last_word_stands(farm_store: Store) -> None:
    """Per mask and annotator the decision that nothing supersedes is the current one."""
    append(farm_store, unsure(1), unsure(2, mask=2), unsure(3, instead_of=1))
    with farm_store.reading() as connection:
        current = current_decisions(connection)
    assert {key: decision.id for key, decision in current.items()} == {(1, 1): 3, (2, 1): 2}


def test_an_annotator_keeps_its_kind(small_store: Store) -> None:
    """The same name gives the same row; as another kind it is refused."""
    with small_store.writing() as connection:
        first = annotator_id(connection, "one", kind="person", now=NOW)
        assert annotator_id(connection, "one", kind="person", now=NOW) == first
        with pytest.raises(StoreError, match="stored as person, not simulated"):
            annotator_id(connection, "one", kind="simulated", now=NOW)


def test_masks_come_before_their_pixels(farm_store: Store) -> None:
    """Unknown images and masks are made once, known ones found, in the order asked for."""
    known, new = ("train", "", "a", 0, "animal"), ("train", "s", "z", 7, "animal")
    with farm_store.writing() as connection:
        dataset = load_dataset(connection, "farm").id
        ids = mask_ids(connection, dataset, keys=[new, known, new, ("val", "", "c", 3, "")])
        assert ids == [4, 1, 4, 5]
        assert mask_ids(connection, dataset, keys=[new, known]) == [4, 1]
        assert mask_ids(connection, dataset, keys=[]) == []
        assert stored_masks(connection, dataset)[new] == 4
    _, rows = run_query(farm_store, "SELECT name, image_file FROM image ORDER BY id")
    assert rows[:3] == [("a", "images/a.jpg"), ("b", "images/b.jpg"), ("c", "images/c.jpg")]
    assert rows[3:] == [("z", None)]


def test_a_decision_of_unknown_class_finds_the_mask_of_its_segment(farm_store: Store) -> None:
    """Without a source class the one mask of a segment is meant; where there are two, neither is guessed."""
    with farm_store.writing() as connection:
        dataset = load_dataset(connection, "farm").id
        assert mask_ids(connection, dataset, keys=[("train", "", "a", 1, "")]) == [2]
        mask_ids(connection, dataset, keys=[("train", "", "a", 1, "sky")])
        assert mask_ids(connection, dataset, keys=[("train", "", "a", 1, "")]) == [5]


def test_a_mask_of_unknown_class_is_bound_unless_a_named_one_is_there(farm_store: Store) -> None:
    """Pixels bind to the mask of the class, else to one whose class was not known, never to both."""
    crop = np.ones((1, 2), np.bool_)
    with farm_store.writing() as connection:
        dataset = load_dataset(connection, "farm").id
        keys = [("train", "", "b", 5, ""), ("train", "", "b", 6, ""), ("train", "", "b", 6, "sky")]
        unknown, _, named = mask_ids(connection, dataset, keys=keys)
        image = 2
        found = [(image, mask_of(number, crop=crop, top_left=(0, 1))) for number in (5, 6, 8)]
        assert bind_masks(connection, "sky", found=found, numbering="component") == [
            unknown,
            named,
            named + 1,
        ]
        assert bind_masks(connection, "sky", found=found, numbering="component") == [
            unknown,
            named,
            named + 1,
        ]
    _, rows = run_query(
        farm_store,
        "SELECT segment, source_class, area_px, (SELECT COUNT(*) FROM mask_geometry WHERE mask_id = id) "
        f"FROM mask WHERE id >= {unknown} ORDER BY id",
    )
    assert rows == [(5, "sky", 2, 1), (6, "", None, 0), (6, "sky", 2, 1), (8, "sky", 2, 1)]
