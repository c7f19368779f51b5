"""Mount a pane on its page: choose a task, read its question, hand the pane a fresh token."""

from __future__ import annotations

import html
from typing import Literal

import streamlit as st

from app import frame
from app.panes import grid_pane, review_pane
from mseg_curate.review import TaskQuestion, open_tasks, task_question

__all__ = ["mount_grid", "mount_review"]

_TITLES = {"single": "Review", "adjudication": "Adjudicate", "grid": "Grid"}
_PAGES = {
    "review": "screens/review.py",
    "grid": "screens/grid.py",
    "adjudicate": "screens/adjudicate.py",
    "tasks": "screens/tasks.py",
}


def mount_review(mode: Literal["single", "adjudication"]) -> None:
    """Show the pane in which masks are decided one by one."""
    question = _choose(mode)
    if question is not None:
        events = review_pane(
            token=frame.fresh_token(),
            task=question.name,
            mode=mode,
            key=f"pane-{mode}",
            role=frame.here().person.role,
            person=frame.outbox_name(),
        )
        _follow(events.page)


def mount_grid() -> None:
    """Show the pane in which many masks of one class are confirmed at once."""
    question = _choose("grid")
    if question is not None:
        events = grid_pane(
            token=frame.fresh_token(),
            task=question.name,
            key="pane-grid",
            role=frame.here().person.role,
            person=frame.outbox_name(),
        )
        _follow(events.page)


def _choose(mode: str) -> TaskQuestion | None:
    """Return the question of the chosen task, or say in a sentence why there is nothing to do."""
    # The heading is for screen readers: the pane needs the height.
    st.html(f'<h1 class="mc-unseen">{_TITLES[mode]}</h1>')
    if frame.here().person.status == "paused":
        st.info("Your reviewing is paused. What you decided is kept; ask a curator to resume it.")
        return None
    names = open_tasks(frame.store())
    if not names:
        st.info(
            "No task is open. A curator makes one on the page Tasks, or with `mseg-curate task make`."
        )
        return None
    kept = st.query_params.get("task", "")
    left, right = st.columns([2, 5])
    with left:
        name = st.selectbox(
            "Task",
            names,
            index=names.index(kept) if kept in names else 0,
            label_visibility="collapsed",
        )
    st.query_params["task"] = name
    question = task_question(frame.store(), name)
    with right, st.expander("Instructions and definitions"):
        st.html(_definitions(question))
    return question


def _definitions(question: TaskQuestion) -> str:
    # Names and sentences come from people: they are shown as the text they are.
    rows = "".join(
        f"<dt>{html.escape(candidate.name)}</dt>"
        f"<dd>{html.escape(candidate.definition) or 'No definition was written down.'}</dd>"
        for candidate in question.candidates
    )
    asked = f"What does each mask of the class {question.source_class} of {question.dataset} show?"
    said = html.escape(question.instructions).replace("\n", "<br>")
    instructions = f"<p>{said}</p>" if said else ""
    return (
        f'<div class="mc-question"><p>{html.escape(asked)}</p>{instructions}<dl>{rows}</dl></div>'
    )


def _follow(page: str | None) -> None:
    if page in _PAGES:
        st.switch_page(_PAGES[page])
