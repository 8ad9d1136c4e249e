"""Label policies: pure functions from judgments to labels.

A policy looks at opinions and says, for each pair, which response is preferred and how surely, or
that people must decide. Changing the policy costs no model call: the opinions stay what they are.

Every policy takes `pairs` (pair_id, prompt_id, response_a, response_b), `judgments` (rows of the
table: pointwise verdicts of verifiers, pairwise opinions) and the threshold. `pairs` may have the
`split` of its prompts, which tells juries whose gold is the exam's. `judgments` has three
columns more: `one_order` is true where the judge is asked in one order only (else its word counts
when both are there, or order has no meaning); `model` is the model behind a judge of the recipe,
`name@revision`; `p_raw` is p_a as it was said, where p_a is calibrated. One row a pair comes out:

    pair_id, status, p_a, agreement, tier, decided_by, annotators, reason, entropy

`status` is `labelled` or `to_review`; `p_a` the probability that response_a is better (of a pair
that people must decide: what the first voice in rank said, where it could be read in full);
`agreement` the share of the deciding opinions on the winner's side; `tier` is gold (people),
silver (verifier or judge) or candidate (nobody but an imported pool says so, whoever said it
there); `decided_by` the kind of opinion that decided (`import` for all that came with a pool, but
`gold` for what its recorder vouches for); `annotators` who they were; `reason` why people must
decide; `entropy` how unsure the label is, in bits (of the two sides; of a jury's posterior also of
a tie; null without an opinion): the greatest go to people first.

A judge that is not sure leaves the pair to the next voice; a tie of anybody else is their word, and
no voice of a lower rank overrules it: the pair waits for people.

Of the policies here only `imported` listens to what came with a pool.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from annotators.gold import GOLD, select_gold, settle_gold, tell_voice
from annotators.gold import OF_POOL as OF_PEOPLE
from annotators.votes import PAIR, call_label

Policy = Callable[[pl.DataFrame, pl.DataFrame, float], pl.DataFrame]

TIER = {
    "gold": "gold", "human": "gold", "verifier": "silver", "llm": "silver", "import": "candidate",
}  # fmt: skip
OF_POOL = {
    "human": OF_PEOPLE, "import": "label_of_pool", "llm": "judges_of_pool",
    "reward_model": "judges_of_pool", "verifier": "judges_of_pool",
}  # fmt: skip
UNSURE = ("llm", "judges_of_pool")  # whose word needs the threshold
DIGITS = 9  # a mean's last bits depend on the order of its terms, and must not decide a pair
LABEL_SCHEMA = {
    "pair_id": pl.String,
    "status": pl.String,
    "p_a": pl.Float64,
    "agreement": pl.Float64,
    "tier": pl.String,
    "decided_by": pl.String,
    "annotators": pl.List(pl.String),
    "reason": pl.String,
    "entropy": pl.Float64,
}


def verifier_first(pairs: pl.DataFrame, judgments: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """A verifier's word, else people's, else the two-order judge above the threshold, else the
    review queue."""
    return _decide(pairs, judgments, threshold, ("verifier", "human", "llm"))


def human_first(pairs: pl.DataFrame, judgments: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """People's word over everything, then as `verifier_first`."""
    return _decide(pairs, judgments, threshold, ("human", "verifier", "llm"))


