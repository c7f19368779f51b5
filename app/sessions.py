"""Sessions: one sign-in of one person in one browser, with all its tabs, tokens and pages; over when that signs out.

A page that stands open keeps the cookies that it was opened with, and a token what it was minted with: both name
their session, and both are refused once it has ended.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from app.marks import is_marked, mark_once

__all__ = ["SESSION_S", "begin_session", "end_session", "has_ended", "session_of_identity"]

SESSION_S = 180 * 24 * 60 * 60
"""How long a browser's cookie is good for: a session that ended longer ago has no cookie left."""

_SESSION = re.compile(r"[0-9a-f]{32}")
# What an identity provider says of one sign-in, and not of the next one of the same person.
_OF_ONE_SIGN_IN = ("nonce", "jti", "sid", "iat")


def begin_session() -> str:
    """Return the name of a new session."""
    return secrets.token_hex(16)


def session_of_identity(user: Mapping[str, object]) -> str:
    """Return the session of a sign-in by OIDC, of its claims; '' where they do not tell sign-ins apart."""
    if not any(user.get(name) for name in _OF_ONE_SIGN_IN):
        return ""
    said = json.dumps(user, sort_keys=True, default=str)
    return hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()[:32]


def end_session(store: Path, session: str, *, now: float) -> None:
    """End a session in all its tabs, and for every process that serves the store."""
    if _SESSION.fullmatch(session):
        mark_once(store, "ended", session, now=now, kept_s=SESSION_S)


def has_ended(store: Path, session: str) -> bool:
    """Say whether a session was ended; what is no session has not begun, and cannot end."""
    return _SESSION.fullmatch(session) is not None and is_marked(store, "ended", session)
