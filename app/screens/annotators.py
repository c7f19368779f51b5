"""Annotators: how they work, and what a curator does about it; everybody sees their own line."""

from __future__ import annotations

import time

import streamlit as st

from app import frame
from app.counted import count_now_and_then
from app.notices import say_done, show_done
from app.plain import as_text, in_minutes, percent
from app.progress import COUNTS_S
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
    least_s = 0.0 if frame.may("curator") else COUNTS_S
    records = count_now_and_then(frame.store(), describe_people, least_s=least_s)
    if not frame.may("curator"):
        records = [record for record in records if record.person.id == me.id]
        st.write("This is your own line, counted once a minute. Only curators see those of others.")
    if records:
        _show_table(records)
    else:
        st.write("You have just come; it is here within a minute.")
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
                "Accuracy on gold": percent(accuracy.value, accuracy.low, accuracy.high),
                "Gold answers": record.gold.total,
                "Gold seen": record.gold_seen,
                "Agreement": percent(agreement.value, agreement.low, agreement.high),
                "Votes compared": record.compared,
                "Median (s)": None if record.median_s is None else round(record.median_s, 1),
                "Per hour": None if record.per_hour is None else round(record.per_hour),
                "In the grid": f"{record.grid_share:.0%}",
                "Last decision": in_minutes(record.last_decision_at),
                "Last event": record.event,
            }
        )
    wide = {name: st.column_config.Column(width=180) for name in ("Accuracy on gold", "Agreement")}
    show_rows(rows, about="Annotators and how they work", columns=wide, pinned="Name")
    st.caption(
        "Accuracy is the share of right answers on evaluation gold, agreement that of others' votes on the same masks "
        "that say the same; both with 95 % intervals. Seconds are of one decision, the median; decisions per hour are "
        "those of timed work, of a minute at least."
    )


def _round(form: str) -> int:
    """Return how often a form has done its work: a field of the next round is empty, one of a refused try is not."""
    return int(st.session_state.get(f"round-{form}", 0))


def _begin_again(form: str) -> None:
    st.session_state[f"round-{form}"] = _round(form) + 1


def _show_pausing(people: list[PersonRecord]) -> None:
    # A curator has no say over admins.
    within = [p for p in people if frame.may("admin") or p.person.role != "admin"]
    if not within:
        st.write("There is nobody yet.")
        return
    with st.form("pause", border=False):
        first, second = st.columns(2)
        name = first.selectbox("Annotator", [r.person.name for r in within], key="pause-who")
        note = second.text_input(
            "Reason, which they and others can read", key=f"pause-why-{_round('pause')}"
        )
        left, right, _ = st.columns([1, 1, 4])
        pause = left.form_submit_button("Pause", width="stretch")
        resume = right.form_submit_button("Resume", width="stretch")
    if not (pause or resume):
        return
    act = pause_person if pause else resume_person
    try:
        person = act(frame.store(), name, by=frame.here().person.name, note=note, now=time.time())
    except MsegCurateError as error:
        st.error(as_text(str(error)))
        return
    _begin_again("pause")
    say_done(f"{person.name} is {person.status}.")


def _show_reopening(records: list[PersonRecord]) -> None:
    tasks = [task.name for task in all_tasks(frame.store())]
    names = {r.person.name: r.decisions for r in records if r.decisions}
    if not tasks or not names:
        return
    st.subheader("Re-open decisions")
    st.write(
        "All votes of one annotator in one task are withdrawn, and others decide these masks. Nothing is erased."
    )
    with st.form("reopen", border=False):
        first, second, third = st.columns([1, 1, 2])
        name = first.selectbox(
            "Annotator",
            list(names),
            format_func=lambda name: f"{name} ({names[name]:,} decisions in all)",
            key="reopen-who",
        )
        task = second.selectbox("Task", tasks, key="reopen-task")
        note = third.text_input(
            "Reason, which they and others can read", key=f"reopen-why-{_round('reopen')}"
        )
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
    _begin_again("reopen")
    say_done(f"{count:,} decisions of {name} in {task} are withdrawn.")


def _show_roles(people: list[PersonRecord]) -> None:
    with st.form("role", border=False):
        first, second, _ = st.columns([1, 1, 2])
        roles = {record.person.name: record.person.role for record in people}
        name = first.selectbox(
            "Annotator",
            list(roles),
            format_func=lambda name: f"{name} ({roles[name]})",
            key="role-who",
        )
        role = second.selectbox("Role", ROLES, key="role-what")
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
