"""Are accuracies and posteriors what they claim to be, and which policy resolves best?

    python benchmarks/annotator_quality.py [--draws 100]

Annotators with known confusions vote on masks whose truth is known. Printed as Markdown: how often the intervals of
accuracies hold the truth, those from gold and those from the votes alone, what majority, weighted and dawid_skene make
of the very same votes, and what smoothing does. docs/agreement.md holds the outcome.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, binom

from mseg_curate.core.accuracy import GoldScore, estimate_share
from mseg_curate.core.consensus import (
    DAWID_SKENE_SMOOTHING,
    CastVote,
    DawidSkene,
    Majority,
    Outcome,
    Policy,
    Resolution,
    ResolutionOutcome,
    Vote,
    Weighted,
    resolve_question,
)
from mseg_curate.core.dawid_skene import estimate_accuracies, fit_dawid_skene
from mseg_curate.core.vote_table import VoteTable

LEVEL = 0.95
GOLD = 20
RESAMPLES = 200
SMOOTHINGS = (0.0, 1.0, 4.0, 10.0, 30.0)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Mix:
    """Annotators and masks: `each` of the annotators vote on every mask.

    `drift` of an annotator's errors go to the answer beside the true one, the rest to all others alike. With `copies`,
    so often does the second annotator give the answer of the first, right or wrong.
    """

    name: str
    accuracies: tuple[float, ...]
    answers: int = 4
    masks: int = 500
    each: int = 3
    drift: float = 0.0
    copies: float = 0.0
    prior: tuple[float, ...] = ()

    def confusion(self) -> Floats:
        """Return (A, K, K): how likely each annotator gives the last where the second is true."""
        K = self.answers
        shape = (len(self.accuracies), K, K)
        confusion = np.empty(shape)
        for number, accuracy in enumerate(self.accuracies):
            confusion[number] = (1 - accuracy) * (1 - self.drift) / (K - 1)
            for k in range(K):
                confusion[number, k, (k + 1) % K] += (1 - accuracy) * self.drift
                confusion[number, k, k] = accuracy
        return confusion

    def shares(self) -> Floats:
        """Return (K,): how frequent the answers are."""
        return np.array(self.prior or [1 / self.answers] * self.answers)

    def draw(self, rng: np.random.Generator) -> tuple[Integers, VoteTable]:
        """Return the truth of the masks and the votes."""
        people = len(self.accuracies)
        truth = rng.choice(self.answers, size=self.masks, p=self.shares())
        steps = self.confusion().cumsum(axis=2)[:, truth]
        said = (rng.random((people, self.masks, 1)) > steps).sum(axis=2).clip(max=self.answers - 1)
        if self.copies:
            said[1] = np.where(rng.random(self.masks) < self.copies, said[0], said[1])
        who = np.argsort(rng.random((self.masks, people)), axis=1)[:, : self.each]
        mask = np.repeat(np.arange(self.masks), self.each)
        table = VoteTable(
            mask,
            who.ravel(),
            said[who.ravel(), mask],
            masks=self.masks,
            annotators=people,
            answers=self.answers,
        )
        return truth, table


MIXES = (
    Mix("three: 0.95, 0.80, 0.60", (0.95, 0.8, 0.6)),
    Mix("three alike: 0.85", (0.85,) * 3),
    Mix("three of five: 0.95 … 0.60", (0.95, 0.9, 0.8, 0.7, 0.6)),
    Mix("the same, errors beside the truth", (0.95, 0.9, 0.8, 0.7, 0.6), drift=0.8),
    Mix("the same, 60 masks", (0.95, 0.9, 0.8, 0.7, 0.6), masks=60),
    Mix("the same, one answer of 70 %", (0.95, 0.9, 0.8, 0.7, 0.6), prior=(0.7, 0.2, 0.07, 0.03)),
    Mix("three of ten: 0.95 … 0.60", tuple(np.linspace(0.95, 0.6, 10).tolist())),
    Mix("two votes of five: 0.95 … 0.60", (0.95, 0.9, 0.8, 0.7, 0.6), each=2),
    Mix("three of four, one is against: 0.05", (0.9, 0.9, 0.8, 0.05)),
    Mix("three, two of them copy: 0.70, 0.70, 0.90", (0.7, 0.7, 0.9), copies=0.8),
)
POLICIES: tuple[Policy, ...] = (
    Majority(),
    Weighted(),
    Weighted(min_posterior=0.9),
    DawidSkene(),
    DawidSkene(min_posterior=0.9),
)


def print_row(*cells: object) -> None:
    """Print one row of a Markdown table."""
    print("| " + " | ".join(map(str, cells)) + " |")


def print_head(*cells: str) -> None:
    """Print the head of a Markdown table."""
    print()
    print_row(*cells)
    print_row(*["---"] * len(cells))


def jeffreys(right: Integers, total: int) -> tuple[Floats, Floats]:
    """Return the ends of Jeffreys' intervals (Brown, Cai and DasGupta, 2001, section 3.1.2)."""
    tail = (1 - LEVEL) / 2
    low = np.where(right == 0, 0, beta.ppf(tail, right + 0.5, total - right + 0.5))
    return low, np.where(right == total, 1, beta.ppf(1 - tail, right + 0.5, total - right + 0.5))


