"""Commands that train and measure, and the demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mseg_curate.cli.edge import ARMS, FILE, FOLDER, cli, now, say, store_option

if TYPE_CHECKING:
    from mseg_curate.core.mapping import Arm


@cli.command("train-baseline")
@store_option
@click.option("--out", type=FOLDER, required=True, help="Where exports, runs and the report go.")
@click.option(
    "--arms",
    default=",".join(ARMS),
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
@click.option("--weights", type=FILE, help="Backbone weights; without, training starts at random.")
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
                now=now(),
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
            now=now(),
        )
    say(done.text)
    say(f"report: {done.report}")
    if store is not None:
        say(
            f"store: {db}; try mseg-curate query \"SELECT * FROM v_zero_shot WHERE class_name = ''\""
        )


def _parse_exports(exports: tuple[str, ...]) -> dict[str, Path]:
    pairs = [text.partition("=") for text in exports]
    if any(not arm or not folder for arm, _, folder in pairs):
        raise click.BadParameter("expected ARM=DIR", param_hint="--export")
    if len({arm for arm, _, _ in pairs}) < len(pairs):
        raise click.BadParameter("expected each arm once", param_hint="--export")
    return {arm: Path(folder) for arm, _, folder in pairs}


def _parse_arms(arms: str) -> list[Arm]:
    from mseg_curate.core.mapping import Arm

    names = [name.strip() for name in arms.split(",") if name.strip()]
    unknown = [name for name in names if name not in ARMS]
    if unknown or not names:
        raise click.BadParameter(
            f"expected some of {', '.join(ARMS)}, found {arms!r}", param_hint="--arms"
        )
    return [Arm(name) for name in dict.fromkeys(names)]


def _parse_seeds(seeds: str) -> list[int]:
    try:
        return [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise click.BadParameter(f"expected 0,1,2, found {seeds!r}", param_hint="--seeds") from None


@cli.command()
@click.option("--out", type=FOLDER, default=Path("demo"), show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws other pictures.")
@click.option("--jobs", type=click.IntRange(1), default=None, show_default="one per core")
def demo(out: Path, seed: int, jobs: int | None) -> None:
    """Run the whole loop on small datasets that are drawn on the spot."""
    import os

    from mseg_curate.demo import run_demo

    done = run_demo(out, now=now, say=say, jobs=jobs or os.cpu_count() or 1, seed=seed)
    say("")
    say(done.experiment.text)
    say(f"Done in {done.seconds:.0f} s. The store: {done.store}. Things to do next:")
    db = f"--db {done.store}"
    say(f"  mseg-curate query {db} \"SELECT * FROM v_resolution WHERE outcome = 'contested'\"")
    say(f"  mseg-curate mapping export {db} townscape")
    say(f"  mseg-curate verify {out}/exports/relabeled")
    say(f"  open {done.experiment.report}, {out}/datasets/townscape/images")
