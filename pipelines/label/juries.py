"""Label policies that weigh everybody against everybody: juries of people and machines.

They take and give what the policies of `pipelines.label.policies` do, but a label depends on what
was said of all pairs at once, for that is what each voice has earned its weight with.

Whoever speaks is first asked for one word a pair: the mean of an annotator's orders and samples, a
judge's only where both orders are there; a verifier's where it tells one response from the other.
The judges of one model then have one voice together, what most of them say (a draw is a tie), so
that a model asked in three ways does not outvote another: self-consistency within each model, then
a merge across models (Skywork-Reward-V2, 2507.01352, section 3; its code is not public, this is a
re-implementation). Ties are a class of their own.

What a recorder vouches for, and what our own people say, is gold here (`annotators.gold`): it
decides its pair, or (with `dawid_skene`) what our people say is one more voice that learns from the
others. What nobody but an imported pool says stays a candidate, whatever the jury makes of it.

Gold of the exam (`pipelines.lake.teaching`) labels its own pairs and weighs nobody: where `pairs`
has the column `split`, no label of a pair in train depends on what people or recorders say in test.
"""

from __future__ import annotations

import polars as pl

from annotators.consensus import (
    fit_consensus,
    measure_accuracies,
    vote_majority,
    vote_weighted,
)
from annotators.gold import GOLD, HUMAN, P_OF_LABEL, keep_leading
from annotators.votes import call_label, count_labels, lead_label
from pipelines.label.people.counting import PEOPLE
from pipelines.label.policies import (
    DIGITS,
    LABEL_SCHEMA,
    TIER,
    collect_pairwise,
    collect_verifier,
    measure_entropy,
)
from pipelines.lake.teaching import on_test

CONSENSUS = "consensus"
# a judge of ours can still be asked in the other order; what a pool records stays as it is
LACKS_ORDER = (pl.col("voice") == "llm") & (pl.col("orders") < 2)


