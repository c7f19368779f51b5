"""The agreement of a task: votes of the store through every statistic, and the command that prints them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from mseg_curate.agreement import MOST_PAIRS, AgreementReport, measure_agreement
from mseg_curate.decide import import_csv
from mseg_curate.errors import StoreError
from mseg_curate.store import Store

CallCli = Callable[..., Any]
NOW = "2026-01-02T03:04:05+00:00"
PLACES = ("a,0", "a,1", "b,0")


def vote(store: Store, **votes: str) -> None:
    """Import the votes of each annotator on the three masks, a word each; `-` is none."""
    lines = ["dataset,split,image,segment,source_class,outcome,annotator"]
    for who, words in votes.items():
        for place, what in zip(PLACES, words.split(), strict=True):
            if what != "-":
                lines.append(f"farm,train,{place},animal,{what},{who}")
    path = store.path.with_name("votes.csv")
    path.write_text("\n".join(lines) + "\n")
    import_csv(store, path, now=NOW)


def measure(store: Store, **votes: str) -> AgreementReport:
    """Measure the agreement of some votes."""
    vote(store, **votes)
    return measure_agreement(store, "kinds", resamples=100)


def test_votes_of_three(farm_store: Store) -> None:
    """Counts, kappas, alpha and confusion are those of the votes, worked out by hand."""
    report = measure(farm_store, anna="cat dog dog", ben="cat dog cat", eva="cat dog dog")
    assert (report.votes, report.unsure, report.masks, report.masks_with_two) == (9, 0, 3, 3)
    assert report.modes == {"import": 9}
    assert report.answers == ("cat", "dog", "cow", "none_of_these", "bad_mask")
    # Per mask all, all, and one pair of three agree; 4 of 9 votes are cat.
    expected = 1 - (4 / 81 + 16 / 81 + 20 / 81)
    chance = (4 / 9) ** 2 + (5 / 9) ** 2
    assert report.fleiss.value == pytest.approx((7 / 9 - chance) / (1 - chance))
    assert expected == pytest.approx(1 - 40 / 81)
    assert report.alpha.value == pytest.approx(1 - 8 * 2 / (2 * 4 * 5))
    pairs = {(p.first, p.second): p.estimate for p in report.annotator_pairs}
    assert pairs["anna", "eva"].value == 1
    assert pairs["anna", "ben"].value == pytest.approx((2 / 3 - 4 / 9) / (1 - 4 / 9))
    assert pairs["anna", "ben"].masks == 3
    assert [row[:2] for row in report.confusion[:2]] == [(6, 2), (2, 8)]
    (told_apart,) = report.answer_pairs
    assert (told_apart.first, told_apart.second) == ("cat", "dog")
    assert told_apart.estimate.value == pytest.approx(report.alpha.value)


def test_unsure_votes_are_missing(farm_store: Store) -> None:
    """Unsure is counted and otherwise no vote: then masks have unequal numbers, and Fleiss has no kappa."""
    report = measure(farm_store, anna="cat dog dog", ben="cat unsure cat", eva="- dog dog")
    assert (report.votes, report.unsure, report.masks_with_two) == (8, 1, 3)
    assert "masks have 2 … 3 votes" in report.fleiss.undefined
    assert math.isnan(report.fleiss.value)
    assert not math.isnan(report.alpha.value)
    assert {w.name: (w.votes, w.unsure) for w in report.annotators} == {
        "anna": (3, 0),
        "ben": (3, 1),
        "eva": (2, 0),
    }


def test_accuracies_need_three_who_share_masks(farm_store: Store) -> None:
    """Of two annotators it cannot be told who errs; with a third there is an accuracy with its interval."""
    two = measure(farm_store, anna="cat dog dog", ben="cat dog cat")
    assert all(math.isnan(who.accuracy.value) for who in two.annotators)
    three = measure(farm_store, eva="cat dog dog")
    best = three.annotators[0].accuracy
    assert 0 < best.low <= best.value <= best.high <= 1
    assert best.value > three.annotators[1].accuracy.value


def test_a_seed_repeats_the_report(farm_store: Store) -> None:
    """The same seed gives the same report, to the last digit; another one other intervals of the same values."""
    vote(farm_store, anna="cat dog dog", ben="cat dog cat", eva="dog dog dog")
    first = measure_agreement(farm_store, "kinds", resamples=50)
    assert measure_agreement(farm_store, "kinds", resamples=50) == first
    other = measure_agreement(farm_store, "kinds", resamples=50, seed=1)
    assert other.alpha.value == first.alpha.value
    assert other.annotators != first.annotators


def test_a_task_without_votes(farm_store: Store) -> None:
    """Nothing decided is no error: every coefficient says why it has no value."""
    report = measure_agreement(farm_store, "kinds")
    assert (report.votes, report.masks, report.annotators, report.annotator_pairs) == (0, 0, (), ())
    assert report.alpha.undefined == report.fleiss.undefined == "no mask has two votes"


def test_an_unknown_task_is_refused(farm_store: Store) -> None:
    """The error names the tasks there are."""
    with pytest.raises(StoreError, match=r"no task 'kind'.*known: kinds"):
        measure_agreement(farm_store, "kind")


def test_masks_that_were_asked_about_again_count_with_their_first_votes(farm_store: Store) -> None:
    """Where disagreement brought more votes, coefficients are of the first so many of each mask, and say so."""
    with farm_store.writing() as connection:
        connection.exec_driver_sql("UPDATE task SET redundancy = 2, max_redundancy = 4")
    vote(farm_store, anna="cat dog dog", ben="cat dog cat")
    first = measure_agreement(farm_store, "kinds", resamples=0)
    vote(farm_store, eva="- - cat", fay="- - dog")
    report = measure_agreement(farm_store, "kinds", resamples=0)
    assert (first.first_votes, report.first_votes) == (None, 2)
    assert (first.votes, report.votes) == (6, 8)
    assert report.alpha == first.alpha
    assert report.fleiss == first.fleiss
    assert report.confusion == first.confusion
    assert [(p.first, p.second) for p in report.annotator_pairs] == [("anna", "ben")]
    with farm_store.writing() as connection:
        connection.exec_driver_sql("UPDATE task SET max_redundancy = 2")
    unasked = measure_agreement(farm_store, "kinds", resamples=0)
    assert unasked.first_votes is None
    assert unasked.alpha.value < first.alpha.value


def test_gold_tells_who_of_two_is_right(farm_store: Store) -> None:
    """With answers on evaluation gold even two annotators have accuracies, from the votes and the known truths."""
    vote(farm_store, anna="cat dog dog", ben="cow dog cow")
    with farm_store.writing() as connection:
        run = connection.exec_driver_sql
        run("UPDATE decision SET mode = 'single'")
        run(
            "INSERT INTO gold (task_id, mask_id, outcome, label_class_id, kind, note, added_by, added_at, decision_id) "
            "SELECT 1, mask_id, outcome, label_class_id, 'evaluation', '', 'x', '', id FROM decision "
            "WHERE annotator_id = (SELECT id FROM annotator WHERE name = 'anna')"
        )
        run(
            "INSERT INTO gold_exposure (gold_id, annotator_id, mode, shown_at) "
            "SELECT g.id, a.id, 'single', '' FROM gold AS g, annotator AS a"
        )
    report = measure_agreement(farm_store, "kinds", resamples=100)
    anna, ben = (who.accuracy for who in report.annotators)
    assert report.known == 3
    assert anna.value > ben.value
    assert 0 <= ben.low < ben.value < ben.high < 1


def test_hundreds_of_annotators_are_reported_in_part(farm_store: Store) -> None:
    """Of very many pairs of annotators those who share the most masks are compared, and the others counted."""
    people = {f"p{number:03d}": "cat dog -" for number in range(40)}
    report = measure(farm_store, **people)
    assert len(report.annotator_pairs) == MOST_PAIRS
    assert report.pairs_left_out == 40 * 39 // 2 - MOST_PAIRS
    assert len(report.annotators) == 40


@pytest.mark.parametrize(
    "votes",
    [
        {"anna": "unsure unsure unsure", "ben": "unsure unsure -"},
        {"anna": "cat dog cow"},
        {"anna": "cat - -", "ben": "- dog -", "eva": "- - cow"},
        {"anna": "cat cat cat", "ben": "cat cat cat", "eva": "cat cat cat"},
        {"anna": "cat dog cow", "ben": "dog cow cat", "eva": "cow cat dog"},
        {"anna": "bad_mask - -", "ben": "none_of_these - -", "eva": "unsure - -"},
    ],
    ids=["all unsure", "one person", "no overlap", "one answer", "ties everywhere", "no class"],
)
def test_hostile_votes_have_a_report(farm_store: Store, votes: dict[str, str]) -> None:
    """Whatever the votes are, every coefficient is in its range or says why it has no value."""
    report = measure(farm_store, **votes)
    pairs = [pair.estimate for pair in (*report.annotator_pairs, *report.answer_pairs)]
    for estimate in (report.alpha, report.fleiss, *pairs):
        if estimate.undefined:
            assert math.isnan(estimate.value)
        else:
            assert -1 <= estimate.value <= 1
            assert math.isnan(estimate.low) or -1 <= estimate.low <= estimate.high <= 1
    for who in report.annotators:
        assert math.isnan(who.accuracy.value) or 0 <= who.accuracy.low <= who.accuracy.high <= 1


def test_the_command_prints_tables(farm_store: Store, call_cli: CallCli) -> None:
    """`task agreement` prints each coefficient with its interval, and the confusions, the most frequent first."""
    vote(farm_store, anna="cat dog dog", ben="cat dog cat", eva="cow dog -")
    called = call_cli("task", "agreement", "kinds", "--resamples", "50", "--db", farm_store.path)
    assert (called.code, called.err) == (0, "")
    lines = called.out.splitlines()
    assert lines[0] == (
        "task kinds, as of decision 8: 8 votes (0 unsure) on 3 masks, 3 with two or more"
    )
    assert lines[1].startswith("Krippendorff's alpha\t0.")
    assert lines[1].endswith("]\t3 masks")
    assert lines[2] == (
        "Fleiss' kappa\tnot defined: masks have 2 … 3 votes; alpha takes unequal numbers"
    )
    at = lines.index("confused\tpairs of votes")
    assert lines[at + 1 : -1] == ["cow, cat\t2", "dog, cat\t1"]
    assert lines[-1] == "95% intervals, 50 resamples of the masks"


def test_the_command_says_what_was_left_out(farm_store: Store, call_cli: CallCli) -> None:
    """Votes beyond the first, and pairs beyond the most, are named where there are such."""
    with farm_store.writing() as connection:
        connection.exec_driver_sql("UPDATE task SET redundancy = 2, max_redundancy = 9")
    vote(farm_store, **{f"p{n:02d}": "cat dog -" for n in range(30)}, zoe="- dog cat")
    vote(farm_store, ann="- - cat")
    called = call_cli("task", "agreement", "kinds", "--resamples", "0", "--db", farm_store.path)
    assert (
        "coefficients and confusions are of the first 2 votes of each mask: masks whose votes disagreed got more"
    ) in called.out.splitlines()
    with farm_store.writing() as connection:
        connection.exec_driver_sql("UPDATE task SET max_redundancy = 2")
    called = call_cli("task", "agreement", "kinds", "--resamples", "0", "--db", farm_store.path)
    assert "166 more pairs share fewer masks or are confused less often" in called.out.splitlines()


def test_the_command_prints_json(farm_store: Store, call_cli: CallCli) -> None:
    """`--json` holds the whole report; what has no value is null."""
    vote(farm_store, anna="cat dog dog", ben="cat dog cat")
    words = ("task", "agreement", "kinds", "--json", "--resamples", "0", "--db", farm_store.path)
    report = json.loads(call_cli(*words).out)
    assert report["task"] == "kinds"
    assert report["alpha"]["low"] is None
    assert report["annotators"][0] == {
        "name": "anna",
        "votes": 3,
        "unsure": 0,
        "accuracy": {"value": None, "low": 0.0, "high": 1.0, "level": 0.95},
    }
    assert report["confusion"][0] == [2, 1, 0, 0, 0]


def test_the_command_without_votes(farm_store: Store, call_cli: CallCli) -> None:
    """A task that nobody has decided prints why there is nothing."""
    called = call_cli("task", "agreement", "kinds", "--db", farm_store.path)
    assert called.code == 0
    assert "Krippendorff's alpha\tnot defined: no mask has two votes\n" in called.out
