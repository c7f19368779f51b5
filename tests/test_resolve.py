"""Resolutions: derived from the decisions that stand, as of any decision."""

from __future__ import annotations

import pytest

from mseg_curate.decide import import_csv
from mseg_curate.errors import StoreError
from mseg_curate.resolve import resolve_masks
from mseg_curate.store import Store
from mseg_curate.store.decisions import latest_decision, resolution_state
from mseg_curate.store.engine import run_query

NOW = "2026-01-02T03:04:05+00:00"
Rows = list[tuple[object, ...]]


def vote(store: Store, *votes: str) -> None:
    """Append votes on mask a/0, each `outcome annotator`, or `outcome annotator image segment`."""
    lines = ["dataset,split,image,segment,source_class,outcome,annotator"]
    for text in votes:
        outcome, by, *place = text.split()
        image, segment = place or ("a", "0")
        lines.append(f"farm,train,{image},{segment},animal,{outcome},{by}")
    path = store.path.with_name("votes.csv")
    path.write_text("\n".join(lines) + "\n")
    import_csv(store, path, now=NOW)


def resolutions(store: Store) -> Rows:
    """Return outcome, class, votes and agreement per mask."""
    return run_query(
        store,
        "SELECT outcome, resolved_class, votes, agreement FROM v_resolution ORDER BY image, segment",
    )[1]


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        (["dog 1"], ("resolved", "dog", 1, 1.0)),
        (["dog 1", "dog 2", "cat 3"], ("resolved", "dog", 3, 2 / 3)),
        (["dog 1", "cat 2"], ("contested", None, 2, 0.5)),
        (["dog 1", "cat 2", "cow 3"], ("contested", None, 3, 1 / 3)),
        (["dog 1", "dog 2", "cat 3", "cow 4", "unsure 5"], ("contested", None, 5, 0.4)),
        (["unsure 1", "unsure 2", "dog 3"], ("contested", None, 3, 2 / 3)),
        (["none_of_these 1", "none_of_these 2", "dog 3"], ("ignored", None, 3, 2 / 3)),
        (["bad_mask 1"], ("ignored", None, 1, 1.0)),
        (["none_of_these 1", "bad_mask 2"], ("contested", None, 2, 0.5)),
        (["dog 1", "cat 2", "dog 2"], ("resolved", "dog", 2, 1.0)),
    ],
)
def test_the_majority_wins(
    farm_store: Store, votes: list[str], expected: tuple[object, ...]
) -> None:
    """The most frequent last word wins; ties, little agreement and unsure are contested."""
    vote(farm_store, *votes)
    resolve_masks(farm_store)
    assert resolutions(farm_store) == [expected]


def test_masks_are_counted_by_outcome(farm_store: Store) -> None:
    """The result says how many masks came to what, and a mask without decisions has no resolution."""
    vote(farm_store, "dog 1", "cat 1 a 1", "dog 2 a 1")
    done = resolve_masks(farm_store)
    assert (done.resolved, done.contested, done.ignored, done.as_of_decision) == (1, 1, 0, 3)
    assert done.policy == "majority(min_agreement=0.5)"


def test_more_agreement_can_be_asked_for(farm_store: Store) -> None:
    """The least agreement is part of the policy, and its resolutions replace those of another."""
    vote(farm_store, "dog 1", "dog 2", "cat 3")
    resolve_masks(farm_store)
    done = resolve_masks(farm_store, min_agreement=0.8)
    assert (done.resolved, done.contested) == (0, 1)
    _, rows = run_query(farm_store, "SELECT outcome, policy FROM v_resolution")
    assert rows == [("contested", "majority(min_agreement=0.8)")]


def test_as_of_ignores_what_came_later(farm_store: Store) -> None:
    """As of a decision, later votes do not count and later corrections do not supersede."""
    vote(farm_store, "dog 1", "cat 2", "cat 1", "cow 3 b 0")
    expected: list[Rows] = [
        [("resolved", "dog", 1, 1.0)],
        [("contested", None, 2, 0.5)],
        [("resolved", "cat", 2, 1.0)],
        [("resolved", "cat", 2, 1.0), ("resolved", "cow", 1, 1.0)],
    ]
    for as_of, rows in enumerate(expected, start=1):
        done = resolve_masks(farm_store, as_of=as_of)
        assert done.as_of_decision == as_of
        assert resolutions(farm_store) == rows
    resolve_masks(farm_store)
    assert resolutions(farm_store) == expected[-1]


@pytest.mark.parametrize("as_of", [0, -1, 2])
def test_a_decision_that_is_not_there_is_refused(farm_store: Store, as_of: int) -> None:
    """`as_of` names a decision that exists; the resolutions stay as they were."""
    vote(farm_store, "dog 1")
    resolve_masks(farm_store)
    with pytest.raises(StoreError, match=rf"no decision {as_of}: expected 1 … 1"):
        resolve_masks(farm_store, as_of=as_of)
    assert len(resolutions(farm_store)) == 1


def test_without_decisions_nothing_is_resolved(farm_store: Store) -> None:
    """A store without decisions resolves to nothing, without an error."""
    done = resolve_masks(farm_store)
    assert (done.as_of_decision, done.resolved, done.contested, done.ignored) == (0, 0, 0, 0)


def test_the_state_names_what_it_was_derived_from(farm_store: Store) -> None:
    """Equal resolutions have equal hashes; the state carries the policy and the last decision's hash."""
    with farm_store.reading() as connection:
        empty = resolution_state(connection)
    assert (empty.policy, empty.as_of_decision, empty.decision_hash) == ("none", 0, "")
    vote(farm_store, "dog 1", "dog 2")
    hashes = []
    for as_of in (1, 2, None):
        resolve_masks(farm_store, as_of=as_of)
        with farm_store.reading() as connection:
            state = resolution_state(connection)
            latest = latest_decision(connection)
        hashes.append(state.sha256)
    assert len({*hashes, empty.sha256}) == 2
    assert (state.policy, state.as_of_decision) == ("majority(min_agreement=0.5)", 2)
    assert state.decision_hash == latest[1].hex()
