"""The command that shows how far annotators agree."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mseg_curate.cli.decide import task
from mseg_curate.cli.edge import say, store_option

if TYPE_CHECKING:
    from mseg_curate.agreement import AgreementReport
    from mseg_curate.core.accuracy import Share
    from mseg_curate.core.agreement import Estimate

_SHOWN_CONFUSIONS = 10


@task.command("agreement")
@store_option
@click.argument("task_name", metavar="TASK")
@click.option("--resamples", type=click.IntRange(0), default=1000, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def task_agreement(db: Path, task_name: str, resamples: int, seed: int, as_json: bool) -> None:
    """Show how far the annotators of TASK agree beyond chance, and which answers they confuse."""
    import json
    from dataclasses import asdict

    from mseg_curate.agreement import measure_agreement
    from mseg_curate.steer import finish_changes
    from mseg_curate.store import Store

    with Store.open(db) as store:
        finish_changes(store, now=time.time())
        report = measure_agreement(store, task_name, seed=seed, resamples=resamples)
    if as_json:
        say(json.dumps(_plain(asdict(report)), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _print(report)


def _print(report: AgreementReport) -> None:
    say(
        f"task {report.task}, as of decision {report.as_of_decision}: {report.votes:,} votes "
        f"({report.unsure:,} unsure) on {report.masks:,} masks, {report.masks_with_two:,} with two or more"
    )
    say(f"Krippendorff's alpha\t{_coefficient(report.alpha)}")
    say(f"Fleiss' kappa\t{_coefficient(report.fleiss)}")
    known = f", with {report.known:,} gold masks" if report.known else ""
    say(f"annotator\tvotes\tunsure\taccuracy (Dawid-Skene{known})")
    for who in report.annotators:
        say(f"{who.name}\t{who.votes:,}\t{who.unsure:,}\t{_share(who.accuracy)}")
    say("two annotators\tCohen's kappa")
    for pair in report.annotator_pairs:
        say(f"{pair.first}, {pair.second}\t{_coefficient(pair.estimate)}")
    say("two answers\talpha")
    for pair in report.answer_pairs:
        say(f"{pair.first}, {pair.second}\t{_coefficient(pair.estimate)}")
    say("confused\tpairs of votes")
    for times, first, second in _confusions(report):
        say(f"{first}, {second}\t{times:,}")
    if report.pairs_left_out:
        say(f"{report.pairs_left_out:,} more pairs share fewer masks or are confused less often")
    if report.first_votes is not None:
        say(
            f"coefficients and confusions are of the first {report.first_votes} votes of each mask: "
            "masks whose votes disagreed got more"
        )
    say(f"{report.level:.0%} intervals, {report.resamples:,} resamples of the masks")


def _confusions(report: AgreementReport) -> list[tuple[int, str, str]]:
    """Return the most frequent disagreements as (pairs of votes, answer, other answer)."""
    found = [
        (times, report.answers[row], report.answers[column])
        for row, line in enumerate(report.confusion)
        for column, times in enumerate(line[:row])
        if times
    ]
    return sorted(found, key=lambda item: (-item[0], *item[1:]))[:_SHOWN_CONFUSIONS]


def _coefficient(estimate: Estimate) -> str:
    if estimate.undefined:
        return f"not defined: {estimate.undefined}"
    return f"{estimate.value:.3f}{_interval(estimate.low, estimate.high)}\t{estimate.masks:,} masks"


def _share(share: Share) -> str:
    if math.isnan(share.value):
        return "not known"
    return f"{share.value:.3f}{_interval(share.low, share.high)}"


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]"


def _plain(value: object) -> object:
    """Return the value with None for NaN, which JSON does not have."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
