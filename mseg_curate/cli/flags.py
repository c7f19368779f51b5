"""Commands about flags, what annotators remark on masks."""

from __future__ import annotations

import time
from pathlib import Path

import click

from mseg_curate.cli.edge import add_aside, author_option, cli, mask_options, say, store_option


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
    if not found:
        add_aside("no flag" if show_all else "no open flag")
    say("flag\ttask\tdataset\tsplit\tsequence\timage\tsegment\tannotator\tat\tcomment\tclosed by")
    for row in found:
        cells = (
            row.id, row.task, row.dataset, row.split, row.sequence, row.image, row.segment, row.annotator,
            row.created_at, row.comment, row.closed_by or "",
        )  # fmt: skip
        say("\t".join(in_one_line(str(cell)) for cell in cells))


@flag.command("add")
@store_option
@click.argument("task_name", metavar="TASK")
@mask_options
@click.option("--comment", required=True, help="What a curator should look at.")
@author_option
def flag_add(
    db: Path,
    task_name: str,
    split: str,
    sequence: str,
    image: str,
    segment: int,
    comment: str,
    author: str,
) -> None:
    """Remark on a mask of TASK."""
    from mseg_curate.flags import add_flag
    from mseg_curate.store import Store

    with Store.open(db) as store:
        add_flag(
            store,
            task_name,
            (split, sequence, image, segment),
            comment=comment,
            by=author,
            now=time.time(),
        )
    say(f"mask {segment} of {image} is flagged")


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


@flag.command("open")
@store_option
@click.argument("number", type=click.IntRange(1, 2**63 - 1))
def flag_open(db: Path, number: int) -> None:
    """Open the closed flag NUMBER again."""
    from mseg_curate.flags import open_flag
    from mseg_curate.store import Store

    with Store.open(db) as store:
        open_flag(store, number)
    say(f"flag {number} is open")
