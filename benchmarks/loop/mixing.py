"""Show 5: learned weights of sources, equal numbers of each category, and row weights, each on or
off, on a pool with one bad source.

A full factorial: all eight settings on the same pairs, the same gold and the same prompts held out.
In all of them the labels are those that pairs came with and gold as it is, so that no setting gains
by having turned a label; and the weights of what is not dropped have mean 1, so that none gains by
how strong the probe's prior is beside them. That of the sources is learned as
`mix: {weigh: source}` learns it. A row weight is 2 q - 1, q the probability of its label by the
loop's reading, and nothing where the reading is against the label.
"""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import polars as pl
from numpy.typing import NDArray

from annotators.probe import call_winners, fit_probe
from benchmarks.loop.noise import spoil
from benchmarks.loop.pools import Pool, split_prompts
from benchmarks.loop.recovery import pair_up
from benchmarks.loop.remedies import Case, make_case, read_case
from pipelines.clean.learned_weights import learn_weights

Array = NDArray[np.float64]
FACTORS = ("learned weights of sources", "categories balanced", "row weights")
SETTINGS = {
    ", ".join(name for name, on in zip(FACTORS, ons, strict=True) if on) or "none of them": ons
    for ons in product((False, True), repeat=len(FACTORS))
}
LOOP = "the loop, soft labels"
MEASURES = ("accuracy", "by_category", "worst")
LEAST = 50  # pairs of a category in the exam that it takes to be measured


def try_mixing(pool: Pool, rate: float, seed: int, *, spread: float) -> pl.DataFrame:
    """A row a setting, and one of what the loop teaches with no mixing at all: setting, accuracy,
    by_category (its mean over categories), worst (that of the worst category); and of the seed:
    used (whether gold liked the learned weights better than equal ones), bad (the weight learned
    for the bad source), good (the mean of the others)."""
    train, exam = split_prompts(pool, seed)
    generator = np.random.default_rng([seed, 6, round(1000 * rate)])
    case = make_case(spoil(train, "source", rate, generator), seed, generator, spread=spread)
    found = read_case(case)
    gold, label = case.is_gold, np.where(case.is_gold, train.truth, case.label)
    by_source, facts = _learn(case, label)
    towards = np.where(label > 0.5, found.p, 1 - found.p)
    parts = (
        np.where(gold, 1.0, by_source[case.spoiled.source]),
        balance(train.categories, generator),
        np.where(gold, 1.0, np.maximum(0.0, 2 * towards - 1)),
    )
    rows = []
    for setting, ons in SETTINGS.items():
        weight = np.prod([part for part, on in zip(parts, ons, strict=True) if on] or [1.0], axis=0)
        weight = np.broadcast_to(weight, len(train))
        there = parts[1] > 0 if ons[1] else np.ones(len(train), dtype=bool)
        model = fit_probe(train.apart, label, spread, weights=weight / weight[there].mean())
        rows.append({"setting": setting, **_examine(model, exam), **facts})
    model = fit_probe(train.apart, found.p, spread)
    return pl.DataFrame([*rows, {"setting": LOOP, **_examine(model, exam), **facts}])


def balance(categories: NDArray[np.str_], generator: np.random.Generator) -> Array:
    """1 for as many pairs of each category as the smallest has (of those with 100 at least), 0 for
    the rest; what is smaller is kept whole."""
    names, counts = np.unique(categories, return_counts=True)
    quota = int(counts[counts >= 100].min(initial=len(categories)))
    kept = np.zeros(len(categories))
    for name in names:
        mine = generator.permutation(np.flatnonzero(categories == name))
        kept[mine[:quota]] = 1.0
    return kept


def tabulate_mixing(trials: list[pl.DataFrame]) -> pl.DataFrame:
    """setting, accuracy, by_category, worst, gain in accuracy over none of them (paired over
    seeds), low, high."""
    every = _join(trials)
    base = _take(every, next(iter(SETTINGS)), "accuracy")
    rows = []
    for setting in [*SETTINGS, LOOP]:
        gain, half = pair_up(_take(every, setting, "accuracy") - base)
        means = {name: _take(every, setting, name).mean() for name in MEASURES}
        rows.append({"setting": setting, **means, "gain": gain, "low": gain - half,
                     "high": gain + half})  # fmt: skip
    return pl.DataFrame(rows)


def tabulate_effects(trials: list[pl.DataFrame]) -> pl.DataFrame:
    """effect, measure, mean, low, high: what each factor does on average over the settings of the
    others (four with it less four without), paired over seeds; of two factors, by how much half
    the one's effect is greater where the other is on less where it is off."""
    every = _join(trials)
    rows = []
    places = range(len(FACTORS))
    for size in (1, 2):
        for some in combinations(places, size):
            signs = {setting: int(np.prod([1 if ons[at] else -1 for at in some]))
                     for setting, ons in SETTINGS.items()}  # fmt: skip
            for measure in ("accuracy", "by_category"):
                found = sum(sign * _take(every, setting, measure) for setting, sign in
                            signs.items()) / (len(SETTINGS) / 2)  # fmt: skip
                mean, half = pair_up(np.asarray(found))
                rows.append({"effect": " × ".join(FACTORS[at] for at in some), "measure": measure,
                             "mean": mean, "low": mean - half, "high": mean + half})  # fmt: skip
    return pl.DataFrame(rows)


def _learn(case: Case, label: Array) -> tuple[Array, dict[str, float]]:
    """The learned weight of each source, all 1 where held-out gold does not like them, and the
    facts of `try_mixing`."""
    gold, source = case.is_gold, case.spoiled.source
    chosen = case.pool.apart * np.where(label > 0.5, 1, -1)[:, None]
    learned = learn_weights(
        chosen[~gold],
        pl.Series([f"source {at}" for at in source[~gold]]),
        chosen[gold],
        pl.Series([f"pair {at}" for at in np.flatnonzero(gold)]),
        seed=case.seed,
    )
    names = [f"source {at}" for at in range(int(source.max()) + 1)]
    found = dict(learned.table.select("domain", "weight").iter_rows())
    every = np.array([found.get(name, 1.0) for name in names])
    used = np.array([learned.weights.get(name, 1.0) for name in names])
    return used, {"used": float(learned.used), "bad": every[0], "good": every[1:].mean()}


def _examine(model: Array, exam: Pool) -> dict[str, float]:
    right = 1 - np.abs(call_winners(model, exam.apart) - exam.truth)
    names, counts = np.unique(exam.categories, return_counts=True)
    each = [right[exam.categories == name].mean() for name in names[counts >= LEAST]]
    return {"accuracy": float(right.mean()), "by_category": float(np.mean(each)),
            "worst": float(min(each))}  # fmt: skip


def _join(trials: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat([each.with_columns(seed=pl.lit(at)) for at, each in enumerate(trials)])


def _take(every: pl.DataFrame, setting: str, measure: str) -> Array:
    """One number a seed."""
    return every.filter(pl.col("setting") == setting).sort("seed")[measure].to_numpy()
