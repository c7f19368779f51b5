"""Votes question by question: what stands, what an adjudicator said instead, and scores on gold."""

from __future__ import annotations

import numpy as np
import pytest

from mseg_curate.core.accuracy import GoldScore
from mseg_curate.core.consensus import Outcome, Vote
from mseg_curate.core.resolving import Ballots, KnownTruth
from mseg_curate.store import Store
from mseg_curate.store.bulk import bulk_insert
from mseg_curate.store.decisions import NewDecision, annotator_id, append_decisions, mask_ids
from mseg_curate.store.engine import run_query
from mseg_curate.store.tasks import TaskOptions, create_task
from mseg_curate.store.votes import (
    QuestionVotes,
    class_names,
    load_answers,
    load_gold_scores,
    load_gold_truths,
    load_policies,
    load_task_truths,
    load_task_votes,
    votes_by_question,
)

NOW = "2026-01-02T03:04:05+00:00"
# The classes of the small store in the order of its taxonomy.
CAT, DOG, COW = 2, 3, 4
UNSURE = Vote(Outcome.UNSURE)
NOBODY = np.zeros(0, np.int64)
NO_VOTES = Ballots(NOBODY, NOBODY, NOBODY, NOBODY.astype(np.bool_), ())


def vote(
    number: int,
    what: str | int,
    *,
    mask: int = 1,
    by: int = 1,
    mode: str = "single",
    instead_of: int | None = None,
) -> NewDecision:
    """Build a decision for a class by its id, or for another outcome by its name."""
    outcome, label = ("class", what) if isinstance(what, int) else (what, None)
    uuid = number.to_bytes(16, "big")
    return (uuid, mask, None, None, None, outcome, label, by, mode, None, None, instead_of)


def append(store: Store, *rows: NewDecision) -> None:
    """Append decisions of the annotators 1 to 3, whose names are their numbers in letters."""
    with store.writing() as connection:
        for name in ("one", "two", "three"):
            annotator_id(connection, name, kind="person", now=NOW)
        append_decisions(connection, rows)


def read(store: Store, as_of: int = 99) -> list[QuestionVotes]:
    """Return the votes of all questions."""
    with store.reading() as connection:
        return list(votes_by_question(connection, as_of))


def by_mask(ballots: Ballots) -> dict[int, list[tuple[int, Vote]]]:
    """Return (annotator, vote) of each mask, in the order of deciding."""
    found: dict[int, list[tuple[int, Vote]]] = {}
    for mask, who, answer in zip(
        ballots.mask.tolist(), ballots.annotator.tolist(), ballots.answer.tolist(), strict=True
    ):
        found.setdefault(mask, []).append((who, ballots.answers[answer]))
    return found


def make_gold(
    store: Store,
    what: int | str,
    *,
    mask: int,
    shown_to: tuple[int, ...] = (1, 2, 3),
    kind: str = "evaluation",
    task: int = 1,
    retired: str | None = None,
) -> None:
    """Store a gold mask, and who was shown it."""
    outcome, label = ("class", what) if isinstance(what, int) else (what, None)
    with store.writing() as connection:
        gold = (task, mask, outcome, label, kind, "", "one", NOW, 1, retired)
        columns = "task_id, mask_id, outcome, label_class_id, kind, note, added_by, added_at, decision_id, retired_at"
        bulk_insert(connection, f"gold ({columns})", [gold])
        number = connection.exec_driver_sql("SELECT MAX(id) FROM gold").scalar_one()
        shown = [(number, who, "single", NOW) for who in shown_to]
        bulk_insert(connection, "gold_exposure (gold_id, annotator_id, mode, shown_at)", shown)


def question(store: Store) -> QuestionVotes:
    """Return the question of the farm's animals."""
    return QuestionVotes(*question_of(store), NO_VOTES)


def score(store: Store, as_of: int = 99) -> dict[int, tuple[int, int]]:
    """Return (right, total) by annotator on the gold of the farm's animals, single and grid together."""
    with store.reading() as connection:
        found = load_gold_scores(connection, question(store), as_of)
    return {
        who: (sum(s.right for s in parts), sum(s.total for s in parts))
        for who in sorted({who for who, _ in found})
        if (parts := [s for (by, _), s in found.items() if by == who])
    }


def question_of(store: Store) -> tuple[int, str]:
    """Return the farm's id and the class that is asked about."""
    (row,) = run_query(store, "SELECT id FROM dataset WHERE name = 'farm'")[1]
    return int(str(row[0])), "animal"


def test_the_classes_are_those_of_the_small_store(farm_store: Store) -> None:
    """The ids that these tests use are cat, dog and cow; names are looked up for those asked."""
    with farm_store.reading() as connection:
        assert class_names(connection, [DOG, CAT]) == {CAT: "cat", DOG: "dog"}
        assert class_names(connection, [COW]) == {COW: "cow"}


