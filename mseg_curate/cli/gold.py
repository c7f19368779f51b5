"""Commands about gold, the masks whose answer is known."""

from __future__ import annotations

import time
from pathlib import Path
from shlex import quote

import click

from mseg_curate.cli.edge import (
    FILE,
    add_aside,
    author_option,
    cli,
    mask_options,
    say,
    store_option,
)

_KIND = click.option(
    "--kind", type=click.Choice(["evaluation", "training"]), default="evaluation", show_default=True
)


@cli.group()
def gold() -> None:
    """Measure and teach annotators on masks whose answer is known."""


@gold.command("add")
@store_option
@click.argument("task_name", metavar="TASK")
@click.argument("file", type=FILE)
@_KIND
@click.option("--note", default="", help="Why this is right; told with training gold.")
@author_option
def gold_add(db: Path, task_name: str, file: Path, kind: str, note: str, author: str) -> None:
    """Make masks of TASK gold, from a CSV file with split, image, segment and outcome."""
    from mseg_curate.gold import add_gold_csv
    from mseg_curate.store import Store

    with Store.open(db) as store:
        added = add_gold_csv(
            store, task_name, file, kind=kind, note=note, by=author, now=time.time()
        )
    say(f"{added:,} masks of {task_name} are {kind} gold now")


@gold.command("propose")
@store_option
@click.argument("task_name", metavar="TASK")
@click.option("--count", type=click.IntRange(1), default=50, show_default=True)
def gold_propose(db: Path, task_name: str, count: int) -> None:
    """Print masks of TASK that could be gold as a CSV file: look at them, then `gold add`."""
    import sys

    from mseg_curate.gold import propose_gold, write_proposals
    from mseg_curate.store import Store

    with Store.open(db) as store:
        proposals = propose_gold(store, task_name, count)
    write_proposals(proposals, out=sys.stdout)
    if not proposals:
        add_aside(
            f"no mask of {task_name} has two votes that agree, or an adjudication; any mask can be gold: fill in rows "
            f"of `mseg-curate task show {quote(task_name)}`, then `mseg-curate gold add`"
        )


@gold.command("export")
@store_option
@click.argument("task_name", metavar="TASK")
@_KIND
def gold_export(db: Path, task_name: str, kind: str) -> None:
    """Print the active gold of TASK as the CSV file that `gold add` reads."""
    import sys

    from mseg_curate.gold import write_gold
    from mseg_curate.store import Store

    with Store.open(db) as store:
        write_gold(store, task_name, kind=kind, out=sys.stdout)


@gold.command("retire")
@store_option
@click.argument("task_name", metavar="TASK")
@mask_options
@click.option("--note", required=True, help="The reason; others will read it.")
@click.option(
    "--wrong",
    is_flag=True,
    help="The answer was wrong: withdraw it, the mask goes back to its votes.",
)
@author_option
def gold_retire(
    db: Path,
    task_name: str,
    split: str,
    sequence: str,
    image: str,
    segment: int,
    note: str,
    wrong: bool,
    author: str,
) -> None:
    """Show a gold mask of TASK to nobody any more, and count it in no accuracy."""
    from mseg_curate.gold import retire_gold
    from mseg_curate.store import Store

    with Store.open(db) as store:
        retire_gold(
            store,
            task_name,
            (split, sequence, image, segment),
            note=note,
            by=author,
            now=time.time(),
            answer_stands=not wrong,
        )
    stands = "its answer is withdrawn" if wrong else "its answer stands"
    say(f"mask {segment} of {image} is gold no more; {stands}")


@gold.command("list")
@store_option
@click.argument("task_name", metavar="TASK")
@click.option("--all", "show_all", is_flag=True, help="Also what was retired.")
@click.option("--scores", is_flag=True, help="How each annotator answered, instead.")
def gold_list(db: Path, task_name: str, show_all: bool, scores: bool) -> None:
    """List the gold of TASK with how often it was shown and answered rightly."""
    from mseg_curate.cli.words import in_one_line, share_in_words
    from mseg_curate.gold import gold_scores, list_gold
    from mseg_curate.store import Store

    with Store.open(db) as store:
        if scores:
            found = gold_scores(store, task_name)
            say("annotator\tsingle\tgrid\ttraining\taccuracy (95 %)")
            for score in found:
                parts = (score.single, score.grid, score.training)
                counts = "\t".join(f"{part.right}/{part.total}" for part in parts)
                say(f"{score.annotator}\t{counts}\t{share_in_words(score.accuracy)}")
            return
        lines = list_gold(store, task_name)
        if not lines:
            add_aside(
                f"no gold yet; mseg-curate gold propose {quote(task_name)} finds masks for it"
            )
        say("split\tsequence\timage\tsegment\toutcome\tkind\tshown\tright\tadded by\tretired")
        for line in lines:
            if line.retired_at is None or show_all:
                retired = (
                    in_one_line(f"{line.retired_by}: {line.retired_note}")
                    if line.retired_at
                    else ""
                )
                say(
                    f"{line.split}\t{line.sequence}\t{line.image}\t{line.segment}\t{line.answer}\t{line.kind}\t"
                    f"{line.shown}\t{line.right}/{line.answered}\t{line.added_by}\t{retired}"
                )
