"""The command that evaluates a checkpoint."""

from __future__ import annotations

from pathlib import Path

import click

from mseg_curate.cli.edge import FILE, FOLDER, cli, say
from mseg_curate.errors import MissingExtraError


@cli.command("evaluate")
@click.option("--export", "export_dir", type=FOLDER, required=True, help="An export folder.")
@click.option(
    "--checkpoint",
    type=FILE,
    required=True,
    help="checkpoint.safetensors of a run, or a published PSPNet of all universal classes.",
)
@click.option("--out", type=FOLDER, required=True, help="Where counts and predictions go.")
@click.option(
    "--preset",
    type=click.Choice(["paper", "small", "tiny"]),
    default="paper",
    show_default=True,
    help="What a published network is and how it is evaluated; a run has its own.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="What else a published network is, such as backbone=resnet101.",
)
@click.option(
    "--set-eval",
    "eval_settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change the evaluation, such as also_px=256,1024 or flip=false.",
)
@click.option("--predictions", is_flag=True, help="Write the predicted label maps as PNG.")
@click.option("--validate", is_flag=True, help="Evaluate the training datasets' other splits too.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
def evaluate(
    export_dir: Path,
    checkpoint: Path,
    out: Path,
    preset: str,
    settings: tuple[str, ...],
    eval_settings: tuple[str, ...],
    predictions: bool,
    validate: bool,
    device: str,
) -> None:
    """Evaluate a checkpoint on the test datasets of an export, at every declared resolution."""
    try:
        from baselines.evaluation import evaluate_checkpoint
        from baselines.score_table import render_scores
    except ImportError as error:
        raise MissingExtraError(
            f"evaluating needs {error.name}, which is not installed; "
            "install it with `pip install 'mseg-curate[train]'`"
        ) from error
    flags = {"predictions": predictions, "validate": validate}
    found = evaluate_checkpoint(
        checkpoint,
        export_dir,
        out,
        preset=preset,
        settings=settings,
        eval_settings=[*eval_settings, *(f"{name}=true" for name, on in flags.items() if on)],
        device=device,
    )
    if found is None:
        return
    text = render_scores(found.counts, found.validation)
    say(f"{found.title}, {checkpoint}, SHA-256 {found.sha256[:12]}, on {found.device}\n")
    say(text)
    say(f"counts: {out / 'evaluation.json'}, {found.eval_s:.0f} s")
