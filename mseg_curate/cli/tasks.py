"""Commands that steer a task while it runs, and show how far it is."""

from __future__ import annotations

import time
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from mseg_curate.cli.decide import task
from mseg_curate.cli.edge import FILE, say, store_option

if TYPE_CHECKING:
    from mseg_curate.store import Store

# --- open or not, and options ---------------------------------------------------------------------


@task.command("pause")
@store_option
@click.argument("task_name", metavar="TASK")
def task_pause(db: Path, task_name: str) -> None:
    """Hand out no masks of TASK for now."""
    _set_status(db, task_name, "paused")


@task.command("open")
@store_option
@click.argument("task_name", metavar="TASK")
def task_open(db: Path, task_name: str) -> None:
    """Hand out masks of TASK again."""
    _set_status(db, task_name, "open")


@task.command("close")
@store_option
@click.argument("task_name", metavar="TASK")
def task_close(db: Path, task_name: str) -> None:
    """End TASK: no masks are handed out, no decisions taken."""
    _set_status(db, task_name, "closed")


def _set_status(db: Path, task_name: str, status: str) -> None:
    from mseg_curate.steer import set_status
    from mseg_curate.store import Store

    with Store.open(db) as store:
        changed = set_status(store, task_name, status=status)
    say(f"{task_name}: {status}" if changed else f"{task_name} was {status} already")


@task.command("set")
@store_option
@click.argument("task_name", metavar="TASK")
@click.option("--priority", type=int, help="Tasks of higher priority come first.")
@click.option(
    "--redundancy", type=click.IntRange(1), help="Independent decisions wanted of each mask."
)
@click.option("--max-redundancy", type=click.IntRange(1), help="How many where they disagree.")
@click.option("--policy", help="How votes are resolved, as in `resolve --policy`.")
@click.option("--instructions", help="What annotators should know, in a sentence or two.")
@click.option("--lease", "lease_s", type=int, help="Seconds that an annotator keeps a mask.")
@click.option("--gold-rate", type=float, help="Share of gold among the masks handed out, 0 … 0.5.")
@click.option(
    "--gold-bar", type=float, help="Least accuracy on evaluation gold, 0 … 1; below 0: no bar."
)
@click.option("--gold-min", type=int, help="Answers on gold before the bar applies.")
@click.option("--gold-cap", type=int, help="How often a gold mask is shown in all.")
@click.option(
    "--under-bar",
    type=click.Choice(["warn", "pause", "reopen"]),
    help="What befalls an annotator under the bar.",
)
def task_set(db: Path, task_name: str, **options: object) -> None:
    """Change options of TASK; without any, print them."""
    from dataclasses import asdict

    from mseg_curate.cli.words import in_one_line
    from mseg_curate.steer import set_options
    from mseg_curate.store import Store

    changes = {name: value for name, value in options.items() if value is not None}
    bar = changes.get("gold_bar")
    if isinstance(bar, float) and bar < 0:
        changes["gold_bar"] = None
    with Store.open(db) as store:
        found = set_options(store, task_name, changes=changes, now=time.time())
    for name, value in asdict(found).items():
        say(f"{name}\t{'' if value is None else in_one_line(str(value))}")


@task.command("describe")
@store_option
@click.argument("task_name", metavar="TASK")
@click.argument("file", type=FILE, required=False)
def task_describe(db: Path, task_name: str, file: Path | None) -> None:
    """Say what the candidates of TASK are, from a TSV file with class and definition; without one, print it."""
    from mseg_curate.steer import definitions_of, describe_candidates, read_definitions
    from mseg_curate.store import Store

    with Store.open(db) as store:
        if file is None:
            say("class\tdefinition")
            for name, text in definitions_of(store, task_name).items():
                say(f"{name}\t{text}")
            return
        count = describe_candidates(store, task_name, read_definitions(file))
    say(f"{task_name}: {count} candidates described")


@task.group("example")
def task_example() -> None:
    """Show masks as examples of a candidate."""


@task_example.command("add")
@store_option
@click.argument("task_name", metavar="TASK")
@click.argument("file", type=FILE)
def task_example_add(db: Path, task_name: str, file: Path) -> None:
    """Add examples to TASK, from a CSV file with split, image, segment and class."""
    from mseg_curate.steer import add_examples
    from mseg_curate.store import Store

    with Store.open(db) as store:
        count = add_examples(store, task_name, file)
    say(f"{task_name}: {count} examples added")


