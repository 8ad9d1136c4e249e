"""What a group ranking costs and is worth: topologies, fits and the adaptive default.

`python -m benchmarks.ranking [GROUPS]` simulates judges; `--realdata FOLDER` takes the people of
FineGrained (`finegrained_qa_dev.jsonl.gz`) as the judge instead.

The simulated judge sees x = t_i - t_j + bias + noise, t standard normal and item 0, the anchor,
better than average; bias favours whoever is shown first, the noise is of each showing. Its verdict
is 2 S(x) - 1, S the logistic function, and the margin is the mean over both orders. The noises were
chosen once, so that round robin has the Spearman that the target names; nothing else was fitted.
Spearman is with the truth, equals sharing the mean rank; a ranking without an order counts as 0.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

from annotators.ranking.adaptive import choose_budget, measure_doubt, rank_adaptively
from annotators.ranking.cycles import find_cycles
from annotators.ranking.fit import (
    Fit,
    fit_bradley_terry,
    fit_least_squares,
    measure_differences,
    select_pairs,
)
from annotators.ranking.standing import (
    Comparison,
    FloatArray,
    Pair,
    Rounds,
    play_rounds,
    rank_scores,
)
from annotators.ranking.topologies import TOPOLOGIES, rank_by_anchor

BIAS = 0.5
GROUPS = 1000
SIZES = (8, 16)
Margins = Callable[[list[Pair]], list[float]]


@dataclass(frozen=True)
class Judge:
    """A simulated judge: its noise has this standard deviation, in units of the truth's."""

    name: str
    noise: float


@dataclass(frozen=True)
class Saving:
    """The adaptive ranking against round robin on the same groups: mean Spearman of both with the
    truth, and the most comparisons that a group took of it."""

    spearman: float
    round_robin: float
    comparisons: int


WEAK, STRONG = Judge("weak", 1.7), Judge("strong", 0.9)

