"""Signing in: names on a loopback server, links, identities, and who is refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import streamlit
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from app import entrance, store_path
from app.routes import build_routes
from app.security import Guard
from app.sign_in import (
    BROWSER_S,
    Browser,
    SignInError,
    cookie_name,
    is_loopback,
    read_browser,
    refusal_of_names,
    sign_in_by_identity,
    sign_in_by_name,
    who_is_here,
    write_browser,
)
from app.tokens import LINK_S, mint_link
from mseg_curate.annotators import find_named, list_people, set_role, sign_in_person
from mseg_curate.store import Store

NOW = 1_700_000_000.0
HOST = "127.0.0.1:8501"
ORIGIN = {"Origin": f"http://{HOST}"}
NewBrowser = Callable[[], TestClient]


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The server's options, which a test may change; it listens on 127.0.0.1."""
    made: dict[str, object] = {"server.address": "127.0.0.1", "server.allowedHosts": []}
    monkeypatch.setattr(streamlit, "get_option", made.get)
    return made


@pytest.fixture
def new_browser(
    small_store: Store, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> Iterator[NewBrowser]:
    """A function that opens the server in a browser without cookies."""
    monkeypatch.setenv(store_path.VARIABLE, str(small_store.path))
    app = Starlette(routes=build_routes(), middleware=[Middleware(Guard)])
    opened: list[TestClient] = []

    def open_browser() -> TestClient:
        opened.append(TestClient(app, base_url=f"http://{HOST}", follow_redirects=False))
        return opened[-1]

    yield open_browser
    for client in opened:
        client.close()


def sign_in(client: TestClient, name: str) -> str:
    """Send the form and return where the answer leads."""
    answer = client.post("/review/sign-in", data={"annotator": name}, headers=ORIGIN)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def who(client: TestClient, store: Store) -> str | None:
    """Return the name that the page would find by the browser's cookie."""
    found = who_is_here(store, read_browser(store.path, dict(client.cookies), now=time.time()))
    return None if found is None else found.person.name


def test_the_first_is_admin(new_browser: NewBrowser, small_store: Store) -> None:
    """The first person becomes the store's admin and is told so; the next is an annotator."""
    first, second = new_browser(), new_browser()
    assert sign_in(first, "ada") == "/?notice=admin"
    assert sign_in(second, "ben") == "/"
    assert [(p.name, p.role) for p in list_people(small_store)] == [
        ("ada", "admin"),
        ("ben", "annotator"),
    ]
    assert (who(first, small_store), who(second, small_store)) == ("ada", "ben")


def test_only_one_is_first(small_store: Store) -> None:
    """Of many who sign in at once one becomes admin."""
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(
                lambda n: sign_in_by_name(small_store, f"p{n}", browser=Browser(), now=NOW)[1],
                range(8),
            )
        )
    assert found.count(True) == 1
    assert [p.role for p in list_people(small_store)].count("admin") == 1


def test_the_cookie(new_browser: NewBrowser, small_store: Store) -> None:
    """The cookie is hidden from scripts, stays on this site, and is of this store alone."""
    answer = new_browser().post("/review/sign-in", data={"annotator": "ada"}, headers=ORIGIN)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{cookie_name(small_store.path)}=")
    for word in ("HttpOnly", "SameSite=strict", f"Max-Age={BROWSER_S}", "Path=/"):
        assert word in cookie
    assert "ada" not in cookie
    assert answer.headers["cache-control"] == "no-store"


def test_a_forged_cookie(small_store: Store) -> None:
    """A cookie that is forged, of another store, or too old, says nothing."""
    path = small_store.path
    mine = Browser(7, frozenset({7}), "a" * 32)
    right = write_browser(path, mine, now=NOW)
    name = cookie_name(path)
    assert read_browser(path, {name: right}, now=NOW) == mine
    other = write_browser(path.with_name("other.db"), mine, now=NOW)
    for text in (other, right[:-1], "", "x.y"):
        assert read_browser(path, {name: text}, now=NOW) == Browser()
    assert read_browser(path, {name: right}, now=NOW + BROWSER_S) == Browser()
    assert cookie_name(path) != cookie_name(path.with_name("other.db"))


def test_names_are_free_for_annotators(new_browser: NewBrowser, small_store: Store) -> None:
    """An annotator's name can be used in two browsers, and typed with stray blanks."""
    sign_in(new_browser(), "ada")
    first, second = new_browser(), new_browser()
    assert sign_in(first, "ben  li") == "/"
    assert sign_in(second, "  ben li ") == "/"
    assert who(first, small_store) == who(second, small_store) == "ben li"