@task_example.command("list")
@store_option
@click.argument("task_name", metavar="TASK")
def task_example_list(db: Path, task_name: str) -> None:
    """Print the examples of TASK as the CSV file that `task example add` reads."""
    import csv
    import sys

    from mseg_curate.steer import list_examples
    from mseg_curate.store import Store

    with Store.open(db) as store:
        found = list_examples(store, task_name)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("split", "sequence", "image", "segment", "class"))
    writer.writerows(found)


@task_example.command("clear")
@store_option
@click.argument("task_name", metavar="TASK")
@click.option("--class", "candidate", help="Of this candidate only.")
def task_example_clear(db: Path, task_name: str, candidate: str | None) -> None:
    """Remove the examples of TASK."""
    from mseg_curate.steer import clear_examples
    from mseg_curate.store import Store

    with Store.open(db) as store:
        count = clear_examples(store, task_name, candidate=candidate)
    say(f"{task_name}: {count} examples removed")


# --- what comes first -----------------------------------------------------------------------------


@task.command("prioritise")
@store_option
@click.argument("task_name", metavar="TASK")
@click.argument("file", type=FILE, required=False)
@click.option("--contested-first", is_flag=True, help="Masks on which votes disagree come first.")
@click.option(
    "--suspicious",
    is_flag=True,
    help="Masks that a model's suggestions make doubtful come first, then those it is unsure of.",
)
@click.option("--by-chance", is_flag=True, help="No mask comes first any more.")
def task_prioritise(
    db: Path,
    task_name: str,
    file: Path | None,
    contested_first: bool,
    suspicious: bool,
    by_chance: bool,
) -> None:
    """Hand out masks of TASK in the order of a CSV file with split, image, segment, rank."""
    from mseg_curate.errors import InputError
    from mseg_curate.steer import prioritise_by_chance, prioritise_disputed, prioritise_masks
    from mseg_curate.store import Store

    if contested_first + suspicious + by_chance + (file is not None) != 1:
        raise InputError(
            "what comes first?",
            expected="a FILE, --contested-first, --suspicious or --by-chance, one of them",
        )
    with Store.open(db) as store:
        if by_chance:
            prioritise_by_chance(store, task_name)
            say(f"{task_name}: masks are handed out by chance again")
            return
        if suspicious:
            _prioritise_suspicious(store, task_name)
            return
        count = (
            prioritise_disputed(store, task_name)
            if file is None
            else prioritise_masks(store, task_name, file)
        )
    say(f"{task_name}: {count:,} masks have a place of their own in the queue")


def _prioritise_suspicious(store: Store, task_name: str) -> None:
    from mseg_curate.suspect import prioritise_suspicious

    found = prioritise_suspicious(store, task_name)
    say(f"{task_name}: {found.masks:,} masks have a place of their own in the queue")
    say(f"  {found.doubted:,} are probably decided wrongly, the most doubtful first")
    say(f"  {found.undecided:,} have no answer, the most uncertain first")
    say(f"  {found.believed:,} are probably decided rightly, the most doubtful first")
    if found.settled:
        say(
            f"  {found.settled:,} of the first have all the decisions that the task asks for; "
            f"`mseg-curate task set {quote(task_name)} --redundancy N --max-redundancy N` asks for more"
        )


# --- how far --------------------------------------------------------------------------------------


@task.command("progress")
@store_option
@click.argument("task_name", metavar="TASK", required=False)
def task_progress(db: Path, task_name: str | None) -> None:
    """Show how far TASK is, or every task: masks, decisions and hours, so far and to come."""
    from mseg_curate.store import Store
    from mseg_curate.task_progress import all_progress, measure_progress

    with Store.open(db) as store:
        found = [measure_progress(store, task_name)] if task_name else all_progress(store)
    for progress in found:
        states = ", ".join(f"{count:,} {state}" for state, count in progress.states.items())
        say(
            f"{progress.task.name} ({progress.task.status}): {progress.task.masks:,} masks, {states}"
        )
        median = "" if progress.median_s is None else f", median {progress.median_s:.1f} s"
        say(
            f"  so far {progress.decisions:,} decisions, {progress.hours:.2f} h in the {progress.timed:,} timed ones"
            f"{median}"
        )
        hours = progress.hours_to_come
        in_hours = "no pace is known yet" if hours is None else f"about {hours:.2f} h"
        say(f"  to come {progress.to_come:,} decisions, {in_hours}")
        for person in progress.people:
            pace = "" if person.median_s is None else f"\tmedian {person.median_s:.1f} s"
            say(f"  {person.annotator}\t{person.decisions:,} decisions\t{person.hours:.2f} h{pace}")
