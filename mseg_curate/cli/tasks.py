"""Commands that steer a task while it runs, and show how far it is; flags, too."""

from __future__ import annotations

import time
from pathlib import Path

import click

from mseg_curate.cli.decide import task
from mseg_curate.cli.edge import FILE, author_option, cli, say, store_option

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
@click.argument("file", type=FILE)
def task_describe(db: Path, task_name: str, file: Path) -> None:
    """Say what the candidates of TASK are, from a TSV file with class and definition."""
    from mseg_curate.steer import describe_candidates, read_definitions
    from mseg_curate.store import Store

    with Store.open(db) as store:
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


@task.command("suggest")
@store_option
@click.argument("task_name", metavar="TASK")
@click.argument("file", type=FILE)
@click.option("--source", help="What made the suggestions.  [default: the file's name]")
def task_suggest(db: Path, task_name: str, file: Path, source: str | None) -> None:
    """Group the grid of TASK by a model: a CSV file with split, image, segment, class, score."""
    from mseg_curate.steer import suggest_classes
    from mseg_curate.store import Store

    with Store.open(db) as store:
        count = suggest_classes(store, task_name, file, source=source or file.name)
    say(f"{task_name}: {count:,} masks have a suggestion from {source or file.name}")


@task.command("prioritise")
@store_option
@click.argument("task_name", metavar="TASK")
@click.argument("file", type=FILE, required=False)
@click.option("--contested-first", is_flag=True, help="Masks on which votes disagree come first.")
def task_prioritise(db: Path, task_name: str, file: Path | None, contested_first: bool) -> None:
    """Hand out masks of TASK in the order of a CSV file with split, image, segment, rank."""
    from mseg_curate.errors import InputError
    from mseg_curate.steer import prioritise_disputed, prioritise_masks
    from mseg_curate.store import Store

    if contested_first == (file is not None):
        raise InputError("what comes first?", expected="a FILE or --contested-first, one of them")
    with Store.open(db) as store:
        count = (
            prioritise_disputed(store, task_name)
            if file is None
            else prioritise_masks(store, task_name, file)
        )
    say(f"{task_name}: {count:,} masks have a place of their own in the queue")


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


# --- flags ----------------------------------------------------------------------------------------


@cli.group()
def flag() -> None:
    """See to what annotators remarked on masks."""


@flag.command("list")
@store_option
@click.option("--task", "task_name", help="Of this task only.")
@click.option("--all", "show_all", is_flag=True, help="Also the closed ones.")
def flag_list(db: Path, task_name: str | None, show_all: bool) -> None:
    """List the open flags, the oldest first."""
    from mseg_curate.cli.words import in_one_line
    from mseg_curate.flags import list_flags
    from mseg_curate.store import Store

    with Store.open(db) as store:
        found = list_flags(store, task=task_name, closed=show_all)
    say("flag\ttask\tdataset\tsplit\tsequence\timage\tsegment\tannotator\tat\tcomment\tclosed by")
    for row in found:
        comment = in_one_line(row.comment)
        say(
            f"{row.id}\t{row.task}\t{row.dataset}\t{row.split}\t{row.sequence}\t{row.image}\t{row.segment}\t"
            f"{row.annotator}\t{row.created_at}\t{comment}\t{row.closed_by or ''}"
        )


@flag.command("close")
@store_option
@click.argument("number", type=click.IntRange(1, 2**63 - 1))
@author_option
def flag_close(db: Path, number: int, author: str) -> None:
    """Close the flag NUMBER: it was seen to."""
    from mseg_curate.flags import close_flag
    from mseg_curate.store import Store

    with Store.open(db) as store:
        close_flag(store, number, by=author, now=time.time())
    say(f"flag {number} is closed")
