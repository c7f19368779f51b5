"""Tokens: signed, expiring, of one store and of one kind."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tokens import (
    LINK_S,
    LONGEST_S,
    TOKEN_S,
    PaneToken,
    mint_link,
    mint_token,
    read_claims,
    read_link,
    read_token,
    renew_token,
    secret_of,
    sign_claims,
)
from mseg_curate.errors import StoreError

NOW = 1_700_000_000.0
ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where a store would lie; tokens need its neighbour alone."""
    return tmp_path / "store.db"


def test_a_token_says_whose_it_is(store: Path) -> None:
    """A token read back says person, proof and times."""
    text = mint_token(store, 7, bound=True, now=NOW)
    assert read_token(store, text, now=NOW) == PaneToken(7, True, int(NOW), int(NOW) + TOKEN_S)


def test_a_token_ends(store: Path) -> None:
    """From its last second on a token says nothing."""
    text = mint_token(store, 7, bound=False, now=NOW)
    assert read_token(store, text, now=NOW + TOKEN_S - 1) is not None
    assert read_token(store, text, now=NOW + TOKEN_S) is None


def test_every_changed_letter_is_seen(store: Path) -> None:
    """A token with any one letter changed is refused."""
    text = mint_token(store, 7, bound=False, now=NOW)
    for place, letter in enumerate(text):
        other = "A" if letter != "A" else "B"
        assert read_token(store, text[:place] + other + text[place + 1 :], now=NOW) is None


@given(text=st.text(max_size=60))
def test_garbage_says_nothing(text: str) -> None:
    """Whatever text comes, reading it is refused without an error."""
    assert read_claims(b"k" * 32, "pane", text) is None
    assert read_claims(b"k" * 32, "pane", f"e30.{text}") is None


def test_another_secret_or_kind(store: Path, tmp_path: Path) -> None:
    """A token of another store, and a link or a cookie sent as a token, are refused."""
    text = mint_token(store, 7, bound=False, now=NOW)
    assert read_token(tmp_path / "other.db", text, now=NOW) is None
    assert read_token(store, mint_link(store, 7, now=NOW), now=NOW) is None
    assert read_link(store, text, now=NOW) is None


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"who": "7", "bound": True, "since": 1, "until": 2**40},
        {"who": True, "bound": True, "since": 1, "until": 2**40},
        {"who": 7, "bound": True, "since": 1},
    ],
)
def test_signed_but_senseless(store: Path, claims: dict[str, object]) -> None:
    """Claims that miss something, or hold it as another type, are no token even where they are signed."""
    assert read_token(store, sign_claims(secret_of(store), "pane", claims), now=NOW) is None


def test_proof_is_exactly_true(store: Path) -> None:
    """Anything but `true` is no proof."""
    claims = {"who": 7, "bound": "yes", "since": 1, "until": 2**40, "session": ""}
    token = read_token(store, sign_claims(secret_of(store), "pane", claims), now=NOW)
    assert token is not None
    assert token.bound is False


def test_renewal(store: Path) -> None:
    """A token is renewed from half its life on, keeps its person and proof, and ends LONGEST_S after the first."""
    token = read_token(store, mint_token(store, 7, bound=True, now=NOW), now=NOW)
    assert token is not None
    assert renew_token(store, token, now=NOW + TOKEN_S / 2 - 1) is None
    now, renewals = NOW, 0
    while True:
        now += TOKEN_S / 2 + 1
        text = renew_token(store, token, now=now)
        if text is None:
            break
        renewals += 1
        fresh = read_token(store, text, now=now)
        assert fresh is not None
        assert (fresh.person_id, fresh.bound, fresh.since_s) == (7, True, int(NOW))
        token = fresh
    assert renewals > 10
    assert token.expires_s == int(NOW) + LONGEST_S


def test_a_link_ends(store: Path) -> None:
    """A link names its person for ten minutes, and links differ."""
    text = mint_link(store, 7, now=NOW)
    link = read_link(store, text, now=NOW + LINK_S - 1)
    assert link is not None
    assert link.person_id == 7
    assert read_link(store, text, now=NOW + LINK_S) is None
    assert mint_link(store, 7, now=NOW) != text


def test_the_secret_is_the_owners(store: Path) -> None:
    """The secret is a file that its owner alone may read, and stays the same."""
    secret = secret_of(store)
    path = store.with_name("store.db.secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == secret
    assert secret_of(store) == secret
    assert sorted(p.name for p in store.parent.iterdir()) == ["store.db.secret"]


def test_one_secret_by_every_path(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store reached by a link or a relative path has the same secret."""
    store.touch()
    link = store.with_name("link.db")
    link.symlink_to(store)
    monkeypatch.chdir(store.parent)
    assert secret_of(link) == secret_of(store) == secret_of(Path("store.db"))


def test_many_threads_make_one_secret(store: Path) -> None:
    """Threads that need the secret at once find the same one."""
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: secret_of(store), range(64)))
    assert len(found) == 1
    assert list(store.parent.iterdir()) == [store.with_name("store.db.secret")]


def test_processes_share_the_secret(store: Path) -> None:
    """Server processes that start at once give out tokens that all of them honour, as does one started later."""
    code = (
        "import sys; from pathlib import Path; from app.tokens import mint_token;"
        f"print(mint_token(Path(sys.argv[1]), 7, bound=False, now={NOW}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    servers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(store)],
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for _ in range(4)
    ]
    texts = [server.communicate()[0].strip() for server in servers]
    assert [server.returncode for server in servers] == [0, 0, 0, 0]
    assert all(read_token(store, text, now=NOW) is not None for text in texts)


def test_a_damaged_secret(store: Path) -> None:
    """A secret that was cut off is refused with what to do, never replaced in silence."""
    store.with_name("store.db.secret").write_bytes(b"short")
    with pytest.raises(StoreError, match="expected 32 bytes, found 5; delete the file"):
        secret_of(store)
