"""The path that the app lives below, behind a proxy that serves other things, too."""

from __future__ import annotations

import streamlit as st

__all__ = ["base_path"]


def base_path() -> str:
    """Return `server.baseUrlPath` with a slash before it and none behind it, '' where the app has the whole server."""
    path = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{path}" if path else ""
