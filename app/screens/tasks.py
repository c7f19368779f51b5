"""Tasks: what is asked of which masks, how far it is, what it costs, and its gold."""

from __future__ import annotations

import time
from dataclasses import asdict

import streamlit as st

from app import frame
from app.agreement_tables import show_agreement
from app.counted import count_now_and_then
from app.gold_forms import show_gold
from app.notices import say_done, show_done
from app.plain import as_text
from app.progress import COUNTS_S
from app.tables import show_rows
from mseg_curate.clock import iso_of
from mseg_curate.errors import MsegCurateError
from mseg_curate.resolve import resolve_masks
from mseg_curate.steer import (
    describe_candidates,
    finish_changes,
    set_options,
    set_status,
    split_classes,
)
from mseg_curate.task_progress import TaskProgress, all_progress
from mseg_curate.tasks import TaskOptions, make_task

_UNDER_BAR = ("warn", "pause", "reopen")
_STATES = {"open": "Open", "paused": "Pause", "closed": "Close"}


def show() -> None:
    """Show the page."""
    st.title("Tasks")
    show_done()
    least_s = 0.0 if frame.may("curator") else COUNTS_S
    found = count_now_and_then(frame.store(), all_progress, least_s=least_s)
    if found:
        _show_table(found)
    else:
        st.info("There is no task yet.")
    if not frame.may("curator"):
        return
    if found:
        _show_resolving()
        st.header("Look after a task")
        names = [progress.task.name for progress in found]
        chosen = st.selectbox("Task", names, key="task", bind="query-params")
        progress = next(p for p in found if p.task.name == chosen)
        _show_status(progress)
        places = st.tabs(["Options", "Definitions", "Gold", "Agreement", "People"])
        for place, section in zip(
            places,
            (_show_options, _show_definitions, _show_gold, _show_agreement, _show_people),
            strict=True,
        ):
            with place:
                section(progress)
    st.header("Make a task")
    with st.expander("A new task", expanded=not found):
        _show_making()


# --- the table ------------------------------------------------------------------------------------


def _show_table(found: list[TaskProgress]) -> None:
    rows = [
        {
            "Task": progress.task.name,
            "Dataset": progress.task.dataset,
            "Class": progress.task.source_class,
            "Status": progress.task.status,
            "Priority": progress.task.options.priority,
            "Masks": progress.task.masks,
            "Done": progress.done / progress.task.masks if progress.task.masks else 0.0,
            "Contested": progress.states["contested"],
            "Decisions": progress.decisions,
            "To come": progress.to_come,
            "Hours so far": round(progress.hours, 2),
            "Hours to come": None
            if progress.hours_to_come is None
            else round(progress.hours_to_come, 2),
        }
        for progress in found
    ]
    done = st.column_config.ProgressColumn(format="percent", min_value=0.0, max_value=1.0)
    show_rows(
        rows,
        about="Tasks, how far they are, and what they cost",
        columns={"Done": done},
        pinned="Task",
    )
    st.caption(
        "Hours are those of timed decisions, one that took over a minute counted as a minute. Hours to come reckon "
        "with the median; disagreement makes more."
    )


def _show_resolving() -> None:
    left, right = st.columns([1, 4], vertical_alignment="center")
    asked = left.button("Resolve all masks", type="primary", width="stretch")
    right.caption(
        "What each mask is follows from its votes, under the policy of its task. Exports and Browse show what was "
        "resolved last. No decision is changed."
    )
    if not asked:
        return
    with st.spinner("Resolving", show_time=True):
        finish_changes(frame.store(), now=time.time())
        done = resolve_masks(frame.store())
    say_done(
        f"{done.resolved:,} masks resolved, {done.contested:,} contested, {done.ignored:,} ignored, "
        f"{done.open:,} open ({done.policy})."
    )


