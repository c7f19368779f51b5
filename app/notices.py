"""What was done, said once at the top of the page that it was done on."""

from __future__ import annotations

import streamlit as st

from app.counted import forget_counts
from app.plain import as_text

__all__ = ["say_done", "show_done"]

_DONE = "_done"


def say_done(message: str) -> None:
    """Keep a message for the next run, and run again: what is shown then is what is stored."""
    forget_counts()
    st.session_state[_DONE] = message
    st.rerun()


def show_done() -> None:
    """Show what the run before has done."""
    message = st.session_state.pop(_DONE, "")
    # The place is there with and without a message: elements that move lose the tab that was open.
    with st.container():
        if message:
            st.success(as_text(message))
