"""Browse: every image with its label map before and after what was decided."""

from __future__ import annotations

import hashlib
import html
import time
from collections.abc import Iterable
from dataclasses import replace

import streamlit as st

from app import frame
from app.flag_forms import show_flags
from app.gallery import Card, show_gallery
from app.notices import say_done, show_done
from app.plain import as_text
from app.tables import show_rows
from mseg_curate.browse import (
    BrowsedMask,
    FoundImage,
    ImageFilter,
    ImageView,
    browsable,
    count_images,
    find_images,
    find_neighbours,
    look_at,
    picture_of_mask,
)
from mseg_curate.errors import MsegCurateError
from mseg_curate.gold import KINDS, add_gold
from mseg_curate.tasks import all_tasks

_PAGE = 24
_MOST_COUNTED = 1_000_000
_THUMBNAIL_PX = 320
_ANY = "any"
_OUTCOMES = ("resolved", "contested", "ignored", "undecided")
_STATES = ("open", "settled", "contested", "adjudicated")
# What a card shows of an image, in words, and how wide the card is at least.
_SHOWN = {
    "pair": ("Photo and after", 340),
    "photo": ("Photo", 190),
    "before": ("Before", 190),
    "after": ("After", 190),
    "overlay": ("After over photo", 190),
}
# Where one is among the images stands in the page's address, as the filters do.
_PLACES = ("image", "after", "before")


def show() -> None:
    """Show the page."""
    st.title("Browse")
    show_done()
    wanted = _ask()
    _forget_place(wanted)
    opened = _number("image")
    if opened is None:
        _show_list(wanted)
    else:
        _show_image(wanted, opened)
    flag_image = show_flags()
    if flag_image is not None:
        _go(image=flag_image)
        st.rerun()


# --- finding --------------------------------------------------------------------------------------


def _ask() -> ImageFilter:
    """Ask for filters; each stands in the page's address, so that a link shows what one sees."""
    offered = browsable(frame.store())
    names = [row.name for row in offered.datasets]
    first = st.columns(4)
    dataset = _one_of(first[0], "Dataset", names, key="dataset")
    classes = sorted(
        {name for row in offered.datasets if dataset in ("", row.name) for name in row.class_names}
    )
    shown = _one_of(first[1], "Class of the dataset", classes, key="class")
    outcome = _one_of(first[2], "Resolution of a mask", _OUTCOMES, key="resolution")
    resolved = _one_of(first[3], "Class it is resolved to", sorted(offered.universal), key="to")
    second = st.columns(4, vertical_alignment="bottom")
    state = _one_of(second[0], "State in its task", _STATES, key="state")
    split = second[1].text_input("Split", key="split", bind="query-params")
    text = second[2].text_input("Text in the image's name", key="name", bind="query-params")
    flagged = second[3].checkbox("With an open flag", key="flagged", bind="query-params")
    of_image = ImageFilter(dataset, (split or "").strip(), (text or "").strip())
    # Beside what is asked of a mask, the class is that mask's; alone it is any that the image shows.
    if outcome or resolved or state or flagged:
        return replace(
            of_image,
            source_class=shown,
            outcome=outcome,
            resolved_class=resolved,
            state=state,
            flagged=flagged,
        )
    return replace(of_image, shown_class=shown)


def _one_of(
    place: st.delta_generator.DeltaGenerator, label: str, options: Iterable[str], *, key: str
) -> str:
    chosen = place.selectbox(label, [_ANY, *options], key=key, bind="query-params")
    return "" if chosen in (None, _ANY) else str(chosen)


def _forget_place(wanted: ImageFilter) -> None:
    """Go to the first page when another filter was chosen; the first run keeps what a link says."""
    before = st.session_state.get("browse-wanted", wanted)
    st.session_state["browse-wanted"] = wanted
    if before != wanted:
        _go()


def _number(name: str) -> int | None:
    digits = str(st.query_params.get(name, ""))
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 16 else None


def _go(**place: int) -> None:
    """Say in the page's address where one is among the images: nowhere is at the first page."""
    for name in _PLACES:
        if name in place:
            st.query_params[name] = str(place[name])
        elif name in st.query_params:
            del st.query_params[name]


# --- many images ----------------------------------------------------------------------------------


def _show_list(wanted: ImageFilter) -> None:
    after, before = _number("after"), _number("before")
    found, more = find_images(
        frame.store(), wanted, after=after, before=before if after is None else None, limit=_PAGE
    )
    if not found:
        st.info("No image has what you ask for.")
        return
    kind = _show_bar(wanted, found, more=more)
    label, least_px = _SHOWN[kind]
    opened = show_gallery(
        [_card(image, kind) for image in found],
        label=f"Images: {label}",
        least_px=least_px,
        key="browse-gallery",
    )
    if opened is not None:
        _go(image=opened)
        st.rerun()


def _show_bar(wanted: ImageFilter, found: list[FoundImage], *, more: bool) -> str:
    """Show how many images there are, what is shown of each, and the ways to other pages; returns what is shown."""
    is_back = _number("after") is None and _number("before") is not None
    is_first = _number("after") is None and not (is_back and more)
    is_last = not more and not is_back
    left, middle, _, previous, following = st.columns(
        [1.6, 2, 1.6, 1.4, 1.4], vertical_alignment="center"
    )
    left.markdown(f"**{_count(wanted)}**")
    kind = middle.selectbox(
        "What is shown of each image",
        list(_SHOWN),
        format_func=lambda kind: _SHOWN[kind][0],
        label_visibility="collapsed",
        key="browse-shown",
        persist_state="session",
    )
    if previous.button("Page before", disabled=is_first, width="stretch", shortcut="P"):
        _go(before=found[0].id)
        st.rerun()
    if following.button("Next page", disabled=is_last, width="stretch", shortcut="N"):
        _go(after=found[-1].id)
        st.rerun()
    return kind


