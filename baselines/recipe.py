"""What is compared, and how it is carried out: two values that commands make and everything below reads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from baselines.config import EVALUATIONS, NETWORKS, PRESETS, EvalConfig, TrainConfig, override
from mseg_curate.core.arms import ORACLE
from mseg_curate.errors import InputError

__all__ = [
    "PLAIN",
    "TABLES",
    "Recipe",
    "Study",
    "choose_study",
    "make_recipe",
    "parse_seeds",
]

TABLES: Final = ("zero-shot", "ladder")
PLAIN: Final = "unrelabeled"


@dataclass(frozen=True)
class Study:
    """What is compared: `arms`, or the rows of the table `zero-shot`, `ladder` or `networks`.

    `networks` are those of the last one; `deeper_weights` what the ladder's deeper backbone starts from.
    """

    kind: str = "arms"
    networks: tuple[str, ...] = ()
    deeper_weights: Path | None = None

    def __post_init__(self) -> None:
        """Refuse networks that are not there or named twice."""
        unknown = set(self.networks) - NETWORKS.keys()
        needed = self.kind == "networks"
        if unknown or len(set(self.networks)) < len(self.networks) or needed > bool(self.networks):
            raise InputError(
                "networks",
                expected=f"different ones of {', '.join(NETWORKS)}",
                found=", ".join(self.networks) or "none",
            )

    def check_arms(self, arms: Collection[str], *, reference: str) -> None:
        """Raise InputError unless the study can be made of arms of these names."""
        if reference not in arms:
            raise InputError(
                "the reference is no arm of this experiment",
                expected=" or ".join(arms),
                found=reference,
                hint="name one with --reference",
            )
        oracles = [arm for arm in arms if arm.startswith(ORACLE)]
        if self.kind == "zero-shot" and (
            reference == PLAIN or PLAIN not in arms or reference in oracles
        ):
            raise InputError(
                "the zero-shot table holds the mix against the mix without relabeling",
                expected=f"a relabeled arm as reference, and {PLAIN}",
                found=f"reference {reference} of {', '.join(arms)}",
            )
        if self.kind == "arms" and oracles and len(arms) > 1:
            raise InputError(
                "an oracle has classes and images of its own: no other arm can be held against it",
                found=", ".join(oracles),
                hint="see the table zero-shot, which has a row for it",
            )

    @property
    def report_name(self) -> str:
        """The file that the report is written to."""
        return "report.md" if self.kind == "arms" else f"{self.kind}.md"


def choose_study(
    table: str | None, *, networks: str | None, deeper_weights: Path | None = None
) -> Study:
    """Make a study of what a command was given; raises InputError for options that exclude each other."""
    if table and networks:
        raise InputError("a study is of one table", expected=table, found=f"networks {networks}")
    if deeper_weights is not None and table != "ladder":
        raise InputError("weights of a deeper backbone are the ladder's", expected="--table ladder")
    if networks is None:
        return Study(table or "arms", deeper_weights=deeper_weights)
    names = [name.strip() for name in networks.split(",") if name.strip()]
    return Study("networks", tuple(NETWORKS) if names == ["all"] else tuple(names))


@dataclass(frozen=True)
class Recipe:
    """The training and its evaluation, the seeds, and the machine.

    `weights_sha256` is the SHA-256 that the file `config.weights` must have, None where any will do.
    """

    config: TrainConfig
    evaluation: EvalConfig
    seeds: tuple[int, ...] = (0, 1, 2)
    device: str = "auto"
    jobs: int = 1
    progress: bool = True
    weights_sha256: str | None = None


def make_recipe(
    preset: str,
    *,
    settings: Sequence[str] = (),
    eval_settings: Sequence[str] = (),
    weights: Path | None = None,
    weights_sha256: str | None = None,
    seeds: str = "0,1,2",
    deterministic: bool = False,
    predictions: bool = False,
    validate: bool = False,
    sample_every: int = 0,
    device: str = "auto",
    jobs: int = 1,
    progress: bool = True,
) -> Recipe:
    """Make a recipe of a preset and what a command changes; raises InputError for what cannot be."""
    if weights_sha256 is not None and weights is None:
        raise InputError("a SHA-256 of weights, and no weights", hint="name them with --weights")
    config = override(replace(PRESETS[preset], weights=weights), settings)
    evaluation = override(EVALUATIONS[preset], eval_settings)
    return Recipe(
        config=replace(
            config,
            deterministic=deterministic or config.deterministic,
            sample_every=sample_every or config.sample_every,
        ),
        evaluation=replace(
            evaluation,
            predictions=predictions or evaluation.predictions,
            validate=validate or evaluation.validate,
        ),
        seeds=parse_seeds(seeds),
        device=device,
        jobs=jobs,
        progress=progress,
        weights_sha256=weights_sha256,
    )


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read `0,1,2`; raises InputError for anything else."""
    try:
        seeds = tuple(int(seed) for seed in text.split(","))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise InputError(
            "--seeds", expected="different numbers of at least 0, such as 0,1,2", found=repr(text)
        )
    return seeds
