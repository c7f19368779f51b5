"""The pages Tasks, Annotators and Browse: what they show to whom, and what their forms store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app import store_path
from app.plain import as_text, percent
from app.sign_in import Here
from mseg_curate.annotators import set_role, sign_in_person
from mseg_curate.core.consensus import parse_policy
from mseg_curate.decide import import_csv
from mseg_curate.gold import list_gold
from mseg_curate.resolve import resolve_masks
from mseg_curate.review import Person
from mseg_curate.steer import set_options
from mseg_curate.store import Store
from mseg_curate.store.engine import run_query
from mseg_curate.store.flags import add_flag

PAGES = Path(__file__).parents[2] / "app" / "screens"
NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
DAY = "2026-01-01T00:00:00+00:00"
VOTES = """dataset,split,image,segment,source_class,outcome,annotator,decided_at,milliseconds,mode
farm,train,a,0,animal,dog,anna,2026-01-01T10:00:00Z,2000,single
farm,train,a,0,animal,dog,ben,2026-01-01T10:00:00Z,4000,single
farm,train,a,1,animal,cat,anna,2026-01-01T10:00:01Z,3000,single
"""
OpenPage = Callable[..., AppTest]


@pytest.fixture
def store(farm_store: Store, tmp_path: Path) -> Store:
    """The farm with votes on two of its three masks, and the admin root."""
    (tmp_path / "votes.csv").write_text(VOTES, encoding="utf-8")
    import_csv(farm_store, tmp_path / "votes.csv", now=DAY)
    resolve_masks(farm_store)
    return farm_store


@pytest.fixture
def open_page(store: Store, monkeypatch: pytest.MonkeyPatch) -> OpenPage:
    """A function that opens a page as a person of a role."""
    monkeypatch.setenv(store_path.VARIABLE, str(store.path))

    def opened(name: str, role: str = "curator", person: str = "root", **query: str) -> AppTest:
        sign_in_person(store, person, now=NOW)
        here = set_role(store, person, role=role, by="test", now=NOW)
        test = AppTest.from_file(str(PAGES / name), default_timeout=30)
        test.session_state["_here"] = Here(here, bound=True)
        for word, value in query.items():
            test.query_params[word] = value
        test.run()
        assert not test.exception
        return test

    return opened


def rows(store: Store, sql: str) -> list[tuple[object, ...]]:
    """Return the rows of a query."""
    return run_query(store, sql)[1]


def labels(test: AppTest) -> set[str]:
    """Return the labels of all that can be filled in or pressed."""
    kinds = ("button", "selectbox", "text_input", "text_area", "number_input", "checkbox")
    return {element.label for kind in kinds for element in test.get(kind)}


def press(test: AppTest, label: str) -> AppTest:
    """Press the button of a label."""
    (button,) = [b for b in test.button if b.label == label]
    test = button.click().run()
    assert not test.exception
    return test


def fill(test: AppTest, label: str, value: object) -> None:
    """Fill in the field of a label."""
    kinds = ("text_input", "text_area", "number_input", "selectbox", "checkbox")
    (field,) = [e for kind in kinds for e in test.get(kind) if e.label == label]
    field.set_value(value)


# --- tasks ----------------------------------------------------------------------------------------


def test_tasks_are_shown_with_their_cost(open_page: OpenPage) -> None:
    """The table has masks, share done, decisions and hours, so far and to come."""
    table = open_page("tasks.py").dataframe[0].value
    row = table.iloc[0]
    assert (row["Task"], row["Class"], row["Status"], row["Masks"]) == (
        "kinds",
        "animal",
        "open",
        3,
    )
    assert row["Done"] == pytest.approx(2 / 3)
    assert (row["Decisions"], row["To come"]) == (3, 1)


def test_annotators_change_no_task(open_page: OpenPage) -> None:
    """An annotator sees the table, and not a button, field or number of others."""
    test = open_page("tasks.py", role="annotator")
    assert len(test.dataframe) == 1
    assert labels(test) == set()


def test_a_task_is_paused(open_page: OpenPage, store: Store) -> None:
    """A button changes the status, the page says so, and the next run no more."""
    test = press(open_page("tasks.py"), "Pause")
    assert rows(store, "SELECT status FROM task") == [("paused",)]
    assert [message.value for message in test.success] == [r"kinds is paused\."]
    test = press(test, "Open")
    assert rows(store, "SELECT status FROM task") == [("open",)]


def test_options_are_saved_together(open_page: OpenPage, store: Store) -> None:
    """Save stores what was changed in the form, and leaves the rest as it is."""
    test = open_page("tasks.py")
    test.number_input(
        key=next(n.key for n in test.number_input if n.key.startswith("p1"))
    ).set_value(4)
    test.text_area[0].set_value("Look at the tail.")
    press(test, "Save options")
    assert rows(store, "SELECT priority, instructions, gold_bar FROM task") == [
        (4, "Look at the tail.", None)
    ]


def test_impossible_options_are_refused(open_page: OpenPage, store: Store) -> None:
    """An impossible option is said so beside the form, which keeps what was typed."""
    test = open_page("tasks.py")
    test.text_input(key=next(t.key for t in test.text_input if t.key.startswith("q1"))).set_value(
        "coin"
    )
    test = press(test, "Save options")
    assert "coin" in test.error[0].value
    assert rows(store, "SELECT policy FROM task") == [("majority(min_agreement=0.5,quorum=1)",)]


def test_two_curators_do_not_overwrite_each_other(open_page: OpenPage, store: Store) -> None:
    """What somebody else saved meanwhile is not overwritten: the page says so, and shows it on request."""
    test = open_page("tasks.py")
    test.text_area[0].set_value("mine")
    set_options(store, "kinds", changes={"priority": 9}, now=NOW)
    test = press(test, "Save options")
    assert "somebody else has changed the task kinds meanwhile" in test.error[0].value.replace(
        "\\", ""
    )
    assert rows(store, "SELECT priority, instructions FROM task") == [(9, "")]
    assert "Somebody else" in test.warning[0].value
    test = press(test, "Show what is stored")
    fields = [n.value for n in test.number_input if n.key.startswith("p1")]
    assert fields == [9]


def test_a_task_is_made(open_page: OpenPage, store: Store) -> None:
    """The form makes a task of a split class with its options; a name that is taken is refused."""
    test = open_page("tasks.py")
    fill(test, "Name of the new task", "second")
    test.number_input(key="r-new").set_value(2)
    test.number_input(key="m-new").set_value(3)
    places = "Definitions of candidates (one a line: the candidate, a colon, what it is)"
    fill(test, places, "dog: barks: loud\nsky: is none")
    assert "sky" in press(test, "Make the task").error[0].value
    fill(test, places, "dog: barks: loud")
    test = press(test, "Make the task")
    assert "second" in test.success[0].value
    assert rows(store, "SELECT definition FROM task_candidate WHERE task_id = 2") == [
        ("",),
        ("barks: loud",),
        ("",),
    ]
    assert rows(
        store, "SELECT name, redundancy, max_redundancy FROM task ORDER BY id DESC LIMIT 1"
    ) == [("second", 2, 3)]
    fill(test, "Name of the new task", "second")
    assert "exists already" in press(test, "Make the task").error[0].value
    fill(test, "Name of the new task", " ")
    assert "needs a name" in press(test, "Make the task").error[0].value


def test_gold_is_retired(open_page: OpenPage, store: Store) -> None:
    """Gold leaves with a reason; a wrong answer is withdrawn."""
    test = open_page("browse.py", image="1")
    fill(test, "Right answer", "dog")
    test = press(test, "Make it gold")
    assert [line.answer for line in list_gold(store, "kinds")] == ["dog"]
    test = open_page("tasks.py")
    test = press(test, "Retire")
    assert "a reason is missing" in test.error[0].value
    fill(test, "Reason for retiring it", "too easy")
    press(test, "Retire")
    assert [line.retired_note for line in list_gold(store, "kinds")] == ["too easy"]


def test_proposed_gold_is_looked_at(open_page: OpenPage) -> None:
    """Masks that votes agree on are proposed with a picture; nothing is added unless it is taken."""
    test = press(open_page("tasks.py"), "Propose masks on which votes agree")
    assert "Add what is taken" in labels(test)
    test = press(test, "Add what is taken")
    assert "Nothing is taken" in test.warning[0].value


def test_agreement_is_reckoned_on_request(open_page: OpenPage) -> None:
    """The numbers of agreement come when they are asked for."""
    test = open_page("tasks.py")
    before = len(test.dataframe)
    test = press(test, "Reckon agreement")
    assert len(test.dataframe) > before
    kappas = [table.value for table in test.dataframe if "Other annotator" in table.value.columns]
    assert kappas[0][["Annotator", "Other annotator"]].values.tolist() == [["anna", "ben"]]


def test_masks_are_resolved_on_request(open_page: OpenPage, store: Store) -> None:
    """A curator resolves on the page, as the command does; an annotator is not offered it."""
    count = "SELECT COUNT(*) FROM v_resolution"
    before = rows(store, count)
    with store.writing() as connection:
        connection.exec_driver_sql("DELETE FROM resolution")
    test = press(open_page("tasks.py"), "Resolve all masks")
    assert "masks resolved" in test.success[0].value
    assert rows(store, count) == before != [(0,)]
    assert "Resolve all masks" not in labels(open_page("tasks.py", role="annotator"))


# --- annotators -----------------------------------------------------------------------------------


def test_curators_see_everybody(open_page: OpenPage) -> None:
    """A line per annotator with accuracy, agreement and pace; an admin may give roles as well."""
    table = open_page("annotators.py").dataframe[0].value
    assert list(table["Name"]) == ["anna", "ben", "root"]
    assert list(table["Decisions"]) == [2, 1, 0]
    assert list(table["Accuracy on gold"]) == ["–", "–", "–"]
    assert table["Median (s)"][0] == 2.5
    assert "Give this role" not in labels(open_page("annotators.py"))
    assert "Give this role" in labels(open_page("annotators.py", role="admin"))


def test_annotators_see_their_own_line(open_page: OpenPage) -> None:
    """An annotator sees one line and no button."""
    test = open_page("annotators.py", role="annotator", person="ben")
    assert list(test.dataframe[0].value["Name"]) == ["ben"]
    assert labels(test) == set()


@pytest.mark.parametrize("page", ["annotators.py", "tasks.py"])
def test_annotators_see_no_number_move_with_their_answer(
    open_page: OpenPage, store: Store, tmp_path: Path, page: str
) -> None:
    """Numbers that are fresh after each answer would tell gold apart; curators have those of now."""
    vote = (
        VOTES.splitlines()[0] + "\nfarm,train,a,1,animal,cat,ben,2026-01-01T10:00:02Z,900,single\n"
    )
    shown = {}
    for role, person in (("annotator", "ben"), ("curator", "root")):
        before = open_page(page, role=role, person=person).dataframe[0].value
        (tmp_path / "late.csv").write_text(vote.replace("cat,ben", f"cat,{person}"), "utf-8")
        import_csv(store, tmp_path / "late.csv", now=DAY)
        after = open_page(page, role=role, person=person).dataframe[0].value
        shown[role] = before["Decisions"].sum(), after["Decisions"].sum()
    assert shown == {"annotator": (shown["annotator"][0],) * 2, "curator": (4, 5)}


def test_pause_and_resume(open_page: OpenPage, store: Store) -> None:
    """A pause needs a reason, and is noted with the curator's name."""
    test = open_page("annotators.py")
    test = press(test, "Pause")
    assert "a reason is missing" in test.error[0].value
    test.text_input(key="pause-why-0").set_value("let us talk")
    test = press(test, "Pause")
    assert rows(store, "SELECT status FROM annotator WHERE name = 'anna'") == [("paused",)]
    test.text_input(key="pause-why-1").set_value("talked")
    press(test, "Resume")
    assert rows(store, "SELECT kind, by, note FROM annotator_event WHERE kind <> 'role'")[-2:] == [
        ("paused", "root", "let us talk"),
        ("resumed", "root", "talked"),
    ]