def _count(wanted: ImageFilter) -> str:
    """Return how many images a filter finds, counted when it is chosen."""
    kept: tuple[ImageFilter, int] | None = st.session_state.get("browse-count")
    if kept is None or kept[0] != wanted:
        kept = (wanted, count_images(frame.store(), wanted, limit=_MOST_COUNTED))
        st.session_state["browse-count"] = kept
    if kept[1] >= _MOST_COUNTED:
        return f"{_MOST_COUNTED:,} images or more"
    return f"{kept[1]:,} image{'' if kept[1] == 1 else 's'}"


def _card(image: FoundImage, kind: str) -> Card:
    state = _sign(image.masks, image.resolved, image.contested)
    return Card(
        f"/review/browse/{image.id}/{kind}?px={_THUMBNAIL_PX}&state={state}",
        _name(image.sequence, image.name),
        f"{image.dataset} {image.split}: {image.resolved} of {image.masks} masks resolved",
        mark=_mark(image),
        ratio=3 if kind == "pair" else 1.5,
        opens=image.id,
    )


def _sign(*facts: object) -> str:
    """Return a word that changes with what is drawn: a browser keeps a picture by its address."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:8]


def _mark(image: FoundImage) -> str:
    said = [f"{image.contested} contested"] if image.contested else []
    if image.flags:
        said.append(f"{image.flags} flag{'' if image.flags == 1 else 's'}")
    return ", ".join(said)


def _name(sequence: str, name: str) -> str:
    return f"{sequence}/{name}" if sequence else name


# --- one image ------------------------------------------------------------------------------------


def _show_image(wanted: ImageFilter, image_id: int) -> None:
    _show_way(wanted, image_id)
    try:
        view = look_at(frame.store(), image_id)
    except MsegCurateError as error:
        st.error(as_text(str(error)))
        return
    image = view.image
    st.header(as_text(_name(image.sequence, image.name)))
    height, width = image.size_hw
    st.caption(as_text(f"{view.dataset}, {image.split}, {width} × {height} pixels"))
    pictures = st.container()
    st.html(_legend(view))
    st.subheader("Masks")
    marked = None
    if view.masks:
        show_rows([_row(mask) for mask in view.masks], about="Masks of this image")
        marked = _show_mask(view)
    else:
        st.write("No task has found masks in this image.")
    with pictures:
        _show_pictures(view, marked)


def _show_way(wanted: ImageFilter, image_id: int) -> None:
    """Show the ways back to the list and on to the images beside this one."""
    previous, following = find_neighbours(frame.store(), wanted, image_id)
    columns = st.columns([1.4, 1.4, 1.4, 4])
    if columns[0].button("Back to the list", width="stretch", shortcut="L"):
        # The page of the list begins with the image that one comes from.
        _go() if previous is None else _go(after=previous.id)
        st.rerun()
    for column, label, key, image in (
        (columns[1], "Image before", "P", previous),
        (columns[2], "Next image", "N", following),
    ):
        if column.button(label, disabled=image is None, width="stretch", shortcut=key) and image:
            _go(image=image.id)
            st.rerun()


def _show_pictures(view: ImageView, marked: BrowsedMask | None) -> None:
    height, width = view.image.size_hw
    mask = "" if marked is None else f"&mask={marked.id}"
    state = _sign(*((m.id, m.outcome, m.resolved_class, m.is_contested) for m in view.masks))
    captions = {
        "photo": "Photo",
        "before": "Before: the class that the mapping gives",
        "after": "After: as resolved; contested masks are hatched",
        "overlay": "After, over the photo",
    }
    cards = [
        Card(
            f"/review/browse/{view.image.id}/{kind}?px=1024{mask}&state={state}",
            caption,
            ratio=width / height,
        )
        for kind, caption in captions.items()
    ]
    show_gallery(cards, label="Label map before and after", least_px=280, key="browse-pictures")


def _legend(view: ImageView) -> str:
    """Return the legend as HTML: swatches with names and pixels; names are people's words, and escaped."""
    total = max(1, view.image.size_hw[0] * view.image.size_hw[1])
    items = []
    for line in view.legend:
        red, green, blue = line.colour
        shares = f"{line.before_px / total:.1%}"
        if line.before_px != line.after_px:
            shares = f"<strong>{shares} → {line.after_px / total:.1%}</strong>"
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


def _show_mask(view: ImageView) -> BrowsedMask:
    """Show one mask with what can be done about it; returns which."""
    left, right = st.columns([1, 2])
    place = left.selectbox(
        "Mask to look at; outlined in the pictures",
        range(len(view.masks)),
        format_func=lambda n: f"{view.masks[n].source_class} {view.masks[n].mask.segment}",
        key=f"browse-mask-{view.image.id}",
    )
    mask = view.masks[place]
    try:
        crop = picture_of_mask(frame.store(), mask.id, longest_px=384)
        left.image(crop, caption="The mask, outlined", alt="The chosen mask, outlined in its photo")
    except MsegCurateError as error:
        left.error(as_text(str(error)))
    with right, st.expander("Make this mask gold"):
        _show_gold_form(view, mask)
    return mask


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


show()
