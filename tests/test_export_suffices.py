"""The exported file suffices: agreement, gold accuracy and every policy, reckoned anew from it by plain code."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest

from mseg_curate.agreement import measure_agreement
from mseg_curate.core.consensus import parse_policy
from mseg_curate.export_decisions import write_decisions
from mseg_curate.gold import gold_scores
from mseg_curate.initialise import create_store
from mseg_curate.resolve import resolve_masks
from mseg_curate.store import Store
from mseg_curate.store.bulk import bulk_insert
from mseg_curate.store.decisions import NewDecision, annotator_id, append_decisions
from mseg_curate.store.engine import run_query
from mseg_curate.store.tasks import TaskOptions, create_task

NOW = "2026-01-01T00:00:00+00:00"
CLASSES = ("cat", "cow", "dog")
NO_CLASS = ("none_of_these", "bad_mask")
MASKS, GOLD = 80, 20
PEOPLE = {"ann": 0.95, "bob": 0.8, "cid": 0.6, "dan": 0.75}
Row = dict[str, str]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with 80 masks, votes of every kind, corrections, undoings, adjudications, and gold of both kinds."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "taxonomy.tsv").write_text("universal\n" + "\n".join(CLASSES) + "\nunlabeled\n")
    create_store(folder / "s.db", taxonomy_path=folder / "taxonomy.tsv", now=NOW)
    with Store.open(folder / "s.db") as store:
        _insert_masks(store)
        _insert_votes(store, np.random.default_rng(5))
        yield store


def _insert_masks(store: Store) -> None:
    with store.writing() as connection:
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
            [(i, 1, "animal", i, "component", 0, 0, 8, 8, 64) for i in range(1, MASKS + 1)],
        )
        create_task(
            connection,
            "kinds",
            dataset_class_id=1,
            mapping_revision=1,
            options=TaskOptions(redundancy=2, max_redundancy=4),
            candidates=[1, 2, 3],
            definitions={},
            mask_ids=list(range(1, MASKS + 1)),
            now=NOW,
        )


def _insert_votes(store: Store, rng: np.random.Generator) -> None:
    """Two votes on each mask and more where they differ, everybody's on gold; some taken back, some corrected."""
    truth = rng.integers(1, 4, size=MASKS + 1)
    rows: list[NewDecision] = []

    def decide(
        mask: int, what: int | str, by: int, mode: str = "single", instead: int | None = None
    ) -> int:
        outcome, label = (what, None) if isinstance(what, str) else ("class", what)
        number = len(rows) + 1
        rows.append(
            (number.to_bytes(16, "big"), mask, 1, 1, None, outcome, label, by, mode, 900, NOW, instead)
        )  # fmt: skip
        return number

    def say(mask: int, by: int) -> int | str:
        chance = rng.random()
        if chance < 0.08:
            return ("unsure", "none_of_these", "bad_mask", "unsure")[int(rng.integers(4))]
        right = rng.random() < list(PEOPLE.values())[by - 1]
        return int(truth[mask]) if right else 1 + int(truth[mask] - 1 + rng.integers(1, 3)) % 3

    with store.writing() as connection:
        for name in (*PEOPLE, "curator"):
            annotator_id(connection, name, kind="person", now=NOW)
        gold = []
        for mask in range(1, GOLD + 1):
            number = decide(mask, int(truth[mask]), 5, "adjudication")
            gold.append(
                (mask, mask, int(truth[mask]), "evaluation" if mask % 4 else "training", number)
            )
        for mask in rng.permutation(np.arange(1, MASKS + 1)).tolist():
            order = (1 + rng.permutation(4)).tolist()
            said: list[int | str] = []
            for by in order[: 4 if mask <= GOLD else 2]:
                said.append(say(mask, by))
                mode = ("single", "grid", "import")[int(rng.choice(3, p=(0.6, 0.3, 0.1)))]
                first = decide(mask, said[-1], by, mode)
                if rng.random() < 0.1:
                    withdrawn = decide(mask, "withdrawn", by, mode, first)
                    said[-1] = say(mask, by)
                    decide(mask, said[-1], by, mode, withdrawn)
            if mask > GOLD and len({*said}) > 1:
                decide(mask, say(mask, order[2]), order[2])
            if mask > MASKS - 5:
                decide(mask, int(truth[mask]), 5, "adjudication")
        append_decisions(connection, rows)
        bulk_insert(
            connection,
            "gold (id, mask_id, task_id, outcome, label_class_id, kind, note, added_by, added_at, decision_id)",
            [
                (i, mask, 1, "class", label, kind, "", "curator", NOW, n)
                for i, mask, label, kind, n in gold
            ],
        )
        # Who was not shown a mask as gold voted before it was made gold.
        bulk_insert(
            connection,
            "gold_exposure (gold_id, annotator_id, mode, shown_at)",
            [(i, by, "single", NOW) for i, *_ in gold for by in range(1, 5) if (i + by) % 5],
        )


