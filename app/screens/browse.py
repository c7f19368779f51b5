"""Browse: every image with its label map before and after what was decided."""

from __future__ import annotations

import html
import time

import streamlit as st

from app import frame
from app.notices import say_done, show_done
from app.plain import as_text
from app.tables import show_rows
from mseg_curate.browse import (
    BrowsedMask,
    FoundImage,
    ImageFilter,
    ImageView,
    browsable,
    find_images,
    look_at,
    picture_of_mask,
)
from mseg_curate.errors import MsegCurateError
from mseg_curate.flags import close_flag, list_flags
from mseg_curate.gold import KINDS, add_gold
from mseg_curate.tasks import all_tasks

_PAGE = 24
_ANY = "any"
_OUTCOMES = ("resolved", "contested", "ignored", "undecided")
_STATES = ("open", "settled", "contested", "adjudicated")


def show() -> None:
    """Show the page."""
    st.title("Browse")
    show_done()
    wanted = _ask()
    image = _choose(wanted)
    if image is not None:
        try:
            _show_image(look_at(frame.store(), image.id))
        except MsegCurateError as error:
            st.error(as_text(str(error)))
    _show_flags()


# --- finding --------------------------------------------------------------------------------------


def _ask() -> ImageFilter:
    offered = browsable(frame.store())
    names = [row.name for row in offered.datasets]
    first = st.columns(4)
    dataset = _one_of(first[0], "Dataset", names)
    classes = sorted(
        {name for row in offered.datasets if dataset in ("", row.name) for name in row.class_names}
    )
    source_class = _one_of(first[1], "Source class of a mask", classes)
    outcome = _one_of(first[2], "Resolution of a mask", _OUTCOMES)
    resolved_class = _one_of(first[3], "Class it is resolved to", sorted(offered.universal))
    second = st.columns(4, vertical_alignment="bottom")
    state = _one_of(second[0], "State in its task", _STATES)
    split = second[1].text_input("Split")
    text = second[2].text_input("Text in the image's name")
    flagged = second[3].checkbox("With an open flag")
    return ImageFilter(
        dataset, split.strip(), text.strip(), source_class, outcome, resolved_class, state, flagged
    )


def _one_of(place: st.delta_generator.DeltaGenerator, label: str, options: object) -> str:
    listed = [_ANY, *options]  # type: ignore[misc]
    chosen = place.selectbox(label, listed)
    return "" if chosen == _ANY else str(chosen)


def _choose(wanted: ImageFilter) -> FoundImage | None:
    """Let one image of the page be chosen; pages are walked by what came before."""
    if st.session_state.get("browse-wanted") != wanted:
        st.session_state["browse-wanted"] = wanted
        st.session_state["browse-before"] = []
    before: list[int] = st.session_state["browse-before"]
    found, more = find_images(
        frame.store(), wanted, after=before[-1] if before else None, limit=_PAGE
    )
    if not found:
        st.info("No image has what you ask for.")
        return None
    left, middle, right = st.columns([6, 1, 1], vertical_alignment="bottom")
    place = left.selectbox(
        f"Image ({len(before) * _PAGE + 1} to {len(before) * _PAGE + len(found)})",
        range(len(found)),
        format_func=lambda n: _in_words(found[n]),
        key=f"browse-image-{len(before)}-{hash(wanted)}",
    )
    if middle.button("Page before", disabled=not before, width="stretch"):
        before.pop()
        st.rerun()
    if right.button("Next page", disabled=not more, width="stretch"):
        before.append(found[-1].id)
        st.rerun()
    return found[place]


def _in_words(image: FoundImage) -> str:
    name = f"{image.sequence}/{image.name}" if image.sequence else image.name
    said = f"{image.dataset} {image.split} {name}: {image.masks} masks, {image.resolved} resolved"
    if image.contested:
        said += f", {image.contested} contested"
    if image.flags:
        said += f", {image.flags} flags"
    return said


# --- one image ------------------------------------------------------------------------------------


def _show_image(view: ImageView) -> None:
    st.header("Label map before and after")
    pictures = (
        ("Photo", view.photo),
        ("Before: the class that the mapping gives", view.before),
        ("After: as resolved; contested masks are hatched", view.after),
    )
    for column, (caption, picture) in zip(st.columns(3), pictures, strict=True):
        column.image(picture, caption=caption, width="stretch", alt=caption)
    st.html(_legend(view))
    st.header("Masks")
    if not view.masks:
        st.write("No task has found masks in this image.")
        return
    show_rows([_row(mask) for mask in view.masks], about="Masks of this image")
    _show_mask(view)


