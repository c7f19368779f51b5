"""Who one is: a name kept by this browser on a loopback server, or an identity that OIDC proved.

An annotator's name is free for all who reach the server. The name of a curator or an admin needs a browser that has
proved it: the one that became the store's first admin, or one that opened a one-time link.
"""

from __future__ import annotations

import hashlib
import ipaddress
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from app.base_path import base_path
from app.marks import mark_once
from app.sessions import SESSION_S, begin_session, end_session, has_ended, session_of_identity
from app.tokens import LINK_S, read_claims, read_link, secret_of, sign_claims
from mseg_curate.annotators import (
    find_named,
    find_person,
    list_people,
    make_first_admin,
    sign_in_person,
)
from mseg_curate.errors import InputError, MsegCurateError, StoreError
from mseg_curate.review import Person
from mseg_curate.store import Store

__all__ = [
    "BROWSER_S",
    "PROBLEMS",
    "Browser",
    "Here",
    "SignInError",
    "cookie_name",
    "is_loopback",
    "read_browser",
    "refusal_of_names",
    "sign_in_by_identity",
    "sign_in_by_link",
    "sign_in_by_name",
    "sign_out",
    "who_is_here",
    "write_browser",
]

BROWSER_S = SESSION_S
LONGEST_NAME = 60

PROBLEMS = {
    "name": f"That is no name: expected 1 to {LONGEST_NAME} letters, digits and spaces.",
    "proof": (
        "That name belongs to a curator or an admin and is bound to their browser. To use it in this one, open the "
        "link that `mseg-curate annotator link NAME` prints."
    ),
    "kind": "That name stands for imported or simulated decisions; choose another one.",
    "link": (
        "That link was used already, or is older than ten minutes; print another with "
        "`mseg-curate annotator link NAME`."
    ),
    "ended": "You signed out of this browser in another tab. Sign in again; what was not sent yet is kept for you.",
    "gone": "The name that this browser had is not in the store any more; sign in again.",
}
"""What may go wrong, by the word that stands in the page's address."""


class SignInError(MsegCurateError):
    """Somebody cannot be signed in; `problem` is a key of PROBLEMS."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(PROBLEMS[problem])


@dataclass(frozen=True)
class Browser:
    """What the signed cookie says: who is signed in (0: nobody), since which sign-in, and whose names it has proved."""

    person_id: int = 0
    proved: frozenset[int] = frozenset()
    session: str = ""


@dataclass(frozen=True)
class Here:
    """The person at this page; `bound` is True where a curator's rights may be used, `email` is OIDC's or ''."""

    person: Person
    bound: bool
    email: str = ""
    session: str = ""


def is_loopback(host: str | None) -> bool:
    """Say whether a host name or address, with or without a port, is this machine's loopback."""
    try:
        name = urlsplit(f"//{host}").hostname if host else None
        return name == "localhost" or (name is not None and ipaddress.ip_address(name).is_loopback)
    except ValueError:
        return False


def refusal_of_names(
    *, address: str | None, host: str | None, forwarded: bool, oidc: bool
) -> str | None:
    """Say why nobody may sign in by name alone, or None where one may.

    `address` is what the server listens on (None: everywhere), `host` the request's Host header, `forwarded` whether
    a proxy stands between.
    """
    if oidc:
        return "This server signs people in by its identity provider."
    bare = f"[{address}]" if address and ":" in address else address
    if not is_loopback(bare):
        return (
            f"This server listens on {address or 'every address'}, where a name proves nothing. Configure OIDC in "
            "the [auth] section of .streamlit/secrets.toml, or listen on 127.0.0.1."
        )
    if forwarded or not is_loopback(host):
        return (
            "This server is reached through a proxy, where a name proves nothing. Configure OIDC in the [auth] "
            "section of .streamlit/secrets.toml, or open the server on its own machine."
        )
    return None


def cookie_name(store: Path) -> str:
    """Return the cookie's name, another one for each store and path: browsers share cookies between ports."""
    place = secret_of(store) + b"cookie" + base_path().encode()
    return f"mseg_curate_{hashlib.sha256(place).hexdigest()[:8]}"


def read_browser(store: Path, cookies: Mapping[str, str], *, now: float) -> Browser:
    """Return what the signed cookie says; a missing, forged or expired one says nothing."""
    text = cookies.get(cookie_name(store), "")
    claims = read_claims(secret_of(store), "browser", text)
    if claims is None:
        return Browser()
    who, proved, until = claims.get("who"), claims.get("proved"), claims.get("until")
    if not isinstance(who, int) or not isinstance(proved, list) or not isinstance(until, int):
        return Browser()
    session = claims.get("session")
    if not isinstance(session, str) or not session:
        # A cookie from before sessions: nobody could sign it out.
        who, session = 0, ""
    return Browser(who, frozenset(proved), session) if now < until else Browser()


