"""Sessions: signing out ends every tab, page and token of that sign-in, and nobody else's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import streamlit
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from app import store_path
from app.marks import is_marked, mark_once
from app.routes import build_routes
from app.security import Guard
from app.sessions import begin_session, end_session, has_ended, session_of_identity
from app.sign_in import (
    Browser,
    SignInError,
    cookie_name,
    read_browser,
    sign_in_by_identity,
    sign_in_by_link,
    sign_in_by_name,
    sign_out,
    who_is_here,
    write_browser,
)
from app.tokens import TOKEN_S, mint_link, mint_token, read_token, renew_token
from mseg_curate.errors import OutputError
from mseg_curate.store import Store

NOW = 1_700_000_000.0
HOST = "127.0.0.1:8501"
ORIGIN = {"Origin": f"http://{HOST}"}
IDENTITY = {"iss": "https://id.example", "sub": "1", "email": "ada@masks.example", "iat": 5}
Open = Callable[[], TestClient]


@pytest.fixture
def open_browser(farm_store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """A function that opens the server in a browser without cookies."""
    monkeypatch.setenv(store_path.VARIABLE, str(farm_store.path))
    monkeypatch.setattr(streamlit, "get_option", {"server.address": "127.0.0.1"}.get)
    app = Starlette(routes=build_routes(), middleware=[Middleware(Guard)])
    opened: list[TestClient] = []

    def one() -> TestClient:
        opened.append(TestClient(app, base_url=f"http://{HOST}", follow_redirects=False))
        return opened[-1]

    yield one
    for client in opened:
        client.close()


def sign_in(client: TestClient, name: str) -> None:
    """Send the form."""
    answer = client.post("/review/sign-in", data={"annotator": name}, headers=ORIGIN)
    assert answer.status_code == 303, answer.text


def page_of(client: TestClient, store: Store) -> Callable[[], str]:
    """Open a page, which keeps the cookies of now; returns what mints its tokens, or fails as the page would."""
    cookies = dict(client.cookies)

    def mint() -> str:
        found = who_is_here(store, read_browser(store.path, cookies, now=time.time()))
        assert found is not None
        return mint_token(
            store.path, found.person.id, bound=found.bound, now=time.time(), session=found.session
        )

    return mint


def status_of(client: TestClient, token: str) -> int:
    """Ask for something with a token."""
    headers = {"Authorization": f"Bearer {token}"}
    return client.get("/review/task?task=kinds", headers=headers).status_code


def test_signing_out_ends_every_tab(open_browser: Open, farm_store: Store) -> None:
    """The tokens of other tabs are refused at once, and a page that stands open makes no new ones."""
    client = open_browser()
    sign_in(client, "ada")
    page = page_of(client, farm_store)
    token = page()
    assert status_of(client, token) == 200
    client.post("/review/sign-out", headers=ORIGIN)
    assert status_of(client, token) == 401
    with pytest.raises(SignInError, match="signed out of this browser"):
        page()


def test_signing_out_here_is_not_signing_out_there(open_browser: Open, farm_store: Store) -> None:
    """The same person in another browser, and the same browser after it signed in again, go on."""
    sign_in(open_browser(), "the first, who is admin")
    here, there = open_browser(), open_browser()
    for client in (here, there):
        sign_in(client, "ada")
    token = page_of(there, farm_store)()
    here.post("/review/sign-out", headers=ORIGIN)
    assert status_of(there, token) == 200
    sign_in(here, "ada")
    assert status_of(here, page_of(here, farm_store)()) == 200


def test_one_after_the_other(open_browser: Open, farm_store: Store) -> None:
    """Who signs in where somebody else sat ends that one's session; signing in twice ends nothing."""
    client = open_browser()
    sign_in(client, "ada")
    token = page_of(client, farm_store)()
    sign_in(client, "ada")
    assert status_of(client, token) == 200
    sign_in(client, "ben")
    assert status_of(client, token) == 401


def test_a_link_ends_the_session_before(farm_store: Store) -> None:
    """A browser that follows somebody else's link is theirs in all its tabs."""
    browser, _ = sign_in_by_name(farm_store, "ada", browser=Browser(), now=NOW)
    ben, _ = sign_in_by_name(farm_store, "ben", browser=Browser(), now=NOW)
    link = mint_link(farm_store.path, ben.person_id, now=NOW)
    moved = sign_in_by_link(farm_store, link, browser=browser, now=NOW)
    assert moved.proved == browser.proved | {ben.person_id}
    assert has_ended(farm_store.path, browser.session)
    assert not has_ended(farm_store.path, moved.session)


