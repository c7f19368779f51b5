"""The gold of a task on a page: what there is, what could be, and forms to add and retire it."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence

import streamlit as st

from app import frame
from app.plain import as_text, percent
from app.tables import show_rows
from mseg_curate.browse import picture_of_mask
from mseg_curate.errors import MsegCurateError
from mseg_curate.gold import (
    KINDS,
    GoldLine,
    SureMask,
    add_gold,
    gold_scores,
    list_gold,
    propose_gold,
    retire_gold,
)

__all__ = ["place_of", "show_gold", "thumbnail"]

_PROPOSED = 12
_THUMBNAIL_PX = 96


def show_gold(task: str, candidates: Sequence[str], *, done: Callable[[str], None]) -> None:
    """Show the gold of a task with its forms; `done` says what was stored and runs the page again."""
    lines = list_gold(frame.store(), task)
    active = [line for line in lines if line.retired_at is None]
    st.subheader("Gold masks")
    if lines:
        _show_lines(lines)
        _show_scores(task)
    else:
        st.write("This task has no gold yet.")
    if active:
        st.subheader("Retire gold")
        _show_retiring(task, active, done)
    st.subheader("Add gold")
    _show_proposals(task, candidates, done)


def place_of(key: tuple[str, str, str, int]) -> str:
    """Return where a mask is in words: split, image with its sequence, number."""
    split, sequence, image, segment = key
    return f"{split} {f'{sequence}/{image}' if sequence else image} mask {segment}"


def thumbnail(mask_id: int) -> str:
    """Return a small picture of a mask as a data address; '' where its photo cannot be read."""
    try:
        jpeg = picture_of_mask(frame.store(), mask_id, longest_px=_THUMBNAIL_PX)
    except MsegCurateError:
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _show_lines(lines: Sequence[GoldLine]) -> None:
    show_rows(
        [
            {
                "Mask": place_of(line.key),
                "Right answer": line.answer,
                "Kind": line.kind,
                "Shown": line.shown,
                "Answered rightly": f"{line.right} of {line.answered}",
                "Clicked out of a grid": line.excepted,
                "Added by": line.added_by,
                "Note": line.note,
                "Retired": ""
                if line.retired_at is None
                else f"{line.retired_by}: {line.retired_note}",
            }
            for line in lines
        ],
        about="Gold masks, active and retired",
    )


def _show_scores(task: str) -> None:
    scores = gold_scores(frame.store(), task)
    if not scores:
        return
    rows = []
    for score in scores:
        share = score.accuracy
        rows.append(
            {
                "Annotator": score.annotator,
                "One by one": f"{score.single.right} of {score.single.total}",
                "In the grid": f"{score.grid.right} of {score.grid.total}",
                "Accuracy (95 %)": percent(share.value, share.low, share.high),
                "Training": f"{score.training.right} of {score.training.total}",
            }
        )
    show_rows(rows, about="How annotators answered the gold")


def _show_retiring(task: str, active: Sequence[GoldLine], done: Callable[[str], None]) -> None:
    with st.form(f"retire-{task}", border=False, clear_on_submit=True):
        place = st.selectbox(
            "Gold mask",
            range(len(active)),
            format_func=lambda n: f"{place_of(active[n].key)}: {active[n].answer}",
        )
        wrong = st.checkbox(
            "Its answer was wrong: withdraw the decision behind it, and let the mask go back to its votes"
        )
        note = st.text_input("Reason for retiring it")
        asked = st.form_submit_button("Retire")
    if not asked:
        return
    try:
        retire_gold(
            frame.store(),
            task,
            active[place].key,
            note=note,
            by=frame.here().person.name,
            now=time.time(),
            answer_stands=not wrong,
        )
    except MsegCurateError as error:
        st.error(as_text(str(error)))
        return
    done(f"{place_of(active[place].key)} is gold no more.")


def _show_proposals(task: str, candidates: Sequence[str], done: Callable[[str], None]) -> None:
    kept = f"proposals-{task}"
    if st.button("Propose masks on which votes agree", key=f"ask-{kept}"):
        found = propose_gold(frame.store(), task, _PROPOSED)
        st.session_state[kept] = [(mask, thumbnail(mask.mask_id)) for mask in found]
    proposals: list[tuple[SureMask, str]] | None = st.session_state.get(kept)
    if proposals is None:
        st.write(
            "Masks that all annotators agree on, or that were adjudicated, can be proposed here for you to look at. "
            "Any other mask can be made gold on the page Browse."
        )
        return
    if not proposals:
        st.write("There is no mask with two or more votes that all agree.")
        return
    answers = [*candidates, "none_of_these", "bad_mask"]
    with st.form(f"form-{kept}", border=False):
        rows = st.data_editor(
            [
                {
                    "Take": False,
                    "Picture": picture,
                    "Right answer": mask.answer,
                    "Mask": place_of(mask.key),
                    "Votes": mask.votes,
                    "Adjudicated": mask.is_adjudicated,
                }
                for mask, picture in proposals
            ],
            hide_index=True,
            width="stretch",
            row_height=_THUMBNAIL_PX,
            alt="Masks that could be gold",
            disabled=["Picture", "Mask", "Votes", "Adjudicated"],
            column_config={
                "Picture": st.column_config.ImageColumn(),
                "Right answer": st.column_config.SelectboxColumn(options=answers, required=True),
            },
            key=f"edit-{kept}",
        )
        kind = st.selectbox("Kind of gold", KINDS)
        note = st.text_input("Why the answers are right (told with training gold)")
        asked = st.form_submit_button("Add what is taken", type="primary")
    if asked:
        taken = [
            (*mask.key, str(row["Right answer"]))
            for (mask, _), row in zip(proposals, rows, strict=True)
            if row["Take"]
        ]
        _add(task, taken, kind=kind, note=note, kept=kept, done=done)


def _add(
    task: str,
    taken: Sequence[tuple[str, str, str, int, str]],
    *,
    kind: str,
    note: str,
    kept: str,
    done: Callable[[str], None],
) -> None:
    if not taken:
        st.warning("Nothing is taken: tick the masks that shall be gold.")
        return
    try:
        add_gold(
            frame.store(),
            task,
            taken,
            kind=kind,
            note=note,
            by=frame.here().person.name,
            now=time.time(),
        )
    except MsegCurateError as error:
        st.error(as_text(str(error)))
        return
    del st.session_state[kept]
    done(f"{len(taken)} masks of {task} are gold now.")
