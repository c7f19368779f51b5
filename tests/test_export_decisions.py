"""Decisions out and in again: the same votes, the same resolutions, the same numbers."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest

from mseg_curate.annotators import reopen_decisions, set_role, sign_in_person
from mseg_curate.decide import import_csv, verify_decisions
from mseg_curate.errors import DecisionError, OutputError, StoreError
from mseg_curate.export_decisions import export_decisions, write_decisions
from mseg_curate.gold import add_gold, gold_scores, retire_gold
from mseg_curate.resolve import resolve_masks
from mseg_curate.review import Operation, apply_operations, claim_masks
from mseg_curate.store import Store
from mseg_curate.store.engine import run_query
from mseg_curate.tasks import make_task

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
DAY = "2026-01-01T00:00:00+00:00"
HEADER = "dataset,split,image,segment,source_class,outcome,annotator,decided_at,milliseconds,mode\n"
STANDING = (
    "SELECT dataset, split, sequence, image, segment, source_class, task, shown_class, outcome, decided_class, "
    "annotator, annotator_kind, mode, milliseconds, decided_at FROM v_decision WHERE superseded = 0 "
    "ORDER BY image, segment, annotator, decision_id"
)
RESOLVED = "SELECT image, segment, outcome, resolved_class, votes, agreement FROM v_resolution ORDER BY image, segment"
CallCli = Callable[..., Any]


class Always(Random):
    """A source of randomness that draws gold wherever there is some."""

    def random(self) -> float:
        """Return what is below every rate."""
        return 0.0


def rows(store: Store, sql: str) -> list[tuple[object, ...]]:
    """Return the rows of a query."""
    return run_query(store, sql)[1]


def review_all(store: Store, name: str, class_name: str) -> list[str]:
    """Let a person give every mask the same class; returns the UUIDs of the decisions."""
    person = sign_in_person(store, name, now=NOW)
    made = []
    while items := claim_masks(
        store, person.id, task="kinds", count=1, client="tab", held=[], now=NOW, rng=Always(name)
    ):
        made.append(uuid4().hex)
        operation = Operation(
            "decide",
            made[-1],
            items[0].lease,
            outcome="class",
            class_name=class_name,
            milliseconds=900,
        )
        apply_operations(store, person.id, [operation], client="tab", now=NOW + 60)
    return made


def undo(store: Store, name: str, uuid: str) -> None:
    """Take a decision back."""
    person = sign_in_person(store, name, now=NOW)
    operation = Operation("undo", uuid4().hex, uuid4().hex, of=uuid)
    (result,) = apply_operations(store, person.id, [operation], client="tab", now=NOW + 70)
    assert result.status == "stored"


@pytest.fixture
def twin(farm_store: Store, tmp_path: Path) -> Iterator[Store]:
    """Another store with the same dataset, mapping and task, whose annotators have other row ids."""
    path = tmp_path / "twin.db"
    source = farm_store.path
    for suffix in ("", "-wal"):
        file = source.with_name(source.name + suffix)
        if file.exists():
            shutil.copyfile(file, path.with_name(path.name + suffix))
    with Store.open(path) as store:
        for name in ("zoe", "yan"):
            sign_in_person(store, name, now=NOW)
        yield store


@pytest.fixture
def busy(farm_store: Store, twin: Store, tmp_path: Path) -> Store:
    """The farm with everything that decisions can be: imported, reviewed, undone, re-opened, gold, simulated."""
    votes = tmp_path / "votes.csv"
    votes.write_text(
        HEADER
        + "farm,train,a,0,animal,dog,ida,2026-01-01T09:00:00.25Z,1500,import\n"
        + "farm,train,a,0,animal,cat,ida,,,import\n"
        + "farm,train,b,0,animal,unsure,ida,,,import\n",
        encoding="utf-8",
    )
    import_csv(farm_store, votes, now=DAY)
    votes.write_text(HEADER + "farm,train,b,0,animal,cow,robot,,,import\n", encoding="utf-8")
    import_csv(farm_store, votes, kind="simulated", now=DAY)
    with farm_store.writing() as connection:
        connection.exec_driver_sql("UPDATE task SET redundancy = 9, max_redundancy = 9")
    sign_in_person(farm_store, "carla", now=NOW)
    set_role(farm_store, "carla", role="curator", by="carla", now=NOW)
    gold = [("train", "", "a", 1, "dog"), ("train", "", "b", 0, "cow")]
    add_gold(farm_store, "kinds", gold, kind="evaluation", note="", by="carla", now=NOW)
    retire_gold(
        farm_store, "kinds", gold[1][:4], note="unclear", by="carla", now=NOW, answer_stands=False
    )
    undo(farm_store, "anna", review_all(farm_store, "anna", "dog")[0])
    review_all(farm_store, "ben", "cow")
    reopen_decisions(farm_store, "ben", "kinds", by="carla", note="guessed", now=NOW)
    review_all(farm_store, "carl", "cow")
    return farm_store


def test_another_store_comes_to_the_same(busy: Store, twin: Store, tmp_path: Path) -> None:
    """What is exported and imported elsewhere gives the same standing decisions and resolutions, once."""
    path = tmp_path / "out" / "decisions.csv"
    count = export_decisions(busy, path)
    done = import_csv(twin, path, now=DAY)
    assert (done.read, done.new) == (count, count)
    assert rows(twin, STANDING) == rows(busy, STANDING)
    assert len({row[8] for row in rows(busy, STANDING)}) > 2
    assert verify_decisions(twin) == count
    for store in (busy, twin):
        resolve_masks(store)
    assert rows(twin, RESOLVED) == rows(busy, RESOLVED)
    assert import_csv(twin, path, now=DAY).new == 0
    again = tmp_path / "again.csv"
    export_decisions(twin, again)
    own = ("gold", "gold_answer", "order", "redundancy", "max_redundancy")
    keep = [c for c in read(path)[0] if c not in own]
    assert [[row[c] for c in keep] for row in read(again)] == [
        [row[c] for c in keep] for row in read(path)
    ]


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_accuracy_can_be_reckoned_from_the_file(busy: Store, tmp_path: Path) -> None:
    """Standing answers to gold are marked with the kind and with what is right."""
    path = tmp_path / "decisions.csv"
    export_decisions(busy, path, task="kinds")
    right: dict[str, list[bool]] = {}
    for row in read(path):
        if row["gold"] == "evaluation" and row["superseded"] == "0":
            right.setdefault(row["annotator"], []).append(row["outcome"] == row["gold_answer"])
    scores = {s.annotator: s.evaluation for s in gold_scores(busy, "kinds")}
    assert scores
    assert {name: (sum(r), len(r)) for name, r in right.items()} == {
        name: (score.right, score.total) for name, score in scores.items()
    }


def test_who_was_taught_an_answer_is_not_measured_by_it(busy: Store, tmp_path: Path) -> None:
    """Gold of another kind than somebody was shown says nothing of their answer, in the file as in the scores."""
    mask = ("train", "", "a", 1)
    retire_gold(busy, "kinds", mask, note="easy", by="carla", now=NOW, answer_stands=True)
    gold = [(*mask, "dog")]
    add_gold(busy, "kinds", gold, kind="training", note="", by="carla", now=NOW + 1)
    path = tmp_path / "decisions.csv"
    export_decisions(busy, path)
    assert {row["gold"] for row in read(path)} == {""}
    assert gold_scores(busy, "kinds") == []


def test_the_chain_is_named(busy: Store, tmp_path: Path) -> None:
    """Each withdrawal names the decision it takes back, and rows come in the order of storing."""
    path = tmp_path / "decisions.csv"
    export_decisions(busy, path)
    found = read(path)
    by_uuid = {row["uuid"]: row for row in found}
    assert [int(row["order"]) for row in found] == list(range(1, len(found) + 1))
    withdrawn = [row for row in found if row["outcome"] == "withdrawn"]
    assert len(withdrawn) >= 3
    for row in withdrawn:
        assert by_uuid[row["supersedes"]]["superseded"] == "1"
        assert by_uuid[row["supersedes"]]["annotator"] == row["annotator"]
    assert {row["annotator_kind"] for row in found} == {"person", "simulated"}


def test_only_one_task(busy: Store, tmp_path: Path) -> None:
    """With a task, only decisions on its masks are written; an unknown one is refused and writes nothing."""
    out = io.StringIO()
    assert write_decisions(busy, task="kinds", out=out) == len(rows(busy, "SELECT 1 FROM decision"))
    path = tmp_path / "none.csv"
    with pytest.raises(StoreError, match="no task 'nothing'"):
        export_decisions(busy, path, task="nothing")
    assert not path.exists()
    with pytest.raises(OutputError):
        export_decisions(busy, busy.path / "below" / "a file.csv")


def test_tasks_of_the_same_name(busy: Store, twin: Store, tmp_path: Path) -> None:
    """A decision is of the task that the file names where the other store has it, else of the newest one."""
    make_task(twin, "newer", dataset="farm", source_class="animal", now=DAY)
    path = tmp_path / "decisions.csv"
    export_decisions(busy, path)
    import_csv(twin, path, now=DAY)
    assert rows(twin, "SELECT DISTINCT task FROM v_decision") == [("kinds",)]
    text = path.read_text(encoding="utf-8").replace(",kinds,", ",elsewhere,")
    lines = [line for line in text.splitlines(keepends=True) if "withdrawn" not in line][:2]
    fresh = lines[1].replace("ida", "ute").replace(read(path)[0]["uuid"], str(uuid4()))
    path.write_text(lines[0] + fresh, encoding="utf-8")
    import_csv(twin, path, now=DAY)
    assert rows(twin, "SELECT task FROM v_decision WHERE annotator = 'ute'") == [("newer",)]


def test_a_decision_made_since_is_superseded(busy: Store, twin: Store, tmp_path: Path) -> None:
    """Who has decided elsewhere meanwhile has one standing decision after an import, the imported one."""
    path = tmp_path / "decisions.csv"
    export_decisions(busy, path)
    votes = tmp_path / "v.csv"
    votes.write_text(HEADER + "farm,train,a,0,animal,cow,ida,,,import\n", encoding="utf-8")
    import_csv(twin, votes, now=DAY)
    import_csv(twin, path, now=DAY)
    assert rows(
        twin,
        "SELECT decided_class FROM v_decision WHERE annotator = 'ida' AND image = 'a' AND superseded = 0",
    ) == [("cat",)]


@pytest.mark.parametrize(
    ("extra", "cells", "message"),
    [
        ("supersedes", "5f0c7a52-1d3e-4b7a-9c55-2f6f4b0e8a11", "line 2: supersedes: expected an earlier decision"),
        ("supersedes", "five", "line 2|2, column supersedes"),
        ("annotator_kind", "robot", "unknown kind"),
        ("superseeds", "", "did you mean supersedes"),
    ],
)  # fmt: skip
def test_bad_extra_columns(
    farm_store: Store, tmp_path: Path, extra: str, cells: str, message: str
) -> None:
    """A superseded decision that is not there, an unknown kind and a misspelt column are refused."""
    path = tmp_path / "d.csv"
    path.write_text(
        f"dataset,split,image,segment,source_class,outcome,annotator,{extra}\n"
        f"farm,train,a,0,animal,dog,anna,{cells}\n",
        encoding="utf-8",
    )
    with pytest.raises(DecisionError, match=message):
        import_csv(farm_store, path, now=DAY)
    assert rows(farm_store, "SELECT COUNT(*) FROM decision") == [(0,)]


def test_nothing_to_withdraw(farm_store: Store, tmp_path: Path) -> None:
    """A withdrawal takes back what its annotator said last; without such it is refused."""
    path = tmp_path / "d.csv"
    path.write_text(HEADER + "farm,train,a,0,animal,withdrawn,anna,,,import\n", encoding="utf-8")
    with pytest.raises(DecisionError, match="'anna' has decided nothing on this mask"):
        import_csv(farm_store, path, now=DAY)
    line = "farm,train,a,0,animal,{},anna,,,import\n"
    path.write_text(HEADER + line.format("dog") + line.format("withdrawn"), encoding="utf-8")
    assert import_csv(farm_store, path, now=DAY).new == 2
    assert rows(farm_store, "SELECT status FROM task_mask WHERE mask_id = 1") == [("open",)]


def test_the_command(busy: Store, call_cli: CallCli, tmp_path: Path) -> None:
    """`decisions export` prints the file, or writes it and says how many."""
    count = len(rows(busy, "SELECT 1 FROM decision"))
    called = call_cli("decisions", "export", "--db", busy.path)
    assert (called.code, len(called.out.splitlines())) == (0, count + 1)
    path = tmp_path / "d.csv"
    called = call_cli("decisions", "export", "--db", busy.path, "--task", "kinds", "--out", path)
    assert called.out == f"{path}: {count} decisions\n"
    called = call_cli("decisions", "export", "--db", busy.path, "--task", "nothing")
    assert called.code == 1
    assert "no task 'nothing'" in called.message