@pytest.mark.parametrize("typed", ["Ben", "BEN", "\uff42en", "be\u00f1"])
def test_a_name_in_other_letters(new_browser: NewBrowser, small_store: Store, typed: str) -> None:
    """Capitals and wide letters make no second person, who would vote twice on one mask; other letters do."""
    sign_in(new_browser(), "ada")
    sign_in(new_browser(), "ben")
    client = new_browser()
    assert sign_in(client, typed) == "/"
    assert who(client, small_store) == ("beñ" if typed == "be\u00f1" else "ben")
    assert sign_in(new_browser(), "ADA") == "/?problem=proof"


@pytest.mark.parametrize("role", ["curator", "admin"])
def test_a_curators_name_is_bound(new_browser: NewBrowser, small_store: Store, role: str) -> None:
    """The name of a curator or an admin is refused to a browser that has not proved it, and no cookie is set."""
    sign_in(new_browser(), "ada")
    sign_in_person(small_store, "cur", now=NOW)
    set_role(small_store, "cur", role=role, by="ada", now=NOW)
    client = new_browser()
    assert sign_in(client, "cur") == "/?problem=proof"
    assert not client.cookies


def test_one_who_was_promoted_proves_it(new_browser: NewBrowser, small_store: Store) -> None:
    """A cookie from before the promotion is no proof: anybody could have typed the name then."""
    sign_in(new_browser(), "ada")
    client = new_browser()
    sign_in(client, "ben")
    assert who(client, small_store) == "ben"
    set_role(small_store, "ben", role="curator", by="ada", now=NOW)
    with pytest.raises(SignInError, match="bound to their browser"):
        who(client, small_store)


def test_signing_out_and_in_again(new_browser: NewBrowser, small_store: Store) -> None:
    """Who signs out is nobody; the browser that proved a name may take it again."""
    client = new_browser()
    sign_in(client, "ada")
    assert client.post("/review/sign-out", headers=ORIGIN).headers["location"] == "/"
    assert who(client, small_store) is None
    assert sign_in(client, "ada") == "/"
    assert who(client, small_store) == "ada"


def test_a_link_proves_a_name(new_browser: NewBrowser, small_store: Store) -> None:
    """A link makes a browser the curator's, once; a look at its head does not use it up."""
    sign_in(new_browser(), "ada")
    admin = find_named(small_store, "ada")
    assert admin is not None
    path = f"/review/link/{mint_link(small_store.path, admin.id, now=time.time())}"
    first, second = new_browser(), new_browser()
    assert first.head(path).status_code == 204
    assert first.get(path).headers["location"] == "/"
    assert who(first, small_store) == "ada"
    assert second.get(path).headers["location"] == "/?problem=link"
    assert who(second, small_store) is None


@pytest.mark.parametrize("fault", ["old", "forged", "of nobody"])
def test_a_link_that_is_none(new_browser: NewBrowser, small_store: Store, fault: str) -> None:
    """A link that is old, forged, or names nobody signs nobody in."""
    client = new_browser()
    sign_in(client, "ada")
    client.cookies.clear()
    made_at = time.time() - (LINK_S + 1 if fault == "old" else 0)
    token = mint_link(small_store.path, 999 if fault == "of nobody" else 1, now=made_at)
    token = token[:-2] + "xx" if fault == "forged" else token
    assert client.get(f"/review/link/{token}").headers["location"] == "/?problem=link"
    assert not client.cookies


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "a\nb\x00", "\u202eada", "a\x1bb"])
def test_what_is_no_name(new_browser: NewBrowser, small_store: Store, name: str) -> None:
    """An empty, endless or unprintable name is refused, and nobody is made."""
    assert sign_in(new_browser(), name) == "/?problem=name"
    assert list_people(small_store) == []


@pytest.mark.parametrize("name", ["simulated-0", "mseg-published", "robot"])
def test_names_of_no_people(new_browser: NewBrowser, small_store: Store, name: str) -> None:
    """The names of simulated and imported decisions are nobody's to take."""
    with small_store.writing() as connection:
        connection.exec_driver_sql(
            "INSERT INTO annotator (name, kind, created_at) VALUES ('robot', 'simulated', '2026-01-01')"
        )
    assert sign_in(new_browser(), name) == "/?problem=kind"


