"""The command line: parses, calls one verb, prints. The only room that knows click."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from mseg_curate import __version__
from mseg_curate.errors import MsegCurateError, TrainingStoppedError

if TYPE_CHECKING:
    from mseg_curate.core.mapping import Arm

__all__ = ["main"]

Command = TypeVar("Command", bound=Callable[..., None])

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
_ARMS = ("relabeled", "unrelabeled", "ignored", "partial")


def main() -> None:
    """Run the command line: an expected error is one line on stderr and exit code 1."""
    try:
        cli.main(prog_name="mseg-curate", standalone_mode=False)
    except click.exceptions.Abort:
        _fail("stopped; run the same command again to go on", code=130)
    except KeyboardInterrupt:
        _fail("stopped; run the same command again to go on", code=130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except MsegCurateError as error:
        if "--debug" in sys.argv:
            raise
        _fail(str(error), code=130 if isinstance(error, TrainingStoppedError) else 1)
    except BrokenPipeError:
        # Whoever read our output has seen enough, `head` say.
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        _fail(f"unexpected {type(error).__name__}: {error}; run again with --debug to see where")


def _fail(message: str, *, code: int = 1) -> None:
    click.echo(f"mseg-curate: {message}", err=True)
    sys.exit(code)


def _say(line: str) -> None:
    click.echo(line)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _store_option(command: Command) -> Command:
    return click.option(
        "--db",
        type=_FILE,
        default=Path("mseg-curate.db"),
        envvar="MSEG_CURATE_DB",
        show_default=True,
        show_envvar=True,
        help="The store: an SQLite file.",
    )(command)


def _author_option(command: Command) -> Command:
    return click.option(
        "--author", default=getuser, show_default="your login", help="Who makes this change."
    )(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mseg-curate")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Unify segmentation datasets whose classes disagree, and measure what relabeling is worth."""


@cli.command()
@_store_option
@click.option("--taxonomy", type=_FILE, help="A taxonomy in the wide layout; default: MSeg's.")
def init(db: Path, taxonomy: Path | None) -> None:
    """Make a store from a taxonomy."""
    from mseg_curate.initialise import create_store

    made = create_store(db, taxonomy_path=taxonomy, now=_now())
    _say(
        f"{db}: a store of {made.classes} universal classes and {made.datasets} dataset taxonomies"
    )
    _say("next: mseg-curate dataset add NAME FOLDER --role train|test")


@cli.command()
@_store_option
@click.argument("taxonomy", type=_FILE, required=False)
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
        _say(result.summary)
        for note in result.notes:
            _say(f"  note: {note}")


# --- datasets and mappings ------------------------------------------------------------------------


@cli.group()
def dataset() -> None:
    """Bring datasets in."""


@dataset.command("add")
@_store_option
@click.argument("name")
@click.argument("folder", type=_FOLDER)
@click.option("--role", type=click.Choice(["train", "test"]), required=True)
@click.option("--split", "splits", multiple=True, help="Only this split list; may be repeated.")
@click.option("--ignore-id", "ignore_ids", type=int, multiple=True, help="A label id to ignore.")
@click.option("--images", default="images", show_default=True, help="Folder of the photos.")
@click.option("--labels", default="labels", show_default=True, help="Folder of the label PNGs.")
@click.option("--segments", default="segments", show_default=True, help="Folder of native masks.")
@click.option("--classes", default="classes.tsv", show_default=True, help="The class table.")
@click.option("--mapping", type=_FILE, help="Import this mapping file, too.")
@_author_option
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
            now=_now(),
            layout=FolderLayout(images, labels, segments, classes),
            splits=splits,
            ignore_ids=ignore_ids,
        )
        listed = ", ".join(f"{split} {count}" for split, count in sorted(added.images.items()))
        state = "added" if added.is_new else "was there already, unchanged"
        _say(f"{name} ({role}) {state}: {listed}; {added.classes} classes")
        if added.ignored_ids:
            _say(f"  ignore ids: {', '.join(map(str, added.ignored_ids))}")
        if added.unlisted:
            _say(f"  {added.unlisted} images stand in no chosen split list and were left out")
        if added.bound:
            _say(f"  {added.bound} images were known from decisions and are bound now")
        if mapping is not None:
            imported = import_mapping(
                store, name, path=mapping, author=author, note=f"from {mapping.name}", now=_now()
            )
            _say(f"  mapping revision {imported.revision}")
        else:
            by_column = map_by_column(store, name, author=author, now=_now())
            if by_column is not None:
                _say(f"  mapped by the taxonomy's column {name}: revision {by_column.revision}")