def wilson(right: Integers, total: int) -> tuple[Floats, Floats]:
    """Return the ends of the intervals that the product shows."""
    shares = [estimate_share(GoldScore(int(r), total), level=LEVEL) for r in right]
    return np.array([s.low for s in shares]), np.array([s.high for s in shares])


def compare_intervals() -> None:
    """Print the exact coverage of both intervals of a share, from the binomial distribution."""
    accuracies = np.linspace(0.6, 0.99, 79)
    print_head("answers on gold", "Wilson: mean", "least", "Jeffreys: mean", "least")
    squares: dict[str, list[float]] = {"Wilson": [], "Jeffreys": []}
    for total in (10, 20, 30, 50, 100, 200):
        right = np.arange(total + 1)
        cells = []
        for name, ends in (("Wilson", wilson), ("Jeffreys", jeffreys)):
            low, high = ends(right, total)
            held = [
                float(binom.pmf(right, total, p) @ ((low <= p) & (p <= high))) for p in accuracies
            ]
            squares[name] += [(h - LEVEL) ** 2 for h in held]
            cells += [f"{np.mean(held):.3f}", f"{min(held):.3f}"]
        print_row(total, *cells)
    for name, values in squares.items():
        print(f"\n{name}: {np.mean(values) ** 0.5:.4f} from {LEVEL} in the root mean square")


def recover_accuracies(mixes: Sequence[Mix], draws: int, rng: np.random.Generator) -> None:
    """Print how near accuracies from gold and from votes alone come to the truth, and how often intervals hold it."""
    print_head(
        "annotators", "masks", "gold: error", "held", "votes alone: error", "mean of it", "held"
    )
    for mix in mixes:
        truth = np.einsum("akk,k->a", mix.confusion(), mix.shares())
        errors, held, gold_errors, gold_held = [], [], [], []
        for _ in range(draws):
            _, votes = mix.draw(rng)
            found = estimate_accuracies(
                votes, rng=rng, resamples=RESAMPLES, level=LEVEL, smoothing=DAWID_SKENE_SMOOTHING
            )
            errors.append(found[:, 0] - truth)
            held.append((found[:, 1] <= truth) & (truth <= found[:, 2]))
            for right, p in zip(rng.binomial(GOLD, truth), truth, strict=True):
                share = estimate_share(GoldScore(int(right), GOLD), level=LEVEL)
                gold_errors.append(share.value - p)
                gold_held.append(share.low <= p <= share.high)
        print_row(
            mix.name,
            mix.masks,
            f"{_root_mean_square(gold_errors):.3f}",
            _share(gold_held),
            f"{_root_mean_square(errors):.3f}",
            f"{np.mean(errors):+.3f}",
            _share(held),
        )


def _root_mean_square(errors: Sequence[float | Floats]) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


def _share(held: Sequence[object]) -> str:
    """Return the share of intervals that held the truth, with its own interval."""
    flags = np.array(held, np.bool_)
    share = estimate_share(GoldScore(int(flags.sum()), flags.size))
    return f"{share.value:.1%} ({share.low:.1%} … {share.high:.1%})"


def answer_of(number: int) -> Vote:
    """Return the vote for an answer by its number."""
    return Vote(Outcome.CLASS, int(number))


def resolve(
    mix: Mix, table: VoteTable, policy: Policy, gold: dict[int, GoldScore]
) -> list[Resolution]:
    """Resolve all masks of a draw as `mseg-curate resolve` does."""
    votes: dict[int, list[CastVote]] = {}
    for mask, who, answer in zip(
        table.mask.tolist(), table.annotator.tolist(), table.answer.tolist(), strict=True
    ):
        votes.setdefault(mask, []).append(CastVote(who, answer_of(answer)))
    listed = [
        *map(answer_of, range(mix.answers)),
        Vote(Outcome.NONE_OF_THESE),
        Vote(Outcome.BAD_MASK),
    ]
    found = resolve_question(policy, votes, answers=listed, gold=gold)
    return [found[mask] for mask in range(mix.masks)]


