"""Annotators: names, roles, pauses, what is re-opened, and how their work is summed up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from mseg_curate.annotators import (
    describe_people,
    find_named,
    find_person,
    list_people,
    make_first_admin,
    pause_person,
    reopen_decisions,
    resume_person,
    set_login,
    set_role,
    sign_in_person,
)
from mseg_curate.decide import import_csv, verify_decisions
from mseg_curate.errors import InputError, StoreError
from mseg_curate.store import Store
from mseg_curate.store.engine import run_query

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
DAY = "2026-01-01T00:00:00+00:00"
HEADER = "dataset,split,image,segment,source_class,outcome,annotator,decided_at,milliseconds,mode\n"


def rows(store: Store, sql: str) -> list[tuple[object, ...]]:
    """Return the rows of a query."""
    return run_query(store, sql)[1]


def vote(store: Store, folder: Path, lines: str, *, kind: str = "person") -> None:
    """Import decisions on the masks a/0, a/1 and b/0 of the farm."""
    path = folder / "votes.csv"
    path.write_text(HEADER + lines, encoding="utf-8")
    import_csv(store, path, kind=kind, now=DAY)


def test_a_person_is_made_once(small_store: Store) -> None:
    """The first sign-in makes an active annotator, the next finds the same one; blanks at the ends do not count."""
    person = sign_in_person(small_store, " Åsa Öberg ", now=NOW)
    assert (person.name, person.role, person.status) == ("Åsa Öberg", "annotator", "active")
    assert sign_in_person(small_store, "Åsa Öberg", now=NOW + 5) == person
    assert find_person(small_store, person.id) == find_named(small_store, person.name) == person
    assert list_people(small_store) == [person]
    assert rows(small_store, "SELECT kind, by, at FROM annotator_event") == [
        ("joined", "Åsa Öberg", DAY)
    ]


@pytest.mark.parametrize(
    "name", ["", "  ", "a\tb", "a\nb", "a\x00", "\u202eanna", "x" * 65, "a\u2028b"]
)
def test_what_is_no_name_is_refused(small_store: Store, name: str) -> None:
    """Empty, long and unprintable names are refused; nothing is stored."""
    with pytest.raises(InputError, match="1 to 64 printable characters"):
        sign_in_person(small_store, name, now=NOW)
    assert list_people(small_store) == []


def test_names_of_no_people_are_refused(farm_store: Store, tmp_path: Path) -> None:
    """A name that stands for simulated or published decisions, stored or not, signs nobody in."""
    vote(farm_store, tmp_path, "farm,train,a,0,animal,dog,robot,,,\n", kind="simulated")
    for name in ("robot", "mseg-published", "simulated-80%-1"):
        with pytest.raises(StoreError, match="stands for imported or simulated decisions"):
            sign_in_person(farm_store, name, now=NOW)
    robot_id = rows(farm_store, "SELECT id FROM annotator")[0][0]
    assert isinstance(robot_id, int)
    assert find_person(farm_store, robot_id) is None
    assert find_named(farm_store, "robot") is None
    assert find_person(farm_store, 99) is None


def test_an_identity_takes_over_no_name(small_store: Store) -> None:
    """A sign-in service's identity is known again under whatever name, and never becomes a person who is there."""
    typed = sign_in_person(small_store, "anna", now=NOW)
    proved = sign_in_person(small_store, "anna", login="issuer 1", now=NOW)
    other = sign_in_person(small_store, "anna", login="issuer 2", now=NOW)
    assert [p.name for p in (typed, proved, other)] == ["anna", "anna (2)", "anna (3)"]
    assert sign_in_person(small_store, "anna married", login="issuer 1", now=NOW) == proved
    long = [sign_in_person(small_store, "x" * 64, login=f"i {n}", now=NOW).name for n in (3, 4)]
    assert long == ["x" * 64, "x" * 60 + " (2)"]


def test_an_identity_is_given_to_one_person(small_store: Store) -> None:
    """An identity that a curator names signs that person in; it cannot be given to a second one."""
    anna = sign_in_person(small_store, "anna", now=NOW)
    sign_in_person(small_store, "ben", now=NOW)
    set_login(small_store, "anna", login="issuer 1", by="root", now=NOW)
    assert sign_in_person(small_store, "who ever", login="issuer 1", now=NOW) == anna
    with pytest.raises(StoreError, match="is 'anna' already"):
        set_login(small_store, "ben", login="issuer 1", by="root", now=NOW)
    with pytest.raises(InputError, match="issuer and subject"):
        set_login(small_store, "ben", login=" ", by="root", now=NOW)


def test_roles(small_store: Store) -> None:
    """A role is given and noted; the last admin stays one."""
    sign_in_person(small_store, "anna", now=NOW)
    sign_in_person(small_store, "ben", now=NOW)
    assert (
        set_role(small_store, "anna", role="admin", by="anna", note="first", now=NOW).role
        == "admin"
    )
    assert not make_first_admin(small_store, "ben", now=NOW)
    with pytest.raises(StoreError, match="the last admin"):
        set_role(small_store, "anna", role="curator", by="anna", now=NOW)
    set_role(small_store, "ben", role="admin", by="anna", now=NOW)
    assert set_role(small_store, "anna", role="annotator", by="ben", now=NOW).role == "annotator"
    assert rows(small_store, "SELECT by, note FROM annotator_event WHERE kind = 'role'") == [
        ("anna", "annotator → admin: first"),
        ("anna", "annotator → admin"),
        ("ben", "admin → annotator"),
    ]
    with pytest.raises(InputError, match="expected annotator, curator, admin, found 'boss'"):
        set_role(small_store, "ben", role="boss", by="ben", now=NOW)
    with pytest.raises(StoreError, match="no annotator 'carl' in the store; known: 'anna', 'ben'"):
        set_role(small_store, "carl", role="admin", by="ben", now=NOW)


