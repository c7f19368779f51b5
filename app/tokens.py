"""Signed tokens: HMAC-SHA256 over a few claims, with a secret that lies beside the store.

A token says who asks, never what they may do: role and status are read from the store at every request. The secret
is a file, so a server that is killed and restarted honours the tokens it gave out, and several servers share it;
whoever deletes the file signs everybody out.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mseg_curate.errors import OutputError, StoreError

__all__ = [
    "LINK_S",
    "LONGEST_S",
    "TOKEN_S",
    "LinkToken",
    "PaneToken",
    "mint_link",
    "mint_token",
    "read_claims",
    "read_link",
    "read_token",
    "renew_token",
    "secret_of",
    "sign_claims",
]

TOKEN_S = 30 * 60
"""How long a pane's token is good for; its answers bring a fresh one from half of that on."""
LONGEST_S = 12 * 60 * 60
"""A token that is renewed again and again ends here: the page then makes a new one, or asks who one is."""
LINK_S = 10 * 60

Kind = Literal["pane", "browser", "link"]
_SECRET_BYTES = 32
_LONGEST_TEXT = 4096


@dataclass(frozen=True)
class PaneToken:
    """What a pane's token says: whose it is, since when it was renewed, and until when it holds (epoch seconds).

    `bound` is True where the browser has proved that it is this person, which a curator's rights need. `session` is
    the sign-in that the token was made in ('' for none): when that ends, so does the token.
    """

    person_id: int
    bound: bool
    since_s: int
    expires_s: int
    session: str = ""


@dataclass(frozen=True)
class LinkToken:
    """A one-time link that makes a browser the browser of one person; `nonce` tells links apart."""

    person_id: int
    nonce: str


def mint_token(store: Path, person_id: int, *, bound: bool, now: float, session: str = "") -> str:
    """Return a token for a person, good for TOKEN_S seconds from `now` (epoch seconds), or until the session ends."""
    return _mint(store, PaneToken(person_id, bound, int(now), int(now) + TOKEN_S, session))


def read_token(store: Path, text: str, *, now: float) -> PaneToken | None:
    """Return what a token says, or None where it is forged, garbled or expired; whether its session lasts says
    `sessions.has_ended`.
    """
    claims = read_claims(secret_of(store), "pane", text)
    if claims is None:
        return None
    try:
        token = PaneToken(
            _whole(claims["who"]),
            claims["bound"] is True,
            _whole(claims["since"]),
            _whole(claims["until"]),
            str(claims["session"]),
        )
    except (KeyError, TypeError):
        return None
    return token if now < token.expires_s else None


def renew_token(store: Path, token: PaneToken, *, now: float) -> str | None:
    """Return a fresh token where the given one is past half its life, else None; none later than LONGEST_S."""
    until = min(int(now) + TOKEN_S, token.since_s + LONGEST_S)
    if token.expires_s - now > TOKEN_S / 2 or until <= token.expires_s:
        return None
    return _mint(store, replace(token, expires_s=until))


def mint_link(store: Path, person_id: int, *, now: float) -> str:
    """Return the token of a one-time link that holds for LINK_S seconds."""
    claims = {"who": person_id, "until": int(now) + LINK_S, "nonce": secrets.token_hex(8)}
    return sign_claims(secret_of(store), "link", claims)


def read_link(store: Path, text: str, *, now: float) -> LinkToken | None:
    """Return whom a link is for, or None where it is forged, garbled or expired; used ones are told apart by nonce."""
    claims = read_claims(secret_of(store), "link", text)
    if claims is None:
        return None
    try:
        link = LinkToken(_whole(claims["who"]), str(claims["nonce"]))
        return link if now < _whole(claims["until"]) else None
    except (KeyError, TypeError):
        return None


def sign_claims(secret: bytes, kind: Kind, claims: Mapping[str, object]) -> str:
    """Return `claims.signature`, both in URL-safe base64; tokens of another kind have other signatures."""
    body = json.dumps(claims, separators=(",", ":"), sort_keys=True).encode()
    payload = base64.urlsafe_b64encode(body).rstrip(b"=")
    return (payload + b"." + _signature(secret, kind, payload)).decode()


def read_claims(secret: bytes, kind: Kind, text: str) -> Mapping[str, object] | None:
    """Return the claims that were signed with this secret as this kind, or None."""
    payload, dot, signature = text.encode("utf-8", "replace").partition(b".")
    if not dot or len(text) > _LONGEST_TEXT:
        return None
    if not hmac.compare_digest(_signature(secret, kind, payload), signature):
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
    except (ValueError, binascii.Error):
        return None
    return claims if isinstance(claims, dict) else None


def secret_of(store: Path) -> bytes:
    """Return the secret of a store: the file `<store>.secret`, which only its owner may read, made at first use.

    Raises StoreError where the file is no secret of ours, OutputError where it cannot be made.
    """
    real = store.resolve()
    path = real.with_name(f"{real.name}.secret")
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        _make_secret(path)
        secret = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
    if len(secret) != _SECRET_BYTES:
        raise StoreError(
            f"{path}: expected {_SECRET_BYTES} bytes, found {len(secret)}; delete the file, and everybody "
            "signs in again"
        )
    return secret


def _make_secret(path: Path) -> None:
    """Make the secret once: of several processes that try, one names its file and the others find it."""
    try:
        # mkstemp makes files that their owner alone may read.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(_SECRET_BYTES))
                file.flush()
                os.fsync(file.fileno())
            _name_once(Path(name), path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def _name_once(part: Path, path: Path) -> None:
    try:
        path.hardlink_to(part)
    except FileExistsError:
        return
    except OSError:
        # A file system without hard links.
        if not path.exists():
            part.replace(path)


def _mint(store: Path, token: PaneToken) -> str:
    claims = {
        "who": token.person_id,
        "bound": token.bound,
        "since": token.since_s,
        "until": token.expires_s,
        "session": token.session,
    }
    return sign_claims(secret_of(store), "pane", claims)


def _signature(secret: bytes, kind: Kind, payload: bytes) -> bytes:
    digest = hmac.new(secret, kind.encode() + b"." + payload, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=")


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value