def compare_policies(mixes: Sequence[Mix], draws: int, rng: np.random.Generator) -> None:
    """Print what each policy makes of the same votes, and how far weighing them goes beyond the majority."""
    print_head(
        "annotators",
        "policy",
        "right",
        "wrong",
        "contested",
        "right, beyond majority",
        "wrong, beyond majority",
        "posterior, and how many were right",
    )
    for mix in mixes:
        tallies = np.zeros((draws, len(POLICIES), 3))
        claims: list[list[tuple[float, bool]]] = [[] for _ in POLICIES]
        for tally in tallies:
            truth, table = mix.draw(rng)
            right = rng.binomial(GOLD, np.einsum("akk,k->a", mix.confusion(), mix.shares()))
            gold = {who: GoldScore(int(score), GOLD) for who, score in enumerate(right)}
            for policy, counts, claimed in zip(POLICIES, tally, claims, strict=True):
                found = resolve(mix, table, policy, gold)
                counts[:] = _tally(found, truth.tolist(), claimed)
        print_policies(mix, tallies / mix.masks, claims)


def _tally(
    found: Sequence[Resolution], truth: Sequence[int], claimed: list[tuple[float, bool]]
) -> tuple[int, int, int]:
    """Count right, wrong and contested; note the posterior of what was resolved, and whether it was right."""
    counts = [0, 0, 0]
    for resolution, true in zip(found, truth, strict=True):
        right = resolution.class_id == true
        resolved = resolution.outcome is ResolutionOutcome.RESOLVED
        counts[0 if right else 1 if resolved else 2] += 1
        if resolved and resolution.posterior is not None:
            claimed.append((resolution.posterior, right))
    return counts[0], counts[1], counts[2]


def print_policies(
    mix: Mix, tallies: Floats, claims: Sequence[Sequence[tuple[float, bool]]]
) -> None:
    """Print the rows of one mix from (draws, policies, 3) shares."""
    for number, policy in enumerate(POLICIES):
        shares = [f"{share:.1%}" for share in tallies[:, number].mean(axis=0)]
        beyond = tallies[:, number] - tallies[:, 0]
        gains = [_difference(beyond[:, outcome]) if number else "" for outcome in (0, 1)]
        kept = claims[number]
        claim = ", ".join(f"{v:.1%}" for v in np.mean(kept, axis=0)) if kept else ""
        print_row("" if number else mix.name, policy, *shares, *gains, claim)


def compare_smoothings(mixes: Sequence[Mix], draws: int, rng: np.random.Generator) -> None:
    """Print how often the most probable answer is right, and how far accuracies are off, by smoothing."""
    print_head("annotators", "masks", *(f"{s:g}: right, error" for s in SMOOTHINGS))
    for mix in mixes:
        truth = np.einsum("akk,k->a", mix.confusion(), mix.shares())
        right, errors = np.zeros((2, draws, len(SMOOTHINGS)))
        for draw in range(draws):
            true, votes = mix.draw(rng)
            for number, smoothing in enumerate(SMOOTHINGS):
                fit = fit_dawid_skene(votes, smoothing=smoothing)
                right[draw, number] = (fit.posterior.argmax(axis=1) == true).mean()
                errors[draw, number] = np.square(fit.accuracy - truth).mean()
        off = np.sqrt(errors.mean(axis=0))
        cells = [f"{r:.1%}, {e:.3f}" for r, e in zip(right.mean(axis=0), off, strict=True)]
        print_row(mix.name, mix.masks, *cells)


def _difference(differences: Floats) -> str:
    """Return a mean of paired differences in points, with its interval."""
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * differences.std(ddof=1) / len(differences) ** 0.5
    mean = 100 * differences.mean()
    return f"{mean:+.1f} ({mean - 100 * half:+.1f} … {mean + 100 * half:+.1f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=100, help="experiments per row")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generator = np.random.default_rng(arguments.seed)
    print("### Intervals of a share on gold")
    compare_intervals()
    print(
        f"\n### Recovered accuracies, {arguments.draws} experiments each, {GOLD} gold masks a person"
    )
    independent = [mix for mix in MIXES if not mix.copies]
    recover_accuracies(independent, arguments.draws, generator)
    print(f"\n### Resolutions of the same votes, {arguments.draws} experiments each")
    compare_policies(MIXES, arguments.draws, generator)
    print(f"\n### Smoothing of dawid_skene, {arguments.draws} experiments each")
    compare_smoothings(independent, arguments.draws, np.random.default_rng([arguments.seed, 1]))