def dawid_skene(pairs: pl.DataFrame, judgments: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """The posterior of Dawid and Skene over people and machines together; recorded gold is known.

    A pair is labelled where the posterior of one side reaches the threshold; else its entropy says
    how much people are needed.
    """
    opinions = _collect(pairs, judgments)
    exam = _find_exam(pairs)
    gold = opinions.filter(pl.col("voice") == GOLD)
    heard = opinions.filter(pl.col("voice") != GOLD)
    people = (pl.col("voice") == HUMAN) & pl.col("pair_id").is_in(exam)
    taught = _settle(_leave_exam(gold, exam))
    found = fit_consensus(_make_votes(heard.filter(~people)), taught).items
    if len(heard.filter(people)):  # they speak on their own pairs, and weigh no voice elsewhere
        whole = fit_consensus(_make_votes(heard), taught).items
        examined = pl.col("item").is_in(exam)
        found = pl.concat([found.filter(~examined), whole.filter(examined)])
    return _conclude(pairs, opinions, found, threshold, gold)


def gold_first(pairs: pl.DataFrame, judgments: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """People and recorded gold decide their pairs and teach the weights; the posterior of Dawid
    and Skene over all others decides the rest."""
    opinions = _collect(pairs, judgments)
    gold = _take_gold(opinions)
    taught = _settle(_leave_exam(gold, _find_exam(pairs)))
    found = fit_consensus(_make_votes(_leave_gold(opinions)), taught).items
    return _conclude(pairs, opinions, found, threshold, gold)


def weighted_vote(pairs: pl.DataFrame, judgments: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """Votes weighed by the log odds of each voice's accuracy on gold (people and what is recorded
    as gold), or, where that says nothing of any of them, on the majority. A voice that nothing
    measures weighs as one that is right 0.7 of the time."""
    opinions = _collect(pairs, judgments)
    gold = _take_gold(opinions)
    votes = _make_votes(_leave_gold(opinions))
    taught = _settle(_leave_exam(gold, _find_exam(pairs)))
    found = vote_weighted(votes, measure_accuracies(votes, taught))
    return _conclude(pairs, opinions, found, threshold, gold)


def unanimous(pairs: pl.DataFrame, judgments: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """What every judge says in both orders and in every sample, and no verifier or pool denies; the
    probability is the mean over the voices. People's word and recorded gold decide their pairs,
    whatever the judges say."""
    spoken = _hear(pairs, judgments)
    overall = pl.col("valid") & pl.col("p_raw").is_not_null() & pl.col("criterion").is_null()
    single = judgments.filter(overall).join(pairs, on=["response_a", "response_b"])
    by_row, by_annotator = pl.col("p_raw"), pl.col("p_a")  # a calibrated mean hides the orders
    torn = pl.concat(
        [
            _find_split(single, ["pair_id", "annotator"], by_row),
            _find_split(spoken, ["pair_id"], by_annotator),
            spoken.filter(LACKS_ORDER).select("pair_id"),
        ]
    )
    opinions = _merge(spoken.filter(~LACKS_ORDER))
    tie = pl.col("p_tie") == 1
    agreed = (
        opinions.join(torn, on="pair_id", how="anti")
        .group_by(item="pair_id")
        .agg(p=pl.col("p_a").mean().round(DIGITS), p_tie=(pl.col("label") == "tie").all())
        .with_columns(pl.col("p_tie").cast(pl.Float64))
        .select(
            "item",
            "p_tie",
            p_a=pl.when(tie).then(0.0).otherwise("p"),
            p_b=pl.when(tie).then(0.0).otherwise(1 - pl.col("p")),
            entropy=pl.when(tie).then(0.0).otherwise(measure_entropy(pl.col("p"))),
        )
    )
    gold = _take_gold(opinions)
    return _conclude(pairs, opinions, agreed, threshold, gold)


JURIES = {
    "dawid_skene": dawid_skene,
    "gold_first": gold_first,
    "weighted_vote": weighted_vote,
    "unanimous": unanimous,
}


def _collect(pairs: pl.DataFrame, judgments: pl.DataFrame) -> pl.DataFrame:
    """One row a voice and pair; see `_merge`."""
    return _merge(_hear(pairs, judgments).filter(~LACKS_ORDER))


def _hear(pairs: pl.DataFrame, judgments: pl.DataFrame) -> pl.DataFrame:
    """One row an annotator and pair: pair_id, voice, annotator, model, p_a, orders. A reward model
    of this lake learned from labels: to count it would be to count those once more."""
    opinions = pl.concat([collect_verifier(pairs, judgments), collect_pairwise(pairs, judgments)])
    return opinions.filter(pl.col("voice").is_not_null() & (pl.col("voice") != "reward_model"))


def _merge(opinions: pl.DataFrame) -> pl.DataFrame:
    """One row a voice and pair, the annotators of one model being one voice: pair_id, voice,
    speaker, label (what most of them say), p_a (their mean), annotators."""
    speaker = pl.coalesce("model", "annotator").alias("speaker")
    return (
        opinions.with_columns(label=call_label(pl.col("p_a")))
        .group_by("pair_id", "voice", speaker)
        .agg(*count_labels(), pl.col("p_a").mean(), annotators=pl.col("annotator").unique())
        .with_columns(label=lead_label())
    )


def _find_split(opinions: pl.DataFrame, by: list[str], p_a: pl.Expr) -> pl.DataFrame:
    """The pair_id of whatever has several labels within one group."""
    labels = opinions.group_by(by).agg(kinds=call_label(p_a).n_unique())
    return labels.filter(pl.col("kinds") > 1).select("pair_id")


def _make_votes(opinions: pl.DataFrame) -> pl.DataFrame:
    return opinions.select("label", item="pair_id", annotator="speaker")


def _take_gold(opinions: pl.DataFrame) -> pl.DataFrame:
    """What is gold of each pair, as `annotators.gold` ranks it."""
    return keep_leading(opinions.filter(pl.col("voice").is_in([GOLD, HUMAN])), "pair_id")


def _leave_gold(opinions: pl.DataFrame) -> pl.DataFrame:
    return opinions.filter(~pl.col("voice").is_in([GOLD, HUMAN]))


def _find_exam(pairs: pl.DataFrame) -> list[str]:
    """The pairs whose gold is the exam's."""
    return pairs.filter(on_test())["pair_id"].to_list() if "split" in pairs.columns else []


def _leave_exam(gold: pl.DataFrame, exam: list[str]) -> pl.DataFrame:
    return gold.filter(~pl.col("pair_id").is_in(exam))


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
        gold_p=pl.col("label").replace_strict(P_OF_LABEL, return_dtype=pl.Float64),
    )
    tier = gold.group_by(item="pair_id").agg(
        gold_voice=pl.when(pl.col("speaker").str.starts_with(PEOPLE).all())
        .then(pl.lit(HUMAN))
        .otherwise(pl.col("voice").first()),
        gold_annotators=_list_annotators(),
    )
    heard = opinions.group_by(item="pair_id").agg(
        annotators=_list_annotators(),
        share_a=(pl.col("label") == "a").mean(),
        share_b=(pl.col("label") == "b").mean(),
        of_pool=pl.col("speaker").str.starts_with("import:").all(),
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
            tier=pl.when((pl.col("decided_by") == CONSENSUS) & pl.col("of_pool"))
            .then(pl.lit("candidate"))
            .otherwise(
                pl.col("decided_by").replace_strict(
                    {**TIER, CONSENSUS: "silver"}, default=None, return_dtype=pl.String
                )
            ),
            annotators=pl.when(decided).then(pl.coalesce("gold_annotators", "annotators")),
            entropy=pl.coalesce("entropy", measure_entropy(pl.col("p_a"))),
            reason=pl.when(~decided).then(reason),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in LABEL_SCHEMA.items())
        .sort("pair_id")
    )


def _list_annotators() -> pl.Expr:
    return pl.col("annotators").explode().unique().sort()
