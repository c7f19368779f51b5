"""Commands that train and measure, and the demo."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from baselines.__main__ import training_options
from mseg_curate.cli.edge import ARMS, FOLDER, cli, now, parse_arm, say, store_option

if TYPE_CHECKING:
    from baselines.recipe import Recipe, Study
    from mseg_curate.core.arms import ArmChoice


def _parse_arms(
    ctx: click.Context, param: click.Parameter, text: str | None
) -> list[ArmChoice] | None:
    if text is None:
        return None
    names = [name for name in text.split(",") if name.strip()]
    if not names:
        raise click.BadParameter(f"expected some of {', '.join(ARMS)}", param=param)
    return list(dict.fromkeys(parse_arm(ctx, param, name) for name in names))


@cli.command("train-baseline")
@store_option
@click.option("--out", type=FOLDER, required=True, help="Where exports, runs and the report go.")
@click.option(
    "--arms",
    callback=_parse_arms,
    show_default=",".join(ARMS),
    help="Arms to export from the store, separated by commas; without:TASK is relabeled but for that task's masks, "
    "oracle:DATASET, which stands alone, a test dataset's own training split.",
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
@training_options
def train_baseline(
    *,
    db: Path,
    out: Path,
    arms: list[ArmChoice] | None,
    exports: tuple[str, ...],
    reference: str,
    unresolved: str,
    study: Study,
    recipe: Recipe,
) -> None:
    """Train PSPNet on every arm, evaluate zero-shot, and say what relabeling was worth."""
    from contextlib import ExitStack

    from mseg_curate.baseline import choose_arms, export_arms, run_baseline
    from mseg_curate.core.arms import ArmChoice, Unresolved
    from mseg_curate.store import Store

    _refuse_torchrun()
    if arms is not None and (exports or study.kind != "arms"):
        other = "--export" if exports else f"the table {study.kind}"
        raise click.UsageError(f"--arms: {other} says which arms there are")
    named = _parse_exports(exports)
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(db)) if db.exists() or not exports else None
        if store is not None and not exports:
            chosen = arms or choose_arms(store, study, reference=reference)
            reference = ArmChoice.parse(reference).name
            study.check_arms([choice.name for choice in chosen], reference=reference)
            named = export_arms(
                store, out / "exports", arms=chosen, unresolved=Unresolved(unresolved), now=now()
            )
        done = run_baseline(
            named,
            out,
            recipe=recipe,
            study=study,
            reference=reference,
            store=store,
            now=now(),
            say=say,
        )
    say(done.text)
    say(f"report: {done.report}")
    if store is not None:
        say(
            f"store: {db}; try mseg-curate query \"SELECT * FROM v_zero_shot WHERE class_name = ''\""
        )


def _refuse_torchrun() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise click.UsageError(
            "several processes cannot share a store: start them with `torchrun … -m baselines`, and then run this "
            "with the same --out, which takes up what they finished"
        )


def _parse_exports(exports: tuple[str, ...]) -> dict[str, Path]:
    pairs = [text.partition("=") for text in exports]
    if any(not arm or not folder for arm, _, folder in pairs):
        raise click.BadParameter("expected ARM=DIR", param_hint="--export")
    if len({arm for arm, _, _ in pairs}) < len(pairs):
        raise click.BadParameter("expected each arm once", param_hint="--export")
    return {arm: Path(folder) for arm, _, folder in pairs}


@cli.command()
@click.option("--out", type=FOLDER, default=Path("demo"), show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws other pictures.")
@click.option("--jobs", type=click.IntRange(1), default=None, show_default="one per core")
def demo(out: Path, seed: int, jobs: int | None) -> None:
    """Run the whole loop on small datasets that are drawn on the spot."""
    from mseg_curate.demo import run_demo

    done = run_demo(out, now=now, say=say, jobs=jobs or os.cpu_count() or 1, seed=seed)
    say("")
    say(done.experiment.text)
    say(f"Done in {done.seconds:.0f} s. The store: {done.store}. Things to do next:")
    db = f"--db {done.store}"
    say(f"  mseg-curate query {db} \"SELECT * FROM v_resolution WHERE outcome = 'contested'\"")
    say(f"  mseg-curate mapping export {db} townscape")
    say(f"  mseg-curate verify {out}/exports/relabeled")
    arms = " ".join(f"--export {arm}={out}/exports/{arm}" for arm in ("relabeled", "unrelabeled"))
    say(
        f"  mseg-curate train-baseline {db} --out {out}/runs {arms} --preset tiny --seeds 0 --table zero-shot"
    )
    say(f"  open {done.experiment.report}, {out}/datasets/townscape/images")
