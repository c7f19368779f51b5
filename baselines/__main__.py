"""Train and compare arms without the rest of the tool.

    python -m baselines --arm relabeled=exports/relabeled --arm unrelabeled=exports/unrelabeled \
        --out runs --preset small --weights mobilenet_v2.pth --seeds 0,1,2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from baselines.config import EVALUATIONS, PRESETS, override
from baselines.experiment import run_experiment
from baselines.results import RunResult, group_counts
from mseg_curate.core.compare import Difference, compare_arms
from mseg_curate.core.metrics import Mode
from mseg_curate.errors import InputError, MsegCurateError

BOOTSTRAP_SEED = 0


@click.command(
    help="Train PSPNet on every arm of an export with every seed, and compare zero-shot."
)
@click.option(
    "--arm",
    "arms",
    multiple=True,
    required=True,
    metavar="NAME=DIR",
    help="An export folder; repeat.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Where runs are kept.")
@click.option("--seeds", default="0,1,2", show_default=True, help="Seeds, separated by commas.")
@click.option("--preset", default="small", show_default=True, type=click.Choice(list(PRESETS)))
@click.option(
    "--weights", type=click.Path(path_type=Path), help="Weights the backbone starts from."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change one setting of the preset.",
)
@click.option(
    "--set-eval",
    "eval_settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="The same for the evaluation.",
)
@click.option(
    "--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"])
)
@click.option("--jobs", default=1, show_default=True, help="Runs at a time; they share the cores.")
@click.option(
    "--reference",
    default="relabeled",
    show_default=True,
    help="The arm the others are held against.",
)
@click.option(
    "--mode", default="strict", show_default=True, type=click.Choice(["strict", "compat"])
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def main(
    *,
    arms: Sequence[str],
    out: Path,
    seeds: str,
    preset: str,
    weights: Path | None,
    settings: Sequence[str],
    eval_settings: Sequence[str],
    device: str,
    jobs: int,
    reference: str,
    mode: str,
    quiet: bool,
) -> None:
    """Parse, run the experiment, print the table."""
    try:
        results = run_experiment(
            _parse_arms(arms),
            out,
            config=override(replace(PRESETS[preset], weights=weights), settings),
            evaluation=override(EVALUATIONS[preset], eval_settings),
            seeds=_parse_seeds(seeds),
            device=device,
            jobs=jobs,
            progress=not quiet,
        )
        for line in _describe(results, reference, "compat" if mode == "compat" else "strict"):
            click.echo(line)
    except MsegCurateError as error:
        raise click.ClickException(str(error)) from error


def _parse_arms(arms: Sequence[str]) -> dict[str, Path]:
    pairs = [text.partition("=") for text in arms]
    if len({name for name, _, _ in pairs}) < len(pairs) or not all(path for _, _, path in pairs):
        raise InputError("arms", expected="different NAME=DIR", found=", ".join(arms))
    return {name: Path(path) for name, _, path in pairs}


def _parse_seeds(seeds: str) -> list[int]:
    try:
        return [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise InputError("seeds", expected="numbers such as 0,1,2", found=seeds) from None


def _describe(results: Sequence[RunResult], reference: str, mode: Mode) -> list[str]:
    """Lay mean IoU and differences out in lines, in percent."""
    counts = group_counts(results)
    arms = list(counts)
    comparison = compare_arms(
        counts,
        reference=reference if reference in arms else arms[0],
        rng=np.random.default_rng(BOOTSTRAP_SEED),
        mode=mode,
    )
    harmonic = "harmonic mean"
    width = max(map(len, [*comparison.tests, harmonic]))
    lines = [f"mean IoU in percent ({mode}), seeds: {comparison.seeds}"]
    for test in comparison.tests:
        cells = [f"{arm} {100 * comparison.mean_iou[arm][test]:.1f}" for arm in arms]
        lines.append(f"{test:<{width}}  " + "  ".join(cells))
    cells = [f"{arm} {100 * comparison.harmonic[arm]:.1f}" for arm in arms]
    lines.append(f"{harmonic:<{width}}  " + "  ".join(cells))
    for arm, by_test in comparison.differences.items():
        lines.append(f"{comparison.reference} minus {arm}")
        named = {**by_test, harmonic: comparison.harmonic_differences[arm]}
        lines.extend(f"  {name:<{width}}  {_word(found)}" for name, found in named.items())
    lines.extend(
        f"{test}: not counted: {', '.join(names)}"
        for test, names in comparison.left_out.items()
        if names
    )
    return [*lines, comparison.note]


def _word(found: Difference) -> str:
    verdict = "" if found.distinguishable else "  not distinguishable"
    interval = f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return f"{100 * found.value:+.1f} {interval}{verdict}"


if __name__ == "__main__":
    main()
