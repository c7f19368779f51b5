"""Commands that make a store, bring datasets in, map their classes, and look things up."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import click

from mseg_curate.cli.edge import FILE, FOLDER, author_option, cli, now, say, store_option


@cli.command()
@store_option
@click.option("--taxonomy", type=FILE, help="A taxonomy in the wide layout; default: MSeg's.")
def init(db: Path, taxonomy: Path | None) -> None:
    """Make a store from a taxonomy."""
    from mseg_curate.initialise import create_store

    made = create_store(db, taxonomy_path=taxonomy, now=now())
    say(f"{db}: a store of {made.classes} universal classes and {made.datasets} dataset taxonomies")
    say("next: mseg-curate dataset add NAME FOLDER --role train|test")


@cli.command()
@store_option
@click.option("--copy", type=FILE, help="Where to keep the old store.  [default: <db>.old]")
def upgrade(db: Path, copy: Path | None) -> None:
    """Bring a store that an older version made up to date, and keep a copy of it."""
    from mseg_curate.store import Store

    kept = copy or db.with_name(f"{db.name}.old")
    if Store.upgrade(db, copy=kept):
        say(f"{db}: up to date; the store as it was: {kept}")
    else:
        say(f"{db}: up to date already")


@cli.command()
@store_option
@click.argument("taxonomy", type=FILE, required=False)
def check(db: Path, taxonomy: Path | None) -> None:
    """Prove that every class lands somewhere: in TAXONOMY, or in taxonomy.tsv and the store."""
    from mseg_curate.check import check_store, check_taxonomy
    from mseg_curate.initialise import default_taxonomy_path
    from mseg_curate.store import Store

    results = [check_taxonomy(taxonomy or default_taxonomy_path())]
    if taxonomy is None and db.exists():
        with Store.open(db) as store:
            results.append(check_store(store))
    for result in results:
        say(result.summary)
        for note in result.notes:
            say(f"  note: {note}")


@cli.group()
def dataset() -> None:
    """Bring datasets in."""


@dataset.command("add")
@store_option
@click.argument("name")
@click.argument("folder", type=FOLDER)
@click.option("--role", type=click.Choice(["train", "test"]), required=True)
@click.option("--split", "splits", multiple=True, help="Only this split list; may be repeated.")
@click.option("--ignore-id", "ignore_ids", type=int, multiple=True, help="A label id to ignore.")
@click.option("--images", default="images", show_default=True, help="Folder of the photos.")
@click.option("--labels", default="labels", show_default=True, help="Folder of the label PNGs.")
@click.option("--segments", default="segments", show_default=True, help="Folder of native masks.")
@click.option("--classes", default="classes.tsv", show_default=True, help="The class table.")
@click.option("--mapping", type=FILE, help="Import this mapping file, too.")
@author_option
def dataset_add(
    db: Path,
    name: str,
    folder: Path,
    role: str,
    splits: tuple[str, ...],
    ignore_ids: tuple[int, ...],
    images: str,
    labels: str,
    segments: str,
    classes: str,
    mapping: Path | None,
    author: str,
) -> None:
    """Check a folder of images and label PNGs, and store what is in it."""
    from mseg_curate.errors import MappingError
    from mseg_curate.ingest import add_dataset
    from mseg_curate.map_classes import import_mapping, map_by_column
    from mseg_curate.readers.folder import FolderLayout
    from mseg_curate.store import Store

    with Store.open(db) as store:
        added = add_dataset(
            store,
            name,
            folder=folder,
            role=role,
            now=now(),
            layout=FolderLayout(images, labels, segments, classes),
            splits=splits,
            ignore_ids=ignore_ids,
        )
        listed = ", ".join(f"{split} {count}" for split, count in sorted(added.images.items()))
        state = "added" if added.is_new else "was there already, unchanged"
        say(f"{name} ({role}) {state}: {listed}; {added.classes} classes")
        if added.ignored_ids:
            say(f"  ignore ids: {', '.join(map(str, added.ignored_ids))}")
        if added.unlisted:
            say(f"  {added.unlisted} images stand in no chosen split list and were left out")
        if added.bound:
            say(f"  {added.bound} images were known from decisions and are bound now")
        if mapping is not None:
            imported = import_mapping(
                store, name, path=mapping, author=author, note=f"from {mapping.name}", now=now()
            )
            say(f"  mapping revision {imported.revision}")
        else:
            try:
                by_column = map_by_column(store, name, author=author, now=now())
            except MappingError as error:
                by_column = None
                say(f"  note: the taxonomy's column {name} does not fit: {error.what}")
            if by_column is not None:
                say(f"  mapped by the taxonomy's column {name}: revision {by_column.revision}")
            elif added.is_new:
                say(f"next: mseg-curate mapping draft {quote(name)} > {quote(name)}.tsv")


@dataset.command("list")
@store_option
@click.option("--all", "show_all", is_flag=True, help="Also those whose pixels were not added.")
def dataset_list(db: Path, show_all: bool) -> None:
    """List the datasets."""
    from mseg_curate.map_classes import describe_datasets
    from mseg_curate.store import Store

    with Store.open(db) as store:
        for row in describe_datasets(store):
            if row.root is not None or show_all:
                mapped = f"mapping {row.revision}" if row.revision else "no mapping"
                where = row.root or "no pixels"
                say(f"{row.name}\t{row.role}\t{row.images} images\t{mapped}\t{where}")


@cli.group()
def mapping() -> None:
    """Say which dataset class is which universal class."""


@mapping.command("draft")
@store_option
@click.argument("dataset_name", metavar="DATASET")
def mapping_draft(db: Path, dataset_name: str) -> None:
    """Print a first mapping of DATASET, with `?` where a class is not known by its name."""
    from mseg_curate.draft import draft_mapping
    from mseg_curate.store import Store

    with Store.open(db) as store:
        click.echo(draft_mapping(store, dataset_name), nl=False)


@mapping.command("import")
@store_option
@click.argument("dataset_name", metavar="DATASET")
@click.argument("file", type=FILE)
@click.option("--note", default="", help="Why the mapping changes.")
@author_option
def mapping_import(db: Path, dataset_name: str, file: Path, note: str, author: str) -> None:
    """Store the mapping file FILE as a new revision for DATASET."""
    from mseg_curate.map_classes import import_mapping
    from mseg_curate.store import Store
    from mseg_curate.tasks import all_tasks

    with Store.open(db) as store:
        done = import_mapping(store, dataset_name, path=file, author=author, note=note, now=now())
        asked = {row.source_class for row in all_tasks(store) if row.dataset == dataset_name}
    say(f"{dataset_name}: mapping revision {done.revision}{'' if done.is_new else ' (unchanged)'}")
    for line in done.default_notes:
        say(f"  {line}")
    unasked = [entry.source for entry in done.splits if entry.source not in asked]
    if unasked:
        words = f"--dataset {quote(dataset_name)} --class {quote(unasked[0])}"
        more = f", and so for {len(unasked) - 1} more" if len(unasked) > 1 else ""
        say(f"next: mseg-curate task make NAME {words}{more}")


@mapping.command("export")
@store_option
@click.argument("dataset_name", metavar="DATASET")
def mapping_export(db: Path, dataset_name: str) -> None:
    """Print the current mapping of DATASET."""
    from mseg_curate.map_classes import export_mapping
    from mseg_curate.store import Store

    with Store.open(db) as store:
        click.echo(export_mapping(store, dataset_name), nl=False)


@cli.command()
@store_option
@click.argument("sql")
def query(db: Path, sql: str) -> None:
    """Run one SELECT on the store, read-only, and print it tab-separated.

    Line breaks, tabs and other characters that are no print are written out as in `\\n`.
    """
    from mseg_curate.cli.words import in_one_cell
    from mseg_curate.store import Store
    from mseg_curate.store.engine import run_query

    with Store.open(db) as store:
        header, rows = run_query(store, sql)
    for row in (header, *rows):
        say("\t".join(in_one_cell(cell) for cell in row))
