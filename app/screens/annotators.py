"""Annotators: how they work, and what a curator does about it; everybody sees their own line."""

from __future__ import annotations

import time

import streamlit as st

from app import frame
from app.notices import say_done, show_done
from app.plain import as_text, percent
from app.tables import show_rows
from mseg_curate.annotators import (
    ROLES,
    PersonRecord,
    describe_people,
    pause_person,
    reopen_decisions,
    resume_person,
    set_role,
)
from mseg_curate.core.accuracy import GoldScore, estimate_share
from mseg_curate.errors import MsegCurateError
from mseg_curate.tasks import all_tasks


def show() -> None:
    """Show the page."""
    me = frame.here().person
    st.title("Annotators")
    show_done()
    records = describe_people(frame.store())
    if not frame.may("curator"):
        records = [record for record in records if record.person.id == me.id]
        st.write("This is your own line. Only curators see those of others.")
    _show_table(records)
    if not frame.may("curator"):
        return
    people = [record for record in records if record.kind == "person"]
    st.header("Pause, resume, re-open")
    _show_pausing(people)
    _show_reopening(records)
    if frame.may("admin"):
        st.header("Roles")
        _show_roles(people)


def _show_table(records: list[PersonRecord]) -> None:
    rows = []
    for record in records:
        accuracy = estimate_share(record.gold)
        agreement = estimate_share(GoldScore(record.agreed, record.compared))
        rows.append(
            {
                "Name": record.person.name,
                "Role": record.person.role if record.kind == "person" else record.kind,
                "Status": record.person.status,
                "Decisions": record.decisions,
                "Accuracy on gold (95 %)": percent(accuracy.value, accuracy.low, accuracy.high),
                "Answers on gold": record.gold.total,
                "Gold seen": record.gold_seen,
                "Agreement with others": percent(agreement.value, agreement.low, agreement.high),
                "Votes compared": record.compared,
                "Median seconds": None if record.median_s is None else round(record.median_s, 1),
                "Decisions an hour": None if record.per_hour is None else round(record.per_hour),
                "In the grid": f"{record.grid_share:.0%}",
                "Last decision": record.last_decision_at or "",
                "Last event": record.event,
            }
        )
    show_rows(rows, about="Annotators and how they work")


def _show_pausing(people: list[PersonRecord]) -> None:
    # A curator has no say over admins.
    within = [p for p in people if frame.may("admin") or p.person.role != "admin"]
    if not within:
        st.write("There is nobody yet.")
        return
    with st.form("pause", border=False, clear_on_submit=True):
        name = st.selectbox("Annotator", [record.person.name for record in within], key="pause-who")
        note = st.text_input("Reason, which they and others can read", key="pause-why")
        left, right, _ = st.columns([1, 1, 6])
        pause = left.form_submit_button("Pause")
        resume = right.form_submit_button("Resume")
    if not (pause or resume):
        return
    act = pause_person if pause else resume_person
    try:
        person = act(frame.store(), name, by=frame.here().person.name, note=note, now=time.time())
    except MsegCurateError as error:
        st.error(as_text(str(error)))
        return
    say_done(f"{person.name} is {person.status}.")


def _show_reopening(records: list[PersonRecord]) -> None:
    tasks = [task.name for task in all_tasks(frame.store())]
    names = [record.person.name for record in records if record.decisions]
    if not tasks or not names:
        return
    st.subheader("Re-open decisions")
    st.write(
        "All votes of one annotator in one task are withdrawn, and others decide these masks. Nothing is erased."
    )
    with st.form("reopen", border=False, clear_on_submit=True):
        name = st.selectbox("Annotator", names, key="reopen-who")
        task = st.selectbox("Task", tasks, key="reopen-task")
        note = st.text_input("Reason, which they and others can read", key="reopen-why")
        asked = st.form_submit_button("Re-open their decisions")
    if not asked:
        return
    try:
        count = reopen_decisions(
            frame.store(), name, task, by=frame.here().person.name, note=note, now=time.time()
        )
    except MsegCurateError as error:
        st.error(as_text(str(error)))
        return
    say_done(f"{count:,} decisions of {name} in {task} are withdrawn.")


def _show_roles(people: list[PersonRecord]) -> None:
    with st.form("role", border=False):
        name = st.selectbox("Annotator", [record.person.name for record in people], key="role-who")
        role = st.selectbox("Role", ROLES, key="role-what")
        asked = st.form_submit_button("Give this role")
    if not asked:
        return
    try:
        set_role(frame.store(), name, role=role, by=frame.here().person.name, now=time.time())
    except MsegCurateError as error:
        st.error(as_text(str(error)))
        return
    say_done(f"{name} has the role {role}.")


show()