def test_votes_come_mask_by_mask_as_of_a_decision(farm_store: Store) -> None:
    """Votes of one mask come together; a later decision neither counts nor supersedes yet."""
    append(
        farm_store,
        vote(1, "unsure"),
        vote(2, DOG, mask=2, by=2),
        vote(3, CAT, instead_of=1),
        vote(4, "bad_mask", mask=2, by=3),
    )
    found = [[by_mask(q.ballots) for q in read(farm_store, n)] for n in (0, 1, 2, 3, 4)]
    dog, cat, bad = Vote(Outcome.CLASS, DOG), Vote(Outcome.CLASS, CAT), Vote(Outcome.BAD_MASK)
    assert found == [
        [],
        [{1: [(1, UNSURE)]}],
        [{1: [(1, UNSURE)], 2: [(2, dog)]}],
        [{1: [(1, cat)], 2: [(2, dog)]}],
        [{1: [(1, cat)], 2: [(2, dog), (3, bad)]}],
    ]
    (question,) = read(farm_store, 4)
    assert (question.dataset_id, question.source_class) == question_of(farm_store)


def test_of_two_votes_of_one_annotator_the_later_counts(farm_store: Store) -> None:
    """Where two decisions of one annotator on a mask both stand, say of two tasks, they have one vote."""
    append(farm_store, vote(1, CAT), vote(2, CAT, by=2, mode="grid"), vote(3, DOG, mode="grid"))
    (question,) = read(farm_store)
    assert by_mask(question.ballots) == {
        1: [(2, Vote(Outcome.CLASS, CAT)), (1, Vote(Outcome.CLASS, DOG))]
    }
    assert question.ballots.is_grid.tolist() == [True, True]


def test_a_withdrawn_decision_is_no_vote(farm_store: Store) -> None:
    """An undo takes the vote away; what is decided after it counts again."""
    append(
        farm_store,
        vote(1, CAT),
        vote(2, "withdrawn", instead_of=1),
        vote(3, DOG, instead_of=2),
    )
    assert [len(q.ballots.mask) for q in read(farm_store, 1)] == [1]
    assert read(farm_store, 2) == []
    assert by_mask(read(farm_store)[0].ballots) == {1: [(1, Vote(Outcome.CLASS, DOG))]}


def test_an_adjudication_is_told_from_votes(farm_store: Store) -> None:
    """Adjudications stand apart; the latest counts, and one that was withdrawn does not."""
    append(
        farm_store,
        vote(1, CAT, by=1),
        vote(2, DOG, by=2, mode="adjudication"),
        vote(3, "unsure", by=3, mode="adjudication"),
        vote(4, COW, by=2, mask=2, mode="adjudication"),
        vote(5, "withdrawn", by=2, mask=2, mode="adjudication", instead_of=4),
    )
    (question,) = read(farm_store)
    assert by_mask(question.ballots) == {1: [(1, Vote(Outcome.CLASS, CAT))]}
    assert question.adjudicated == {1: UNSURE}
    (question,) = read(farm_store, 4)
    assert question.adjudicated[2] == Vote(Outcome.CLASS, COW)


def test_questions_are_told_apart(farm_store: Store) -> None:
    """Masks of another class, and of no known class, are questions of their own."""
    with farm_store.writing() as connection:
        dataset, _ = question_of(farm_store)
        keys = [("train", "", "a", 0, "sky"), ("train", "", "z", 0, "")]
        sky, unknown = mask_ids(connection, dataset, keys=keys)
    append(farm_store, vote(1, CAT), vote(2, CAT, mask=sky), vote(3, CAT, mask=unknown))
    assert [(q.source_class, [*by_mask(q.ballots)]) for q in read(farm_store)] == [
        ("", [unknown]),
        ("animal", [1]),
        ("sky", [sky]),
    ]


def test_votes_of_a_task_name_their_annotators(farm_store: Store) -> None:
    """The votes on a task's masks carry name and mode; adjudications and other masks are left out."""
    append(
        farm_store,
        vote(1, CAT, by=2, mode="grid"),
        vote(2, DOG, by=1, mode="adjudication"),
        vote(3, "unsure", mask=3, by=3, mode="import"),
        vote(4, DOG, by=2, instead_of=1),
    )
    with farm_store.reading() as connection:
        votes = load_task_votes(connection, 1, 3)
        assert by_mask(votes.ballots) == {1: [(2, Vote(Outcome.CLASS, CAT))], 3: [(3, UNSURE)]}
        assert (votes.modes, votes.names) == (["grid", "import"], {2: "two", 3: "three"})
        votes = load_task_votes(connection, 1, 4)
        assert by_mask(votes.ballots)[1] == [(2, Vote(Outcome.CLASS, DOG))]
        assert votes.modes == ["import", "single"]
        assert load_task_votes(connection, 2, 4).names == {}