def _legend(view: ImageView) -> str:
    """Return the legend as HTML: swatches with names and pixels; names are people's words, and escaped."""
    total = max(1, view.image.size_hw[0] * view.image.size_hw[1])
    items = []
    for line in view.legend:
        red, green, blue = line.colour
        shares = f"{line.before_px / total:.1%} → {line.after_px / total:.1%}"
        items.append(
            '<li style="display:inline-flex;align-items:center;gap:0.4rem;margin:0 1rem 0.3rem 0">'
            '<span style="width:1rem;height:1rem;border:1px solid #1f2328;'
            f'background:rgb({red},{green},{blue})"></span>{html.escape(line.name)} {shares}</li>'
        )
    return f'<ul style="list-style:none;padding:0;margin:0">{"".join(items)}</ul>'


def _row(mask: BrowsedMask) -> dict[str, object]:
    return {
        "Mask": mask.mask.segment,
        "Source class": mask.source_class,
        "Area in pixels": mask.mask.area_px,
        "State": mask.state,
        "Resolution": mask.outcome or "undecided",
        "Class": mask.resolved_class or "",
        "Agreement": None if mask.agreement is None else round(mask.agreement, 2),
        "Votes": "; ".join(
            f"{vote.annotator}: {vote.class_name or vote.outcome} ({vote.mode})"
            for vote in mask.votes
        ),
        "Open flags": "; ".join(mask.flags),
    }


def _show_mask(view: ImageView) -> None:
    place = st.selectbox(
        "Mask to look at",
        range(len(view.masks)),
        format_func=lambda n: f"{view.masks[n].source_class} {view.masks[n].mask.segment}",
        key=f"browse-mask-{view.image.id}",
    )
    mask = view.masks[place]
    left, right = st.columns([1, 2])
    crop = picture_of_mask(frame.store(), mask.id, longest_px=384)
    left.image(crop, caption="The mask, outlined", alt="The chosen mask, outlined in its photo")
    with right:
        _show_gold_form(view, mask)


def _show_gold_form(view: ImageView, mask: BrowsedMask) -> None:
    tasks = [
        task
        for task in all_tasks(frame.store())
        if (task.dataset, task.source_class) == (view.dataset, mask.source_class)
    ]
    if not tasks:
        st.write("No task asks about this class.")
        return
    with st.form(f"gold-{mask.id}", border=False):
        name = st.selectbox("Make it gold of the task", [task.name for task in tasks])
        answers = list(dict.fromkeys(c for task in tasks for c in task.candidates))
        answer = st.selectbox("Right answer", [*answers, "none_of_these", "bad_mask"])
        kind = st.selectbox("Kind of gold", KINDS)
        note = st.text_input("Why the answer is right (told with training gold)")
        asked = st.form_submit_button("Make it gold")
    if not asked:
        return
    image = view.image
    try:
        add_gold(
            frame.store(),
            name,
            [(image.split, image.sequence, image.name, mask.mask.segment, answer)],
            kind=kind,
            note=note,
            by=frame.here().person.name,
            now=time.time(),
        )
    except MsegCurateError as error:
        st.error(as_text(str(error)))
        return
    say_done(f"Mask {mask.mask.segment} of {image.name} is gold now.")


# --- flags ----------------------------------------------------------------------------------------


def _show_flags() -> None:
    found = list_flags(frame.store())
    st.header("Open flags")
    if not found:
        st.write("There is none.")
        return
    show_rows(
        [
            {
                "Flag": row.id,
                "Task": row.task,
                "Image": f"{row.dataset} {row.split} {row.sequence}/{row.image}".replace(" /", " "),
                "Mask": row.segment,
                "Annotator": row.annotator,
                "Remark": row.comment,
                "At": row.created_at,
            }
            for row in found
        ],
        about="Open flags",
    )
    with st.form("close-flag", border=False):
        number = st.selectbox("Flag that was seen to", [row.id for row in found])
        asked = st.form_submit_button("Close the flag")
    if asked:
        try:
            close_flag(frame.store(), number, by=frame.here().person.name, now=time.time())
        except MsegCurateError as error:
            st.error(as_text(str(error)))
            return
        say_done(f"Flag {number} is closed.")


show()
