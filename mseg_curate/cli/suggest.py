"""Commands about what a model takes the masks of a task for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mseg_curate.cli.decide import task
from mseg_curate.cli.edge import FILE, FOLDER, say, store_option


@task.command("suggest")
@store_option
@click.argument("task_name", metavar="TASK")
@click.argument("file", type=FILE, required=False)
@click.option("--source", help="What made the suggestions of FILE.  [default: the file's name]")
@click.option(
    "--run", "run_dir", type=FOLDER, help="A finished run, such as RUNS/relabeled/seed-0."
)
@click.option("--export", "export_dir", type=FOLDER, help="Where the export of the run lies now.")
@click.option(
    "--set-eval",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change how the run looks at photos, such as batch=1 or flip=false.",
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
def task_suggest(
    db: Path,
    task_name: str,
    file: Path | None,
    source: str | None,
    run_dir: Path | None,
    **options: Any,
) -> None:
    """Say what a model takes the masks of TASK for: a FILE, or a --run of train-baseline.

    FILE is a CSV with split, image, segment, class and perhaps score. Suggestions group the grid, and `task
    prioritise --suspicious` orders by them; nobody who decides sees them.
    """
    if (file is None) == (run_dir is None):
        raise click.UsageError("give a FILE, or a run with --run, one of them")
    if run_dir is None and (options["export_dir"] or options["settings"]):
        raise click.UsageError("--export and --set-eval go with --run")
    if run_dir is not None and source is not None:
        raise click.UsageError("--source goes with a FILE: suggestions of a run have its name")
    if file is not None:
        _suggest_from_file(db, task_name, file, source=source or file.name)
    elif run_dir is not None:
        _suggest_from_run(db, task_name, run_dir, **options)


def _suggest_from_file(db: Path, task_name: str, file: Path, *, source: str) -> None:
    from mseg_curate.steer import suggest_classes
    from mseg_curate.store import Store

    with Store.open(db) as store:
        count = suggest_classes(store, task_name, file, source=source)
    say(f"{task_name}: {count:,} masks have a suggestion from {source}")


def _suggest_from_run(
    db: Path,
    task_name: str,
    run_dir: Path,
    *,
    export_dir: Path | None,
    settings: tuple[str, ...],
    device: str,
) -> None:
    from mseg_curate.store import Store
    from mseg_curate.suggest import suggest_from_run

    with Store.open(db) as store:
        found = suggest_from_run(
            store,
            task_name,
            run_dir=run_dir,
            export_dir=export_dir,
            device=device,
            settings=settings,
            say=lambda note: say(f"note: {note}"),
        )
    count = found.known + sum(found.by_class.values())
    say(f"{task_name}: {count:,} masks have a suggestion from {found.source}")
    if found.known:
        say(f"  {found.known:,} had it before")
    for name, masks in found.by_class.items():
        say(f"  {name}\t{masks:,}")
    if found.by_class:
        say(f"  {found.rest:.0%} of the probability went to classes that are no candidates")


@task.command("suspects")
@store_option
@click.argument("task_name", metavar="TASK")
@click.option("--count", type=click.IntRange(1), help="So many at most.  [default: all]")
def task_suspects(db: Path, task_name: str, count: int | None) -> None:
    """Print as a CSV file the masks of TASK that have a suggestion, the most doubtful decisions first."""
    import sys

    from mseg_curate.store import Store
    from mseg_curate.suspect import list_suspects, write_suspects

    with Store.open(db) as store:
        found = list_suspects(store, task_name, count=count)
    write_suspects(found, out=sys.stdout)