def test_a_refused_pause_keeps_who_was_chosen(open_page: OpenPage, store: Store) -> None:
    """Who forgot the reason and adds it pauses the one whom they chose, not the first of the list."""
    test = open_page("annotators.py")
    test.selectbox(key="pause-who").set_value("ben")
    test = press(test, "Pause")
    assert test.selectbox(key="pause-who").value == "ben"
    test.text_input(key="pause-why-0").set_value("a word")
    test = press(test, "Pause")
    assert rows(store, "SELECT name FROM annotator WHERE status = 'paused'") == [("ben",)]
    assert test.text_input(key="pause-why-1").value == ""


def test_curators_do_not_pause_admins(open_page: OpenPage, store: Store) -> None:
    """An admin is not among those whom a curator may pause."""
    set_role(store, "ben", role="admin", by="test", now=NOW)
    test = open_page("annotators.py")
    assert test.selectbox(key="pause-who").options == ["anna", "root"]
    assert "ben" in open_page("annotators.py", role="admin").selectbox(key="pause-who").options


def test_decisions_are_reopened(open_page: OpenPage, store: Store) -> None:
    """The votes of one annotator in a task are withdrawn, with a reason."""
    test = open_page("annotators.py")
    test.text_input(key="reopen-why-0").set_value("guessed")
    test = press(test, "Re-open their decisions")
    assert "2 decisions of anna in kinds are withdrawn" in test.success[0].value.replace("\\", "")
    assert rows(store, "SELECT status FROM task_mask ORDER BY mask_id")[1] == ("open",)


