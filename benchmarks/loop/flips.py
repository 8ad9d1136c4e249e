"""Show 4, recycling: how right are labels that are turned round, and does the probe gain?"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from annotators.loop.sorting import FLIP_POLICIES
from benchmarks.loop.noise import spoil
from benchmarks.loop.pools import Pool, split_prompts
from benchmarks.loop.recovery import examine, pair_up
from benchmarks.loop.remedies import make_case, sort_case


def try_flips(pool: Pool, kind: str, rate: float, seed: int, *, spread: float) -> pl.DataFrame:
    """policy, kept and flipped (shares of the pairs that are not gold), kept_right, flipped_right
    (shares; NaN where none is), accuracy (of the probe taught by both and gold)."""
    train, exam = split_prompts(pool, seed)
    generator = np.random.default_rng([seed, 4, round(1000 * rate), *map(ord, kind)])
    case = make_case(spoil(train, kind, rate, generator), seed, generator, spread=spread)
    rows = []
    others = ~case.is_gold
    for policy in FLIP_POLICIES:
        sorted_, lesson = sort_case(case, policy)
        row: dict[str, Any] = {"policy": policy}
        for word, action in (("kept", "keep"), ("flipped", "flip")):
            mine = (sorted_["action"] == action).to_numpy() & others
            right = (lesson.called > 0.5) == train.truth
            row[word] = float(mine.sum() / others.sum())
            row[f"{word}_right"] = float(right[mine].mean()) if mine.any() else float("nan")
        rows.append({**row, "accuracy": examine(case, exam, lesson)})
    return pl.DataFrame(rows)


def tabulate_flips(trials: list[pl.DataFrame]) -> pl.DataFrame:
    """The means over seeds, ± half the 95 % interval of `flipped_right`, and what a policy gains in
    accuracy over `none`, paired over seeds, with its interval."""
    every = pl.concat([each.with_columns(seed=pl.lit(at)) for at, each in enumerate(trials)])
    base = every.filter(pl.col("policy") == "none").sort("seed")["accuracy"].to_numpy()
    rows = []
    for policy in FLIP_POLICIES:
        mine = every.filter(pl.col("policy") == policy).sort("seed")
        gain, half = pair_up(mine["accuracy"].to_numpy() - base)
        turned = mine["flipped_right"].to_numpy()
        some = turned[~np.isnan(turned)]
        right, wide = pair_up(some) if len(some) else (float("nan"), float("nan"))
        rows.append({"policy": policy, "kept": mine["kept"].mean(),
                     "kept_right": mine["kept_right"].mean(), "flipped": mine["flipped"].mean(),
                     "flipped_right": right, "±": wide, "accuracy": mine["accuracy"].mean(),
                     "gain": gain, "low": gain - half, "high": gain + half})  # fmt: skip
    return pl.DataFrame(rows).fill_nan(None)