# Weak and strong at N = 8, then at N = 16: a simulation made before this one, its judge unknown.
TARGETS = {
    "anchor": (0.63, 0.81, 0.60, 0.82),
    "swiss": (0.68, 0.81, 0.71, 0.85),
    "double": (0.69, 0.83, 0.70, 0.82),
    "seeded": (0.68, 0.85, 0.68, 0.86),
    "round_robin": (0.80, 0.90, 0.89, 0.95),
    "least squares, random": (0.74, 0.88, 0.76, 0.91),
    "least squares, anchor + adjacent": (0.73, 0.89, 0.73, 0.90),
    "least squares, all pairs": (0.84, 0.94, 0.92, 0.97),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", type=int, nargs="?", default=GROUPS)
    parser.add_argument("--realdata", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    started = time.monotonic()
    if arguments.realdata:
        show_people(read_people(arguments.realdata))
    else:
        for n in SIZES:
            for judge in (WEAK, STRONG):
                show_simulation(n, judge, arguments.groups)
    print(f"{time.monotonic() - started:.0f} s")


def show_simulation(n: int, judge: Judge, groups: int) -> None:
    """One judge and one size of group: Spearman, comparisons, and what may be exported."""
    spearman, cost = defaultdict[str, list[float]](list), defaultdict[str, list[int]](list)
    exports = defaultdict[str, list[FloatArray]](list)
    rng = np.random.default_rng(n)
    for truth, margins in simulate_groups(n, judge, groups, seed=n):
        for name, scores, made in rank_by_all(n, margins, rng):
            spearman[name].append(correlate_ranks(scores, truth))
            cost[name].append(len(made))
            if name in ("adaptive", "least squares, all pairs"):
                exports[name].append(count_exports(fit_least_squares(n, made), truth))
    print(f"\nN = {n}, {judge.name} judge (noise {judge.noise}), {groups} groups")
    print(f"  {'':<34}{'comparisons':>11}{'Spearman':>16}{'target':>8}")
    for name, values in spearman.items():
        error = np.std(values) / math.sqrt(len(values))
        target = f"{find_target(name, n, judge):.2f}" if name in TARGETS else "-"
        print(f"  {name:<34}{np.mean(cost[name]):>11.1f}{np.mean(values):>9.3f} ± {error:.3f}"
              f"{target:>8}")  # fmt: skip
    all_pairs, ours = n * (n - 1) // 2, float(np.mean(cost["adaptive"]))
    gap = np.mean(spearman["adaptive"]) - np.mean(spearman["round_robin"])
    print(f"  adaptive against round robin: {gap:+.3f} with {ours / all_pairs:.0%} of its "
          f"comparisons")  # fmt: skip
    for name, rows in exports.items():
        show_exports(name, np.array(rows), all_pairs)


def show_exports(name: str, rows: FloatArray, all_pairs: int) -> None:
    """How sure the fit is and how right: the columns of `count_exports`, over groups."""
    sure, right, kept, kept_right, cyclic = rows[:, :5].sum(axis=0)
    expected, wrong = rows[:, 5:].mean(axis=0)
    groups = len(rows)
    print(f"  {name}: {expected:.3f} of pairs expected in the wrong order, {wrong:.3f} are")
    print(f"    beyond two errors {sure / groups / all_pairs:.0%} of pairs, {right / sure:.3f} of "
          f"them right; after leaving out cycles {kept / groups / all_pairs:.0%}, "
          f"{kept_right / max(kept, 1):.3f} right; {cyclic / groups:.0%} of groups have a cycle"
          )  # fmt: skip


def count_exports(fit: Fit, truth: FloatArray) -> FloatArray:
    """Of one group: pairs beyond two errors and how many of them are right, the same after the
    rules of `select_pairs`, whether there is a cycle, the doubt and the share of wrong pairs."""
    difference, se = measure_differences(fit)
    right = (truth[:, None] > truth[None, :]) & (difference > 0)
    sure = difference > 2 * se
    pairs = select_pairs(fit)
    n = len(truth)
    return np.array([
        sure.sum(),
        (sure & right).sum(),
        len(pairs),
        sum(right[pair.winner, pair.loser] for pair in pairs),
        bool(find_cycles(n, fit.comparisons)),
        measure_doubt(fit),
        1 - right.sum() / math.comb(n, 2),
    ], dtype=float)  # fmt: skip


def measure_spearman(n: int, judge: Judge, groups: int) -> dict[str, tuple[float, float]]:
    """For each way of `TARGETS` the mean Spearman with the truth and its standard error."""
    found = defaultdict[str, list[float]](list)
    rng = np.random.default_rng(n)
    for truth, margins in simulate_groups(n, judge, groups, seed=n):
        for name, scores, _ in rank_by_known(n, margins, rng):
            found[name].append(correlate_ranks(scores, truth))
    error = math.sqrt(groups)
    return {
        name: (float(np.mean(values)), float(np.std(values)) / error)
        for name, values in found.items()
    }


def find_target(name: str, n: int, judge: Judge) -> float:
    """What the way of that name should come to."""
    return TARGETS[name][2 * SIZES.index(n) + (judge is STRONG)]


def rank_by_all(
    n: int, compare: Margins, rng: np.random.Generator
) -> Iterator[tuple[str, FloatArray, Sequence[Comparison]]]:
    """Each way's name, scores and comparisons: those that have targets, then our own."""
    yield from rank_by_known(n, compare, rng)
    made = look_up(compare, list(combinations(range(n), 2)))
    yield "Bradley-Terry, all pairs", fit_bradley_terry(n, made).scores, made
    for name, budget in (("adaptive, 2 (N - 1)", 2 * (n - 1)), ("adaptive", None)):
        standing = play_rounds(rank_adaptively(n, budget), compare)
        yield name, standing.scores, standing.comparisons


def rank_by_known(
    n: int, compare: Margins, rng: np.random.Generator
) -> Iterator[tuple[str, FloatArray, Sequence[Comparison]]]:
    """The same of the ways in `TARGETS`."""
    for name, topology in TOPOLOGIES.items():
        standing = play_rounds(topology(n), compare)
        yield name, -standing.ranks, standing.comparisons
    every = list(combinations(range(n), 2))
    few = [every[k] for k in rng.permutation(len(every))[: 2 * (n - 1)]]
    for name, pairs in (("random", few), ("anchor + adjacent", None), ("all pairs", every)):
        made = look_up(compare, pairs) if pairs else compare_adjacent(n, compare)
        yield f"least squares, {name}", fit_least_squares(n, made).scores, made


def compare_adjacent(n: int, compare: Margins) -> list[Comparison]:
    """The anchor round, then those next to one another in it."""
    anchor = play_rounds(rank_by_anchor(n), compare)
    order = [int(item) for item in np.argsort(anchor.ranks, kind="stable")]
    pairs = [pair for pair in pairwise(order) if 0 not in pair]
    return [*anchor.comparisons, *look_up(compare, pairs)]


def compare_with_round_robin(n: int, judge: Judge, groups: int, seed: int) -> Saving:
    """The claim in one number: is the default ranking as good as comparing everyone?"""
    found = []
    for truth, compare in simulate_groups(n, judge, groups, seed):
        standing = play_rounds(rank_adaptively(n), compare)
        full = play_rounds(TOPOLOGIES["round_robin"](n), compare)
        found.append((correlate_ranks(standing.scores, truth), correlate_ranks(full.scores, truth),
                      len(standing.comparisons)))  # fmt: skip
    spearman, round_robin, comparisons = np.array(found).T
    return Saving(float(spearman.mean()), float(round_robin.mean()), int(comparisons.max()))


def simulate_groups(
    n: int, judge: Judge, groups: int, seed: int
) -> Iterator[tuple[FloatArray, Margins]]:
    """Truths, and what the judge says of any pairs of them, the same whoever asks."""
    rng = np.random.default_rng(seed)
    for _ in range(groups):
        truth = rng.normal(size=n)
        truth[0] = abs(truth[0])
        apart = truth[:, None] - truth[None, :]
        first, second = rng.normal(scale=judge.noise, size=(2, n, n))
        table = (np.tanh((apart + BIAS + first) / 2) + np.tanh((apart - BIAS + second) / 2)) / 2
        table = np.triu(table, 1) - np.triu(table, 1).T
        yield truth, make_lookup(table)


def make_lookup(table: FloatArray) -> Margins:
    """A judge who reads the margins off an antisymmetric table."""
    return lambda pairs: [float(table[i, j]) for i, j in pairs]


def look_up(compare: Margins, pairs: list[Pair]) -> list[Comparison]:
    """The pairs with their margins."""
    return [(i, j, margin) for (i, j), margin in zip(pairs, compare(pairs), strict=True)]


def correlate_ranks(scores: FloatArray, truth: FloatArray) -> float:
    """Spearman's rho, equals sharing the mean rank; 0 where one of the two has no order."""
    ours, theirs = (_mean_ranks(values) for values in (scores, truth))
    spread = math.sqrt(float(ours @ ours) * float(theirs @ theirs))
    return float(ours @ theirs) / spread if spread > 0 else 0.0


def _mean_ranks(values: FloatArray) -> FloatArray:
    """Ranks about their mean, equals sharing theirs."""
    ranks = (rank_scores(values) - rank_scores(-values)) / 2
    return ranks - ranks.mean()


def read_people(folder: Path) -> list[FloatArray]:
    """FineGrained's groups of four as antisymmetric tables of 1, 0 (tie) and -1."""
    margin_of = {0: 0.0, 1: 1.0, 2: -1.0}
    tables = []
    with gzip.open(folder / "finegrained_qa_dev.jsonl.gz", "rt") as lines:
        for line in lines:
            table = np.zeros((4, 4))
            said = json.loads(line)["preference"]
            for (i, j), preference in zip(combinations(range(4), 2), said, strict=True):
                table[i, j] = margin_of[preference]
                table[j, i] = -table[i, j]
            tables.append(table)
    return tables


def show_people(tables: Sequence[FloatArray]) -> None:
    """Each way's Spearman with the ranking from all six comparisons, and what it asked for."""
    ordered = [table for table in tables if table.sum(axis=1).any()]
    cyclic = sum(bool(find_cycles(4, look_up(make_lookup(table), list(combinations(range(4), 2)))))
                 for table in tables)  # fmt: skip
    print(f"FineGrained: {len(tables)} groups of 4, {cyclic} with a cycle")
    print(f"  {len(tables) - len(ordered)} without an order in all six comparisons are left out")
    ways: dict[str, Callable[[], Rounds]] = {
        name: (lambda topology=topology: topology(4)) for name, topology in TOPOLOGIES.items()
    }
    for budget in range(2, 7):
        ways[f"adaptive, budget {budget}"] = lambda budget=budget: rank_adaptively(4, budget, 0)
    for doubt in (0.05, 0.1, 0.15):
        ways[f"adaptive, doubt {doubt}"] = lambda doubt=doubt: rank_adaptively(4, doubt=doubt)
    print(f"  {'':<24}{'comparisons':>11}{'share':>7}{'Spearman':>10}{'same first':>12}")
    for name, start in ways.items():
        rows = []
        for table in ordered:
            standing = play_rounds(start(), make_lookup(table))
            truth = table.sum(axis=1)
            best = standing.ranks == 0
            rows.append((
                len(standing.comparisons),
                correlate_ranks(np.nan_to_num(standing.scores), truth),
                (truth[best] == truth.max()).mean(),
            ))  # fmt: skip
        used, spearman, first = np.mean(rows, axis=0)
        print(f"  {name:<24}{used:>11.2f}{used / 6:>7.0%}{spearman:>10.3f}{first:>12.3f}")
    print(f"  (the default budget at N = 4 is {choose_budget(4)}: fewer than 3 cannot join four)")


if __name__ == "__main__":
    main()