def test_roles_are_given(open_page: OpenPage, store: Store) -> None:
    """An admin makes somebody a curator; the last admin stays one."""
    test = open_page("annotators.py", role="admin")
    test.selectbox(key="role-who").set_value("ben")
    test.selectbox(key="role-what").set_value("curator")
    test = press(test, "Give this role")
    assert rows(store, "SELECT role FROM annotator WHERE name = 'ben'") == [("curator",)]
    test.selectbox(key="role-who").set_value("root")
    test.selectbox(key="role-what").set_value("annotator")
    assert "the last admin" in press(test, "Give this role").error[0].value


# --- browse ---------------------------------------------------------------------------------------


def cards(test: AppTest) -> list[dict[str, object]]:
    """Return the cards of the page's gallery."""
    (gallery,) = test.get("bidi_component")
    found: list[dict[str, object]] = json.loads(gallery.proto.json)["cards"]
    return found


def test_an_image_is_shown(open_page: OpenPage) -> None:
    """An image comes with four pictures, its legend, and its masks with votes and resolution; one mask is outlined."""
    test = open_page("browse.py", image="1")
    assert [str(card["path"]).split("&state=")[0] for card in cards(test)] == [
        f"/review/browse/1/{kind}?px=1024&mask=1"
        for kind in ("photo", "before", "after", "overlay")
    ]
    table = test.dataframe[0].value
    assert list(table["Resolution"]) == ["resolved", "resolved"]
    assert table["Votes"][0] == "anna: dog (single); ben: dog (single)"
    legend = next(e.proto.body for e in test.get("html"))
    assert "dog" in legend


