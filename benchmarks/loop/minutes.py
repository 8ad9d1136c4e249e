"""Show 2, where the next minutes pay: people's labels correct a spoiled pool, chosen in four ways.

All start from the same `SEED_GOLD` random gold pairs, and read the pool anew after each round. What
is chosen by need is no random sample: it settles its own pairs and teaches the probes, but only
random gold weighs the voices. People are right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from annotators.loop.reading import PoolReading, read_pool
from annotators.loop.retrieval import fetch_neighbours
from annotators.loop.spending import Source, spend
from annotators.probe import call_winners, fit_probe
from benchmarks.loop.noise import spoil
from benchmarks.loop.pools import Pool, split_prompts
from benchmarks.loop.recovery import pair_up
from benchmarks.loop.remedies import Case, make_case

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
STEPS = (0, 125, 250, 500, 1000)
SEED_GOLD = 200
HUMAN = 4.6  # log odds of a person: right 99 times in a hundred
CHOOSERS = ("random", "uncertainty", "retrieval", "optimiser")


def try_minutes(pool: Pool, kind: str, rate: float, seed: int, *, spread: float) -> pl.DataFrame:
    """chooser, labels, error (of the labels of all pairs), accuracy (of the probe that all pairs
    teach, on prompts held out)."""
    train, exam = split_prompts(pool, seed)
    generator = np.random.default_rng([seed, 5, round(1000 * rate), *map(ord, kind)])
    spoiled = spoil(train, kind, rate, generator)
    case = make_case(spoiled, seed, generator, gold=SEED_GOLD / len(train), spread=spread)
    start = _read(case, case.is_gold, case.is_gold)
    rows = []
    for chooser in CHOOSERS:
        known, sample, found = case.is_gold.copy(), case.is_gold.copy(), start
        for before, after in zip((0, *STEPS), STEPS, strict=False):
            if after > before:
                new = choose(chooser, case, found, known, after - before, generator)
                known[new] = True
                if chooser == "random":
                    sample[new] = True
                found = _read(case, known, sample)
            wrong = (found.p > 0.5) != train.truth
            weights = fit_probe(train.apart, found.p, spread)
            right = 1 - np.abs(call_winners(weights, exam.apart) - exam.truth)
            rows.append({"chooser": chooser, "labels": after, "error": float(wrong.mean()),
                         "accuracy": float(right.mean())})  # fmt: skip
    return pl.DataFrame(rows)


def choose(
    chooser: str,
    case: Case,
    found: PoolReading,
    known: Bools,
    count: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Which pairs people label next: places.

    `uncertainty` is that of the reward model (the best probe), `retrieval` fetches the neighbours
    of the gold pairs that it errs on, the least certain gold first; `optimiser` is
    `annotators.loop.spending` on the reading of all voices, every label at one price.
    """
    open_ = np.flatnonzero(~known)
    if chooser == "random":
        return generator.permutation(open_)[:count]
    if chooser == "uncertainty":
        doubt = np.abs(found.p_best[open_] - 0.5)
        return open_[np.argsort(doubt, kind="stable")[:count]]
    if chooser == "optimiser":
        source = Source("people", HUMAN, float(count))
        chosen = spend(found.log_odds[open_], (source,), {"people": 1.0})
        return open_[chosen["place"].to_numpy()]
    vectors = case.pool.apart / np.linalg.norm(case.pool.apart, axis=1, keepdims=True)
    gold = np.flatnonzero(known)
    p = np.where(case.pool.truth[gold], found.p_best[gold], 1 - found.p_best[gold])
    near = fetch_neighbours(vectors[gold].astype(np.float32), p, vectors[open_].astype(np.float32))
    need = p[near["gold"].to_numpy()]
    order = np.lexsort((near["pool"].to_numpy(), near["rank"].to_numpy(), need))
    first = open_[near["pool"].to_numpy()[order][:count]]
    rest = np.setdiff1d(open_, first)
    return np.concatenate([first, generator.permutation(rest)[: count - len(first)]])


def tabulate_minutes(trials: list[pl.DataFrame]) -> pl.DataFrame:
    """chooser, labels, error, accuracy; below_random_1000: the error of `random` at 1,000 labels
    less this one, paired over seeds, with its 95 % interval (low, high)."""
    every = pl.concat([each.with_columns(seed=pl.lit(at)) for at, each in enumerate(trials)])
    last = every.filter((pl.col("chooser") == "random") & (pl.col("labels") == STEPS[-1]))
    base = last.sort("seed")["error"].to_numpy()
    rows: list[dict[str, Any]] = []
    for chooser in CHOOSERS:
        for labels in STEPS:
            mine = every.filter((pl.col("chooser") == chooser) & (pl.col("labels") == labels)).sort(
                "seed"
            )
            gain, half = pair_up(base - mine["error"].to_numpy())
            rows.append({"chooser": chooser, "labels": labels, "error": mine["error"].mean(),
                         "accuracy": mine["accuracy"].mean(), "below_random_1000": gain,
                         "low": gain - half, "high": gain + half})  # fmt: skip
    return pl.DataFrame(rows)


def _read(case: Case, known: Bools, sample: Bools) -> PoolReading:
    return read_pool(
        case.label,
        [f"judge {place}" for place in range(case.said.shape[1])],
        case.said,
        case.pool.apart,
        case.pool.prompts.tolist(),
        np.where(known, case.pool.truth, np.nan),
        case.traits,
        sample=sample,
        spread=case.spread,
        seed=case.seed,
    )
