"""Resolutions: derived from the decisions that stand, as of any decision."""

from __future__ import annotations

from typing import Any

import pytest

from mseg_curate import resolve as resolve_module
from mseg_curate.core.consensus import DawidSkene, Majority, Resolution, Weighted
from mseg_curate.decide import import_csv
from mseg_curate.errors import InputError, StoreError
from mseg_curate.resolve import resolve_masks
from mseg_curate.store import Store
from mseg_curate.store.bulk import bulk_insert
from mseg_curate.store.datasets import load_dataset
from mseg_curate.store.decisions import (
    append_decisions,
    latest_decision,
    mask_ids,
    resolution_state,
)
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
    assert done.policy == "majority(min_agreement=0.5,quorum=1)"
    assert done.open == 0


def test_more_agreement_can_be_asked_for(farm_store: Store) -> None:
    """The least agreement is part of the policy, and its resolutions replace those of another."""
    vote(farm_store, "dog 1", "dog 2", "cat 3")
    resolve_masks(farm_store)
    done = resolve_masks(farm_store, min_agreement=0.8)
    assert (done.resolved, done.contested) == (0, 1)
    _, rows = run_query(farm_store, "SELECT outcome, policy FROM v_resolution")
    assert rows == [("contested", "majority(min_agreement=0.8,quorum=1)")]
    with pytest.raises(InputError, match="a policy and min_agreement: expected one of them"):
        resolve_masks(farm_store, policy=Majority(), min_agreement=0.8)


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
    assert (done.open, done.policy) == (0, "none")


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
    assert (state.policy, state.as_of_decision) == ("majority(min_agreement=0.5,quorum=1)", 2)
    assert state.decision_hash == latest[1].hex()


def set_policy(store: Store, policy: str) -> None:
    """Give the task `kinds` another policy."""
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE task SET policy = ?", (policy,))


def decide(
    store: Store,
    annotator: str,
    name: str,
    *,
    mode: str,
    mask: int = 1,
    instead_of: int | None = None,
) -> int:
    """Append a decision, on mask a/0 where no other is named, as the pages do; returns its id."""
    with store.writing() as connection:
        row_id = latest_decision(connection)[0] + 1
        by = connection.exec_driver_sql(
            "SELECT id FROM annotator WHERE name = ?", (annotator,)
        ).scalar_one()
        label = connection.exec_driver_sql(
            "SELECT id FROM label_class WHERE name = ?", (name,)
        ).scalar()
        outcome = "class" if label else name
        uuid = row_id.to_bytes(16, "big")
        row = (uuid, mask, 1, None, None, outcome, label, by, mode, None, NOW, instead_of)
        append_decisions(connection, [row])
    return row_id


def test_each_task_has_its_own_policy(farm_store: Store) -> None:
    """Masks of a task follow its policy, those of none the default; a policy that is asked for goes before both."""
    vote(farm_store, "dog 1", "dog 2", "cat 3")
    with farm_store.writing() as connection:
        dataset = load_dataset(connection, "farm").id
        (other,) = mask_ids(connection, dataset, keys=[("train", "", "z", 5, "sky")])
    decide(farm_store, "1", "none_of_these", mode="import", mask=other)
    set_policy(farm_store, "majority(min_agreement=0.8,quorum=2)")
    done = resolve_masks(farm_store)
    both = "majority(min_agreement=0.5,quorum=1); majority(min_agreement=0.8,quorum=2)"
    assert (done.contested, done.ignored, done.policy) == (1, 1, both)
    with farm_store.reading() as connection:
        assert resolution_state(connection).policy == both
    done = resolve_masks(farm_store, policy=Majority())
    assert (done.resolved, done.ignored) == (1, 1)
    assert done.policy == "majority(min_agreement=0.5,quorum=1)"