@pytest.fixture(scope="module")
def votes(store: Store) -> list[Row]:
    """The rows of the exported file that stand, adjudications too, in the order of storing."""
    text = io.StringIO()
    write_decisions(store, task="kinds", out=text)
    text.seek(0)
    return [
        row
        for row in csv.DictReader(text)
        if row["superseded"] == "0" and row["outcome"] != "withdrawn"
    ]


def by_mask(rows: list[Row], *, sure: bool = False) -> dict[str, list[Row]]:
    """Return the votes of each mask, without adjudications."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["mode"] != "adjudication":
            found.setdefault(row["segment"], []).append(row)
    if sure:
        found = {m: [v for v in of if v["outcome"] != "unsure"] for m, of in found.items()}
    return found


def voter(row: Row) -> tuple[str, bool]:
    """Return who voted: a person is another annotator in the grid."""
    return row["annotator"], row["mode"] == "grid"


def first_votes(rows: list[Row]) -> list[list[tuple[str, str]]]:
    """Return (annotator, answer) of the votes of each mask that were asked for whatever they said."""
    asked = int(rows[0]["redundancy"])
    assert int(rows[0]["max_redundancy"]) > asked
    return [
        [(v["annotator"], v["outcome"]) for v in of_mask[:asked] if v["outcome"] != "unsure"]
        for of_mask in by_mask(rows).values()
    ]


def test_alpha_is_in_the_file(store: Store, votes: list[Row]) -> None:
    """Observed disagreement over expected, pair by pair of votes, is the alpha that the report gives."""
    units = [[answer for _, answer in unit] for unit in first_votes(votes) if len(unit) >= 2]
    answers = [answer for unit in units for answer in unit]
    n = len(answers)
    observed = sum(
        sum(a != b for a, b in combinations(unit, 2)) * 2 / (len(unit) - 1) for unit in units
    )
    expected = sum(a != b for a, b in combinations(answers, 2)) * 2 / (n - 1)
    report = measure_agreement(store, "kinds", resamples=0)
    assert report.first_votes == 2
    assert report.alpha.value == pytest.approx(1 - observed / expected)
    assert report.alpha.masks == len(units)


def test_kappas_are_in_the_file(store: Store, votes: list[Row]) -> None:
    """Observed and chance agreement of every two annotators give the kappas of the report."""
    report = measure_agreement(store, "kinds", resamples=0)
    units = [dict(unit) for unit in first_votes(votes)]
    compared = 0
    for pair in report.annotator_pairs:
        both = [(u[pair.first], u[pair.second]) for u in units if {pair.first, pair.second} <= {*u}]
        agreed = sum(a == b for a, b in both) / len(both)
        ones, others = (Counter(column) for column in zip(*both, strict=True))
        chance = sum(ones[k] * others[k] for k in ones) / len(both) ** 2
        assert pair.estimate.value == pytest.approx((agreed - chance) / (1 - chance))
        assert pair.estimate.masks == len(both)
        compared += 1
    assert compared == 6


def read_gold(votes: list[Row]) -> dict[tuple[str, bool], list[bool]]:
    """Return which answers on evaluation gold are right, by voter."""
    found: dict[tuple[str, bool], list[bool]] = {}
    for row in votes:
        if row["gold"] == "evaluation" and row["outcome"] != "unsure":
            found.setdefault(voter(row), []).append(row["outcome"] == row["gold_answer"])
    return found


def test_gold_accuracy_is_in_the_file(store: Store, votes: list[Row]) -> None:
    """Right answers and answers on gold, alone and in the grid, are those of the annotators' scores."""
    found = read_gold(votes)
    for score in gold_scores(store, "kinds"):
        for in_grid, part in ((False, score.single), (True, score.grid)):
            right = found.get((score.annotator, in_grid), [])
            assert (sum(right), len(right)) == (part.right, part.total)
    assert len({by for by, _ in found}) == 4


Posterior = dict[str, dict[str, float]]


def weigh(votes: list[Row]) -> Posterior:
    """Multiply, answer by answer, how likely each vote is by its voter's accuracy on gold."""
    answers = [*json.loads(votes[0]["candidates"]), *NO_CLASS]
    gold = read_gold(votes)
    found: Posterior = {}
    for mask, of_mask in by_mask(votes, sure=True).items():
        likely = dict.fromkeys(answers, 1.0)
        for vote in of_mask:
            right = gold.get(voter(vote), [])
            p = (4 + sum(right)) / (5 + len(right))
            for answer in answers:
                likely[answer] *= p if answer == vote["outcome"] else (1 - p) / (len(answers) - 1)
        if of_mask:
            found[mask] = {a: v / sum(likely.values()) for a, v in likely.items()}
    return found


