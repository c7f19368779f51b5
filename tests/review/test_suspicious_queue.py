"""Suspicious masks come first in the queue, and whoever decides them is told nothing of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import pytest

from mseg_curate.errors import StoreError
from mseg_curate.resolve import resolve_masks
from mseg_curate.review import task_question
from mseg_curate.steer import set_options
from mseg_curate.store.steering import store_suggestions
from mseg_curate.suspect import Prioritised, list_suspects, prioritise_suspicious, write_suspects

MakeDesk = Callable[..., Any]
IDS = {"cat": 1, "cow": 2, "dog": 3}


def suggest(desk: Any, suggestions: Mapping[int, tuple[str, float | None]]) -> None:
    """Store suggestions by mask."""
    rows = [(mask, IDS[name], score) for mask, (name, score) in suggestions.items()]
    with desk.store.writing() as connection:
        store_suggestions(connection, 1, rows=rows, source="a run")


def decide_all(desk: Any, name: str, answers: Mapping[int, str], masks: int) -> None:
    """Let somebody decide every mask as told, cat where nothing is."""
    for item in desk.claim(name, masks):
        assert desk.say(name, item, answers.get(desk.mask_of(item), "cat")).status == "stored"


def test_the_least_sure_suggestions_come_first(make_desk: MakeDesk) -> None:
    """Of masks that nobody decided those come first that the model is unsure of; those without a suggestion last."""
    desk = make_desk(5)
    suggest(desk, {1: ("cat", 0.9), 3: ("cow", 0.4), 4: ("dog", 0.6)})
    assert prioritise_suspicious(desk.store, "kinds") == Prioritised(0, 3, 0, 0)
    claimed = [desk.mask_of(item) for item in desk.claim("ann", 5)]
    assert claimed[:3] == [3, 4, 1]
    assert sorted(claimed[3:]) == [2, 5]


def test_a_doubtful_decision_is_looked_at_again_first(make_desk: MakeDesk) -> None:
    """What one person decided against a sure model comes first to the next, once the task asks for two votes."""
    desk = make_desk(20)
    suggest(desk, dict.fromkeys(range(1, 20), ("cat", 0.97)) | {20: ("dog", 0.5)})
    decide_all(desk, "ann", {7: "dog", 20: "dog"}, 20)
    assert prioritise_suspicious(desk.store, "kinds") == Prioritised(1, 0, 19, 1)
    assert desk.claim("bob") == []
    changes = {"redundancy": 2, "max_redundancy": 2}
    set_options(desk.store, "kinds", changes=changes, now=desk.now)
    assert desk.mask_of(desk.claim("bob")[0]) == 7


def test_nobody_who_decides_is_told(make_desk: MakeDesk) -> None:
    """What a page gets of masks and task is the same with suggestions and without, but for the order."""
    desk = make_desk(8)
    before = {desk.mask_of(item): asdict(item) | {"lease": ""} for item in desk.claim("ann", 8)}
    question = task_question(desk.store, "kinds")
    suggest(desk, {mask: ("dog", 0.9 / mask) for mask in range(1, 9)})
    prioritise_suspicious(desk.store, "kinds")
    desk.now += 1000  # the first leases have run out
    after = {desk.mask_of(item): asdict(item) | {"lease": ""} for item in desk.claim("bob", 8)}
    assert after == before
    assert task_question(desk.store, "kinds") == question


def test_what_was_taken_back_or_adjudicated_is_no_decision(make_desk: MakeDesk) -> None:
    """A withdrawn vote leaves a mask undecided; gold, which a curator decided, has no place in the order."""
    desk = make_desk(4)
    suggest(desk, dict.fromkeys(range(1, 5), ("cat", 0.8)))
    item = desk.claim("ann")[0]
    result = desk.say("ann", item, "dog")
    undone = desk.apply("ann", undo_of(desk, result.uuid))
    assert undone.status == "stored"
    desk.add_gold(4 if desk.mask_of(item) != 4 else 3, "cow")
    assert prioritise_suspicious(desk.store, "kinds") == Prioritised(0, 3, 0, 0)


def undo_of(desk: Any, uuid: str) -> Any:
    """Return the operation that takes a decision back."""
    from mseg_curate.review import Operation  # noqa: PLC0415

    return Operation("undo", desk.uuid(), desk.uuid(), of=uuid)


def test_suspects_are_listed_with_their_reasons(make_desk: MakeDesk) -> None:
    """Each line names the mask, its answer, the suggestion, score and doubt; `count` cuts the list."""
    desk = make_desk(6)
    suggest(desk, dict.fromkeys(range(1, 6), ("cat", 0.9)) | {6: ("cow", None)})
    decide_all(desk, "ann", {2: "dog", 3: "none_of_these", 6: "unsure"}, 6)
    found = list_suspects(desk.store, "kinds")
    assert {suspect.key[3] for suspect in found[:2]} <= {2, 3, 6}
    by_segment = {suspect.key[3]: suspect for suspect in found}
    assert by_segment[2].key == ("train", "", "a", 2)
    assert (by_segment[2].standing, by_segment[2].suggested) == ("dog", "cat")
    assert by_segment[3].standing == "none_of_these"
    assert (by_segment[6].standing, by_segment[6].score) == ("", None)
    out = io.StringIO()
    write_suspects([by_segment[6], by_segment[2]], out=out)
    assert out.getvalue() == (
        "split,sequence,image,segment,standing,suggested,score,doubt\n"
        f"train,,a,6,,cow,,{by_segment[6].doubt:.4f}\n"
        f"train,,a,2,dog,cat,0.9000,{by_segment[2].doubt:.4f}\n"
    )
    assert list_suspects(desk.store, "kinds", count=2) == found[:2]


def test_a_class_that_is_no_candidate_may_have_been_decided(make_desk: MakeDesk) -> None:
    """An imported answer beside the candidates is one more answer, not an error."""
    desk = make_desk(3)
    suggest(desk, dict.fromkeys(range(1, 4), ("cat", 0.9)))
    decide_all(desk, "ann", {1: "dog"}, 3)
    with desk.store.writing() as connection:
        connection.exec_driver_sql("DELETE FROM task_candidate WHERE label_class_id = 3")
    assert {s.standing for s in list_suspects(desk.store, "kinds")} == {"cat", "dog"}


def test_without_suggestions_it_says_how_to_make_some(make_desk: MakeDesk) -> None:
    """A task without suggestions has no order of suspicion; its queue stays as it is."""
    desk = make_desk(2)
    for ask in (prioritise_suspicious, list_suspects):
        with pytest.raises(StoreError, match=r"`mseg-curate task suggest kinds --run DIR`"):
            ask(desk.store, "kinds")


def test_analysts_see_suggestions_beside_resolutions(make_desk: MakeDesk) -> None:
    """`v_suggestion` says whether a mask is resolved as the model suggests; of open ones nothing."""
    desk = make_desk(4, redundancy=2, max_redundancy=2)
    suggest(desk, {1: ("cat", 0.9), 2: ("cow", None), 3: ("cat", 0.5), 4: ("dog", 0.5)})
    decide_all(desk, "ann", {3: "none_of_these"}, 3)
    decided = {row[0] for row in desk.ask("SELECT mask_id FROM decision")}
    resolve_masks(desk.store)
    rows = desk.ask(
        "SELECT segment, suggested_class, score, source, resolved_class, agrees FROM v_suggestion "
        "ORDER BY segment"
    )
    expected = {
        1: (1, "cat", 0.9, "a run", "cat", 1),
        2: (2, "cow", None, "a run", "cat", 0),
        3: (3, "cat", 0.5, "a run", None, 0),
        4: (4, "dog", 0.5, "a run", "cat", 0),
    }
    undecided = {n: (*row[:4], None, None) for n, row in expected.items()}
    assert rows == [expected[n] if n in decided else undecided[n] for n in (1, 2, 3, 4)]
