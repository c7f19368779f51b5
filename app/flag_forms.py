"""Open flags on a page: what annotators remarked, and a way to the image."""

from __future__ import annotations

import time

import streamlit as st

from app import frame
from app.notices import say_done
from app.plain import as_text, in_minutes
from app.tables import show_rows
from mseg_curate.errors import MsegCurateError
from mseg_curate.flags import close_flag, list_flags

__all__ = ["show_flags"]


def show_flags() -> int | None:
    """Show the open flags, and close one; returns the image of the flag that somebody wants to see, if any."""
    found = list_flags(frame.store())
    st.header(f"Open flags: {len(found):,}" if found else "Open flags")
    if not found:
        st.write("There is none.")
        return None
    show_rows(
        [
            {
                "Flag": row.id,
                "Task": row.task,
                "Image": f"{row.dataset} {row.split} "
                + f"{row.sequence}/{row.image}".removeprefix("/"),
                "Mask": row.segment,
                "Annotator": row.annotator,
                "Remark": row.comment,
                "At": in_minutes(row.created_at),
            }
            for row in found
        ],
        about="Open flags",
    )
    left, middle, right, _ = st.columns([3, 1.4, 1.4, 4], vertical_alignment="bottom")
    flag = left.selectbox(
        "Flag", found, format_func=lambda row: f"{row.id}: {row.comment[:60]}", key="flag"
    )
    if middle.button("Show its image", width="stretch"):
        return flag.image_id
    if right.button("Close the flag", width="stretch"):
        try:
            close_flag(frame.store(), flag.id, by=frame.here().person.name, now=time.time())
        except MsegCurateError as error:
            st.error(as_text(str(error)))
            return None
        say_done(f"Flag {flag.id} is closed.")
    return None
