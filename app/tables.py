"""Tables on a page: with a name for those who do not see them, and a dash where nothing is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

__all__ = ["show_rows"]


def show_rows(
    rows: Sequence[Mapping[str, object]],
    *,
    about: str,
    columns: Mapping[str, ColumnConfig] | None = None,
    pinned: str | None = None,
) -> None:
    """Show rows, mappings of the same columns; cells are text, never markup. `about` says what the table holds.

    The column `pinned` stays in sight where the table is wider than the page.
    """
    shown = dict(columns or {})
    if pinned is not None:
        shown[pinned] = st.column_config.Column(pinned=True)
    st.dataframe(
        list(rows),
        hide_index=True,
        width="stretch",
        placeholder="–",
        alt=about,
        column_config=shown,
    )