def test_under_the_quorum_masks_stay_open(farm_store: Store) -> None:
    """A mask with fewer votes than the quorum has no row, and is counted as open."""
    vote(farm_store, "dog 1", "dog 2", "cat 1 a 1")
    done = resolve_masks(farm_store, policy=Majority(quorum=2))
    assert (done.resolved, done.open) == (1, 1)
    assert len(resolutions(farm_store)) == 1
    done = resolve_masks(farm_store, policy=Majority(quorum=3))
    assert (done.resolved, done.open, done.policy) == (0, 2, "majority(min_agreement=0.5,quorum=3)")


@pytest.mark.parametrize(
    ("decided", "expected"),
    [
        ("cow", ("resolved", "cow", 3, 2 / 3)),
        ("none_of_these", ("ignored", None, 3, 2 / 3)),
        ("unsure", ("contested", None, 3, 2 / 3)),
    ],
)
def test_an_adjudication_overrides_the_votes(
    farm_store: Store, decided: str, expected: tuple[object, ...]
) -> None:
    """What the adjudicator said stands, until it is withdrawn; the row says so in the place of a policy."""
    vote(farm_store, "dog 1", "dog 2", "cat 3")
    adjudication = decide(farm_store, "3", decided, mode="adjudication")
    done = resolve_masks(farm_store, policy=Majority(quorum=9))
    assert resolutions(farm_store) == [expected]
    assert (done.open, done.policy) == (0, "adjudication")
    decide(farm_store, "3", "withdrawn", mode="adjudication", instead_of=adjudication)
    resolve_masks(farm_store)
    assert resolutions(farm_store) == [("resolved", "dog", 3, 2 / 3)]
    resolve_masks(farm_store, as_of=adjudication)
    assert resolutions(farm_store) == [expected]


def test_a_withdrawn_vote_does_not_count(farm_store: Store) -> None:
    """Of two votes that disagree the one that was not taken back wins; without votes a mask has no row."""
    vote(farm_store, "dog 1", "cat 2")
    decide(farm_store, "1", "withdrawn", mode="single", instead_of=1)
    resolve_masks(farm_store)
    assert resolutions(farm_store) == [("resolved", "cat", 1, 1.0)]
    decide(farm_store, "2", "withdrawn", mode="single", instead_of=2)
    assert resolve_masks(farm_store).open == 0
    assert resolutions(farm_store) == []


def posteriors(store: Store) -> list[object]:
    """Return the posteriors in the order of the masks."""
    return [
        row[0] for row in run_query(store, "SELECT posterior FROM resolution ORDER BY mask_id")[1]
    ]


def make_gold(store: Store, name: str) -> None:
    """Make every mask of the task gold of a class, answered unawares by all."""
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE decision SET mode = 'single'")
        label = connection.exec_driver_sql(
            "SELECT id FROM label_class WHERE name = ?", (name,)
        ).scalar()
        masks = [row[0] for row in connection.exec_driver_sql("SELECT mask_id FROM task_mask")]
        columns = "id, task_id, mask_id, outcome, label_class_id, kind, note, added_by, added_at, decision_id"
        rows = [(m, 1, m, "class", label, "evaluation", "", "curator", NOW, 1) for m in masks]
        bulk_insert(connection, f"gold ({columns})", rows)
        shown = [(mask, by, "single", NOW) for mask in masks for by in (1, 2, 3)]
        bulk_insert(connection, "gold_exposure (gold_id, annotator_id, mode, shown_at)", shown)