def test_images_are_listed(open_page: OpenPage) -> None:
    """The list shows each image with its map after what was decided, how far it is, and a way to open it."""
    test = open_page("browse.py")
    assert [(card["title"], card["text"], card["opens"]) for card in cards(test)] == [
        ("a", "farm train: 2 of 2 masks resolved", 1),
        ("b", "farm train: 0 of 1 masks resolved", 2),
        ("c", "farm val: 0 of 0 masks resolved", 3),
    ]
    assert {str(card["path"]).split("?")[0].rsplit("/", 1)[1] for card in cards(test)} == {"pair"}
    assert "3 images" in test.markdown[0].value


@pytest.mark.parametrize("query", [{}, {"image": "1"}])
def test_a_map_that_changed_is_another_picture(
    open_page: OpenPage, store: Store, query: dict[str, str]
) -> None:
    """Browsers keep pictures by their addresses: after another resolution those are others, else the same."""
    before = cards(open_page("browse.py", **query))
    assert cards(open_page("browse.py", **query)) == before
    resolve_masks(store, policy=parse_policy("majority(quorum=2)"))
    after = cards(open_page("browse.py", **query))
    assert before[0]["path"] != after[0]["path"]


def test_images_are_filtered(open_page: OpenPage) -> None:
    """A filter changes the list; where nothing is found the page says so."""
    test = open_page("browse.py")
    fill(test, "Resolution of a mask", "undecided")
    test = test.run()
    assert [card["title"] for card in cards(test)] == ["b"]
    fill(test, "Split", "nowhere")
    assert "No image has" in test.run().info[0].value


