"""Pictures of images side by side, as a Streamlit component: fetched by the page's token when they come into sight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from app import frame
from app.base_path import base_path

if TYPE_CHECKING:
    from streamlit.components.v2.types import ComponentRenderer

__all__ = ["Card", "show_gallery"]

_FOLDER = Path(__file__).with_name("pane")
_SCRIPTS = ("dom", "wire", "gallery")


@dataclass(frozen=True)
class Card:
    """A picture and the words below it: `path` is its address below /review/, `ratio` its width by its height.

    `alt` says what the picture shows where the words below do not, `mark` what needs a look. A card with `opens`
    asks for that image when it is pressed; one with 0 becomes larger.
    """

    path: str
    title: str
    text: str = ""
    mark: str = ""
    alt: str = ""
    ratio: float = 1.5
    opens: int = 0


def show_gallery(cards: Sequence[Card], *, label: str, least_px: int, key: str) -> int | None:
    """Show cards, each at least `least_px` wide; returns the image that was asked for in this run, if any."""
    data = {
        "token": frame.fresh_token(),
        "base": base_path(),
        "label": label,
        "least_px": least_px,
        "cards": [asdict(card) for card in cards],
    }
    # A trigger reaches the script only where its callback is named; a page that runs again brings a new token.
    result = _component()(
        key=key, data=data, on_open_change=lambda: None, on_token_change=lambda: None
    )
    opened = result.get("open")
    return opened if isinstance(opened, int) and any(c.opens == opened for c in cards) else None


@cache
def _component() -> ComponentRenderer:
    return st.components.v2.component(
        "mseg_curate_gallery",
        html='<ul class="gallery"></ul>\n',
        css=(_FOLDER / "gallery.css").read_text(encoding="utf-8"),
        js="\n".join((_FOLDER / f"{part}.js").read_text(encoding="utf-8") for part in _SCRIPTS),
    )
