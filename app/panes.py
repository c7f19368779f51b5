"""The browser half of the review: the pane and the grid, as Streamlit components.

The scripts and styles in `pane/` are plain text without a build step. Streamlit takes one script per
component, so the parts are joined here; the last part holds the default export.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from app.base_path import base_path

if TYPE_CHECKING:
    from streamlit.components.v2.types import ComponentRenderer

__all__ = ["PaneEvents", "grid_pane", "pane_script", "pane_style", "review_pane"]

_FOLDER = Path(__file__).with_name("pane")
_SHARED = (
    "dom",
    "tab",
    "wire",
    "outbox",
    "loader",
    "decode",
    "contour",
    "keys",
    "session",
    "furniture",
    "rail",
    "panels",
)
_SCRIPTS = {
    "review": (*_SHARED, "stage", "queue", "review_page", "review"),
    "grid": (*_SHARED, "cell", "pages", "grid"),
}


@dataclass(frozen=True)
class PaneEvents:
    """What a pane asked of the page in this run: another page, a new token."""

    page: str | None
    token_asked: bool


def pane_script(name: str) -> str:
    """Join the script of the pane `review` or `grid`; its default export mounts the pane."""
    return "\n".join(_read(f"{part}.js") for part in _SCRIPTS[name])


def pane_style(name: str) -> str:
    """Join the style sheet of the pane `review` or `grid`."""
    return "\n".join(_read(f"{part}.css") for part in ("base", name))


def review_pane(
    *, token: str, task: str, mode: str, key: str, role: str = "annotator", person: str = ""
) -> PaneEvents:
    """Show the review of one task; `mode` is `single` or `adjudication`.

    The pane asks for a new token by an event; a page that mints one in every run answers it by
    running again. `person` keeps what one person left unsent in this browser apart from another's.
    """
    return _mount("review", token=token, task=task, mode=mode, key=key, role=role, person=person)


def grid_pane(
    *,
    token: str,
    task: str,
    key: str,
    mode: str = "grid",
    role: str = "annotator",
    person: str = "",
) -> PaneEvents:
    """Show the grid of one task: many masks of one supposed class at once."""
    return _mount("grid", token=token, task=task, mode=mode, key=key, role=role, person=person)


def _mount(
    name: str, *, token: str, task: str, mode: str, key: str, role: str, person: str
) -> PaneEvents:
    data = {
        "token": token,
        "base": base_path(),
        "task": task,
        "mode": mode,
        "role": role,
        "person": person,
    }
    # A trigger reaches the script only where its callback is named.
    result = _component(name)(
        key=key, data=data, on_token_change=lambda: None, on_page_change=lambda: None
    )
    page = result.get("page")
    return PaneEvents(
        page=page if isinstance(page, str) else None, token_asked=bool(result.get("token"))
    )


@cache
def _component(name: str) -> ComponentRenderer:
    return st.components.v2.component(
        f"mseg_curate_{name}", css=pane_style(name), js=pane_script(name)
    )


@cache
def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8").rstrip("\n") + "\n"