def learn(votes: list[Row], *, use_gold: bool) -> Posterior:
    """Run expectation maximisation as docs/agreement.md describes the policy, one mask and vote at a time."""
    units: dict[tuple[str, bool], list[Row]] = {}
    for mask, of_mask in by_mask(votes, sure=True).items():
        for vote in of_mask:
            units.setdefault((mask, use_gold and vote["gold"] == "evaluation"), []).append(vote)
    truth = {unit: of[0]["gold_answer"] for unit, of in units.items() if unit[1]}
    answers = sorted({v["outcome"] for of in units.values() for v in of} | {*truth.values()})
    K, people = len(answers), sorted({voter(v) for of in units.values() for v in of})
    posterior = {
        unit: {
            k: float(truth[unit] == k) if unit in truth else sum(v["outcome"] == k for v in of) / len(of)
            for k in answers
        }
        for unit, of in units.items()
    }  # fmt: skip
    for _ in range(600):
        prior = {
            k: sum(p[k] for u, p in posterior.items() if u not in truth) / (len(units) - len(truth))
            for k in answers
        }
        said = {who: {k: dict.fromkeys(answers, 0.0) for k in answers} for who in people}
        for unit, of in units.items():
            for vote in of:
                for k in answers:
                    said[voter(vote)][k][vote["outcome"]] += posterior[unit][k]
        for table in said.values():
            right = 4 + sum(table[k][k] for k in answers)
            accuracy = right / (5 + sum(sum(line.values()) for line in table.values()))
            for k in answers:
                for j in answers:
                    table[k][j] += 10 * (accuracy if j == k else (1 - accuracy) / (K - 1))
                total = sum(table[k].values())
                table[k] = {j: times / total for j, times in table[k].items()}
        for unit, of in units.items():
            if unit not in truth:
                likely = {
                    k: prior[k] * math.prod(said[voter(v)][k][v["outcome"]] for v in of)
                    for k in answers
                }
                posterior[unit] = {k: p / sum(likely.values()) for k, p in likely.items()}
    return {mask: p for (mask, _), p in sorted(posterior.items())}


def resolve_plainly(votes: list[Row], posterior: Posterior) -> dict[str, tuple[str, float | None]]:
    """Return outcome or class, and posterior, of each mask that nobody adjudicated."""
    adjudicated = {v["segment"] for v in votes if v["mode"] == "adjudication"}
    found: dict[str, tuple[str, float | None]] = {}
    for mask, of_mask in by_mask(votes).items():
        if mask in adjudicated:
            continue
        if mask not in posterior:
            found[mask] = ("contested", None)
            continue
        (winner, best), (_, second) = sorted(posterior[mask].items(), key=lambda i: -i[1])[:2]
        sure = best >= 0.5 and best - second > 1e-9
        is_said = winner in {v["outcome"] for v in of_mask}
        found[mask] = (winner if sure and is_said else "contested", best)
    return found


def count_plainly(votes: list[Row]) -> dict[str, tuple[str, float | None]]:
    """Return what the most frequent vote is, of each mask that nobody adjudicated."""
    adjudicated = {v["segment"] for v in votes if v["mode"] == "adjudication"}
    found: dict[str, tuple[str, float | None]] = {}
    for mask, of_mask in by_mask(votes).items():
        ranked = Counter(v["outcome"] for v in of_mask).most_common()
        (winner, times), rest = ranked[0], ranked[1:]
        clear = 2 * times >= len(of_mask) and not any(n == times for _, n in rest)
        if mask not in adjudicated:
            found[mask] = (winner if clear and winner != "unsure" else "contested", None)
    return found


@pytest.mark.parametrize("policy", ["majority", "weighted", "dawid_skene", "dawid_skene(gold=yes)"])
def test_resolutions_are_in_the_file(store: Store, votes: list[Row], policy: str) -> None:
    """Each policy, in plain code, comes from the file to the resolutions and posteriors of the store."""
    if policy == "majority":
        expected = count_plainly(votes)
    elif policy == "weighted":
        expected = resolve_plainly(votes, weigh(votes))
    else:
        expected = resolve_plainly(votes, learn(votes, use_gold="gold" in policy))
    resolve_masks(store, policy=parse_policy(policy))
    found = {
        str(row[0]): (str(row[2] or row[1]), row[3])
        for row in run_query(
            store,
            "SELECT segment, outcome, resolved_class, posterior FROM v_resolution WHERE policy <> 'adjudication'",
        )[1]
    }
    assert found.keys() == expected.keys()
    assert len(expected) > 50
    for mask, (word, posterior) in expected.items():
        ours, probability = found[mask]
        assert probability == (None if posterior is None else pytest.approx(posterior, abs=2e-3))
        if posterior is None or abs(posterior - 0.5) > 0.01:
            assert ours == ("ignored" if word in NO_CLASS else word), mask


def test_the_policy_of_the_task_is_in_the_file(votes: list[Row]) -> None:
    """Each row names how the task that asks about its mask reads votes."""
    assert {row["policy"] for row in votes} == {"majority(min_agreement=0.5,quorum=1)"}


def test_training_answers_are_no_evaluation(votes: list[Row]) -> None:
    """Answers of those who were shown a mask as gold say which kind, and only theirs do."""
    kinds = {(int(row["segment"]) % 4 == 0, row["gold"]) for row in votes if row["gold"]}
    assert kinds == {(True, "training"), (False, "evaluation")}
    unshown = [
        row for row in votes
        if row["mode"] != "adjudication" and int(row["segment"]) <= GOLD and not row["gold"]
    ]  # fmt: skip
    assert unshown