def _show_status(progress: TaskProgress) -> None:
    task = progress.task
    st.progress(
        progress.done / task.masks if task.masks else 0.0,
        text=f"{progress.done:,} of {task.masks:,} masks done, {progress.states['contested']:,} contested; "
        f"the task is {task.status}",
    )
    columns = st.columns([1, 1, 1, 5])
    for column, (status, word) in zip(columns, _STATES.items(), strict=False):
        asked = column.button(
            word, key=f"status-{status}", disabled=task.status == status, width="stretch"
        )
        if asked and set_status(frame.store(), task.name, status=status):
            say_done(f"{task.name} is {status}.")


# --- options and definitions ----------------------------------------------------------------------


def _show_options(progress: TaskProgress) -> None:
    task = progress.task
    # The form holds what was stored when it was first shown, so that Save can tell whether that still holds.
    shown: TaskOptions = st.session_state.setdefault(f"options-{task.id}", task.options)
    if shown != task.options:
        st.warning("Somebody else has changed these options since you opened them.")
        if st.button("Show what is stored", key=f"reload-{task.id}"):
            del st.session_state[f"options-{task.id}"]
            st.rerun()
    with st.form(f"options-form-{task.id}-{hash(shown)}", border=False):
        changes = _option_fields(shown, key=f"{task.id}-{hash(shown)}")
        saved = st.form_submit_button("Save options", type="primary")
    if saved:
        changed = {name: value for name, value in changes.items() if asdict(shown)[name] != value}
        _save_options(task.name, f"options-{task.id}", changed, shown)


def _save_options(task: str, kept: str, changes: dict[str, object], shown: TaskOptions) -> None:
    try:
        set_options(frame.store(), task, changes=changes, expected=shown, now=time.time())
    except MsegCurateError as error:
        st.error(as_text(str(error)))
        return
    del st.session_state[kept]
    say_done(f"The options of {task} are saved.")


def _option_fields(shown: TaskOptions, *, key: str) -> dict[str, object]:
    left, right = st.columns(2)
    with left:
        values: dict[str, object] = {
            "priority": int(
                st.number_input(
                    "Priority (higher comes first)", value=shown.priority, step=1, key=f"p{key}"
                )
            ),
            "redundancy": int(
                st.number_input(
                    "Decisions wanted of each mask", 1, value=shown.redundancy, key=f"r{key}"
                )
            ),
            "max_redundancy": int(
                st.number_input(
                    "Decisions at most, where they disagree",
                    1,
                    value=shown.max_redundancy,
                    key=f"m{key}",
                )
            ),
            "policy": st.text_input("Policy of the resolution", shown.policy, key=f"q{key}"),
            "lease_s": int(
                st.number_input(
                    "Seconds that a mask is kept for one person",
                    5,
                    value=shown.lease_s,
                    key=f"l{key}",
                )
            ),
        }
    with right:
        values |= {
            "gold_rate": float(
                st.number_input(
                    "Share of gold among the masks handed out",
                    0.0,
                    0.5,
                    shown.gold_rate,
                    0.01,
                    key=f"g{key}",
                )
            ),
            "gold_bar": _bar(shown, key),
            "gold_min": int(
                st.number_input(
                    "Answers on gold before the bar applies", 1, value=shown.gold_min, key=f"n{key}"
                )
            ),
            "gold_cap": int(
                st.number_input(
                    "How often a gold mask is shown in all", 1, value=shown.gold_cap, key=f"c{key}"
                )
            ),
            "under_bar": st.selectbox(
                "What befalls an annotator under the bar",
                _UNDER_BAR,
                index=_UNDER_BAR.index(shown.under_bar),
                key=f"u{key}",
            ),
        }
    values["instructions"] = st.text_area("Instructions", shown.instructions, key=f"i{key}")
    return values


def _bar(shown: TaskOptions, key: str) -> float | None:
    value = st.number_input(
        "Least accuracy on evaluation gold (empty: no bar)",
        0.0,
        1.0,
        shown.gold_bar,
        0.01,
        key=f"b{key}",
    )
    return None if value is None else float(value)


