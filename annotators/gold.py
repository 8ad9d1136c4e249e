"""What gold is: the one place that says so.

Some opinions on a pair speak as its truth. Whose they are is their voice:

    gold            whoever recorded it says that it is the truth (the column `gold`): it was
                    imported so, or somebody released it by name (annotator `people:BATCH`)
    human           one of our own people said so, in a lake where there were no batches yet
    people_of_pool  a person of an imported pool said so, and nobody vouches for it

On each pair what is vouched for goes before what our people say; the word of a pool's people is
gold only where no pair has any other. Of several voices of one kind the majority counts; a draw is
a tie. What people said in a batch and nobody released is no gold, and is to be left out before.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from annotators.consensus import vote_majority
from annotators.votes import PAIR, make_votes, select_opinions

GOLD, HUMAN, OF_POOL = "gold", "human", "people_of_pool"
RANKS = {GOLD: 0, HUMAN: 1, OF_POOL: 2}
P_OF_LABEL = {"a": 1.0, "tie": 0.5, "b": 0.0}


def tell_voice() -> pl.Expr:
    """The voice of an opinion by its annotator, kind and gold; null where it cannot be gold."""
    of_pool = pl.col("annotator").str.starts_with("import:")
    return (
        pl.when(pl.col("gold").fill_null(False))
        .then(pl.lit(GOLD))
        .when((pl.col("kind") == "human") & ~of_pool)
        .then(pl.lit(HUMAN))
        .when(pl.col("kind") == "human")
        .then(pl.lit(OF_POOL))
    )


def select_gold(judgments: pl.DataFrame) -> pl.DataFrame:
    """The opinions that are gold, with their `voice`.

    Args:
        judgments: of a whole lake (or of all that is looked at), without what does not count:
            annotator, kind, gold, valid, p_a and the columns that `votes.select_opinions` reads.
    """
    read = select_opinions(judgments).filter(pl.col("valid") & pl.col("p_a").is_not_null())
    spoken = read.with_columns(voice=tell_voice()).filter(pl.col("voice").is_not_null())
    ours = spoken.filter(pl.col("voice") != OF_POOL)
    return keep_leading(ours if len(ours) else spoken, PAIR)


def keep_leading(opinions: pl.DataFrame, by: str | Sequence[str]) -> pl.DataFrame:
    """Of each group the opinions whose `voice` goes before the others.

    Args:
        opinions: voice (of `RANKS`) and the columns `by`.
    """
    rank = pl.col("voice").replace_strict(RANKS, return_dtype=pl.Int64)
    return opinions.filter(rank == rank.min().over(by))


def settle_gold(voices: pl.DataFrame) -> pl.DataFrame:
    """What gold says of each pair: prompt_id, response_a, response_b, p_a (1, 0.5 or 0); sorted.

    Args:
        voices: of `select_gold`, or opinions that are to be the truth instead.
    """
    pairs = voices.select(
        "prompt_id", *PAIR, item=pl.concat_str("response_a", pl.lit("|"), "response_b")
    ).unique("item")
    said = vote_majority(make_votes(voices)).select(
        "item", p_a=pl.col("label").replace_strict(P_OF_LABEL, return_dtype=pl.Float64)
    )
    return pairs.join(said, on="item").drop("item").sort(PAIR)
