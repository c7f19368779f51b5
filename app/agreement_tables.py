"""How far the annotators of a task agree, reckoned when somebody asks."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

import streamlit as st

from app import frame
from app.plain import as_text, percent
from app.tables import show_rows
from mseg_curate.agreement import AgreementReport, PairAgreement, measure_agreement
from mseg_curate.core.agreement import Estimate
from mseg_curate.errors import MsegCurateError
from mseg_curate.steer import finish_changes

__all__ = ["show_agreement"]

_RESAMPLES = 200


def show_agreement(task: str, *, key: str) -> None:
    """Show the agreement of a task, once it was asked for; `key` tells its widgets from those of other tasks."""
    if st.button("Reckon agreement", key=f"ask-{key}"):
        with st.spinner("Reckoning", show_time=True):
            try:
                finish_changes(frame.store(), now=time.time())
                st.session_state[key] = measure_agreement(frame.store(), task, resamples=_RESAMPLES)
            except MsegCurateError as error:
                st.session_state.pop(key, None)
                st.error(as_text(str(error)))
    report = st.session_state.get(key)
    if report is None:
        st.write("Agreement beyond chance, with intervals from resampling the masks.")
    else:
        _show_report(report)


def _show_report(report: AgreementReport) -> None:
    st.write(
        f"{report.votes:,} votes on {report.masks:,} masks, {report.masks_with_two:,} of them with two or more, as of "
        f"decision {report.as_of_decision}."
    )
    for note in _notes(report):
        st.caption(note)
    show_rows(
        [
            {"Coefficient": "Krippendorff's alpha"} | _cells(report.alpha),
            {"Coefficient": "Fleiss' kappa"} | _cells(report.fleiss),
        ],
        about="Coefficients of agreement",
    )
    show_rows(
        [
            {
                "Annotator": who.name,
                "Votes": who.votes,
                "Unsure": who.unsure,
                "Accuracy (Dawid and Skene)": percent(
                    who.accuracy.value, who.accuracy.low, who.accuracy.high
                ),
            }
            for who in report.annotators
        ],
        about="Annotators and their accuracy",
    )
    _show_pairs("Cohen's kappa of two annotators", report.annotator_pairs, each="Annotator")
    _show_pairs("Alpha of two answers", report.answer_pairs, each="Answer")
    st.write("Pairs of votes of two people on one mask, by what they name:")
    show_rows(
        [
            {"Vote": answer} | dict(zip(report.answers, line, strict=True))
            for answer, line in zip(report.answers, report.confusion, strict=True)
        ],
        about="Pairs of votes",
        pinned="Vote",
    )


def _notes(report: AgreementReport) -> Iterable[str]:
    if report.known:
        yield f"{report.known:,} masks of evaluation gold tell of accuracies, too."
    if report.first_votes is not None:
        yield (
            f"Coefficients and pairs are of the first {report.first_votes} votes of each mask: masks whose votes "
            "disagreed got more."
        )
    if report.pairs_left_out:
        yield f"{report.pairs_left_out:,} pairs that share fewer masks, or are confused less often, are left out."


def _show_pairs(title: str, pairs: Iterable[PairAgreement], *, each: str) -> None:
    rows = [
        {each: pair.first, f"Other {each.lower()}": pair.second} | _cells(pair.estimate)
        for pair in pairs
    ]
    if rows:
        st.write(f"{title}:")
        show_rows(rows, about=title)


def _cells(found: Estimate) -> dict[str, object]:
    numbers = {"Value": found.value, "From": found.low, "To": found.high}
    return {
        **{name: None if math.isnan(value) else round(value, 3) for name, value in numbers.items()},
        "Masks": found.masks,
        "Why not defined": found.undefined,
    }