@dataset.command("list")
@_store_option
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
                _say(f"{row.name}\t{row.role}\t{row.images} images\t{mapped}\t{where}")


@cli.group()
def mapping() -> None:
    """Say which dataset class is which universal class."""


@mapping.command("draft")
@_store_option
@click.argument("dataset_name", metavar="DATASET")
def mapping_draft(db: Path, dataset_name: str) -> None:
    """Print a first mapping of DATASET, with `?` where a class is not known by its name."""
    from mseg_curate.draft import draft_mapping
    from mseg_curate.store import Store

    with Store.open(db) as store:
        click.echo(draft_mapping(store, dataset_name), nl=False)


@mapping.command("import")
@_store_option
@click.argument("dataset_name", metavar="DATASET")
@click.argument("file", type=_FILE)
@click.option("--note", default="", help="Why the mapping changes.")
@_author_option
def mapping_import(db: Path, dataset_name: str, file: Path, note: str, author: str) -> None:
    """Store the mapping file FILE as a new revision for DATASET."""
    from mseg_curate.map_classes import import_mapping
    from mseg_curate.store import Store

    with Store.open(db) as store:
        done = import_mapping(store, dataset_name, path=file, author=author, note=note, now=_now())
    _say(f"{dataset_name}: mapping revision {done.revision}{'' if done.is_new else ' (unchanged)'}")
    for line in done.default_notes:
        _say(f"  {line}")


@mapping.command("export")
@_store_option
@click.argument("dataset_name", metavar="DATASET")
def mapping_export(db: Path, dataset_name: str) -> None:
    """Print the current mapping of DATASET."""
    from mseg_curate.map_classes import export_mapping
    from mseg_curate.store import Store

    with Store.open(db) as store:
        click.echo(export_mapping(store, dataset_name), nl=False)


# --- tasks and decisions --------------------------------------------------------------------------


@cli.group()
def task() -> None:
    """Ask what the masks of a class show."""


@task.command("make")
@_store_option
@click.argument("name")
@click.option("--dataset", "dataset_name", required=True)
@click.option("--class", "source_class", required=True, help="The class that must be split.")
@click.option("--redundancy", type=click.IntRange(1), default=1, show_default=True)
def task_make(db: Path, name: str, dataset_name: str, source_class: str, redundancy: int) -> None:
    """Find the masks of a class that must be split, and store the question."""
    from mseg_curate.store import Store
    from mseg_curate.tasks import make_task

    with Store.open(db) as store:
        made = make_task(
            store,
            name,
            dataset=dataset_name,
            source_class=source_class,
            redundancy=redundancy,
            now=_now(),
        )
    _say(
        f"task {name}: {made.task.masks:,} masks in {made.images:,} images ({made.area_px:,} px); "
        f"candidates {', '.join(made.task.candidates)}"
    )


@task.command("list")
@_store_option
def task_list(db: Path) -> None:
    """List the tasks."""
    from mseg_curate.store import Store
    from mseg_curate.tasks import all_tasks

    with Store.open(db) as store:
        for row in all_tasks(store):
            _say(f"{row.name}\t{row.dataset}\t{row.source_class}\t{row.masks} masks\t{row.status}")


@cli.group()
def decisions() -> None:
    """Bring decisions in, and check them."""