def make_second_task(store: Store, *, policy: str, masks: list[int]) -> None:
    """Store a newer task about some of the same masks."""
    with store.writing() as connection:
        dataset_class, revision = connection.exec_driver_sql(
            "SELECT dataset_class_id, mapping_revision_id FROM task WHERE id = 1"
        ).one()
        create_task(
            connection,
            "again",
            dataset_class_id=dataset_class,
            mapping_revision=revision,
            options=TaskOptions(policy=policy),
            candidates=[COW, DOG],
            definitions={},
            mask_ids=masks,
            now=NOW,
        )


def test_the_newest_task_sets_the_policy(farm_store: Store) -> None:
    """A mask of two tasks has the policy of the newer; answers are the candidates of both."""
    make_second_task(farm_store, policy="weighted(min_posterior=0.9,quorum=2)", masks=[2])
    with farm_store.reading() as connection:
        policies = load_policies(connection)
        answers = load_answers(connection, question(farm_store))
        other = load_answers(connection, QuestionVotes(1, "sky", NO_VOTES))
    first = "majority(min_agreement=0.5,quorum=1)"
    assert policies == {1: first, 2: "weighted(min_posterior=0.9,quorum=2)", 3: first}
    outside = [Vote(Outcome.NONE_OF_THESE), Vote(Outcome.BAD_MASK)]
    assert answers == [*(Vote(Outcome.CLASS, label) for label in (CAT, DOG, COW)), *outside]
    assert other == outside


def test_gold_scores_count_right_answers(farm_store: Store) -> None:
    """Right is the gold's outcome and class; unsure is left out; the modes single and grid count."""
    append(
        farm_store,
        vote(1, CAT, by=1),
        vote(2, DOG, by=2, mode="grid"),
        vote(3, "unsure", by=3),
        vote(4, "none_of_these", mask=2, by=1),
        vote(5, "bad_mask", mask=2, by=2),
        vote(6, CAT, mask=3, by=2, mode="import"),
        vote(7, CAT, mask=3, by=3),
    )
    make_gold(farm_store, CAT, mask=1)
    make_gold(farm_store, "none_of_these", mask=2)
    make_gold(farm_store, CAT, mask=3)
    assert score(farm_store) == {1: (2, 2), 2: (0, 2), 3: (1, 1)}
    assert score(farm_store, 2) == {1: (1, 1), 2: (0, 1)}
    with farm_store.reading() as connection:
        found = load_gold_scores(connection, question(farm_store), 99)
    assert found == {
        (1, False): GoldScore(2, 2),
        (2, False): GoldScore(0, 1),
        (2, True): GoldScore(0, 1),
        (3, False): GoldScore(1, 1),
    }


@pytest.mark.parametrize(
    "unlike",
    [
        {"kind": "training"},
        {"retired": NOW},
        {"shown_to": (2, 3)},
    ],
    ids=["training", "retired", "never shown as gold"],
)
def test_what_is_no_evaluation_gold_scores_nothing(
    farm_store: Store, unlike: dict[str, object]
) -> None:
    """Training gold, retired gold, and gold that was made of one's own vote say nothing of accuracy."""
    append(farm_store, vote(1, CAT))
    make_gold(farm_store, CAT, mask=1, **unlike)  # type: ignore[arg-type]
    assert score(farm_store) == {}


def test_gold_is_scored_by_what_stands(farm_store: Store) -> None:
    """Corrections take the place of answers, undoing takes them away; of two tasks the newer says what is right."""
    append(
        farm_store,
        vote(1, CAT),
        vote(2, DOG, instead_of=1),
        vote(3, CAT, by=2),
        vote(4, "withdrawn", by=2, instead_of=3),
    )
    make_gold(farm_store, CAT, mask=1)
    assert score(farm_store) == {1: (0, 1)}
    assert score(farm_store, 3) == {1: (0, 1), 2: (1, 1)}
    assert score(farm_store, 1) == {1: (1, 1)}
    make_second_task(farm_store, policy="majority", masks=[1])
    make_gold(farm_store, DOG, mask=1, task=2, shown_to=())
    assert score(farm_store) == {1: (1, 1)}


def test_truths_are_told_with_those_who_answered_unawares(farm_store: Store) -> None:
    """Truths are the evaluation gold with answers of people who were shown it; of a task those among its masks."""
    append(
        farm_store,
        vote(1, CAT, by=1),
        vote(2, DOG, by=2),
        vote(3, "unsure", mask=2, by=1),
        vote(4, CAT, mask=3, by=1),
    )
    make_gold(farm_store, DOG, mask=1, shown_to=(1,))
    make_gold(farm_store, CAT, mask=2)
    make_gold(farm_store, "bad_mask", mask=3)
    expected = {
        1: KnownTruth(Vote(Outcome.CLASS, DOG), frozenset({1})),
        3: KnownTruth(Vote(Outcome.BAD_MASK), frozenset({1})),
    }
    with farm_store.reading() as connection:
        assert load_gold_truths(connection, question(farm_store), 99) == expected
        assert load_gold_truths(connection, question(farm_store), 1).keys() == {1}
        assert load_task_truths(connection, 1, 99) == expected
        assert load_task_truths(connection, 2, 99) == {}
