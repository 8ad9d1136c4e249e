"""What can be done about spoiled labels: the loop, and what stands against it.

Each remedy takes a `Case` and gives a `Lesson`: what to teach the probe, and the labels it stands
for. All but `corrupted`, `dedup` and `random` may use gold, and teach its labels as they are; all
but `corrupted` see each pair once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from annotators.consensus import fit_consensus
from annotators.loop.jury import vote_plainly
from annotators.loop.precision import choose_kept
from annotators.loop.reading import PoolReading, read_pool
from annotators.loop.sorting import sort_pairs
from annotators.loop.trust import band_lengths
from annotators.probe import cross_fit
from benchmarks.loop.noise import Spoiled, ask_judges
from benchmarks.loop.pools import Pool

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
COVERAGE = 0.7
SPREAD = 4.0


@dataclass(frozen=True, eq=False)
class Case:
    """A spoiled pool without its repeated rows, with gold on some of it and what judges said."""

    spoiled: Spoiled
    said: Array
    is_gold: Bools
    seed: int
    spread: float = SPREAD

    @property
    def pool(self) -> Pool:
        """The pairs, each once."""
        return self.spoiled.pool

    @property
    def label(self) -> Array:
        """What they came with, 1 or 0."""
        return self.spoiled.label.astype(np.float64)

    @property
    def gold(self) -> Array:
        """Truth where there is gold, else NaN."""
        return np.where(self.is_gold, self.pool.truth, np.nan)

    @property
    def traits(self) -> pl.DataFrame:
        """Who gave a label, where it comes from, and whether it favours the longer response."""
        first = self.spoiled.label
        long, short = self.pool.first, self.pool.second
        lengths = band_lengths(np.where(first, long, short), np.where(first, short, long))
        return pl.DataFrame({"annotator": self.spoiled.annotator, "source": self.spoiled.source,
                             "length": lengths})  # fmt: skip


@dataclass(frozen=True, eq=False)
class Lesson:
    """`target` (pairs) is the label taught, 1, 0 or between; `weight` (pairs) 0 where none is;
    `kept` the pairs whose label it stands for, as `called`."""

    target: Array
    weight: Array
    kept: Bools
    called: Array


def make_case(
    spoiled: Spoiled,
    seed: int,
    generator: np.random.Generator,
    *,
    gold: float = 0.1,
    accuracies: tuple[float, ...] = (0.75, 0.75, 0.75),
    correlation: float = 0.3,
    spread: float = SPREAD,
) -> Case:
    """Gold on a random share of the pairs, and three judges."""
    n = len(spoiled.pool)
    is_gold = np.zeros(n, dtype=bool)
    is_gold[generator.permutation(n)[: round(gold * n)]] = True
    said = ask_judges(spoiled.pool.truth, accuracies, correlation, generator)
    return Case(spoiled, said, is_gold, seed, spread)


def read_case(case: Case) -> PoolReading:
    """The loop's own reading."""
    return read_pool(
        case.label,
        [f"judge {place}" for place in range(case.said.shape[1])],
        case.said,
        case.pool.apart,
        case.pool.prompts.tolist(),
        case.gold,
        case.traits,
        spread=case.spread,
        seed=case.seed,
    )


def keep_clean(case: Case) -> Lesson:
    """The oracle: true labels."""
    return _teach(case, case.pool.truth.astype(float), np.ones(len(case.pool), bool))


def keep_corrupted(case: Case) -> Lesson:
    """Everything as it was found, repeated rows and all."""
    counts = 1.0 + np.bincount(case.spoiled.copies, minlength=len(case.pool))
    return Lesson(case.label, counts, np.ones(len(counts), bool), case.label)


def keep_dedup(case: Case) -> Lesson:
    """Each pair once, with its label."""
    every = np.ones(len(case.pool), bool)
    return Lesson(case.label, every.astype(float), every, case.label)


def keep_random(case: Case) -> Lesson:
    """As many pairs as the loop keeps, drawn at random."""
    order = np.random.default_rng([case.seed, 71]).permutation(len(case.pool))
    kept = np.zeros(len(order), bool)
    kept[order[: round(COVERAGE * len(order))]] = True
    return Lesson(case.label, kept.astype(float), kept, case.label)


def keep_gold(case: Case) -> Lesson:
    """Gold alone."""
    return Lesson(np.nan_to_num(case.gold), case.is_gold.astype(float), case.is_gold,
                  np.nan_to_num(case.gold))  # fmt: skip


def keep_cross_validated(case: Case) -> Lesson:
    """Labels that a probe of the other prompts' labels agrees with."""
    return _teach(case, case.label, (_read_labels(case) > 0) == case.spoiled.label)


def keep_confident(case: Case) -> Lesson:
    """Confident learning (cleanlab): pruned by noise rate, on the same held-out probabilities."""
    from cleanlab.filter import find_label_issues

    p = expit(_read_labels(case))
    issues = find_label_issues(
        case.spoiled.label.astype(int), np.stack([1 - p, p], axis=1), n_jobs=1
    )
    return _teach(case, case.label, ~np.asarray(issues, dtype=bool))


def keep_gold_model(case: Case) -> Lesson:
    """Labels that a probe of gold alone agrees with."""
    return _teach(case, case.label, (_read_gold(case) > 0) == case.spoiled.label)