def test_a_cookie_that_was_kept(farm_store: Store) -> None:
    """A copy of the cookie is worth nothing after the sign-out."""
    browser, _ = sign_in_by_name(farm_store, "ada", browser=Browser(), now=NOW)
    sign_out(farm_store, browser, now=NOW)
    with pytest.raises(SignInError) as refused:
        who_is_here(farm_store, browser)
    assert refused.value.problem == "ended"


def test_a_cookie_without_a_session(farm_store: Store) -> None:
    """A cookie that no sign-out could end signs nobody in, and keeps what the browser has proved."""
    text = write_browser(farm_store.path, Browser(7, frozenset({7})), now=NOW)
    cookies = {cookie_name(farm_store.path): text}
    assert read_browser(farm_store.path, cookies, now=NOW) == Browser(0, frozenset({7}))


def test_renewed_tokens_stay_in_their_session(tmp_path: Path) -> None:
    """A token that was renewed ends with the session of the first."""
    store, session = tmp_path / "store.db", begin_session()
    token = read_token(store, mint_token(store, 7, bound=True, now=NOW, session=session), now=NOW)
    assert token is not None
    text = renew_token(store, token, now=NOW + TOKEN_S * 0.6)
    assert text is not None
    renewed = read_token(store, text, now=NOW + TOKEN_S)
    assert renewed is not None
    assert renewed.session == session


def test_identities_sign_out(farm_store: Store) -> None:
    """A sign-in by OIDC ends by itself; the next one of the same person is another session."""
    here = sign_in_by_identity(farm_store, IDENTITY, now=NOW)
    end_session(farm_store.path, here.session, now=NOW)
    with pytest.raises(SignInError) as refused:
        sign_in_by_identity(farm_store, IDENTITY, now=NOW)
    assert refused.value.problem == "ended"
    again = sign_in_by_identity(farm_store, IDENTITY | {"iat": 6}, now=NOW)
    assert again.person == here.person


def test_a_provider_that_tells_no_sign_ins_apart(farm_store: Store) -> None:
    """Where the claims of two sign-ins are the same, ending one would lock the person out: nothing is ended."""
    claims = {name: value for name, value in IDENTITY.items() if name != "iat"}
    assert session_of_identity(claims) == ""
    here = sign_in_by_identity(farm_store, claims, now=NOW)
    end_session(farm_store.path, here.session, now=NOW)
    assert sign_in_by_identity(farm_store, claims, now=NOW).person == here.person


@pytest.mark.parametrize("verified", [False, "false"])
def test_an_address_that_nobody_proved(farm_store: Store, verified: object) -> None:
    """Somebody who claims another one's address is not shown under it."""
    here = sign_in_by_identity(farm_store, IDENTITY | {"email_verified": verified}, now=NOW)
    assert "ada" not in here.person.name
    assert "ada" not in here.email


def test_marks_are_made_once(tmp_path: Path) -> None:
    """Of many that make a mark at once one is first; others see it, and old ones are cleared away."""
    store = tmp_path / "store.db"
    with ThreadPoolExecutor(8) as pool:
        firsts = list(
            pool.map(
                lambda _: mark_once(store, "links", "a", now=time.time(), kept_s=60), range(32)
            )
        )
    assert firsts.count(True) == 1
    assert is_marked(store, "links", "a")
    assert not is_marked(store, "ended", "a")
    mark_once(store, "links", "b", now=time.time() + 61, kept_s=60)
    assert not is_marked(store, "links", "a")


@pytest.mark.parametrize("session", ["", "../../x", "A" * 32, "a" * 31, "a" * 32 + "\n"])
def test_what_is_no_session(tmp_path: Path, session: str) -> None:
    """A text that is no session makes no file, and has not ended."""
    end_session(tmp_path / "store.db", session, now=NOW)
    assert list(tmp_path.iterdir()) == []
    assert not has_ended(tmp_path / "store.db", session)


def test_a_mark_beside_a_store_that_is_gone_is_an_error(tmp_path: Path) -> None:
    """Where the store's folder was deleted nothing can be marked, and one line says so."""
    with pytest.raises(OutputError, match="cannot be written"):
        mark_once(tmp_path / "gone" / "store.db", "links", "a", now=time.time(), kept_s=60)
