"""Label policies that weigh everybody against everybody: juries of people and machines.

They take and give what the policies of `pipelines.label.policies` do, but a label depends on what
was said of all pairs at once, for that is what each voice has earned its weight with. Every
annotator has one voice a pair: the mean of its orders and samples, a judge's only where both orders
are there; a verifier's where it tells one response from the other. Ties are a class of their own.

What a recorder vouches for, and what our own people say, is gold here: it decides its pair
(`gold_first`, `weighted_vote`) or is one more voice that learns from the others (`dawid_skene`).
"""

from __future__ import annotations

import polars as pl

from annotators.consensus import fit_consensus, vote_majority, vote_weighted
from annotators.votes import call_label, unite_orders
from pipelines.label.policies import (
    DIGITS,
    LABEL_SCHEMA,
    TIER,
    collect_pairwise,
    collect_verifier,
    measure_entropy,
)

CONSENSUS = "consensus"


def dawid_skene(pairs: pl.DataFrame, judgments: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """The posterior of Dawid and Skene over people and machines together; recorded gold is known.

    A pair is labelled where the posterior of one side reaches the threshold; else its entropy says
    how much people are needed.
    """
    opinions = _collect(pairs, judgments)
    gold = opinions.filter(pl.col("voice") == "gold")
    votes = _make_votes(opinions.filter(pl.col("voice") != "gold"))
    found = fit_consensus(votes, _settle(gold)).items
    return _conclude(pairs, opinions, found, threshold, gold)


def gold_first(pairs: pl.DataFrame, judgments: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """People and recorded gold decide their pairs and teach the weights; the posterior of Dawid
    and Skene over all others decides the rest."""
    opinions = _collect(pairs, judgments)
    is_gold = pl.col("voice").is_in(["gold", "human"])
    gold = opinions.filter(is_gold)
    found = fit_consensus(_make_votes(opinions.filter(~is_gold)), _settle(gold)).items
    return _conclude(pairs, opinions, found, threshold, gold)


def weighted_vote(pairs: pl.DataFrame, judgments: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """Votes weighed by the log odds of each annotator's accuracy on gold (people and what is
    recorded as gold; where there is none, on the majority)."""
    opinions = _collect(pairs, judgments)
    is_gold = pl.col("voice").is_in(["gold", "human"])
    gold = opinions.filter(is_gold)
    votes = _make_votes(opinions.filter(~is_gold))
    truth = _settle(gold) if len(gold) else vote_majority(votes).select("item", "label")
    right = (pl.col("label") == pl.col("truth")).sum() + 1  # one pseudo-vote a class
    accuracies = (
        votes.join(truth.rename({"label": "truth"}), on="item")
        .group_by("annotator")
        .agg(accuracy=right / (pl.len() + 3))
    )
    return _conclude(pairs, opinions, vote_weighted(votes, accuracies), threshold, gold)


def unanimous(pairs: pl.DataFrame, judgments: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """A label only where every judge says the same in every order and sample, and no person or
    verifier says otherwise."""
    opinions = _collect(pairs, judgments)
    gold = opinions.filter(pl.col("voice").is_in(["gold", "human"]))
    overall = pl.col("valid") & pl.col("p_a").is_not_null() & pl.col("criterion").is_null()
    spoken = (
        judgments.filter(overall)
        .join(pairs, on=["response_a", "response_b"])
        .select("annotator", "order", "one_order", item="pair_id", label=call_label(pl.col("p_a")))
    )
    torn = spoken.group_by("item").agg(pl.col("label").n_unique()).filter(pl.col("label") > 1)
    halves = unite_orders(spoken.filter(~pl.col("one_order"))).filter(pl.col("label").is_null())
    votes = _make_votes(opinions).join(torn, on="item", how="anti")
    votes = votes.join(halves, on="item", how="anti")
    agreed = vote_majority(votes).filter(pl.max_horizontal("p_a", "p_b", "p_tie") == 1)
    return _conclude(pairs, opinions, agreed, threshold, gold)


JURIES = {
    "dawid_skene": dawid_skene,
    "gold_first": gold_first,
    "weighted_vote": weighted_vote,
    "unanimous": unanimous,
}


def _collect(pairs: pl.DataFrame, judgments: pl.DataFrame) -> pl.DataFrame:
    """pair_id, voice, annotator, p_a: one row a voice and pair."""
    opinions = pl.concat([collect_verifier(pairs, judgments), collect_pairwise(pairs, judgments)])
    one_order = (pl.col("voice") == "llm") & (pl.col("orders") < 2)
    return opinions.filter(~one_order & pl.col("voice").is_not_null())


def _make_votes(opinions: pl.DataFrame) -> pl.DataFrame:
    return opinions.select("annotator", item="pair_id", label=call_label(pl.col("p_a")))


def _settle(gold: pl.DataFrame) -> pl.DataFrame:
    """The majority of gold: item, label."""
    return vote_majority(_make_votes(gold)).select("item", "label")


def _conclude(
    pairs: pl.DataFrame,
    opinions: pl.DataFrame,
    found: pl.DataFrame,
    threshold: float,
    gold: pl.DataFrame,
) -> pl.DataFrame:
    """Labels from posteriors (item, p_a, p_b, p_tie, entropy) and the pairs that gold settles."""
    settled = _settle(gold).select(
        "item",
        gold_p=pl.col("label").replace_strict(
            {"a": 1.0, "tie": 0.5, "b": 0.0}, return_dtype=pl.Float64
        ),
    )
    tier = gold.group_by(item="pair_id").agg(
        gold_voice=pl.when((pl.col("voice") == "gold").any())
        .then(pl.lit("gold"))
        .otherwise(pl.lit("human")),
        gold_annotators=pl.col("annotator").unique().sort(),
    )
    side = call_label(pl.col("p_a"))
    heard = opinions.group_by(item="pair_id").agg(
        annotators=pl.col("annotator").unique().sort(),
        share_a=(side == "a").mean(),
        share_b=(side == "b").mean(),
    )
    posterior = found.select(
        "item",
        "entropy",
        posterior=(pl.col("p_a") + pl.col("p_tie") / 2).round(DIGITS),
        sure=pl.max_horizontal("p_a", "p_b"),
        tied=pl.col("p_tie") >= pl.max_horizontal("p_a", "p_b"),
    )
    by_gold = pl.col("gold_p").is_not_null()
    decided = pl.when(by_gold).then(pl.col("gold_p") != 0.5).otherwise(
        (pl.col("sure") >= threshold) & ~pl.col("tied")
    ).fill_null(False)  # fmt: skip
    p_a = pl.coalesce("gold_p", "posterior")
    decided_by = pl.when(decided).then(pl.coalesce("gold_voice", pl.lit(CONSENSUS)))
    reason = (
        pl.when(by_gold | pl.col("tied"))
        .then(pl.lit("tie"))
        .when(pl.col("posterior").is_not_null())
        .then(pl.lit("below_threshold"))
        .when(pl.col("annotators").is_not_null())
        .then(pl.lit("disagreement"))
        .otherwise(pl.lit("no_opinion"))
    )
    return (
        pairs.select("pair_id", item="pair_id")
        .join(posterior, on="item", how="left")
        .join(settled, on="item", how="left")
        .join(tier, on="item", how="left")
        .join(heard, on="item", how="left")
        .with_columns(p_a=p_a, decided_by=decided_by)
        .with_columns(
            status=pl.when(decided).then(pl.lit("labelled")).otherwise(pl.lit("to_review")),
            agreement=pl.when(decided).then(
                pl.when(pl.col("p_a") > 0.5).then("share_a").otherwise("share_b")
            ),
            tier=pl.col("decided_by").replace_strict(
                {**TIER, CONSENSUS: "silver"}, default=None, return_dtype=pl.String
            ),
            annotators=pl.when(decided).then(pl.coalesce("gold_annotators", "annotators")),
            entropy=pl.coalesce("entropy", measure_entropy(pl.col("p_a"))),
            reason=pl.when(~decided).then(reason),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in LABEL_SCHEMA.items())
        .sort("pair_id")
    )
