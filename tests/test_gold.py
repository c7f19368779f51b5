"""Gold: added whole or not at all, retired, proposed, and the scores that follow from it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest

from mseg_curate.annotators import resume_person, set_role, sign_in_person
from mseg_curate.decide import import_csv, verify_decisions
from mseg_curate.errors import DecisionError, InputError, StoreError
from mseg_curate.gold import (
    add_gold,
    gold_scores,
    list_gold,
    propose_gold,
    read_gold_csv,
    retire_gold,
    write_proposals,
)
from mseg_curate.resolve import resolve_masks
from mseg_curate.review import Operation, Person, apply_operations, claim_masks
from mseg_curate.store import Store
from mseg_curate.store.engine import run_query
from mseg_curate.store.gold import gold_score

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
DAY = "2026-01-01T00:00:00+00:00"
A0, A1, B0 = ("train", "", "a", 0), ("train", "", "a", 1), ("train", "", "b", 0)
HEADER = "dataset,split,image,segment,source_class,outcome,annotator,mode\n"


class Always(Random):
    """A source of randomness that draws gold wherever there is some."""

    def random(self) -> float:
        """Return what is below every rate."""
        return 0.0


def rows(store: Store, sql: str) -> list[tuple[object, ...]]:
    """Return the rows of a query."""
    return run_query(store, sql)[1]


@pytest.fixture
def store(farm_store: Store) -> Store:
    """The farm with its task `kinds` (masks a/0, a/1 and b/0; cat, dog, cow), and the curator carla."""
    sign_in_person(farm_store, "carla", now=NOW)
    set_role(farm_store, "carla", role="curator", by="carla", now=NOW)
    return farm_store


def add(store: Store, *masks: tuple[str, str, str, int, str], kind: str = "evaluation") -> int:
    """Add gold as carla."""
    return add_gold(store, "kinds", masks, kind=kind, note="", by="carla", now=NOW)


def retire(store: Store, mask: tuple[str, str, str, int], *, stands: bool = False) -> None:
    """Retire gold as carla."""
    retire_gold(store, "kinds", mask, note="wrong", by="carla", now=NOW + 9, answer_stands=stands)


def answer_all(
    store: Store, name: str, answers: Mapping[int, str], *, now: float = NOW + 100
) -> Person:
    """Let a person decide, one by one, all masks that they are given; `answers` is by mask id."""
    person = sign_in_person(store, name, now=NOW)
    rng = Always(name)
    while items := claim_masks(
        store, person.id, task="kinds", count=1, client="tab", held=[], now=now, rng=rng
    ):
        lease = items[0].lease
        (mask_id,) = rows(store, f"SELECT mask_id FROM lease WHERE token = x'{lease}'")[0]
        assert isinstance(mask_id, int)
        operation = Operation(
            "decide", uuid4().hex, lease, outcome="class", class_name=answers[mask_id]
        )
        (result,) = apply_operations(store, person.id, [operation], client="tab", now=now)
        assert result.status == "stored"
    return person


def test_gold_is_an_adjudication(store: Store) -> None:
    """Gold is resolved as the curator says and needs no other decisions."""
    assert add(store, (*A0, "dog"), (*A1, "none_of_these")) == 2
    assert rows(
        store,
        "SELECT image, segment, outcome, decided_class, shown_class, annotator, mode, task, mapping_revision "
        "FROM v_decision ORDER BY decision_id",
    ) == [
        ("a", 0, "class", "dog", "cat", "carla", "adjudication", "kinds", 1),
        ("a", 1, "none_of_these", None, "cat", "carla", "adjudication", "kinds", 1),
    ]
    assert rows(store, "SELECT mask_id, status FROM task_mask ORDER BY mask_id") == [
        (1, "adjudicated"),
        (2, "adjudicated"),
        (3, "open"),
    ]
    assert rows(store, "SELECT mask_id FROM task_slot") == [(3,)]
    resolve_masks(store)
    assert rows(store, "SELECT outcome, resolved_class FROM v_resolution ORDER BY segment") == [
        ("resolved", "dog"),
        ("ignored", None),
    ]
    assert verify_decisions(store) == 2


def test_all_faults_are_listed(store: Store) -> None:
    """Masks outside the task, wrong answers, repeats and gold that is there are named at once; nothing is stored."""
    add(store, (*B0, "cow"))
    with pytest.raises(InputError) as caught:
        add(
            store,
            (*A0, "dgo"),
            (*A0, "dog"),
            ("train", "", "a", 7, "dog"),
            ("val", "pen", "c", 0, "unsure"),
            (*B0, "cow"),
        )
    assert caught.value.problems == (
        "mask 0 of image 'a' of split 'train': named 2 times",
        "mask 0 of image 'a' of split 'train': expected one of cat, dog, cow, none_of_these, bad_mask, found 'dgo'",
        "mask 7 of image 'a' of split 'train': the task kinds has no such mask",
        "mask 0 of image 'pen/c' of split 'val': the task kinds has no such mask",
        "mask 0 of image 'pen/c' of split 'val': expected one of cat, dog, cow, none_of_these, bad_mask, "
        "found 'unsure'",
        "mask 0 of image 'b' of split 'train': is gold already; retire that first",
    )
    assert rows(store, "SELECT COUNT(*) FROM gold") == [(1,)]
    assert rows(store, "SELECT COUNT(*) FROM decision") == [(1,)]


def test_only_curators_make_gold(store: Store) -> None:
    """An annotator, a stranger and a simulated annotator make and retire none; no gold and no kind are refused."""
    sign_in_person(store, "anna", now=NOW)
    for name, found in (("anna", "role annotator"), ("nobody", "unknown")):
        with pytest.raises(StoreError, match=f"{name!r} is no curator .*{found}"):
            add_gold(store, "kinds", [(*A0, "dog")], kind="evaluation", note="", by=name, now=NOW)
        with pytest.raises(StoreError, match="is no curator"):
            retire_gold(store, "kinds", A0, note="x", by=name, now=NOW, answer_stands=True)
    with pytest.raises(InputError, match="expected evaluation or training, found 'exam'"):
        add(store, (*A0, "dog"), kind="exam")
    with pytest.raises(InputError, match="no gold to add"):
        add(store)
    with pytest.raises(StoreError, match="no task 'nothing'"):
        add_gold(store, "nothing", [(*A0, "dog")], kind="training", note="", by="carla", now=NOW)


def test_retired_gold_with_a_right_answer(store: Store) -> None:
    """Gold that is known too well is drawn no more; its answer stands."""
    add(store, (*A0, "dog"))
    retire(store, A0, stands=True)
    assert rows(store, "SELECT outcome, superseded FROM v_decision") == [("class", 0)]
    assert rows(store, "SELECT status FROM task_mask WHERE mask_id = 1") == [("adjudicated",)]
    (line,) = list_gold(store, "kinds")
    assert (line.retired_by, line.retired_note) == ("carla", "wrong")
    with pytest.raises(InputError, match="mask 0 of image 'a' of split 'train' is no gold"):
        retire(store, A0)
    with pytest.raises(InputError, match="a reason is missing"):
        retire_gold(store, "kinds", A0, note="", by="carla", now=NOW, answer_stands=True)


def test_retired_gold_with_a_wrong_answer(store: Store, tmp_path: Path) -> None:
    """A wrong answer is withdrawn, and the mask is what its votes say, with as many slots as it lacks."""
    add(store, (*A0, "dog"), (*A1, "dog"))
    for name in ("anna", "ben"):
        answer_all(store, name, {1: "cat", 2: "cow", 3: "cow"})
    retire(store, A0)
    assert rows(store, "SELECT mask_id, status FROM task_mask WHERE mask_id < 3") == [
        (1, "settled"),
        (2, "adjudicated"),
    ]
    resolve_masks(store)
    assert rows(
        store, "SELECT resolved_class FROM v_resolution WHERE image = 'a' ORDER BY segment"
    ) == [("cat",), ("dog",)]
    assert verify_decisions(store) == rows(store, "SELECT COUNT(*) FROM decision")[0][0]


def test_scores_follow_the_gold(store: Store) -> None:
    """Retired gold counts no more; edited gold scores the answers that were given before the edit."""
    add(store, (*A0, "dog"), (*A1, "dog"))
    anna = answer_all(store, "anna", {1: "dog", 2: "cow", 3: "cat"})
    (score,) = gold_scores(store, "kinds")
    assert (score.annotator, score.single.right, score.single.total) == ("anna", 1, 2)
    assert score.accuracy.value == 0.5
    assert 0 < score.accuracy.low < 0.5 < score.accuracy.high < 1
    retire(store, A1)
    assert gold_scores(store, "kinds")[0].evaluation.total == 1
    add(store, (*A1, "cow"))
    assert (gold_scores(store, "kinds")[0].single.right, score.single.total) == (2, 2)
    with store.reading() as connection:
        assert gold_score(connection, 1, anna.id) == (2, 2)
    line = list_gold(store, "kinds")[-1]
    assert (line.answer, line.shown, line.answered, line.right) == ("cow", 0, 1, 1)


def test_training_is_apart(store: Store) -> None:
    """Answers on training gold count in no accuracy."""
    add(store, (*A0, "dog"), kind="training")
    add(store, (*A1, "dog"))
    answer_all(store, "anna", {1: "cat", 2: "dog", 3: "cat"})
    (score,) = gold_scores(store, "kinds")
    assert (score.training.right, score.training.total) == (0, 1)
    assert (score.evaluation.right, score.evaluation.total) == (1, 1)


def test_votes_that_made_gold_are_no_answers(store: Store, tmp_path: Path) -> None:
    """Who decided a mask before it became gold was not measured by it."""
    answer_all(store, "anna", {1: "dog", 2: "dog", 3: "dog"})
    add(store, (*A0, "dog"), (*A1, "cat"))
    assert gold_scores(store, "kinds") == []


def test_after_a_resumption_the_bar_begins_anew(store: Store) -> None:
    """What was answered before a curator let somebody go on does not count for the bar, yet for the accuracy."""
    add(store, (*A0, "dog"))
    anna = answer_all(store, "anna", {1: "cat", 2: "cat", 3: "cat"})
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE annotator SET status = 'paused' WHERE name = 'anna'")
    resume_person(store, "anna", by="carla", note="talked", now=NOW + 200)
    with store.reading() as connection:
        assert gold_score(connection, 1, anna.id) == (0, 0)
    assert gold_scores(store, "kinds")[0].evaluation.total == 1


def vote(store: Store, folder: Path, lines: str) -> None:
    """Import decisions."""
    path = folder / "votes.csv"
    path.write_text(HEADER + lines, encoding="utf-8")
    import_csv(store, path, kind="person", now=DAY)


def test_proposals_are_sure_and_spread(store: Store, tmp_path: Path) -> None:
    """Adjudicated masks and masks of one mind are proposed, the answers in turns; what was gold is left out."""
    vote(
        store,
        tmp_path,
        "farm,train,a,0,animal,dog,anna,single\nfarm,train,a,0,animal,dog,ben,single\n"
        "farm,train,a,1,animal,dog,anna,single\nfarm,train,a,1,animal,cow,ben,single\n"
        "farm,train,b,0,animal,cat,anna,single\n",
    )
    (proposal,) = propose_gold(store, "kinds", 9)
    assert (proposal.key, proposal.answer, proposal.votes) == (A0, "dog", 2)
    assert not proposal.is_adjudicated
    vote(store, tmp_path, "farm,train,a,1,animal,dog,carla,adjudication\n")
    vote(store, tmp_path, "farm,train,b,0,animal,cat,ben,single\n")
    found = [(p.key, p.answer, p.is_adjudicated) for p in propose_gold(store, "kinds", 9)]
    assert found == [(A1, "dog", True), (B0, "cat", False), (A0, "dog", False)]
    assert len(propose_gold(store, "kinds", 2)) == 2
    add(store, (*A1, "dog"))
    retire(store, A1)
    assert A1 not in [p.key for p in propose_gold(store, "kinds", 9)]
    with pytest.raises(InputError, match="expected 1 or more, found 0"):
        propose_gold(store, "kinds", 0)


def test_proposals_can_be_added(store: Store, tmp_path: Path) -> None:
    """The file of proposals is a file of gold."""
    vote(
        store,
        tmp_path,
        "farm,train,a,0,animal,dog,anna,single\nfarm,train,a,0,animal,dog,ben,single\n",
    )
    out = io.StringIO()
    write_proposals(propose_gold(store, "kinds", 5), out=out)
    path = tmp_path / "gold.csv"
    path.write_text(out.getvalue(), encoding="utf-8")
    assert read_gold_csv(path) == [(*A0, "dog")]
    assert add(store, *read_gold_csv(path, dataset="farm")) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("split,image,segment\ntrain,a,0\n", "found no outcome"),
        ("split,image,segment,outcome,colour\n", "found unknown colour"),
        ("split,image,segment,outcome,outcome\n", "found twice outcome"),
        ("split,image,segment,outcome\n", "no rows below the header"),
        ("", "found no split, image, segment, outcome"),
        ("split,image,segment,outcome\ntrain,a,-1,dog\n", "line 2, column segment: expected digits"),
        ("split,image,segment,outcome\ntrain,a,0,\n", "line 2: nothing in outcome"),
        ("split,image,segment,outcome\ntrain,a,0\n", "line 2: expected 4 cells, found 3"),
        ("split,image,segment,outcome,dataset\ntrain,a,0,dog,zoo\n", "expected dataset 'farm', found 'zoo'"),
    ],
)  # fmt: skip
def test_a_bad_file_of_gold(tmp_path: Path, text: str, message: str) -> None:
    """A file that lacks a column, has a strange one or a bad line is refused by the line."""
    path = tmp_path / "gold.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DecisionError, match=message):
        read_gold_csv(path, dataset="farm", source_class="animal")


def test_a_grid_has_a_score_of_its_own(
    store: Store, build_answer: Callable[[Store, str, str], None]
) -> None:
    """Answers given in a grid are counted apart from those given one by one."""
    add(store, (*A0, "dog"), (*A1, "cat"))
    build_answer(store, "anna", "cat")
    (score,) = gold_scores(store, "kinds")
    assert (score.grid.right, score.grid.total, score.single.total) == (1, 2, 0)


@pytest.fixture
def build_answer() -> Callable[[Store, str, str], None]:
    """A function that lets a person confirm a whole grid of one class."""

    def confirm(store: Store, name: str, class_name: str) -> None:
        person = sign_in_person(store, name, now=NOW)
        items = claim_masks(
            store, person.id, task="kinds", count=9, mode="grid", class_name=class_name,
            client="tab", held=[], now=NOW, rng=Always(1),
        )  # fmt: skip
        operations = [
            Operation("decide", uuid4().hex, i.lease, outcome="class", class_name=class_name)
            for i in items
        ]
        results = apply_operations(store, person.id, operations, client="tab", now=NOW)
        assert {result.status for result in results} == {"stored"}

    return confirm
