"""Length matching: the fewest pairs to drop so that length alone predicts no more than it may."""

from __future__ import annotations

import math

import polars as pl

from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import Decided, decide_stage, drop_decided, make_scope
from pipelines.lake.run import Run, StageSummary
from schemas.ids import make_id
from schemas.recipe import Recipe

STAGE = "match"
RULES = 1
BINS = 10
RULE = "length_matched"


def match_lengths(lake: Lake, run: Run, recipe: Recipe, pairs: pl.DataFrame) -> StageSummary:
    """Drop pairs by `choose_unmatched` where the recipe says `clean.bias.match_length`.

    Args:
        pairs: pair_id, chosen_id, category, source, chosen, rejected (texts).
    """
    bias = recipe.clean.bias
    if not bias.match_length or bias.length is None:
        return StageSummary(STAGE, rows_in=len(pairs), kept=len(pairs))
    bound = bias.length

    def compute() -> Decided:
        sized = pairs.select(
            "pair_id",
            *([bias.within] if bias.within else []),
            length=pl.col("chosen").str.len_chars().cast(pl.Float64).log1p()
            - pl.col("rejected").str.len_chars().cast(pl.Float64).log1p(),
        )
        before = measure_length_accuracy(sized["length"])
        parts = sized.partition_by(bias.within) if bias.within and len(sized) else [sized]
        dropped = pl.concat(choose_unmatched(part, bound, recipe.seed) for part in parts)
        decisions = dropped.select(
            item_id="pair_id",
            item_kind=pl.lit("pair"),
            action=pl.lit("drop"),
            rule=pl.lit(RULE),
            reason=pl.format(
                "length alone predicted {} % of all labels, and may predict {} %",
                pl.lit(f"{100 * before:.1f}"), pl.lit(f"{100 * bound:g}"),
            ),
            value=pl.lit(before),
            threshold=pl.lit(bound),
        )  # fmt: skip
        return Decided(decisions, extra={"accuracy_before": round(before, 6)})

    return decide_stage(lake, run, stage=STAGE, scope=make_match_scope(recipe, pairs),
                        rows_in=len(pairs), compute=compute)  # fmt: skip


def make_match_scope(recipe: Recipe, pairs: pl.DataFrame) -> str:
    """The scope of the length matching of these pairs."""
    bias = recipe.clean.bias
    columns = ["pair_id", "chosen_id", *([bias.within] if bias.within else [])]
    inputs = pairs.select(pl.concat_str(columns, separator=":")).to_series()
    return make_scope(STAGE, RULES, [bias.length, bias.within, recipe.seed], inputs)


def keep_matched(lake: Lake, recipe: Recipe, pairs: pl.DataFrame) -> pl.DataFrame:
    """`pairs` without those that length matching dropped."""
    if not recipe.clean.bias.match_length:
        return pairs
    return drop_decided(lake, pairs, "pair_id", [make_match_scope(recipe, pairs)])


def measure_length_accuracy(length: pl.Series) -> float:
    """The share of the labels that length alone gets right, in the better of its two directions; a
    pair of equal lengths is half right. One half without pairs.

    Args:
        length: positive where the chosen response is the longer, negative where it is the shorter.
    """
    if not len(length):
        return 0.5
    longer = (int((length > 0).sum()) + int((length == 0).sum()) / 2) / len(length)
    return max(longer, 1 - longer)


def choose_unmatched(pairs: pl.DataFrame, bound: float, seed: int) -> pl.DataFrame:
    """The pairs to drop, by id, so that length alone is right on at most `bound` of the rest.

    They are the fewest that will do. All are of the side that wins too often; they come from the
    tenths (by how unequal the lengths are) in which it wins the most, until these are level, and
    within a tenth in an order that a hash of the id and the seed decides.

    Args:
        pairs: pair_id, length (see `measure_length_accuracy`).
    """
    longer = int((pairs["length"] > 0).sum())
    shorter = int((pairs["length"] < 0).sum())
    sign = 1 if longer >= shorter else -1
    need = _count_needed(max(longer, shorter), min(longer, shorter), len(pairs), bound)
    sized = pairs.with_columns(won=pl.col("length").sign() * sign, size=pl.col("length").abs())
    unequal = sized.filter(pl.col("size") > 0).sort("size", "pair_id")
    tenth = (pl.int_range(pl.len()) * BINS // pl.len()).alias("tenth")
    unequal = unequal.with_columns(tenth)
    winners = unequal.filter(pl.col("won") > 0)
    places = [make_id("length_match", seed, pair_id) for pair_id in winners["pair_id"]]
    winners = winners.with_columns(place=pl.Series(places, dtype=pl.String)).sort("tenth", "place")
    losses = dict(unequal.filter(pl.col("won") < 0).group_by("tenth").len().iter_rows())
    # The i-th last winner of a tenth goes once the tenth's odds are the highest that are left.
    ranked = winners.with_columns(
        left=pl.len().over("tenth") - pl.int_range(pl.len()).over("tenth"),
        lost=pl.col("tenth").replace_strict(losses, default=0, return_dtype=pl.Int64),
    ).with_columns(odds=pl.col("left") / (pl.col("lost") + 1))
    chosen = ranked.sort(["odds", "place"], descending=[True, False]).head(need)
    return chosen.select("pair_id").sort("pair_id")


def _count_needed(wins: int, losses: int, total: int, bound: float) -> int:
    """The least k for which (wins - k + ties / 2) / (total - k) is at most `bound`."""
    right = wins + (total - wins - losses) / 2
    need = max(0, math.ceil((right - bound * total) / (1 - bound) - 1e-9))
    while need < wins and right - need > bound * (total - need) + 1e-12:
        need += 1
    return min(need, wins)
