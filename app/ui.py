"""The pages: who is here, which pages they may open, and the one they are on."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app import frame
from mseg_curate.errors import MsegCurateError

# Not `pages`: Streamlit runs the scripts of a folder of that name by itself, before anybody was asked who they are.
PAGES = Path(__file__).parent / "screens"
# File, title, and the least role that may open it. The first is where one arrives.
TABLE = (
    ("review.py", "Review", "annotator"),
    ("grid.py", "Grid", "annotator"),
    ("adjudicate.py", "Adjudicate", "curator"),
    ("tasks.py", "Tasks", "annotator"),
    ("annotators.py", "Annotators", "annotator"),
    ("browse.py", "Browse", "curator"),
)


def run() -> None:
    """Show the page that is asked for, or the way in."""
    st.set_page_config(page_title="mseg-curate", layout="wide")
    try:
        frame.store()
    except MsegCurateError as error:
        st.title("No store to review")
        st.error(str(error))
        return
    found = frame.find_here()
    if found is None:
        page = st.navigation([st.Page(frame.show_sign_in, title="Sign in")], position="hidden")
        page.run()
        return
    page = st.navigation(_pages(), position="top")
    frame.show_person(found)
    try:
        page.run()
    except MsegCurateError as error:
        st.error(str(error))


def _pages() -> list[st.Page]:
    return [
        st.Page(PAGES / file, title=title, default=number == 0)
        for number, (file, title, least) in enumerate(TABLE)
        if frame.may(least)
    ]


run()
