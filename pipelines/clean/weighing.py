"""How much each pair of a data set counts in training: equal, unless the recipe says by what.

`mix: {weigh: source}` or `category` learns from gold what the labels of each source or category
are worth (`learned_weights`); `difficulty` and `margin` weigh each pair by itself
(`difficulty_weights`). Gold pairs themselves count 1 where weights are learned: they taught them.
Weights are learned from the pairs in train; the exam's gold, and what is held out beside it, have
no say (`pipelines.lake.teaching`).
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.clean.difficulty_weights import (
    compare_sentences,
    split_sentences,
    weigh_by_difficulty,
    weigh_by_margin,
)
from pipelines.clean.learned_weights import learn_weights
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import Decided, decide_stage, make_scope
from pipelines.lake.run import Run, StageSummary
from pipelines.lake.teaching import on_train
from pipelines.lake.vectors import embed_cached
from schemas.recipe import Recipe

STAGE = "weigh"
RULES = 2
GOLD = "gold"
LEARNED = ("source", "category")


def weigh_pairs(
    lake: Lake, run: Run, recipe: Recipe, pairs: pl.DataFrame, rollouts: pl.DataFrame
) -> StageSummary:
    """Write the weights of `pairs` to the table `weights`; none is dropped.

    `extra["weights"]` holds, where weights are learned, a row for each domain with its interval,
    whether they are used, and the accuracy on held-out gold with and without them.

    Args:
        pairs: the mixed pairs: pair_id, chosen_id, rejected_id, tier, margin, source, category,
            split.
        rollouts: response_id, content.

    Raises:
        pipelines.clean.learned_weights.TooLittleGold: with how much more is needed.
    """

    if recipe.mix.weigh is None:
        return StageSummary(STAGE, rows_in=len(pairs), kept=len(pairs))

    def compute() -> Decided:
        weights, found = _weigh(lake, run, recipe, pairs, rollouts)
        scope = make_weight_scope(recipe, pairs)
        rows = pairs.select("pair_id", scope=pl.lit(scope), weight=pl.Series(weights))
        return Decided([], tables={"weights": rows}, extra={"weights": found})

    return decide_stage(
        lake,
        run,
        stage=STAGE,
        scope=make_weight_scope(recipe, pairs),
        rows_in=len(pairs),
        compute=compute,
    )


def make_weight_scope(recipe: Recipe, pairs: pl.DataFrame) -> str:
    """The scope of the weights of these pairs."""
    looked_at = pl.format(
        "{}:{}:{}:{}:{}:{}:{}", "pair_id", "chosen_id", "tier", pl.col("margin").round(9),
        "source", "category", "split",
    )  # fmt: skip
    config = [recipe.mix.weigh, recipe.seed]
    return make_scope(STAGE, RULES, config, pairs.select(looked_at).to_series())


def add_weights(lake: Lake, recipe: Recipe, pairs: pl.DataFrame) -> pl.DataFrame:
    """`pairs` with `weight`: as `weigh_pairs` wrote it, 1 where the recipe weighs nothing."""
    if recipe.mix.weigh is None:
        return pairs.with_columns(weight=pl.lit(1.0))
    weights = lake.query(
        "SELECT pair_id, weight FROM weights WHERE scope = ?", [make_weight_scope(recipe, pairs)]
    )
    return pairs.join(weights, on="pair_id", how="left", maintain_order="left").with_columns(
        pl.col("weight").fill_null(1.0)
    )


def _weigh(
    lake: Lake, run: Run, recipe: Recipe, pairs: pl.DataFrame, rollouts: pl.DataFrame
) -> tuple[NDArray[np.float64], object]:
    by = recipe.mix.weigh
    if by == "margin":
        return weigh_by_margin(pairs["margin"].to_numpy()), None
    contents = dict(rollouts.unique("response_id").select("response_id", "content").iter_rows())
    sides = [[contents[key] for key in pairs[side]] for side in ("chosen_id", "rejected_id")]
    if by == "difficulty":
        alike = _compare(lake, run, *sides)
        gaps = pairs["margin"].to_numpy()
        return weigh_by_difficulty(pairs["category"].to_list(), alike, gaps), None
    chosen, rejected = (embed_cached(lake, run, side) for side in sides)
    differences = (chosen - rejected).astype(np.float64)
    is_gold = pairs["tier"] == GOLD
    in_train = pairs.select(on_train()).to_series()
    pool, gold = in_train & ~is_gold, in_train & is_gold
    found = learn_weights(
        differences[pool.to_numpy()],
        pairs.filter(pool)[by],
        differences[gold.to_numpy()],
        pairs.filter(gold)["pair_id"],
        seed=recipe.seed,
    )
    learned = pairs[by].replace_strict(found.weights, default=1.0, return_dtype=pl.Float64)
    weights = np.where(is_gold.to_numpy(), 1.0, learned.to_numpy())
    told = {
        "by": by, "used": found.used, "domains": found.table.to_dicts(),
        "accuracy": found.accuracy, "equal_accuracy": found.equal_accuracy,
        "loss": found.loss, "equal_loss": found.equal_loss,
        "taught": found.taught, "held_out": found.held_out,
    }  # fmt: skip
    return weights, told


def _compare(lake: Lake, run: Run, chosen: list[str], rejected: list[str]) -> NDArray[np.float64]:
    """How alike the responses of each pair are, sentence by sentence."""
    parted = [[split_sentences(text) for text in side] for side in (chosen, rejected)]
    every = list(dict.fromkeys(s for side in parted for text in side for s in text))
    vectors = embed_cached(lake, run, every)
    places = {sentence: place for place, sentence in enumerate(every)}
    return np.array([
        compare_sentences(*(vectors[[places[s] for s in text]] for text in both))
        for both in zip(*parted, strict=True)
    ])  # fmt: skip