def test_votes_weigh_what_gold_says(farm_store: Store) -> None:
    """Who is right on gold outvotes two who are not; without gold the majority wins, and has a posterior as well."""
    places = ("a 0", "a 1", "b 0")
    vote(
        farm_store, *(f"{what} {place}" for place in places for what in ("dog 1", "cat 2", "cat 3"))
    )
    done = resolve_masks(farm_store, policy=Weighted())
    assert resolutions(farm_store) == [("resolved", "cat", 3, 2 / 3)] * 3
    # Odds of 4 to 1 for each under the prior, among five answers.
    assert posteriors(farm_store) == pytest.approx([256 / (256 + 16 + 3)] * 3)
    make_gold(farm_store, "dog")
    done = resolve_masks(farm_store, policy=Weighted(min_posterior=0.55))
    assert resolutions(farm_store) == [("resolved", "dog", 3, 2 / 3)] * 3
    # By now 7 to 1 for the one, and 4 to 4 for the others.
    assert posteriors(farm_store) == pytest.approx([28 / (28 + 16 + 3)] * 3)
    assert done.policy == "weighted(min_posterior=0.55,quorum=1)"


def test_dawid_skene_gives_posteriors(farm_store: Store) -> None:
    """The probability of the answer stands beside it; majorities have none."""
    by_mask = (
        ("dog", "dog", "dog", "a 0"),
        ("cat", "cat", "cat", "a 1"),
        ("dog", "dog", "cat", "b 0"),
    )
    vote(farm_store, *(f"{w} {n} {place}" for *ws, place in by_mask for n, w in enumerate(ws)))
    done = resolve_masks(farm_store, policy=DawidSkene())
    assert [row[1] for row in resolutions(farm_store)] == ["dog", "cat", "dog"]
    assert done.policy == "dawid_skene(min_posterior=0.5,quorum=1)"
    assert all(isinstance(p, float) and 0.5 < p <= 1 for p in posteriors(farm_store))
    resolve_masks(farm_store)
    assert posteriors(farm_store) == [None] * 3


def test_annotators_go_on_deciding_while_votes_are_reckoned_with(
    farm_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is not locked while resolutions are worked out; what is decided meanwhile counts the next time."""
    vote(farm_store, "dog 1", "dog 2")
    plain = resolve_module.resolve_question

    def vote_meanwhile(*args: Any, **named: Any) -> dict[int, Resolution]:
        vote(farm_store, "cat 1", "cat 2")
        return plain(*args, **named)

    monkeypatch.setattr(resolve_module, "resolve_question", vote_meanwhile)
    assert resolve_masks(farm_store).as_of_decision == 2
    assert resolutions(farm_store) == [("resolved", "dog", 2, 1.0)]
    monkeypatch.setattr(resolve_module, "resolve_question", plain)
    resolve_masks(farm_store)
    assert resolutions(farm_store) == [("resolved", "cat", 2, 1.0)]


def test_gold_is_known_to_the_policy_that_asks_for_it(farm_store: Store) -> None:
    """Of two who always differ `dawid_skene(gold=yes)` believes the one who was right on gold."""
    vote(farm_store, "dog 1", "cat 2", "dog 1 a 1", "cat 2 a 1", "dog 1 b 0", "cat 2 b 0")
    with farm_store.writing() as connection:
        run = connection.exec_driver_sql
        run("UPDATE decision SET mode = 'single'")
        run(
            "INSERT INTO gold (task_id, mask_id, outcome, label_class_id, kind, note, added_by, added_at, decision_id) "
            "SELECT 1, mask_id, outcome, label_class_id, 'evaluation', '', 'x', '', id FROM decision "
            "WHERE annotator_id = (SELECT id FROM annotator WHERE name = '1') AND mask_id < 3"
        )
        run(
            "INSERT INTO gold_exposure (gold_id, annotator_id, mode, shown_at) "
            "SELECT g.id, a.id, 'single', '' FROM gold AS g, annotator AS a"
        )
    resolve_masks(farm_store, policy=DawidSkene())
    assert {row[0] for row in resolutions(farm_store)} == {"contested"}
    done = resolve_masks(farm_store, policy=DawidSkene(gold=True))
    assert done.policy == "dawid_skene(min_posterior=0.5,quorum=1,gold=yes)"
    assert {row[1] for row in resolutions(farm_store)} == {"dog"}
