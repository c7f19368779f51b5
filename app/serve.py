"""Start the app: check what it needs first, then hand the process to Streamlit."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import socket
import threading
import time
import tomllib
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

from app.store_path import VARIABLE
from mseg_curate.errors import InputError, MissingExtraError
from mseg_curate.store import Store

__all__ = ["serve_review"]

FIRST_PORT = 8501
PORTS_TRIED = 50


def serve_review(
    db: Path,
    *,
    address: str,
    port: int | None,
    host_names: Sequence[str],
    base_path: str = "",
    open_browser: bool,
    say: Callable[[str], None],
) -> None:
    """Serve the review of a store until it is interrupted.

    Raises StoreError or StoreVersionError for a store that cannot be used, MissingExtraError without streamlit,
    InputError for an address that needs OIDC, or a port that is taken.
    """
    if importlib.util.find_spec("streamlit") is None:
        raise MissingExtraError(
            "the review needs streamlit, which is not installed; install it with `pip install 'mseg-curate[app]'`"
        )
    Store.open(db).close()
    names = _check_address(address, host_names)
    if _has_oidc() and importlib.util.find_spec("authlib") is None:
        raise MissingExtraError(
            "signing in by OIDC needs Authlib, which is not installed; install it with `pip install 'streamlit[auth]'`"
        )
    port = _free_port(address, port)
    below = _check_base_path(base_path)
    url = f"http://{_in_url(address)}:{port}/{below}{'/' if below else ''}"
    say(f"{db}: review at {url} (Ctrl-C ends it)")
    if open_browser:
        threading.Thread(target=_open_when_up, args=(address, port, url), daemon=True).start()
    _run(db, address=address, port=port, names=names, base_path=below)


def _check_address(address: str, host_names: Sequence[str]) -> list[str]:
    """Return the host names that the server answers to."""
    try:
        listens_on = ipaddress.ip_address("127.0.0.1" if address == "localhost" else address)
    except ValueError:
        raise InputError(
            "wrong address", place="--address", expected="an IP address or localhost", found=address
        ) from None
    loopback = ["localhost", "127.0.0.1", "::1"]
    if listens_on.is_loopback:
        return [*loopback, *host_names]
    if not _has_oidc():
        raise InputError(
            f"the address {address} is reached by other machines, where a name proves nothing",
            place="--address",
            expected="OIDC in the [auth] section of .streamlit/secrets.toml, or an address of this machine alone",
            hint="without --address the review listens on 127.0.0.1",
        )
    own = [] if listens_on.is_unspecified else [address]
    if not own and not host_names:
        raise InputError(
            f"the address {address} says not under which name browsers reach the server",
            place="--host-name",
            expected="that name",
        )
    return [*own, *host_names]


def _check_base_path(text: str) -> str:
    """Return the path that the app lives below, without slashes around it; '' for none."""
    path = text.strip("/")
    part = r"(?!\.+(/|$))[A-Za-z0-9_.~-]+"
    if path and not re.fullmatch(f"{part}(/{part})*", path):
        raise InputError(
            "wrong path",
            place="--base-path",
            expected="letters, digits and -._~ between slashes, such as /masks",
            found=text,
        )
    return path


def _has_oidc() -> bool:
    """Say whether Streamlit will find an identity provider in its secrets."""
    for folder in (Path.home(), Path.cwd()):
        path = folder / ".streamlit" / "secrets.toml"
        try:
            if "auth" in tomllib.loads(path.read_text(encoding="utf-8")):
                return True
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise InputError(f"cannot be read ({error})", path=path) from error
    return False


def _free_port(address: str, port: int | None) -> int:
    """Return the wanted port, or the first that is free."""
    tried = range(FIRST_PORT, FIRST_PORT + PORTS_TRIED) if port is None else (port,)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for candidate in tried:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, candidate))
            except PermissionError:
                reason = "may not be used by this user"
            except OSError as error:
                reason = f"cannot be used ({error.strerror})"
            else:
                return candidate
    raise InputError(
        f"port {tried[-1]} of {address} {reason}", place="--port", hint="choose another one"
    )


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _open_when_up(address: str, port: int, url: str) -> None:
    for _ in range(300):
        try:
            with socket.create_connection((address, port), timeout=1):
                webbrowser.open(url)
                return
        except OSError:
            time.sleep(0.1)


def _run(db: Path, *, address: str, port: int, names: Sequence[str], base_path: str) -> None:
    # Streamlit is slow to import, and what is wrong should be said before.
    from streamlit.web.cli import main as run_streamlit  # noqa: PLC0415

    options = {
        "server.address": address,
        "server.port": str(port),
        "server.headless": "true",
        "logger.hideWelcomeMessage": "true",
    }
    if base_path:
        options["server.baseUrlPath"] = base_path
    words = ["run", str(Path(__file__).with_name("main.py"))]
    for name, value in options.items():
        words += [f"--{name}", value]
    for host in names:
        words += ["--server.allowedHosts", host]
    os.environ[VARIABLE] = str(db.resolve())
    # In this very process: whatever ends it ends the server.
    run_streamlit(args=words, prog_name="streamlit", standalone_mode=False)
