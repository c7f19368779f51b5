"""Train and compare without the rest of the tool: on exports that lie there, by one process or by many.

    python -m baselines --arm relabeled=exports/relabeled --arm unrelabeled=exports/unrelabeled \
        --out runs --preset small --weights mobilenet_v2.pth --seeds 0,1,2
    torchrun --nproc-per-node 4 -m baselines --arm … --out runs
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from baselines.recipe import TABLES, Recipe, Study, choose_study, make_recipe
from mseg_curate.errors import InputError, MsegCurateError

__all__ = ["main", "training_options"]

FILE: Final = click.Path(path_type=Path, dir_okay=False)

# What `make_recipe` takes under the name that the option has.
_RECIPE: Final = (
    "settings",
    "eval_settings",
    "weights",
    "weights_sha256",
    "seeds",
    "validate",
    "predictions",
    "sample_every",
    "deterministic",
    "device",
    "jobs",
)
_OPTIONS: Final = (
    click.option("--seeds", default="0,1,2", show_default=True, help="Seeds, separated by commas."),
    click.option(
        "--preset",
        type=click.Choice(["paper", "small", "tiny"]),
        default="small",
        show_default=True,
        help="paper: the published recipe; small: two cores; tiny: drawn scenes.",
    ),
    click.option(
        "--weights", type=FILE, help="Backbone weights; without, training starts at random."
    ),
    click.option("--weights-sha256", metavar="HEX", help="Refuse weights of another SHA-256."),
    click.option(
        "--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change the preset."
    ),
    click.option(
        "--set-eval",
        "eval_settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="The same for evaluation.",
    ),
    click.option(
        "--validate",
        is_flag=True,
        help="Evaluate on the training datasets' other splits, too.",
    ),
    click.option("--predictions", is_flag=True, help="Write the predicted label maps."),
    click.option(
        "--sample-every",
        type=click.IntRange(0),
        default=0,
        metavar="STEPS",
        help="Write pictures of predictions while it trains.",
    ),
    click.option(
        "--deterministic", is_flag=True, help="The same bits every time on a GPU, at some cost."
    ),
    click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
    ),
    click.option(
        "--jobs",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Runs at a time; they share the cores.",
    ),
    click.option("--quiet", is_flag=True, help="No progress bar."),
    click.option(
        "--table",
        type=click.Choice(TABLES),
        help="zero-shot: MSeg's table; ladder: PSPNet's, part by part; instead of comparing arms.",
    ),
    click.option(
        "--networks",
        metavar="NAMES",
        help="Compare networks instead of arms, such as fcn8s,segnet,pspnet, or all.",
    ),
    click.option("--deeper-weights", type=FILE, help="Weights of the ladder's deeper backbone."),
)


def training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a training, which it receives as `study` and `recipe`."""

    @functools.wraps(command)
    def call(
        *,
        preset: str,
        quiet: bool,
        table: str | None,
        networks: str | None,
        deeper_weights: Path | None,
        **options: Any,
    ) -> None:
        chosen = {name: options.pop(name) for name in _RECIPE}
        try:
            study = choose_study(table, networks=networks, deeper_weights=deeper_weights)
            recipe = make_recipe(preset, progress=not quiet, **chosen)
        except InputError as error:
            raise click.UsageError(str(error)) from error
        command(study=study, recipe=recipe, **options)

    for option in reversed(_OPTIONS):
        call = option(call)
    return call


def one_line_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Let expected errors end a command with one line."""

    @functools.wraps(command)
    def call(**options: object) -> None:
        try:
            command(**options)
        except MsegCurateError as error:
            raise click.ClickException(str(error)) from error

    return call


@click.command(help="Train on every arm of an export with every seed, and compare zero-shot.")
@click.option(
    "--arm",
    "arms",
    multiple=True,
    required=True,
    metavar="NAME=DIR",
    help="An export folder; repeat.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Where runs are kept.")
@click.option(
    "--reference",
    show_default="relabeled, or the first arm",
    help="The arm the others are held against.",
)
@one_line_errors
@training_options
def main(
    *,
    arms: Sequence[str],
    out: Path,
    reference: str | None,
    study: Study,
    recipe: Recipe,
) -> None:
    """Parse, run, print the table; of many processes the first one prints."""
    from baselines.study import conduct  # noqa: PLC0415

    exports = _parse_arms(arms)
    found = conduct(
        study,
        exports,
        out,
        recipe=recipe,
        reference=reference or ("relabeled" if "relabeled" in exports else next(iter(exports))),
        say=lambda line: click.echo(line, err=True),
    )
    if found is not None:
        click.echo(found.summary.text)
        click.echo(f"report: {found.report}")


def _parse_arms(arms: Sequence[str]) -> dict[str, Path]:
    pairs = [text.partition("=") for text in arms]
    if len({name for name, _, _ in pairs}) < len(pairs) or not all(path for _, _, path in pairs):
        raise InputError("arms", expected="different NAME=DIR", found=", ".join(arms))
    return {name: Path(path) for name, _, path in pairs}


if __name__ == "__main__":
    sys.exit(main())
