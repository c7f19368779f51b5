"""Commands that write, prove and show exports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mseg_curate.cli.edge import ARMS, FILE, FOLDER, cli, now, parse_arm, say, store_option

if TYPE_CHECKING:
    from mseg_curate.core.arms import ArmChoice


@cli.command()
@store_option
@click.option(
    "--arm",
    "choice",
    callback=parse_arm,
    required=True,
    help=f"{', '.join(ARMS)}, without:TASK (relabeled, but that task's masks as they came) or oracle:DATASET.",
)
@click.option("--out", type=FOLDER, required=True, help="A new or empty folder.")
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
    db: Path, choice: ArmChoice, out: Path, images: str, unresolved: str, datasets: tuple[str, ...]
) -> None:
    """Write unified label maps, image lists and a manifest."""
    from mseg_curate.core.arms import Unresolved
    from mseg_curate.export import write_export
    from mseg_curate.store import Store

    with Store.open(db) as store:
        done = write_export(
            store,
            out,
            arm=choice,
            now=now(),
            unresolved=Unresolved(unresolved),
            copy_images=images == "copy",
            datasets=datasets,
        )
    kept = f" ({done.kept:,} were there already)" if done.kept else ""
    say(f"{out}: arm {done.arm}, {done.written:,} label maps written{kept}")
    if done.counts.get("train_px"):
        share = done.counts["train_ignored_px"] / done.counts["train_px"]
        say(f"  {share:.1%} of the training pixels are ignored")
    if choice.uses_decisions:
        say(
            f"  {done.counts.get('decided_px', 0):,} px carry a decided class, as of decision "
            f"{done.as_of_decision}"
        )
        if done.newer_decisions:
            say(
                f"  note: {done.newer_decisions:,} decisions are newer; `mseg-curate resolve` takes them in"
            )
        if done.unbound_masks:
            say(
                f"  note: {done.unbound_masks:,} resolved masks belong to no task and were not painted; "
                "decisions about native segments need the folder segments/"
            )
    say(f"  labels {done.labels_sha256[:12]}, shared {done.shared_sha256[:12]}")


@cli.command()
@click.argument("folder", type=FOLDER)
def verify(folder: Path) -> None:
    """Prove that an export is complete and unchanged."""
    from mseg_curate.manifest import verify_export

    done = verify_export(folder)
    say(f"{folder}: arm {done.arm}, complete; all {done.files:,} files as in the manifest")


@cli.command()
@click.argument("folders", nargs=-1, required=True, type=FOLDER)
@click.option("--out", type=FILE, required=True, help="The PNG to write.")
@click.option("--images", type=click.IntRange(1), default=6, show_default=True)
@click.option("--dataset", "dataset_name", help="Show images of this training dataset only.")
def preview(folders: tuple[Path, ...], out: Path, images: int, dataset_name: str | None) -> None:
    """Draw photos and the label maps of exports side by side, where they differ first."""
    from mseg_curate.preview import draw_preview

    exports = {str(folder): folder for folder in folders}
    if len({folder.name for folder in folders}) == len(folders):
        exports = {folder.name: folder for folder in folders}
    done = draw_preview(exports, out, images=images, dataset=dataset_name)
    say(f"{out}: {done.images} images; the exports differ in {done.differing} of them")