def _show_definitions(progress: TaskProgress) -> None:
    task = progress.task
    kept = f"definitions-{task.id}"
    # An editor whose input changes under it loses edits: it keeps the rows it was first shown.
    stored = dict(zip(task.candidates, task.definitions, strict=True))
    shown: dict[str, str] = st.session_state.setdefault(kept, stored)
    if shown != stored:
        st.warning("Somebody else has changed these definitions since you opened them.")
        if st.button("Show what is stored", key=f"reload-{kept}"):
            del st.session_state[kept]
            st.rerun()
    st.write("What each candidate is, in a sentence; annotators see it beside the key.")
    with st.form(f"form-{kept}-{hash(tuple(shown.items()))}", border=False):
        rows = st.data_editor(
            [{"Candidate": name, "Definition": text} for name, text in shown.items()],
            hide_index=True,
            width="stretch",
            disabled=["Candidate"],
            alt="Candidates and their definitions",
            key=f"edit-{kept}-{hash(tuple(shown.items()))}",
        )
        saved = st.form_submit_button("Save definitions", type="primary")
    if saved:
        edited = {str(row["Candidate"]): (row["Definition"] or "").strip() for row in rows}
        changes = {name: text for name, text in edited.items() if shown[name] != text}
        if not changes:
            st.info("Nothing was changed.")
            return
        try:
            describe_candidates(frame.store(), task.name, changes, expected=shown)
        except MsegCurateError as error:
            st.error(as_text(str(error)))
            return
        del st.session_state[kept]
        say_done(f"{len(changes)} definitions of {task.name} are saved.")


# --- gold, agreement, people ----------------------------------------------------------------------


def _show_gold(progress: TaskProgress) -> None:
    show_gold(progress.task.name, progress.task.candidates, done=say_done)


def _show_agreement(progress: TaskProgress) -> None:
    show_agreement(progress.task.name, key=f"agreement-{progress.task.id}")


def _show_people(progress: TaskProgress) -> None:
    if not progress.people:
        st.write("Nobody has decided anything in this task yet.")
        return
    show_rows(
        [
            {
                "Annotator": person.annotator,
                "Decisions": person.decisions,
                "Hours": round(person.hours, 2),
                "Median seconds": None if person.median_s is None else round(person.median_s, 1),
            }
            for person in progress.people
        ],
        about="What each annotator did in this task",
    )


# --- a new task -----------------------------------------------------------------------------------


def _show_making() -> None:
    found = split_classes(frame.store())
    if not found:
        st.write("No mapping of a dataset with pixels has a class that must be split.")
        return
    with st.form("make", border=False):
        name = st.text_input("Name of the new task", max_chars=80)
        place = st.selectbox(
            "Class that must be split",
            range(len(found)),
            format_func=lambda n: (
                f"{found[n].dataset}: {found[n].source_class} → {', '.join(found[n].candidates)}"
            ),
        )
        defined = st.text_area(
            "Definitions of candidates (one a line: the candidate, a colon, what it is)"
        )
        options = _option_fields(TaskOptions(), key="-new")
        asked = st.form_submit_button("Make the task", type="primary")
    if not asked:
        return
    if not name.strip() or not name.isprintable():
        st.error("A task needs a name: letters, digits, blanks.")
        return
    chosen = found[place]
    with st.spinner("Finding the masks"):
        try:
            made = make_task(
                frame.store(),
                name.strip(),
                dataset=chosen.dataset,
                source_class=chosen.source_class,
                options=TaskOptions(**options),  # type: ignore[arg-type]
                definitions=_definitions(defined),
                now=iso_of(time.time()),
            )
        except MsegCurateError as error:
            st.error(as_text(str(error)))
            return
    say_done(f"{made.task.name}: {made.task.masks:,} masks in {made.images:,} images.")


def _definitions(text: str) -> dict[str, str]:
    """Return what was written of candidates; a line without a colon names a candidate without a definition."""
    lines = [line.partition(":") for line in text.splitlines() if line.strip()]
    return {name.strip(): meaning.strip() for name, _, meaning in lines}


show()
