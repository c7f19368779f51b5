"""Are accuracies and posteriors what they claim to be, and which policy resolves best?

    python benchmarks/annotator_quality.py [--draws 100] [PART …]

Annotators with known confusions vote on masks whose truth is known. Printed as Markdown, part by part: how often the
intervals of accuracies hold the truth, those from gold (`gold`) and those from the votes (`accuracies`); what majority,
weighted and dawid_skene make of the very same votes (`policies`); what smoothing does (`smoothing`); and what becomes
of agreement where masks with disagreement get more votes (`adaptive`). docs/agreement.md holds the outcome.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, binom

from mseg_curate.core.accuracy import GoldScore, estimate_share
from mseg_curate.core.accuracy_draws import estimate_accuracies
from mseg_curate.core.agreement import krippendorff_alpha
from mseg_curate.core.consensus import (
    DAWID_SKENE_SMOOTHING,
    DawidSkene,
    Majority,
    Outcome,
    Policy,
    Resolution,
    ResolutionOutcome,
    Vote,
    Weighted,
)
from mseg_curate.core.dawid_skene import fit_dawid_skene
from mseg_curate.core.resolving import Ballots, KnownTruth, resolve_question
from mseg_curate.core.vote_table import VoteTable

LEVEL = 0.95
GOLD = 20
SMOOTHINGS = (0.0, 1.0, 4.0, 10.0, 30.0)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Mix:
    """Annotators and masks: `each` of the annotators vote on every mask, and all of them on `gold` masks more.

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
    gold: int = 0

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

    def seeded(self, seed: int) -> np.random.Generator:
        """Return a generator of its own, so that a row comes out the same whatever else is printed."""
        return np.random.default_rng([seed, self.masks, *map(ord, self.name)])

    def accuracy(self) -> Floats:
        """Return (A,): how often each annotator is right."""
        accuracy: Floats = np.einsum("akk,k->a", self.confusion(), self.shares())
        return accuracy

    def draw(self, rng: np.random.Generator) -> tuple[Integers, VoteTable]:
        """Return the truth of the masks and the votes; the masks of gold come last."""
        people = len(self.accuracies)
        masks = self.masks + self.gold
        truth = rng.choice(self.answers, size=masks, p=self.shares())
        steps = self.confusion().cumsum(axis=2)[:, truth]
        said = (rng.random((people, masks, 1)) > steps).sum(axis=2).clip(max=self.answers - 1)
        if self.copies:
            said[1] = np.where(rng.random(masks) < self.copies, said[0], said[1])
        turns = np.argsort(np.argsort(rng.random((masks, people)), axis=1), axis=1)
        mask, who = np.nonzero(
            (turns < self.each) | (np.arange(masks) >= self.masks)[:, np.newaxis]
        )
        table = VoteTable(
            mask, who, said[who, mask], masks=masks, annotators=people, answers=self.answers
        )
        return truth, table

    def known(self, truth: Integers) -> Integers:
        """Return the truth of the masks of gold, −1 for all others."""
        return np.where(np.arange(len(truth)) < self.masks, -1, truth)


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
    Mix("two: 0.95, 0.70", (0.95, 0.7), each=2),
)
UNEQUAL = (0.95, 0.8, 0.6)
FIVE = (0.95, 0.9, 0.8, 0.7, 0.6)
SEVEN = tuple(np.linspace(0.95, 0.6, 7).round(2).tolist())
CASES = (
    *(Mix("three: 0.95, 0.80, 0.60", UNEQUAL, masks=masks) for masks in (30, 100, 500, 3000)),
    *(Mix("the same", UNEQUAL, answers=answers) for answers in (2, 8)),
    Mix("the same, errors beside the truth", UNEQUAL, drift=0.8),
    Mix("the same, one answer of 70 %", UNEQUAL, prior=(0.7, 0.2, 0.07, 0.03)),
    Mix("the same, one answer of 90 %", UNEQUAL, answers=2, prior=(0.9, 0.1)),
    Mix("three alike: 0.85", (0.85,) * 3),
    Mix("three alike: 0.97", (0.97,) * 3),
    Mix("three of five: 0.95 … 0.60", FIVE),
    Mix("the same", FIVE, masks=60),
    Mix("the same, errors beside the truth", FIVE, drift=0.8),
    Mix("two votes of five", FIVE, each=2),
    Mix("two votes of five", FIVE, each=2, masks=100),
    Mix("three of seven: 0.95 … 0.60", SEVEN, masks=100),
    Mix("the same", SEVEN, masks=300, answers=8),
    Mix("all of seven", SEVEN, masks=30, each=7),
    Mix("all of four, one guesses: 0.25", (0.95, 0.9, 0.8, 0.25), each=4),
    Mix("three of four, one is against: 0.05", (0.9, 0.9, 0.8, 0.05)),
    Mix("the same", (0.9, 0.9, 0.8, 0.05), masks=60),
    Mix("three: 0.95, 0.80, 0.60, 30 gold", UNEQUAL, gold=30),
    Mix("the same, 30 gold", UNEQUAL, masks=60, gold=30),
    Mix("two: 0.95, 0.70, 30 gold", (0.95, 0.7), each=2, gold=30),
    Mix("two: 0.95, 0.70, no gold", (0.95, 0.7), each=2),
)
POLICIES: tuple[Policy, ...] = (
    Majority(),
    Weighted(),
    Weighted(min_posterior=0.9),
    DawidSkene(),
    DawidSkene(min_posterior=0.9),
    DawidSkene(gold=True),
    DawidSkene(min_posterior=0.9, gold=True),
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


def recover_accuracies(cases: Sequence[Mix], draws: int, seed: int) -> None:
    """Print how near accuracies from the votes come to the truth, and how often their intervals hold it."""
    print_head(
        "annotators", "answers", "masks", "error", "mean of it", "width", "held", "worst of one"
    )
    for mix in cases:
        truth = mix.accuracy()
        rng = mix.seeded(seed)
        errors, held, widths = [], [], []
        for _ in range(draws):
            true, votes = mix.draw(rng)
            value, low, high = estimate_accuracies(
                votes,
                rng=rng,
                truth=mix.known(true),
                level=LEVEL,
                smoothing=DAWID_SKENE_SMOOTHING,
            ).T
            errors.append(value - truth)
            widths.append(high - low)
            held.append((low <= truth) & (truth <= high))
        print_row(
            mix.name,
            mix.answers,
            mix.masks,
            f"{_root_mean_square(errors):.3f}",
            f"{np.mean(errors):+.3f}",
            f"{np.mean(widths):.2f}",
            _share(held),
            f"{np.mean(held, axis=0).min():.0%}",
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


def resolve(mix: Mix, table: VoteTable, policy: Policy, truth: Integers) -> list[Resolution]:
    """Resolve all masks of a draw as `mseg-curate resolve` does; gold counts as the policy says."""
    learns = isinstance(policy, DawidSkene) and policy.gold
    kept = (table.mask < mix.masks) | learns
    classes = tuple(map(answer_of, range(mix.answers)))
    ballots = Ballots(
        table.mask[kept],
        table.annotator[kept],
        table.answer[kept],
        np.zeros(int(kept.sum()), np.bool_),
        classes,
    )
    everybody = frozenset(range(table.annotators))
    found = resolve_question(
        policy,
        ballots,
        answers=[*classes, Vote(Outcome.NONE_OF_THESE), Vote(Outcome.BAD_MASK)],
        gold=score_gold(mix, table, truth),
        truths={
            mask: KnownTruth(answer_of(truth[mask]), everybody)
            for mask in range(mix.masks, len(truth))
        },
    )
    return [found[mask] for mask in range(mix.masks)]


def score_gold(mix: Mix, table: VoteTable, truth: Integers) -> dict[tuple[int, bool], GoldScore]:
    """Return what each annotator scored on the masks of gold."""
    is_gold = table.mask >= mix.masks
    right = is_gold & (table.answer == truth[table.mask])
    return {
        (who, False): GoldScore(
            int(right[table.annotator == who].sum()), int(is_gold[table.annotator == who].sum())
        )
        for who in range(table.annotators)
    }


def compare_policies(mixes: Sequence[Mix], draws: int, seed: int) -> None:
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
        rng = mix.seeded(seed)
        tallies = np.zeros((draws, len(POLICIES), 3))
        claims: list[list[tuple[float, bool]]] = [[] for _ in POLICIES]
        for tally in tallies:
            truth, table = replace(mix, gold=GOLD).draw(rng)
            for policy, counts, claimed in zip(POLICIES, tally, claims, strict=True):
                found = resolve(mix, table, policy, truth)
                counts[:] = _tally(found, truth[: mix.masks].tolist(), claimed)
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


def compare_smoothings(mixes: Sequence[Mix], draws: int, seed: int) -> None:
    """Print how often the most probable answer is right, and how far accuracies are off, by smoothing."""
    print_head("annotators", "masks", *(f"{s:g}: right, error" for s in SMOOTHINGS))
    for mix in mixes:
        truth, rng = mix.accuracy(), mix.seeded(seed)
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


def compare_adaptive(draws: int, seed: int) -> None:
    """Print what alpha comes to where masks whose two votes disagree get up to two more."""
    print_head("annotators", "all votes, up to four", "the first two of each")
    for mix in (
        Mix("four alike: 0.95", (0.95,) * 4, each=4),
        Mix("four alike: 0.80", (0.8,) * 4, each=4),
        Mix("four: 0.95 … 0.60", (0.95, 0.85, 0.7, 0.6), each=4),
        Mix("four, one answer of 70 %", (0.85,) * 4, each=4, prior=(0.7, 0.2, 0.07, 0.03)),
    ):
        rng = mix.seeded(seed)
        found = np.zeros((draws, 2))
        for row in found:
            _, table = mix.draw(rng)
            for column, counts in enumerate(_ask_adaptively(table, rng)):
                row[column] = krippendorff_alpha(counts, rng=rng, resamples=0).value
        print_row(mix.name, *(f"{mean:.3f}" for mean in found.mean(axis=0)))


def _ask_adaptively(table: VoteTable, rng: np.random.Generator) -> tuple[Integers, Integers]:
    """Return (M, K) counts of all votes, where disagreement of the first two asks for more, and of the first two."""
    order = np.argsort(rng.random((table.masks, 4)), axis=1)
    said = table.answer.reshape(-1, 4)[np.arange(table.masks)[:, np.newaxis], order]
    every, first = np.zeros((2, table.masks, table.answers), np.int64)
    for mask, votes in enumerate(said.tolist()):
        given = 2
        while given < 4 and _is_tied(votes[:given]):
            given += 1
        np.add.at(every[mask], votes[:given], 1)
        np.add.at(first[mask], votes[:2], 1)
    return every, first


def _is_tied(votes: Sequence[int]) -> bool:
    times = sorted((votes.count(answer) for answer in {*votes}), reverse=True)
    return len(times) > 1 and (times[0] == times[1] or times[0] < len(votes) / 2)


def _difference(differences: Floats) -> str:
    """Return a mean of paired differences in points, with its interval."""
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * differences.std(ddof=1) / len(differences) ** 0.5
    mean = 100 * differences.mean()
    return f"{mean:+.1f} ({mean - 100 * half:+.1f} … {mean + 100 * half:+.1f})"


PARTS = ("gold", "accuracies", "policies", "smoothing", "adaptive")


def main() -> None:
    """Print the parts that were asked for, each from a seed of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--draws", type=int, default=100, help="experiments per row")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if unknown := {*arguments.parts} - {*PARTS}:
        parser.error(f"no part {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    draws, seed = arguments.draws, arguments.seed
    for part in arguments.parts:
        print(f"\n### {part}, {draws} experiments each")
        if part == "gold":
            compare_intervals()
        elif part == "accuracies":
            recover_accuracies(CASES, draws, seed)
        elif part == "policies":
            compare_policies(MIXES, draws, seed)
        elif part == "smoothing":
            identified = [mix for mix in MIXES if not mix.copies and len(mix.accuracies) > 2]
            compare_smoothings(identified, draws, seed)
        else:
            compare_adaptive(draws, seed)


if __name__ == "__main__":
    main()
