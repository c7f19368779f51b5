"""The pages as Streamlit runs them: who sees which, and what is said where nothing can be done."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import streamlit
from streamlit.testing.v1 import AppTest

from app import entrance, frame, store_path
from app.sign_in import Browser
from mseg_curate.annotators import pause_person, set_role, sign_in_person
from mseg_curate.store import Store

UI = Path(__file__).parents[2] / "app" / "ui.py"
OpenPage = Callable[..., AppTest]


@pytest.fixture
def open_page(farm_store: Store, monkeypatch: pytest.MonkeyPatch) -> OpenPage:
    """A function that opens the app on this machine as a person, or as nobody."""
    monkeypatch.setenv(store_path.VARIABLE, str(farm_store.path))
    get_option = streamlit.get_option
    monkeypatch.setattr(
        streamlit,
        "get_option",
        lambda name: "127.0.0.1" if name == "server.address" else get_option(name),
    )
    monkeypatch.setattr(frame, "_headers", lambda: {"host": "127.0.0.1:8501"})

    def opened(name: str = "", role: str = "annotator") -> AppTest:
        browser = Browser()
        if name:
            person = sign_in_person(farm_store, name, now=time.time())
            set_role(farm_store, name, role=role, by="test", now=time.time())
            browser = Browser(person.id, frozenset({person.id}))
        monkeypatch.setattr(frame, "read_browser", lambda *_, **__: browser)
        return AppTest.from_file(str(UI), default_timeout=30).run()

    return opened


def text_of(test: AppTest) -> str:
    """Return the HTML of a page."""
    return "\n".join(element.proto.body for element in test.get("html"))


def test_nobody_is_asked_for_a_name(open_page: OpenPage) -> None:
    """Who is not signed in gets the form and nothing else."""
    test = open_page()
    assert not test.exception
    assert [title.value for title in test.title] == ["Sign in to review"]
    assert 'action="/review/sign-in"' in text_of(test)
    assert not test.selectbox


@pytest.mark.parametrize("role", ["annotator", "curator", "admin"])
def test_who_is_here(open_page: OpenPage, role: str) -> None:
    """Name, role and the way out are shown, and the open tasks are there to choose from."""
    test = open_page("ann", role)
    assert not test.exception
    said = text_of(test)
    assert '<span class="mc-name">ann</span>' in said
    assert f'<span class="mc-role">{role}</span>' in said
    assert 'action="/review/sign-out"' in said
    assert test.selectbox[0].options == ["kinds"]


@pytest.mark.parametrize(
    ("role", "hidden"),
    [("annotator", {"Adjudicate", "Browse"}), ("curator", set()), ("admin", set())],
)
def test_pages_by_role(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, role: str, hidden: set[str]
) -> None:
    """The curators' pages are no pages at all for an annotator; an address that is none leads to the first."""
    offered: list[str] = []
    navigate = streamlit.navigation

    def watch(pages: list[streamlit.Page], *, position: Literal["top"]) -> object:
        offered.extend(page.title for page in pages)
        return navigate(pages, position=position)

    monkeypatch.setattr(streamlit, "navigation", watch)
    open_page("ann", role)
    everything = ["Review", "Grid", "Adjudicate", "Tasks", "Annotators", "Browse"]
    assert offered == [title for title in everything if title not in hidden]


def test_names_are_text(open_page: OpenPage, farm_store: Store) -> None:
    """Markup in names, definitions and instructions is shown as text."""
    with farm_store.writing() as connection:
        connection.exec_driver_sql("UPDATE label_class SET name = '<b>cat</b>' WHERE name = 'cat'")
        connection.exec_driver_sql(
            "UPDATE task_candidate SET definition = '<img src=x onerror=alert(1)>'"
        )
        connection.exec_driver_sql("UPDATE task SET instructions = '<script>1</script>'")
    said = text_of(open_page("<i>ann</i>"))
    for markup in ("<b>cat", "<img", "<script", "<i>ann"):
        assert markup not in said
    assert "&lt;i&gt;ann" in said
    assert "&lt;img src=x" in said


def test_a_paused_person(open_page: OpenPage, farm_store: Store) -> None:
    """A paused person is told so in a sentence, and gets no pane."""
    sign_in_person(farm_store, "ann", now=time.time())
    pause_person(farm_store, "ann", by="test", note="why not", now=time.time())
    test = open_page("ann")
    assert test.info[0].value.startswith("Your reviewing is paused.")
    assert not test.selectbox


def test_no_open_task(open_page: OpenPage, farm_store: Store) -> None:
    """Without an open task the page says who makes one."""
    with farm_store.writing() as connection:
        connection.exec_driver_sql("UPDATE task SET status = 'paused'")
    assert "No task is open" in open_page("ann").info[0].value


def test_one_who_was_promoted(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, farm_store: Store
) -> None:
    """Who became a curator and has not proved it in this browser is asked to."""
    open_page("ann", "curator")
    person = sign_in_person(farm_store, "ann", now=time.time())
    monkeypatch.setattr(frame, "read_browser", lambda *_, **__: Browser(person.id))
    test = AppTest.from_file(str(UI), default_timeout=30).run()
    assert "annotator link" in test.warning[0].value
    assert [title.value for title in test.title] == ["Sign in to review"]


@pytest.mark.parametrize(("address", "words"), [(None, "every address"), ("0.0.0.0", "0.0.0.0")])
def test_nobody_signs_in_off_this_machine(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, address: str | None, words: str
) -> None:
    """A server that others reach, without OIDC, signs nobody in, not even with a cookie, and says why."""
    monkeypatch.setattr(streamlit, "get_option", {"server.address": address}.get)
    for name in ("", "ann"):
        test = open_page(name)
        assert words in test.error[0].value
        assert not test.selectbox


def test_no_store(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a store the page says so, and how to make one."""
    monkeypatch.setenv(store_path.VARIABLE, str(tmp_path / "none.db"))
    test = open_page()
    assert not test.exception
    assert test.title[0].value == "No store to review"
    assert "mseg-curate init" in test.error[0].value


@pytest.mark.parametrize("installed", [True, False])
def test_identities_in_pages(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    """Where OIDC is configured the page offers that alone, and says so where its library is missing."""
    found = importlib.util.find_spec
    own = found("app") if installed else None
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: own if name == "authlib" else found(name, *_)
    )
    monkeypatch.setattr(entrance, "is_oidc_configured", lambda: True)
    monkeypatch.setattr(frame, "is_oidc_configured", lambda: True)
    monkeypatch.setattr(frame, "_by_identity", lambda: None)
    test = open_page("ann")
    assert [button.label for button in test.button] == (["Sign in"] if installed else [])
    assert bool(test.error) is not installed
    assert "<form" not in text_of(test)
