"""What every page needs: the store, the person at the page, and the frame around it."""

from __future__ import annotations

import hashlib
import html
import importlib.util
import time
from pathlib import Path

import streamlit as st

from app.base_path import base_path
from app.entrance import is_oidc_configured, refusal_here
from app.sessions import end_session
from app.sign_in import (
    PROBLEMS,
    Here,
    SignInError,
    read_browser,
    sign_in_by_identity,
    who_is_here,
)
from app.store_path import open_store
from app.tokens import mint_token
from mseg_curate.errors import MsegCurateError
from mseg_curate.store import Store

__all__ = [
    "find_here",
    "fresh_token",
    "here",
    "may",
    "outbox_name",
    "show_person",
    "show_sign_in",
    "store",
]

_HERE = "_here"
_RANKS = {"annotator": 0, "curator": 1, "admin": 2}
_STYLE = Path(__file__).with_name("frame.css")


def store() -> Store:
    """Return the store that this app serves."""
    return open_store()


def here() -> Here:
    """Return the person at this page, as the store knows them in this run; pages run for signed-in persons alone."""
    found = st.session_state[_HERE]
    if not isinstance(found, Here):
        raise TypeError(f"expected the person at this page, found {type(found).__name__}")
    return found


def may(role: str) -> bool:
    """Say whether the person at this page has a role: annotator, curator or admin."""
    return _RANKS[here().person.role] >= _RANKS[role]


def fresh_token() -> str:
    """Return a new token of the person at this page, for a pane's requests."""
    found = here()
    return mint_token(
        open_store().path,
        found.person.id,
        bound=found.bound,
        now=time.time(),
        session=found.session,
    )


def outbox_name() -> str:
    """Return the name under which this browser keeps what the person has not sent: of this store alone.

    It outlives the secret: whoever is signed out with everybody finds their unsent answers again.
    """
    place = hashlib.sha256(str(open_store().path.resolve()).encode()).hexdigest()[:12]
    return f"mseg-curate-{place}-{here().person.id}"


def find_here() -> Here | None:
    """Find out who is at this page and keep it for the run; None where nobody is signed in, with the reason shown."""
    st.session_state.pop(_HERE, None)
    try:
        found = _by_identity() if is_oidc_configured() else _by_cookie()
    except SignInError as error:
        st.warning(str(error))
        return None
    except MsegCurateError as error:
        st.error(str(error))
        return None
    if found is not None:
        st.session_state[_HERE] = found
    return found


def _by_cookie() -> Here | None:
    if refusal_here(_headers()) is not None:
        return None
    kept = read_browser(open_store().path, st.context.cookies.to_dict(), now=time.time())
    return who_is_here(open_store(), kept)


def _by_identity() -> Here | None:
    if not st.user.is_logged_in:
        return None
    return sign_in_by_identity(open_store(), dict(st.user.to_dict()), now=time.time())


def _headers() -> dict[str, str]:
    return {name.lower(): value for name, value in st.context.headers.to_dict().items()}


def show_sign_in() -> None:
    """Show the page on which one signs in, or why nobody can."""
    st.html(_STYLE)
    st.title("Sign in to review")
    problem = PROBLEMS.get(st.query_params.get("problem", ""))
    if problem:
        st.error(problem)
    if is_oidc_configured() and importlib.util.find_spec("authlib") is None:
        st.error("Signing in needs Authlib on the server: `pip install 'streamlit[auth]'`.")
        return
    if is_oidc_configured():
        st.write("Your decisions are kept under the identity that your provider confirms.")
        if st.button("Sign in", type="primary"):
            st.login()
        return
    refusal = refusal_here(_headers())
    if refusal is not None:
        st.error(refusal)
        return
    st.html(
        f'<form class="mc-sign-in" method="post" action="{base_path()}/review/sign-in">'
        '<label for="mc-name">Your name</label>'
        '<input id="mc-name" name="annotator" type="text" required maxlength="60" autocomplete="username" '
        'aria-describedby="mc-name-note">'
        '<p id="mc-name-note">Kept for this browser. Your decisions are stored under this name.</p>'
        '<button type="submit">Sign in</button></form>'
    )


def _leave() -> None:
    """End the session of an identity in all its tabs, then let the provider's cookie go."""
    end_session(open_store().path, here().session, now=time.time())
    st.logout()


def show_person(found: Here) -> None:
    """Show who is signed in at the top right, with the way out."""
    st.html(_STYLE)
    shown = html.escape(found.email or found.person.name)
    role = html.escape(found.person.role)
    who = f'<span class="mc-name">{shown}</span> <span class="mc-role">{role}</span>'
    if is_oidc_configured():
        st.html(f'<div class="mc-person mc-beside">{who}</div>')
        st.button("Sign out", on_click=_leave, key="sign-out")
    else:
        form = (
            f'<form method="post" action="{base_path()}/review/sign-out">'
            '<button type="submit">Sign out</button></form>'
        )
        st.html(f'<div class="mc-person">{who}{form}</div>')
    if st.query_params.get("notice") == "admin":
        st.info(
            "You are this store's first person, and so its admin: you alone can make others curators, on the page "
            "Annotators or with `mseg-curate annotator role`. Your name is bound to this browser."
        )