@decisions.command("import")
@_store_option
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--simulated", is_flag=True, help="The annotators of the CSV file are simulated, not people."
)
def decisions_import(db: Path, source: Path, simulated: bool) -> None:
    """Import decisions: a CSV file, MSeg's published ones, or a checkout of mseg-api."""
    from mseg_curate.decide import import_csv, import_published
    from mseg_curate.store import Store

    with Store.open(db) as store:
        if source.is_dir():
            done = import_published(store, source, now=_now())
        else:
            kind = "simulated" if simulated else "person"
            done = import_csv(store, source, kind=kind, now=_now())
    known = done.read - done.new
    _say(f"{done.new:,} decisions imported, {known:,} were there already")
    if done.new:
        _say("next: mseg-curate resolve")


@decisions.command("simulate")
@_store_option
@click.argument("task_name", metavar="TASK")
@click.option("--truth", type=_FOLDER, required=True, help="Label maps with the true classes.")
@click.option("--accuracy", type=float, required=True, help="Share of right decisions, 0 … 1.")
@click.option("--annotators", type=click.IntRange(1), default=3, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def decisions_simulate(
    db: Path, task_name: str, truth: Path, accuracy: float, annotators: int, seed: int
) -> None:
    """Let simulated annotators of a stated accuracy decide every mask of TASK."""
    from mseg_curate.simulate import simulate_annotators
    from mseg_curate.store import Store

    with Store.open(db) as store:
        done = simulate_annotators(
            store,
            task_name,
            truth=truth,
            accuracy=accuracy,
            annotators=annotators,
            seed=seed,
            now=_now(),
        )
    _say(
        f"{done.votes:,} simulated decisions on {done.masks:,} masks, "
        f"{done.right / max(done.votes, 1):.1%} of them right; {done.new:,} new"
    )
    _say("next: mseg-curate resolve")


@decisions.command("verify")
@_store_option
def decisions_verify(db: Path) -> None:
    """Prove that no stored decision was changed, removed or slipped in."""
    from mseg_curate.decide import verify_decisions
    from mseg_curate.store import Store

    with Store.open(db) as store:
        count = verify_decisions(store)
    _say(f"{count:,} decisions, the hash chain holds")


@cli.command()
@_store_option
@click.option("--min-agreement", type=click.FloatRange(0, 1), default=0.5, show_default=True)
@click.option("--as-of", type=int, help="Look at the decisions up to this id only.")
def resolve(db: Path, min_agreement: float, as_of: int | None) -> None:
    """Derive what each mask is from its decisions: the majority; ties are contested."""
    from mseg_curate.resolve import resolve_masks
    from mseg_curate.store import Store

    with Store.open(db) as store:
        done = resolve_masks(store, min_agreement=min_agreement, as_of=as_of)
    _say(
        f"as of decision {done.as_of_decision}: {done.resolved:,} masks resolved, "
        f"{done.contested:,} contested, {done.ignored:,} ignored ({done.policy})"
    )


# --- exports --------------------------------------------------------------------------------------


@cli.command()
@_store_option
@click.option("--arm", type=click.Choice(_ARMS), required=True)
@click.option("--out", type=_FOLDER, required=True, help="A new or empty folder.")
@click.option(
    "--images",
    type=click.Choice(["reference", "copy"]),
    default="reference",
    show_default=True,
    help="Leave the photos where they are, or copy them.",
)
@click.option(
    "--unresolved",
    type=click.Choice(["ignore", "default", "set"]),
    default="ignore",
    show_default=True,
    help="What becomes of masks without a resolution in the arm relabeled.",
)
@click.option("--dataset", "datasets", multiple=True, help="Only this dataset; may be repeated.")
def export(
    db: Path, arm: str, out: Path, images: str, unresolved: str, datasets: tuple[str, ...]
) -> None:
    """Write unified label maps, image lists and a manifest."""
    from mseg_curate.core.mapping import Arm, Unresolved
    from mseg_curate.export import write_export
    from mseg_curate.store import Store

    with Store.open(db) as store:
        done = write_export(
            store,
            out,
            arm=Arm(arm),
            now=_now(),
            unresolved=Unresolved(unresolved),
            copy_images=images == "copy",
            datasets=datasets,
        )
    kept = f" ({done.kept:,} were there already)" if done.kept else ""
    _say(f"{out}: arm {arm}, {done.written:,} label maps written{kept}")
    if done.counts.get("train_px"):
        share = done.counts["train_ignored_px"] / done.counts["train_px"]
        _say(f"  {share:.1%} of the training pixels are ignored")
    if arm == "relabeled":
        _say(
            f"  {done.counts.get('decided_px', 0):,} px carry a decided class, as of decision "
            f"{done.as_of_decision}"
        )
        if done.newer_decisions:
            _say(
                f"  note: {done.newer_decisions:,} decisions are newer; `mseg-curate resolve` takes them in"
            )
        if done.unbound_masks:
            _say(
                f"  note: {done.unbound_masks:,} resolved masks have no pixels yet and were not painted; "
                "`mseg-curate task make` finds them"
            )
    _say(f"  labels {done.labels_sha256[:12]}, shared {done.shared_sha256[:12]}")


@cli.command()
@click.argument("folder", type=_FOLDER)
def verify(folder: Path) -> None:
    """Prove that an export is complete and unchanged."""
    from mseg_curate.manifest import verify_export

    done = verify_export(folder)
    _say(f"{folder}: arm {done.arm}, complete; all {done.files:,} files as in the manifest")


@cli.command()
@click.argument("folders", nargs=-1, required=True, type=_FOLDER)
@click.option("--out", type=_FILE, required=True, help="The PNG to write.")
@click.option("--images", type=click.IntRange(1), default=6, show_default=True)
@click.option("--dataset", "dataset_name", help="Show images of this training dataset only.")
def preview(folders: tuple[Path, ...], out: Path, images: int, dataset_name: str | None) -> None:
    """Draw photos and the label maps of exports side by side, where they differ first."""
    from mseg_curate.preview import draw_preview

    exports = {str(folder): folder for folder in folders}
    if len({folder.name for folder in folders}) == len(folders):
        exports = {folder.name: folder for folder in folders}
    done = draw_preview(exports, out, images=images, dataset=dataset_name)
    _say(f"{out}: {done.images} images; the exports differ in {done.differing} of them")


@cli.command()
@_store_option
@click.argument("sql")
def query(db: Path, sql: str) -> None:
    """Run one SELECT on the store, read-only, and print it tab-separated."""
    from mseg_curate.store import Store
    from mseg_curate.store.engine import run_query

    with Store.open(db) as store:
        header, rows = run_query(store, sql)
    _say("\t".join(header))
    for row in rows:
        _say("\t".join("" if cell is None else str(cell) for cell in row))


# --- training -------------------------------------------------------------------------------------


@cli.command("train-baseline")
@_store_option
@click.option("--out", type=_FOLDER, required=True, help="Where exports, runs and the report go.")
@click.option(
    "--arms",
    default=",".join(_ARMS),
    show_default=True,
    help="Arms to export from the store, separated by commas.",
)
@click.option(
    "--export",
    "exports",
    multiple=True,
    metavar="ARM=DIR",
    help="Use this export instead of the store; one for each arm.",
)
@click.option("--reference", default="relabeled", show_default=True, help="Compare this arm.")
@click.option(
    "--unresolved",
    type=click.Choice(["ignore", "default", "set"]),
    default="ignore",
    show_default=True,
    help="As in `export`.",
)
@click.option("--seeds", default="0,1,2", show_default=True, help="Seeds, separated by commas.")
@click.option(
    "--preset",
    type=click.Choice(["paper", "small", "tiny"]),
    default="small",
    show_default=True,
    help="paper: the published recipe; small: two cores; tiny: drawn scenes.",
)
@click.option("--weights", type=_FILE, help="Backbone weights; without, training starts at random.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change the preset.")
@click.option(
    "--set-eval",
    "eval_settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="The same for evaluation.",
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Runs at a time; they share the cores.",
)
def train_baseline(
    db: Path,
    out: Path,
    arms: str,
    exports: tuple[str, ...],
    reference: str,
    unresolved: str,
    seeds: str,
    preset: str,
    weights: Path | None,
    settings: tuple[str, ...],
    eval_settings: tuple[str, ...],
    device: str,
    jobs: int,
) -> None:
    """Train PSPNet on every arm, evaluate zero-shot, and say what relabeling was worth."""
    from contextlib import ExitStack
    from dataclasses import replace

    from baselines.config import EVALUATIONS, PRESETS, override
    from mseg_curate.baseline import export_arms, run_baseline
    from mseg_curate.core.mapping import Unresolved
    from mseg_curate.store import Store

    with ExitStack() as stack:
        store = stack.enter_context(Store.open(db)) if db.exists() or not exports else None
        if exports:
            folders = _parse_exports(exports)
        elif store is not None:
            folders = export_arms(
                store,
                out / "exports",
                arms=_parse_arms(arms),
                unresolved=Unresolved(unresolved),
                now=_now(),
            )
        done = run_baseline(
            folders,
            out,
            config=override(replace(PRESETS[preset], weights=weights), settings),
            evaluation=override(EVALUATIONS[preset], eval_settings),
            seeds=_parse_seeds(seeds),
            reference=reference,
            device=device,
            jobs=jobs,
            store=store,
            now=_now(),
        )
    _say(done.text)
    _say(f"report: {done.report}")
    if store is not None:
        _say(
            f"store: {db}; try mseg-curate query \"SELECT * FROM v_zero_shot WHERE class_name = ''\""
        )


def _parse_exports(exports: tuple[str, ...]) -> dict[str, Path]:
    pairs = [text.partition("=") for text in exports]
    if any(not arm or not folder for arm, _, folder in pairs):
        raise click.BadParameter("expected ARM=DIR", param_hint="--export")
    return {arm: Path(folder) for arm, _, folder in pairs}


def _parse_arms(arms: str) -> list[Arm]:
    from mseg_curate.core.mapping import Arm

    names = [name.strip() for name in arms.split(",") if name.strip()]
    unknown = [name for name in names if name not in _ARMS]
    if unknown or not names:
        raise click.BadParameter(
            f"expected some of {', '.join(_ARMS)}, found {arms!r}", param_hint="--arms"
        )
    return [Arm(name) for name in dict.fromkeys(names)]


def _parse_seeds(seeds: str) -> list[int]:
    try:
        return [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise click.BadParameter(f"expected 0,1,2, found {seeds!r}", param_hint="--seeds") from None


@cli.command()
@click.option("--out", type=_FOLDER, default=Path("demo"), show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws other pictures.")
@click.option("--jobs", type=click.IntRange(1), default=None, show_default="one per core")
def demo(out: Path, seed: int, jobs: int | None) -> None:
    """Run the whole loop on small datasets that are drawn on the spot."""
    import os

    from mseg_curate.demo import run_demo

    done = run_demo(out, now=_now, say=_say, jobs=jobs or os.cpu_count() or 1, seed=seed)
    _say("")
    _say(done.experiment.text)
    _say(f"Done in {done.seconds:.0f} s. The store: {done.store}. Things to do next:")
    db = f"--db {done.store}"
    _say(f"  mseg-curate query {db} \"SELECT * FROM v_resolution WHERE outcome = 'contested'\"")
    _say(f"  mseg-curate mapping export {db} townscape")
    _say(f"  mseg-curate verify {out}/exports/relabeled")
    _say(f"  open {done.experiment.report}, {out}/datasets/townscape/images")


if __name__ == "__main__":
    main()
