"""Show 5: learned weights of sources, equal numbers of each category, and row weights, each on or
off, on a pool with one bad source."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from annotators.probe import call_winners, fit_probe
from benchmarks.loop.noise import spoil
from benchmarks.loop.pools import Pool, split_prompts
from benchmarks.loop.recovery import pair_up
from benchmarks.loop.remedies import make_case, read_case
from pipelines.clean.learned_weights import learn_weights

Array = NDArray[np.float64]
SETTINGS = {
    "none of them": (),
    "learned weights of sources": ("learned",),
    "categories balanced": ("balanced",),
    "row weights": ("weights",),
    "learned and row weights": ("learned", "weights"),
    "all three": ("learned", "balanced", "weights"),
}


def try_mixing(pool: Pool, rate: float, seed: int, *, spread: float) -> pl.DataFrame:
    """setting, accuracy, worst (accuracy in the category where it is least, of those with 50 pairs
    in the exam). The labels are what pairs came with, gold as it is; row weights are |2 p - 1| of
    the loop's reading on the label that it favours."""
    train, exam = split_prompts(pool, seed)
    generator = np.random.default_rng([seed, 6, round(1000 * rate)])
    case = make_case(spoil(train, "source", rate, generator), seed, generator, spread=spread)
    found = read_case(case)
    gold, label = case.is_gold, np.where(case.is_gold, train.truth, case.label)
    chosen = train.apart * np.where(label > 0.5, 1, -1)[:, None]
    learned = learn_weights(
        chosen[~gold],
        pl.Series([f"source {at}" for at in case.spoiled.source[~gold]]),
        chosen[gold],
        pl.Series([f"pair {at}" for at in np.flatnonzero(gold)]),
        seed=seed,
    )
    by_source = learned.weights
    parts: dict[str, Array] = {
        "learned": np.where(gold, 1.0, [by_source[f"source {at}"] for at in case.spoiled.source]),
        "balanced": balance(train.categories, generator),
        "weights": np.where(gold, 1.0, np.abs(2 * found.p - 1)),
    }
    rows = []
    for setting, names in SETTINGS.items():
        weight = np.prod([np.ones(len(train)), *(parts[name] for name in names)], axis=0)
        target = (found.p > 0.5).astype(float) if "weights" in names else label
        model = fit_probe(train.apart, target, spread, weights=weight)
        right = 1 - np.abs(call_winners(model, exam.apart) - exam.truth)
        worst = min(
            float(right[exam.categories == name].mean())
            for name in np.unique(exam.categories)
            if (exam.categories == name).sum() >= 50
        )
        rows.append({"setting": setting, "accuracy": float(right.mean()), "worst": worst})
    return pl.DataFrame(rows)


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
    """setting, accuracy, worst, gain over none of them (paired over seeds), low, high."""
    every = pl.concat([each.with_columns(seed=pl.lit(at)) for at, each in enumerate(trials)])
    first = next(iter(SETTINGS))
    base = every.filter(pl.col("setting") == first).sort("seed")["accuracy"].to_numpy()
    rows = []
    for setting in SETTINGS:
        mine = every.filter(pl.col("setting") == setting).sort("seed")
        gain, half = pair_up(mine["accuracy"].to_numpy() - base)
        rows.append({"setting": setting, "accuracy": mine["accuracy"].mean(),
                     "worst": mine["worst"].mean(), "gain": gain, "low": gain - half,
                     "high": gain + half})  # fmt: skip
    return pl.DataFrame(rows)