def test_a_class_alone_is_any_that_the_image_shows(open_page: OpenPage) -> None:
    """A class without a task finds the images that show it; beside what is asked of a mask it is the mask's class."""
    test = open_page("browse.py", **{"class": "animal"})
    assert [card["title"] for card in cards(test)] == ["a", "b"]
    test = open_page("browse.py", **{"class": "animal", "resolution": "resolved"})
    assert [card["title"] for card in cards(test)] == ["a"]
    test = open_page("browse.py", **{"class": "sky", "resolution": "resolved"})
    assert "No image has" in test.info[0].value


def test_a_link_shows_what_was_seen(open_page: OpenPage) -> None:
    """Filters, page and image stand in the address; what no image has, or is none, does no harm."""
    test = open_page("browse.py", split="train", after="1")
    assert [card["title"] for card in cards(test)] == ["b"]
    assert [card["title"] for card in cards(open_page("browse.py", before="2"))] == ["a"]
    assert "no image 99" in open_page("browse.py", image="99").error[0].value
    for nonsense in ("-1", "x", "9" * 30, "²"):
        assert len(cards(open_page("browse.py", image=nonsense))) == 3
    assert len(cards(open_page("browse.py", resolution="eaten", dataset="<b>"))) == 3


def test_one_goes_from_image_to_image(open_page: OpenPage) -> None:
    """Beside an image are the ways to those that the filter finds before and behind it, and to the list."""
    test = open_page("browse.py", image="1", split="train")
    assert [b.disabled for b in test.button if b.label == "Image before"] == [True]
    test = press(test, "Next image")
    assert test.query_params["image"] == "2"
    assert [b.disabled for b in test.button if b.label == "Next image"] == [True]
    test = press(test, "Back to the list")
    assert [card["title"] for card in cards(test)] == ["b"]
    test = press(test, "Page before")
    assert [card["title"] for card in cards(test)] == ["a"]


def test_flags_are_closed(open_page: OpenPage, store: Store) -> None:
    """An open flag is listed with its remark, and closed by a button."""
    with store.writing() as connection:
        add_flag(
            connection, b"f" * 16, task_id=1, mask_id=3, annotator_id=1, comment="**two** cats", now=DAY
        )  # fmt: skip
    test = press(open_page("browse.py"), "Show its image")
    assert test.query_params["image"] == "2"
    assert list(test.dataframe[-1].value["Remark"]) == ["**two** cats"]
    press(test, "Close the flag")
    assert rows(store, "SELECT closed_by FROM flag") == [("root",)]


# --- words ----------------------------------------------------------------------------------------


def test_names_are_text(open_page: OpenPage, store: Store) -> None:
    """Markup in names of classes, tasks and people reaches no Markdown and no HTML."""
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE label_class SET name = '<b>dog</b>' WHERE name = 'dog'")
        connection.exec_driver_sql("UPDATE task SET name = '[x](http://y) **k**'")
        connection.exec_driver_sql("UPDATE annotator SET name = '<i>anna' WHERE name = 'anna'")
    for page in ("tasks.py", "annotators.py", "browse.py"):
        test = open_page(page)
        if page == "tasks.py":
            test = press(test, "Pause")
            assert test.success[0].value == r"\[x\]\(http\://y\) \*\*k\*\* is paused\."
        said = [e.value for kind in ("markdown", "caption") for e in test.get(kind)]
        said += [e.proto.body for e in test.get("html")]
        assert not any("<b>" in text or "<i>" in text or "[x](" in text for text in said)


def test_words_as_text() -> None:
    """Markup is escaped, line breaks are blanks, and a share that is not defined is a dash."""
    assert as_text("a\nb") == "a b"
    assert as_text("*[x](y)<b>$m$") == r"\*\[x\]\(y\)\<b\>\$m\$"
    assert percent(float("nan"), 0, 1) == "–"
    assert percent(0.5, 0.25, 0.75) == "50.0% (25.0% – 75.0%)"


def test_headings_are_in_order(open_page: OpenPage) -> None:
    """Each page has one heading of the first level, and no level is left out below it."""
    for page in ("tasks.py", "annotators.py", "browse.py"):
        test = open_page(page, role="admin")
        assert len(test.title) == 1
        tags = [e.tag for e in test.main if e.type in ("title", "header", "subheader")]
        assert tags[0] == "h1"
    assert isinstance(test.session_state["_here"].person, Person)