def test_pauses(small_store: Store) -> None:
    """A pause and its end need a reason, are noted, and are refused where they change nothing."""
    sign_in_person(small_store, "anna", now=NOW)
    assert pause_person(small_store, "anna", by="ben", note="ask me", now=NOW).status == "paused"
    with pytest.raises(StoreError, match="'anna' is paused already"):
        pause_person(small_store, "anna", by="ben", note="again", now=NOW)
    with pytest.raises(InputError, match="a reason is missing"):
        resume_person(small_store, "anna", by="ben", note=" ", now=NOW)
    assert resume_person(small_store, "anna", by="ben", note="talked", now=NOW).status == "active"
    (record,) = describe_people(small_store)
    assert record.event == "2026-01-01 resumed by ben: talked"


def test_reopened_masks_go_to_others(farm_store: Store, tmp_path: Path) -> None:
    """The votes of one annotator are withdrawn by rows that supersede them, and their masks are open again."""
    lines = "".join(
        f"farm,train,{image},{n},animal,{answer},{name},,,single\n"
        for image, n, answer, name in (
            ("a", 0, "dog", "anna"),
            ("a", 1, "cat", "anna"),
            ("b", 0, "cow", "ben"),
        )
    )
    vote(farm_store, tmp_path, lines)
    states = "SELECT status, COUNT(*) FROM task_mask GROUP BY status ORDER BY status"
    assert rows(farm_store, states) == [("settled", 3)]
    assert reopen_decisions(farm_store, "anna", "kinds", by="ben", note="guessed", now=NOW) == 2
    assert rows(farm_store, states) == [("open", 2), ("settled", 1)]
    assert rows(
        farm_store,
        "SELECT annotator, outcome, mode, superseded FROM v_decision ORDER BY decision_id",
    ) == [
        ("anna", "class", "single", 1),
        ("anna", "class", "single", 1),
        ("ben", "class", "single", 0),
        ("anna", "withdrawn", "adjudication", 0),
        ("anna", "withdrawn", "adjudication", 0),
    ]
    assert verify_decisions(farm_store) == 5
    assert rows(farm_store, "SELECT kind, by, note FROM annotator_event") == [
        ("reopened", "ben", "2 decisions of kinds: guessed")
    ]
    assert reopen_decisions(farm_store, "anna", "kinds", by="ben", note="again", now=NOW) == 0


def test_nothing_is_reopened_on_bad_input(farm_store: Store, tmp_path: Path) -> None:
    """An unknown annotator or task, and a missing reason, are refused."""
    vote(farm_store, tmp_path, "farm,train,a,0,animal,dog,anna,,,single\n")
    for name, task, note, message in (
        ("nobody", "kinds", "x", "no annotator 'nobody'"),
        ("anna", "nothing", "x", "no task 'nothing'"),
        ("anna", "kinds", "", "a reason is missing"),
    ):
        with pytest.raises((StoreError, InputError), match=message):
            reopen_decisions(farm_store, name, task, by="ben", note=note, now=NOW)
    assert rows(farm_store, "SELECT COUNT(*) FROM decision") == [(1,)]


def test_work_is_summed_up(farm_store: Store, tmp_path: Path) -> None:
    """Decisions, grid share, agreement, median seconds and pace are those worked out by hand."""
    vote(
        farm_store,
        tmp_path,
        "farm,train,a,0,animal,dog,anna,2026-01-01T10:00:00Z,1000,single\n"
        "farm,train,a,1,animal,cat,anna,2026-01-01T10:00:02Z,3000,grid\n"
        "farm,train,b,0,animal,cow,anna,2026-01-01T10:00:09Z,500000,single\n"
        "farm,train,a,0,animal,dog,ben,,,\n"
        "farm,train,a,1,animal,dog,ben,,,\n"
        "farm,train,a,0,animal,dog,carl,,,\n",
    )
    anna, ben, carl = describe_people(farm_store)
    assert (anna.person.name, anna.kind, anna.decisions) == ("anna", "person", 3)
    assert anna.grid_share == pytest.approx(1 / 3)
    # On a/0 two others, both say dog; on a/1 one other, who says something else.
    assert (anna.agreed, anna.compared) == (2, 3)
    assert (ben.agreed, ben.compared) == (2, 3)
    assert (carl.agreed, carl.compared) == (2, 2)
    # 1 s, 3 s, and a minute for the one that was left alone.
    assert anna.median_s == 3
    assert anna.per_hour == pytest.approx(3600 * 3 / 64)
    assert anna.last_decision_at == "2026-01-01T10:00:09+00:00"
    assert (ben.median_s, ben.per_hour, ben.last_decision_at) == (None, None, None)
    assert (anna.gold.total, anna.gold_seen, anna.event) == (0, 0, "")


def test_one_of_many_becomes_the_first_admin(small_store: Store) -> None:
    """People who sign in at the same instant, each with a store of their own, make one admin."""
    names = [f"person {n}" for n in range(6)]
    barrier = Barrier(len(names))

    def sign_in(name: str) -> bool:
        with Store.open(small_store.path) as store:
            sign_in_person(store, name, now=NOW)
            barrier.wait()
            return make_first_admin(store, name, now=NOW)

    with ThreadPoolExecutor(len(names)) as pool:
        assert sum(pool.map(sign_in, names)) == 1
    admins = [
        record.person.name
        for record in describe_people(small_store)
        if record.person.role == "admin"
    ]
    assert len(admins) == 1
    assert rows(small_store, "SELECT by, note FROM annotator_event WHERE kind = 'role'") == [
        (admins[0], "annotator → admin: first to sign in")
    ]