def judge_only(pairs: pl.DataFrame, judgments: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """The two-order judge above the threshold, else the review queue (and people's answers to
    it)."""
    return _decide(pairs, judgments, threshold, ("llm", "human"))


def imported(pairs: pl.DataFrame, judgments: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """The labels that came with a pool: what `annotators.gold` says, where anything is recorded or
    released as gold, else the majority of the pool's people, else its single label, else its
    judges, else the two-order judge, both above the threshold. A tie goes to the review queue."""
    of_pool = (OF_PEOPLE, "label_of_pool", "judges_of_pool")
    found = _decide(pairs, judgments, threshold, ("gold", "human", *of_pool, "llm"))
    voices = select_gold(judgments)
    return _put_gold(found, pairs, voices.filter(pl.col("voice") != OF_PEOPLE))


def gold_loop(pairs: pl.DataFrame, judgments: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """What is settled before a pool is read by the light of gold: what `annotators.gold` says,
    which is also what teaches, else a verifier's word. The other pairs are as the reading has them
    (`pipelines.label.loop.outcomes`), and wait until there is one. By itself it is no policy that
    one would label by, so it stands in no list of them."""
    return _put_gold(
        _decide(pairs, judgments, threshold, ("verifier",)), pairs, select_gold(judgments)
    )


POLICIES: dict[str, Policy] = {
    "verifier_first": verifier_first,
    "human_first": human_first,
    "judge_only": judge_only,
    "imported": imported,
}


def _decide(
    pairs: pl.DataFrame, judgments: pl.DataFrame, threshold: float, ranks: tuple[str, ...]
) -> pl.DataFrame:
    released = (pl.col("voice") == "gold") & pl.col("annotator").str.starts_with("people:")
    opinions = (
        pl.concat([collect_verifier(pairs, judgments), collect_pairwise(pairs, judgments)])
        .with_columns(voice=pl.when(released).then(pl.lit("human")).otherwise("voice"))
        .filter(pl.col("voice").is_in(ranks))
    )
    is_unsure = pl.col("voice").is_in(UNSURE)
    one_order = (pl.col("voice") == "llm") & (pl.col("orders") < 2)
    said = (
        opinions.filter(~one_order)
        .group_by("pair_id", "voice")
        .agg(
            pl.col("p_a").mean().round(DIGITS),
            (pl.col("p_a") > 0.5).mean().alias("share_a"),
            (pl.col("p_a") < 0.5).mean().alias("share_b"),
            pl.col("annotator").unique().sort().alias("annotators"),
        )
        .with_columns(
            rank=pl.col("voice").replace_strict(
                {voice: place for place, voice in enumerate(ranks)}, return_dtype=pl.Int64
            ),
            agreement=pl.when(pl.col("p_a") > 0.5).then("share_a").otherwise("share_b"),
            sure=pl.max_horizontal("p_a", 1 - pl.col("p_a")),
        )
        .sort("pair_id", "rank")
    )
    decisive = (pl.col("sure") > 0.5) & (~is_unsure | (pl.col("sure") >= threshold))
    final = said.filter(decisive | ~is_unsure).unique("pair_id", keep="first", maintain_order=True)
    chosen = final.filter(decisive)
    tied = final.filter(~decisive)
    first = said.join(tied, on="pair_id", how="anti").unique("pair_id", keep="first",
                                                             maintain_order=True)  # fmt: skip
    undecided = pl.concat([tied, first]).select(
        "pair_id",
        p_undecided="p_a",
        reason=pl.when(pl.col("p_a") == 0.5)
        .then(pl.lit("tie"))
        .otherwise(pl.lit("below_threshold")),
    )
    halves = opinions.filter(one_order).select("pair_id", half=pl.lit(True)).unique()
    labelled = pl.col("voice").is_not_null()
    kind = (
        pl.when(pl.col("voice").is_in(OF_POOL.values())).then(pl.lit("import")).otherwise("voice")
    )
    return (
        pairs.select("pair_id")
        .join(chosen, on="pair_id", how="left")
        .join(undecided, on="pair_id", how="left")
        .join(halves, on="pair_id", how="left")
        .with_columns(decided_by=kind)
        .with_columns(
            status=pl.when(labelled).then(pl.lit("labelled")).otherwise(pl.lit("to_review")),
            p_a=pl.when(labelled).then("p_a").otherwise("p_undecided"),
            tier=pl.col("decided_by").replace_strict(TIER, default=None, return_dtype=pl.String),
            reason=pl.when(~labelled).then(
                pl.coalesce(
                    "reason",
                    pl.when("half").then(pl.lit("one_order_only")),
                    pl.lit("no_opinion"),
                )
            ),
        )
        .with_columns(entropy=measure_entropy(pl.col("p_a")))
        .select(pl.col(name).cast(dtype) for name, dtype in LABEL_SCHEMA.items())
        .sort("pair_id")
    )


def _put_gold(labels: pl.DataFrame, pairs: pl.DataFrame, voices: pl.DataFrame) -> pl.DataFrame:
    """`labels`, but of the pairs that gold speaks of its side as `settle_gold` has it; where
    gold is a tie, people must decide.

    Args:
        voices: of `annotators.gold.select_gold`. The probability is their mean, or where that is on
            the other side, the mean of those on gold's.
    """
    settled = settle_gold(voices).select(*PAIR, side=call_label(pl.col("p_a")))
    mine = call_label(pl.col("p_a")) == pl.col("side")
    recorded = (pl.col("voice") == GOLD) & ~pl.col("annotator").str.starts_with("people:")
    said = (
        voices.join(settled, on=PAIR)
        .join(pairs.select(*PAIR, "pair_id"), on=PAIR)
        .group_by("pair_id")
        .agg(
            pl.col("side").first(),
            mean=pl.col("p_a").mean().round(DIGITS),
            likely=pl.col("p_a").filter(mine).mean().round(DIGITS),
            share=mine.mean(),
            recorded=(recorded & mine).any(),
            who=pl.col("annotator").unique().sort(),
        )
    )
    tie = pl.col("side") == "tie"
    p = (
        pl.when(tie)
        .then(0.5)
        .when(call_label(pl.col("mean")) == pl.col("side"))
        .then("mean")
        .otherwise("likely")
    )
    kind = pl.when("recorded").then(pl.lit("gold")).otherwise(pl.lit("human"))
    changed = said.select(
        "pair_id",
        status=pl.when(tie).then(pl.lit("to_review")).otherwise(pl.lit("labelled")),
        p_a=p,
        agreement=pl.when(~tie).then("share"),
        tier=pl.when(~tie).then(pl.lit("gold")),
        decided_by=pl.when(~tie).then(kind),
        annotators=pl.when(~tie).then("who"),
        reason=pl.when(tie).then(pl.lit("tie")),
        entropy=measure_entropy(p),
    ).select(pl.col(name).cast(dtype) for name, dtype in LABEL_SCHEMA.items())
    rest = labels.join(changed, on="pair_id", how="anti")
    return pl.concat([rest, changed]).sort("pair_id")


def collect_verifier(pairs: pl.DataFrame, judgments: pl.DataFrame) -> pl.DataFrame:
    """One opinion a pair where exactly one response is correct (score 1)."""
    verdicts = (
        judgments.filter(
            (pl.col("kind") == "verifier") & pl.col("valid") & pl.col("response_b").is_null()
        )
        .group_by("response_a")
        .agg(pl.col("score").max(), pl.col("annotator").first())
        .rename({"response_a": "response"})
    )
    correct = pl.col("score") >= 0.999
    sides = pairs.join(
        verdicts.select(pl.col("response").alias("response_a"), correct.alias("a"), "annotator"),
        on="response_a",
    ).join(
        verdicts.select(pl.col("response").alias("response_b"), correct.alias("b")),
        on="response_b",
    )
    return sides.filter(pl.col("a") != pl.col("b")).select(
        "pair_id",
        voice=pl.lit("verifier"),
        annotator="annotator",
        model=pl.lit(None, dtype=pl.String),
        p_a=pl.col("a").cast(pl.Float64),
        orders=pl.lit(2, dtype=pl.Int64),
    )


def collect_pairwise(pairs: pl.DataFrame, judgments: pl.DataFrame) -> pl.DataFrame:
    """One opinion an annotator and pair: the mean over orders and samples, so that a person's
    revision is the caller's to resolve and a judge's two orders weigh the same. `voice` is the
    kind of the annotator, and of a pool's own annotators what `OF_POOL` calls them."""
    valid = judgments.filter(
        pl.col("valid") & pl.col("p_a").is_not_null() & pl.col("criterion").is_null()
    )
    who = ["response_a", "response_b", "kind", "annotator", pl.col("gold").fill_null(False)]
    per_order = valid.group_by(*who, pl.col("order").fill_null("-")).agg(
        pl.col("p_a").mean(), pl.col("one_order", "model").first()
    )
    per_annotator = per_order.group_by(*who).agg(
        pl.col("p_a").mean().round(DIGITS),
        pl.col("model").first(),
        orders=pl.when(pl.col("one_order").any() | (pl.col("order") == "-").any())
        .then(2)
        .otherwise(pl.len())
        .cast(pl.Int64),
    )
    return pairs.join(per_annotator, on=["response_a", "response_b"]).select(
        "pair_id",
        voice=name_voice(),
        annotator="annotator",
        model="model",
        p_a="p_a",
        orders="orders",
    )


def name_voice() -> pl.Expr:
    """The kind of an opinion's annotator, and of a pool's own annotators what `OF_POOL` calls them;
    gold is whose it is (see `annotators.gold.tell_voice`). Reads annotator, kind and gold."""
    of_pool = pl.col("annotator").str.starts_with("import:")
    pool_voice = pl.col("kind").replace_strict(OF_POOL, default=None, return_dtype=pl.String)
    return pl.coalesce(tell_voice(), pl.when(of_pool).then(pool_voice).otherwise("kind"))


def measure_entropy(p: pl.Expr) -> pl.Expr:
    """The entropy of a probability, in bits: 0 is certain, 1 knows nothing."""
    parts = [pl.when(q > 0).then(-q * q.log(2)).otherwise(0.0) for q in (p, 1 - p)]
    return pl.when(p.is_not_null()).then((parts[0] + parts[1]).round(DIGITS))