def sort_case(case: Case, flip_policy: str) -> tuple[pl.DataFrame, Lesson]:
    """The paper's second stage: the gold model and jury or best model; the best model is taught by
    gold and the jury's majority of other prompts."""
    jury = vote_plainly(case.said)
    best, gold = expit(_read_jury(case)), expit(_read_gold(case))
    toward = {"p_gold": gold, "p_best": best, "p_jury": jury}
    frame = pl.DataFrame(
        {"pair_id": np.arange(len(jury)).astype(str),
         **{name: np.where(case.spoiled.label, p, 1 - p) for name, p in toward.items()}}
    )  # fmt: skip
    sorted_ = sort_pairs(frame, flip_policy, judged=True)
    action = sorted_["action"].to_numpy()
    label = np.where(action == "flip", 1 - case.label, case.label)
    return sorted_, _teach(case, label, np.isin(action, ("keep", "flip")))


def keep_paper(case: Case) -> Lesson:
    """The paper's filter, nothing turned."""
    return sort_case(case, "none")[1]


def keep_paper_flipped(case: Case) -> Lesson:
    """The paper's filter with its discard turned round."""
    return sort_case(case, "all")[1]


def keep_majority(case: Case) -> Lesson:
    """What most of the judges say, instead of the label."""
    return _teach(case, vote_plainly(case.said), np.ones(len(case.pool), bool))


def keep_dawid_skene(case: Case) -> Lesson:
    """Soft labels of Dawid and Skene from the label (as its annotator's word), the judges, and gold
    clamped."""
    n = len(case.pool)
    item = np.arange(n).astype(str)
    who = np.char.add("annotator ", case.spoiled.annotator.astype(str))
    names = [np.full(n, f"judge {place}") for place in range(case.said.shape[1])]
    spoken = [case.label, *case.said.T]
    votes = pl.DataFrame(
        {"item": np.tile(item, len(spoken)), "annotator": np.concatenate([who, *names]),
         "label": np.where(np.concatenate(spoken) > 0.5, "a", "b")}
    )  # fmt: skip
    gold = pl.DataFrame(
        {"item": item[case.is_gold], "label": np.where(case.pool.truth[case.is_gold], "a", "b")}
    )
    found = (
        fit_consensus(votes, gold).items.with_columns(pl.col("item").cast(pl.Int64)).sort("item")
    )
    p = (found["p_a"] + found["p_tie"] / 2).to_numpy()
    return _teach(case, p, np.ones(n, bool))


def keep_loop(case: Case) -> Lesson:
    """The loop: all pairs teach, as soft labels; the most certain `COVERAGE` are kept."""
    return lesson_of(case, read_case(case))


def lesson_of(case: Case, found: PoolReading, coverage: float = COVERAGE) -> Lesson:
    """What a reading teaches, and what it keeps of the pairs that are not gold."""
    kept = case.is_gold.copy()
    others = np.flatnonzero(~case.is_gold)
    kept[others[choose_kept(found.held_out[others], coverage)]] = True
    return Lesson(found.p, np.ones(len(kept)), kept, (found.p > 0.5).astype(float))


def keep_loop_hard(case: Case) -> Lesson:
    """The same reading, but only the kept labels teach, as hard ones."""
    soft = keep_loop(case)
    return _teach(case, soft.called, soft.kept)


def rank_majority(case: Case) -> tuple[Bools, Array]:
    """The plain majority at the loop's coverage: unanimous pairs first, chance among equals."""
    margin = np.abs((2 * case.said - 1).sum(axis=1))
    margin += np.random.default_rng([case.seed, 72]).random(len(margin)) / 10
    kept = case.is_gold.copy()
    others = np.flatnonzero(~case.is_gold)
    count = int(np.ceil(round(COVERAGE * len(others), 9)))
    kept[others[np.argsort(-margin[others], kind="stable")[:count]]] = True
    return kept, vote_plainly(case.said)


REMEDIES: dict[str, Callable[[Case], Lesson]] = {
    "clean (oracle)": keep_clean,
    "corrupted, repeated rows": keep_corrupted,
    "dedup": keep_dedup,
    "dedup, random 70 %": keep_random,
    "gold alone": keep_gold,
    "cross-validated filter": keep_cross_validated,
    "confident learning": keep_confident,
    "gold-model filter": keep_gold_model,
    "paper's filter": keep_paper,
    "paper's filter, all flipped": keep_paper_flipped,
    "majority of the judges": keep_majority,
    "Dawid-Skene, soft": keep_dawid_skene,
    "the loop": keep_loop,
    "the loop, kept ones only": keep_loop_hard,
}


def _teach(case: Case, target: Array, kept: Bools) -> Lesson:
    """Kept labels and gold as it is."""
    label = np.where(case.is_gold, np.nan_to_num(case.gold), target)
    every = kept | case.is_gold
    return Lesson(label, every.astype(float), every, (label > 0.5).astype(float))


@lru_cache(maxsize=1)
def _read_labels(case: Case) -> Array:
    """Held-out margins of a probe of the labels as they came."""
    return cross_fit(case.pool.apart, case.label, case.pool.prompts.tolist(), case.spread,
                     seed=case.seed)  # fmt: skip


@lru_cache(maxsize=1)
def _read_gold(case: Case) -> Array:
    """Held-out margins of a probe of gold alone."""
    return cross_fit(case.pool.apart, np.nan_to_num(case.gold), case.pool.prompts.tolist(),
                     case.spread, weights=case.is_gold.astype(float), seed=case.seed)  # fmt: skip


@lru_cache(maxsize=1)
def _read_jury(case: Case) -> Array:
    """Held-out margins of a probe of the judges' majority, gold as it is."""
    target = np.where(case.is_gold, np.nan_to_num(case.gold), vote_plainly(case.said))
    return cross_fit(case.pool.apart, target, case.pool.prompts.tolist(), case.spread,
                     seed=case.seed)  # fmt: skip