@pytest.mark.parametrize("path", ["/review/sign-in", "/review/sign-out"])
@pytest.mark.parametrize("headers", [{}, {"Origin": "http://evil.example"}, {"Origin": "null"}])
def test_forms_of_others(
    new_browser: NewBrowser, small_store: Store, path: str, headers: dict[str, str]
) -> None:
    """A form that another site sent, or nobody says who, signs nobody in or out."""
    answer = new_browser().post(path, data={"annotator": "ada"}, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert list_people(small_store) == []


@pytest.mark.parametrize("body", [b"\xff\xfe", b"annotator=%ff", b"x" * 70_000])
def test_forms_that_are_none(new_browser: NewBrowser, body: bytes) -> None:
    """A form that cannot be read, or is enormous, signs nobody in."""
    answer = new_browser().post("/review/sign-in", content=body, headers=ORIGIN)
    assert answer.status_code in (413, 422)
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("address", "headers", "words"),
    [
        (None, {}, "every address"),
        ("0.0.0.0", {}, "0.0.0.0"),
        ("192.0.2.7", {}, "192.0.2.7"),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.9"}, "proxy"),
        ("127.0.0.1", {"Forwarded": "for=192.0.2.9"}, "proxy"),
        ("127.0.0.1", {"Host": "masks.example", "Origin": "http://masks.example"}, "proxy"),
    ],
)
def test_no_names_off_this_machine(
    new_browser: NewBrowser,
    small_store: Store,
    options: dict[str, object],
    *,
    address: str | None,
    headers: dict[str, str],
    words: str,
) -> None:
    """Where others reach the server nobody signs in by name or by link, and the reason is said."""
    options |= {"server.address": address, "server.allowedHosts": ["127.0.0.1", "masks.example"]}
    client = new_browser()
    person = sign_in_person(small_store, "ada", now=NOW)
    link = mint_link(small_store.path, person.id, now=time.time())
    data = {"annotator": "ben"}
    for answer in (
        client.post("/review/sign-in", data=data, headers=ORIGIN | headers),
        client.get(f"/review/link/{link}", headers=headers),
    ):
        assert answer.status_code == 403
        assert words in answer.text
        assert "set-cookie" not in answer.headers
    assert all(person.role != "admin" for person in list_people(small_store))


def test_no_names_beside_identities(
    new_browser: NewBrowser, small_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an identity provider is configured a name is no way in."""
    monkeypatch.setattr(entrance, "is_oidc_configured", lambda: True)
    answer = new_browser().post("/review/sign-in", data={"annotator": "ada"}, headers=ORIGIN)
    assert answer.status_code == 403
    assert "identity provider" in answer.text
    assert list_people(small_store) == []


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("localhost:8501", True),
        ("127.0.0.1", True),
        ("127.8.9.1:80", True),
        ("[::1]:8501", True),
        (None, False),
        ("", False),
        ("0.0.0.0", False),
        ("[::]", False),
        ("192.0.2.7", False),
        ("localhost.example", False),
        ("[::1", False),
    ],
)
def test_loopback(host: str | None, expected: bool) -> None:
    """Loopback is this machine's own addresses and `localhost`, and nothing that only looks so."""
    assert is_loopback(host) is expected


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost"])
def test_names_on_this_machine(address: str) -> None:
    """On a loopback address, reached by a loopback name, one signs in by name."""
    refusal = refusal_of_names(address=address, host=HOST, forwarded=False, oidc=False)
    assert refusal is None


def test_identities(small_store: Store) -> None:
    """An identity is issuer and subject: the same one comes back, another with the same address is somebody else."""
    user = {"iss": "https://id.example", "sub": "1", "email": "ada@masks.example"}
    first = sign_in_by_identity(small_store, user, now=NOW)
    assert (first.person.role, first.bound, first.email) == ("annotator", True, "ada@masks.example")
    again = sign_in_by_identity(small_store, user | {"email": "other@masks.example"}, now=NOW)
    assert again.person.id == first.person.id
    for change in ({"sub": "2"}, {"iss": "https://other.example"}):
        other = sign_in_by_identity(small_store, user | change, now=NOW)
        assert other.person.id != first.person.id
    assert all(person.role != "admin" for person in list_people(small_store))


@pytest.mark.parametrize(
    "user", [{}, {"iss": "https://id.example"}, {"iss": "", "sub": "1"}, {"iss": 1, "sub": "1"}]
)
def test_half_an_identity(small_store: Store, user: dict[str, object]) -> None:
    """A provider that does not say issuer and subject signs nobody in."""
    with pytest.raises(SignInError):
        sign_in_by_identity(small_store, user, now=NOW)
    assert list_people(small_store) == []
