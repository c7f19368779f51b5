"""How far annotators agree beyond chance: kappa and alpha, with bootstrap intervals over the masks.

All statistics here are for answers without an order. Masks are drawn with replacement (Efron and Tibshirani, 1993,
ch. 13; for these coefficients Zapf et al., 2016, BMC Medical Research Methodology 16:93), which is done on counts: how
often each different row of votes is drawn has the same distribution as drawing the masks one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mseg_curate.core.vote_table import Integers, VoteTable
from mseg_curate.errors import InputError

__all__ = [
    "Estimate",
    "alpha_of_pair",
    "cohen_kappa",
    "count_vote_pairs",
    "fleiss_kappa",
    "krippendorff_alpha",
    "tables_of_pairs",
]

Floats = npt.NDArray[np.float64]

# Weights of so many cells are drawn at a time, 32 MB.
_CELLS = 4_000_000


@dataclass(frozen=True)
class Estimate:
    """A coefficient with its interval: 1 is agreement throughout, 0 what chance would give, below 0 is worse.

    `masks` is how many counted. Where it is not defined all three are NaN, and `undefined` says why; '' otherwise.
    `low` and `high` alone are NaN where no resamples were asked for. `left_out` resamples were not defined, say
    because they held one answer only, and are not in the interval.
    """

    value: float
    low: float
    high: float
    masks: int
    level: float
    resamples: int
    left_out: int = 0
    undefined: str = ""


def cohen_kappa(
    table: Integers, *, rng: np.random.Generator, resamples: int = 1000, level: float = 0.95
) -> Estimate:
    """Return Cohen's kappa of two annotators (Cohen, 1960), with its percentile interval.

    `table` is (K, K): how many masks the first gave the answer of the row and the second that of the column. Not
    defined without masks, and where both gave one and the same answer to all. Raises InputError for a table that is
    not square or has negative counts.
    """
    _check_counts(table, "table of two annotators")
    if table.shape[0] != table.shape[1]:
        raise InputError("table of two annotators", expected="square", found=str(table.shape))
    first, second = np.nonzero(table)
    answers = len(table)
    cells = np.zeros((len(first), 2 * answers + 1))
    cells[np.arange(len(first)), first] = 1
    cells[np.arange(len(first)), answers + second] = 1
    cells[:, -1] = first == second

    def kappa(sums: Floats) -> Floats:
        rows, columns, agreed = sums[:, :answers], sums[:, answers:-1], sums[:, -1]
        masks = rows.sum(axis=1)
        chance = (rows * columns).sum(axis=1)
        return _divide(masks * agreed - chance, masks**2 - chance)

    why = "both gave the same answer to every mask" if table.any() else "no mask has votes of both"
    return _bootstrap(
        cells,
        table[first, second],
        coefficient=kappa,
        why_undefined=why,
        rng=rng,
        resamples=resamples,
        level=level,
    )


def fleiss_kappa(
    counts: Integers, *, rng: np.random.Generator, resamples: int = 1000, level: float = 0.95
) -> Estimate:
    """Return Fleiss' kappa (Fleiss, 1971), with its percentile interval.

    `counts` is (M, K): how many votes each mask has for each answer, n >= 2 in all on every mask. The annotators need
    not be the same from mask to mask. Not defined without masks, and where all votes are one answer. Raises
    InputError where masks have different numbers of votes, or fewer than two: `krippendorff_alpha` takes those.
    """
    _check_counts(counts, "votes per mask")
    votes = counts.sum(axis=1)
    if votes.size and (votes.min() != votes.max() or votes[0] < 2):
        raise InputError(
            "Fleiss' kappa",
            expected="the same number of votes on every mask, 2 or more",
            found=f"{votes.min()} … {votes.max()}",
            hint="Krippendorff's alpha takes unequal numbers",
        )
    rows, weight = _unique_rows(counts)
    n = int(votes[0]) if votes.size else 2
    cells = np.column_stack([rows, (rows * (rows - 1)).sum(axis=1)]).astype(np.float64)

    def kappa(sums: Floats) -> Floats:
        by_answer, pairs = sums[:, :-1], sums[:, -1]
        total = by_answer.sum(axis=1)
        chance = (by_answer**2).sum(axis=1)
        # Both agreements times total², so that whole numbers decide whether chance is 1.
        return _divide(pairs * total / (n - 1) - chance, total**2 - chance)

    return _bootstrap(
        cells,
        weight,
        coefficient=kappa,
        why_undefined=_why_undefined(counts),
        rng=rng,
        resamples=resamples,
        level=level,
    )


def krippendorff_alpha(
    counts: Integers, *, rng: np.random.Generator, resamples: int = 1000, level: float = 0.95
) -> Estimate:
    """Return Krippendorff's alpha for nominal data (Krippendorff, 2011, section C), with its percentile interval.

    `counts` is (M, K): how many votes each mask has for each answer. Masks may have any number of votes; those with
    fewer than two cannot agree or disagree and are left out. Not defined where no mask is left, and where all votes
    that are left are one answer.
    """
    _check_counts(counts, "votes per mask")
    paired = counts[counts.sum(axis=1) >= 2]
    rows, weight = _unique_rows(paired)
    votes = rows.sum(axis=1)
    agreeing = (rows * (rows - 1)).sum(axis=1) / np.maximum(votes - 1, 1)
    cells = np.column_stack([rows.astype(np.float64), agreeing])

    def alpha(sums: Floats) -> Floats:
        by_answer, coincidences = sums[:, :-1], sums[:, -1]
        total = by_answer.sum(axis=1)
        chance = (by_answer * (by_answer - 1)).sum(axis=1)
        return _divide((total - 1) * coincidences - chance, total * (total - 1) - chance)

    return _bootstrap(
        cells,
        weight,
        coefficient=alpha,
        why_undefined=_why_undefined(paired),
        rng=rng,
        resamples=resamples,
        level=level,
    )


def alpha_of_pair(
    counts: Integers,
    pair: tuple[int, int],
    *,
    rng: np.random.Generator,
    resamples: int = 1000,
    level: float = 0.95,
) -> Estimate:
    """Return how far two answers are told apart: alpha of the votes for one or the other.

    All other votes are taken as missing (Krippendorff, 2011, section C, on values so recoded), so that masks with two
    votes or more for the pair count. It tells nothing of masks where the pair is taken for a third answer. `counts` is
    as for `krippendorff_alpha`.
    """
    return krippendorff_alpha(counts[:, list(pair)], rng=rng, resamples=resamples, level=level)


def count_vote_pairs(counts: Integers) -> Integers:
    """Return (K, K): how many ordered pairs of votes on one mask are (row, column), which is symmetric.

    `counts` is (M, K): how many votes each mask has for each answer, of different annotators.
    """
    _check_counts(counts, "votes per mask")
    return counts.T @ counts - np.diag(counts.sum(axis=0))


def tables_of_pairs(
    votes: VoteTable, *, most: int | None = None
) -> tuple[dict[tuple[int, int], Integers], int]:
    """Return a table for `cohen_kappa` for every two annotators who share a mask, keyed by their numbers, lower first.

    With `most`, only of so many pairs, those who share the most masks; also returns how many pairs that leaves out.
    Raises InputError where an annotator has two votes on a mask.
    """
    order = np.lexsort((votes.annotator, votes.mask))
    mask, annotator, answer = votes.mask[order], votes.annotator[order], votes.answer[order]
    if ((mask[1:] == mask[:-1]) & (annotator[1:] == annotator[:-1])).any():
        raise InputError("votes of pairs of annotators", expected="one vote a mask and annotator")
    keys: list[Integers] = [np.zeros(0, np.int64)]
    ahead = 1
    # Votes of a mask stand together: those 1, 2, … places on are its pairs.
    while ahead < len(mask) and (same := mask[ahead:] == mask[:-ahead]).any():
        ones, others = np.nonzero(same)[0], np.nonzero(same)[0] + ahead
        pair = annotator[ones] * votes.annotators + annotator[others]
        keys.append((pair * votes.answers + answer[ones]) * votes.answers + answer[others])
        ahead += 1
    cells, times = np.unique(np.concatenate(keys), return_counts=True)
    pairs, places = np.divmod(cells, votes.answers**2)
    numbers, starts = np.unique(pairs, return_index=True)
    ends = np.append(starts[1:], len(pairs))
    shared = np.add.reduceat(times, starts) if len(starts) else starts
    kept = np.sort(np.argsort(-shared, kind="stable")[:most])
    tables: dict[tuple[int, int], Integers] = {}
    for number in kept.tolist():
        here = slice(starts[number], ends[number])
        flat = np.zeros(votes.answers**2, np.int64)
        flat[places[here]] = times[here]
        both = divmod(int(numbers[number]), votes.annotators)
        tables[both] = flat.reshape(votes.answers, votes.answers)
    return tables, len(numbers) - len(kept)


def _check_counts(counts: Integers, what: str) -> None:
    if counts.ndim != 2 or counts.dtype.kind not in "iu" or (counts.size and counts.min() < 0):
        raise InputError(
            what,
            expected="a matrix of counts, integers of 0 or more",
            found=f"shape {counts.shape}, {counts.dtype}",
        )


def _unique_rows(counts: Integers) -> tuple[Integers, Integers]:
    """Return the different rows and how many masks have each."""
    if not len(counts):
        return counts, np.zeros(0, np.int64)
    order = np.lexsort(counts.T)
    ordered = counts[order]
    is_new = np.ones(len(counts), np.bool_)
    is_new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    starts = np.nonzero(is_new)[0]
    return ordered[starts].astype(np.int64), np.diff(np.append(starts, len(counts)))


def _why_undefined(counts: Integers) -> str:
    if not len(counts):
        return "no mask has two votes"
    return "all votes are the same answer"


def _divide(above: Floats, below: Floats) -> Floats:
    """Divide, NaN where `below` is 0; both come from sums of whole numbers, so 0 is exact."""
    result = np.full(above.shape, math.nan)
    np.divide(above, below, out=result, where=below != 0)
    return result


def _bootstrap(
    cells: Floats,
    weight: Integers,
    *,
    coefficient: Callable[[Floats], Floats],
    why_undefined: str,
    rng: np.random.Generator,
    resamples: int,
    level: float,
) -> Estimate:
    """Compute a coefficient of weighted sums (R, columns) of `cells` (P, columns), and its interval."""
    if resamples < 0 or not 0 < level < 1:
        raise InputError("bootstrap", expected="resamples of 0 or more and a level below 1")
    masks = int(weight.sum())
    value = math.nan
    if masks:
        value = float(coefficient((weight @ cells)[np.newaxis])[0])
    if math.isnan(value):
        nan = math.nan
        return Estimate(nan, nan, nan, masks, level, resamples, undefined=why_undefined)
    step = max(1, _CELLS // len(weight))
    drawn = [
        coefficient(
            rng.multinomial(masks, weight / masks, size=min(step, resamples - done)) @ cells
        )
        for done in range(0, resamples, step)
    ]
    found = np.concatenate([*drawn, np.zeros(0)])
    defined = found[~np.isnan(found)]
    low, high = math.nan, math.nan
    if defined.size:
        low, high = map(float, np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]))
    return Estimate(value, low, high, masks, level, resamples, int(found.size - defined.size))