def write_browser(store: Path, browser: Browser, *, now: float) -> str:
    """Return the cookie's value, good for BROWSER_S seconds."""
    claims = {
        "who": browser.person_id,
        "proved": sorted(browser.proved),
        "session": browser.session,
        "until": int(now) + BROWSER_S,
    }
    return sign_claims(secret_of(store), "browser", claims)


def sign_in_by_name(
    store: Store, text: str, *, browser: Browser, now: float
) -> tuple[Browser, bool]:
    """Sign a name in on a loopback server; returns the browser's new state, and whether it became the first admin.

    Raises SignInError for a text that is no name, a name that needs proof, or one of no person.
    """
    name = _clean_name(text)
    known = find_named(store, name) or _find_alike(store, name)
    if known is not None and _needs_proof(known) and known.id not in browser.proved:
        raise SignInError("proof")
    try:
        person = sign_in_person(store, name if known is None else known.name, now=now)
    except InputError as error:
        raise SignInError("name") from error
    except StoreError as error:
        raise SignInError("kind") from error
    if _needs_proof(person) and person.id not in browser.proved:
        # Made a curator between the two looks at them.
        raise SignInError("proof")
    first = make_first_admin(store, person.name, now=now)
    proved = browser.proved | {person.id} if first else browser.proved
    return _seat(store, replace(browser, proved=proved), person, now=now), first


def sign_in_by_link(store: Store, text: str, *, browser: Browser, now: float) -> Browser:
    """Make this browser the browser of the person that a one-time link names.

    Raises SignInError for a link that is forged, expired or used.
    """
    link = read_link(store.path, text, now=now)
    if link is None or not mark_once(store.path, "links", link.nonce, now=now, kept_s=2 * LINK_S):
        raise SignInError("link")
    person = find_person(store, link.person_id)
    if person is None:
        raise SignInError("link")
    proved = replace(browser, proved=browser.proved | {person.id})
    return _seat(store, proved, person, now=now)


def sign_in_by_identity(store: Store, user: Mapping[str, object], *, now: float) -> Here:
    """Return the person of an OIDC identity, issuer and subject; an annotator of the store from the first time on.

    Raises SignInError where the provider does not say issuer and subject.
    """
    issuer, subject = user.get("iss"), user.get("sub")
    if not isinstance(issuer, str) or not isinstance(subject, str) or not issuer or not subject:
        raise SignInError("name")
    session = session_of_identity(user)
    if has_ended(store.path, session):
        raise SignInError("ended")
    shown = _proved_email(user) or subject
    person = sign_in_person(
        store, _clean_name(shown[:LONGEST_NAME]), login=f"{issuer} {subject}", now=now
    )
    return Here(person, bound=True, email=shown, session=session)


def who_is_here(store: Store, browser: Browser) -> Here | None:
    """Return the person whom the browser's cookie names, or None where nobody is signed in.

    Raises SignInError for a session that has ended, a person who is gone, and one who became a curator without proof
    in this browser.
    """
    if not browser.person_id:
        return None
    if has_ended(store.path, browser.session):
        raise SignInError("ended")
    person = find_person(store, browser.person_id)
    if person is None:
        raise SignInError("gone")
    bound = person.id in browser.proved
    if _needs_proof(person) and not bound:
        raise SignInError("proof")
    return Here(person, bound, session=browser.session)


def sign_out(store: Store, browser: Browser, *, now: float) -> Browser:
    """End the browser's session and return it without a person; what it has proved stays proved."""
    end_session(store.path, browser.session, now=now)
    return replace(browser, person_id=0, session="")


def _seat(store: Store, browser: Browser, person: Person, *, now: float) -> Browser:
    """Return the browser with a person in it; whoever sat there is signed out in all tabs, unless it is the same."""
    if browser.person_id == person.id and not has_ended(store.path, browser.session):
        return browser
    end_session(store.path, browser.session, now=now)
    return replace(browser, person_id=person.id, session=begin_session())


def _needs_proof(person: Person) -> bool:
    return person.role != "annotator"


def _find_alike(store: Store, name: str) -> Person | None:
    """Return the person whose name differs in capitals or in the width of letters alone.

    Who types `ann` today and `Ann` tomorrow is one person: as two they would vote twice on one mask.
    """
    folded = _fold(name)
    return next((person for person in list_people(store) if _fold(person.name) == folded), None)


def _fold(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _clean_name(text: str) -> str:
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise SignInError("name")
    return name


def _proved_email(user: Mapping[str, object]) -> str:
    """Return the address of an identity; '' where its provider says that nobody proved it: it could be anybody's."""
    email, proved = user.get("email"), user.get("email_verified", True)
    is_refuted = proved is False or str(proved).lower() == "false"
    return email if isinstance(email, str) and not is_refuted else ""
