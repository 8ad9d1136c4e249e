"""Reliability cards: how far to trust each annotator, people and machines alike, from stored
opinions and gold.

Conventions, which the figures depend on:

- A verdict is a class: `a`, `b`, or `tie` (p_a of exactly one half). It is right where it is
  gold's class. A tie is right against a gold tie and wrong against anything else, and a verdict for
  one side is wrong against a gold tie.
- An opinion that could not be read is no verdict. It counts in `n` and `parse_failures`, never as
  right or wrong; `accuracy_of_asked` alone counts it as not right.
- A call that failed is no opinion at all: it counts in `n` and `calls_failed` until it is made
  again, and then no more.
- A judge's two orders and samples are single verdicts in `accuracy`, as if each were asked alone.
  Intervals are by the number of pairs, not of verdicts, for verdicts on one pair lean together.
- Gold that was made from an annotator's own votes flatters that annotator.
"""

from __future__ import annotations

import polars as pl

from annotators.agreement import compare_annotators, correlate_errors, find_interval
from annotators.talk import FAILED
from annotators.votes import (
    PAIR,
    TIE_WIDTH,
    check_gold,
    label_gold,
    make_votes,
    select_opinions,
)

OPINION = ("annotator", *PAIR, "criterion", "order", "sample_index")  # one, however often asked for
ECE_BINS = 20  # over [0, 1]; folded to the favoured side, ten of them hold data


def make_cards(
    judgments: pl.DataFrame, gold: pl.DataFrame, lengths: pl.DataFrame | None = None
) -> pl.DataFrame:
    """One card an annotator, sorted by name. What cannot be measured is null, not 0.

    Args:
        judgments: rows of the table. Opinions on pairs as a whole make the card; rows on single
            responses or criteria count only in tokens and seconds.
        gold: response_a, response_b, p_a (0, 0.5 or 1), category: the truth about some pairs.
        lengths: response_id, characters; without it nothing is said of longer answers.

    Returns:
        annotator
        n, n_valid, parse_failures, calls_failed: opinions asked, read, answered and not read, not
            answered. parse_failure_rate: of those that were answered.
        pairs: distinct pairs with a verdict.
        accuracy, accuracy_low, accuracy_high, n_gold: share of right verdicts on the pairs of
            gold, its 95 % Wilson interval, and how many of these pairs there are.
        accuracy_of_asked: the same with unreadable answers as not right.
        n_both_orders: pairs read in both orders. orders_agree: share of them whose two orders
            (each the mean of its samples) lean the same way, ties included. order_flip_rate: share
            that lean to opposite sides; the rest are a tie in one order.
        accuracy_when_orders_agree: share right where the orders agree; agreement_coverage: how
            much of the gold read in both orders that is.
        first_position_rate: share of the verdicts for a side, with a known order, that chose the
            response shown first. Near one half where both orders are asked and content decides.
        longer_wins_rate: share of the verdicts for a side, over unequal lengths, for the longer
            response; longer_wins_base: share of gold's sides that are the longer, on the pairs of
            gold that this annotator judged; longer_wins_excess: its rate on those pairs, less the
            base. Positive is a taste for length beyond what is right.
        self_agreement: the chance that two samples of one pair in one order agree.
        ece: expected calibration error against gold of the probability for the favoured side
            (see `tabulate_calibration`). Of a judge that gives bare verdicts, 1 - accuracy or so.
        by_category: list of category, n (verdicts), pairs, accuracy, low, high.
        tokens (in and out, all rows), tokens_per_label, seconds, seconds_per_label: a label is a
            pair with a verdict, so that two orders are one label.

    Raises:
        VotesUnreadable: a column is missing, gold's p_a is none of 0, 0.5, 1, or gold has a pair
            twice with different answers.
    """
    judgments = drop_healed(judgments)
    opinions, pairs = _prepare(judgments, gold, lengths)
    by = pl.col("annotator")
    valid, sided = pl.col("valid"), pl.col("lean") != 0
    known, right = pl.col("gold").is_not_null(), pl.col("lean") == pl.col("gold")
    first = pl.when(pl.col("order") == "ab").then(1).when(pl.col("order") == "ba").then(-1)
    longer = pl.col("longer") != 0
    counted = opinions.group_by("annotator").agg(
        n=pl.len(),
        n_valid=valid.sum(),
        calls_failed=pl.col("failed").sum(),
        pairs=pl.col("pair").filter(valid).n_unique(),
        n_gold=pl.col("pair").filter(valid & known).n_unique(),
        accuracy=right.filter(valid & known).mean(),
        accuracy_of_asked=(right & valid).fill_null(False).filter(known & ~pl.col("failed")).mean(),
        first_position_rate=(pl.col("lean") == first).filter(valid & sided).mean(),
        longer_wins_rate=(pl.col("lean") == pl.col("longer")).filter(valid & sided & longer).mean(),
    )
    spent = judgments.group_by("annotator").agg(
        tokens=_sum_known(pl.sum_horizontal("tokens_in", "tokens_out", ignore_nulls=False)),
        seconds=_sum_known(pl.col("seconds")),
    )
    counts = ("n", "n_valid", "calls_failed", "pairs", "n_gold")
    empty = (pl.col(name).fill_null(0) for name in counts)
    cards = spent.join(counted, on="annotator", how="left").with_columns(empty)
    for part in (
        _measure_orders(opinions, pairs),
        _measure_length(opinions),
        _measure_samples(opinions),
        _measure_ece(opinions),
        _measure_categories(opinions),
    ):
        cards = cards.join(part, on="annotator", how="left")
    low, high = find_interval(pl.col("accuracy"), pl.col("n_gold"))
    answered = pl.col("n") - pl.col("calls_failed")
    failures = answered - pl.col("n_valid")
    labels = pl.when(pl.col("pairs") > 0).then("pairs")
    return cards.with_columns(
        parse_failures=failures,
        parse_failure_rate=pl.when(answered > 0).then(failures / answered),
        accuracy_low=low,
        accuracy_high=high,
        n_both_orders=pl.col("n_both_orders").fill_null(0),
        tokens_per_label=pl.col("tokens") / labels,
        seconds_per_label=pl.col("seconds") / labels,
    ).select(
        by,
        *("n", "n_valid", "parse_failures", "calls_failed", "parse_failure_rate", "pairs"),
        *("accuracy", "accuracy_low", "accuracy_high", "n_gold", "accuracy_of_asked"),
        *("n_both_orders", "orders_agree", "order_flip_rate"),
        *("accuracy_when_orders_agree", "agreement_coverage", "first_position_rate"),
        *("longer_wins_rate", "longer_wins_base", "longer_wins_excess", "self_agreement", "ece"),
        *("by_category", "tokens", "tokens_per_label", "seconds", "seconds_per_label"),
    ).sort("annotator")  # fmt: skip


def drop_healed(judgments: pl.DataFrame) -> pl.DataFrame:
    """Without the calls that failed and were made again since; of one that failed several times, a
    single row. What such a row had cost is counted again in what the call was made again for."""
    rest, failed = judgments.filter(~_has_failed()), judgments.filter(_has_failed())
    waiting = (
        failed.sort("reason", "tokens_in")
        .unique(OPINION, keep="first", maintain_order=True)
        .join(rest, on=OPINION, how="anti", nulls_equal=True)
    )
    return pl.concat([rest, waiting])


def tabulate_calibration(judgments: pl.DataFrame, gold: pl.DataFrame) -> pl.DataFrame:
    """The reliability plot of every annotator, as numbers.

    Every verdict on a pair of gold is told from the side it favours, so that calling the
    responses a and b the other way round changes nothing: p is at least one half, truth is 1, 0.5
    (gold ties) or 0. Bins are `ECE_BINS` of equal width over [0, 1].

    Returns:
        annotator, low, high, n, p (mean of the bin), truth (mean); only bins with data.
    """
    return _bin_predictions(_prepare(judgments, gold, None)[0]).drop("at").sort("annotator", "low")


def compare_judges(judgments: pl.DataFrame) -> pl.DataFrame:
    """`annotators.agreement.compare_annotators` on stored opinions: kappa of every two."""
    return compare_annotators(make_votes(judgments))


def correlate_judges(judgments: pl.DataFrame, gold: pl.DataFrame) -> pl.DataFrame:
    """`annotators.agreement.correlate_errors` on stored opinions and gold."""
    return correlate_errors(make_votes(judgments), label_gold(gold))


def _prepare(
    judgments: pl.DataFrame, gold: pl.DataFrame, lengths: pl.DataFrame | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Opinions (annotator, pair, valid, failed, p_a, lean, order, gold, longer, category) and pairs
    (pair, gold, longer, category): sides are 1 for a, -1 for b, 0 for neither."""
    rows = select_opinions(judgments)
    truth = check_gold(gold).select(
        *PAIR, pl.col("category"), gold=(2 * pl.col("p_a") - 1).cast(pl.Int8)
    )
    pairs = rows.select(PAIR).unique(maintain_order=True).with_row_index("pair")
    pairs = pairs.join(truth, on=PAIR, how="left", maintain_order="left")
    longer = pl.lit(None, pl.Int8)
    if lengths is not None:
        for side in PAIR:
            named = lengths.select(
                pl.col("response_id").alias(side), pl.col("characters").alias(f"long_{side}")
            )
            pairs = pairs.join(named.unique(side), on=side, how="left", maintain_order="left")
        longer = (
            (pl.col("long_response_a").cast(pl.Int64) - pl.col("long_response_b"))
            .sign()
            .cast(pl.Int8)
        )
    pairs = pairs.with_columns(longer=longer)
    opinions = rows.join(pairs.select("pair", *PAIR), on=PAIR).select(
        "annotator",
        "pair",
        (pl.col("valid") & pl.col("p_a").is_not_null()).alias("valid"),
        _has_failed().alias("failed"),
        "p_a",
        "order",
        lean=_lean(pl.col("p_a")),
    )
    sides = pairs.select("pair", "gold", "longer", "category")
    return opinions.join(sides, on="pair"), sides


def _has_failed() -> pl.Expr:
    return (~pl.col("valid") & pl.col("reason").str.contains(FAILED)).fill_null(False)


def _lean(p_a: pl.Expr) -> pl.Expr:
    return (
        pl.when((p_a - 0.5).abs() < TIE_WIDTH).then(0).otherwise((p_a - 0.5).sign()).cast(pl.Int8)
    )


def _sum_known(values: pl.Expr) -> pl.Expr:
    """The sum of what is known; null where nothing is."""
    return pl.when(values.is_not_null().any()).then(values.sum())


def _measure_orders(opinions: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    leans = (
        opinions.filter(pl.col("valid") & pl.col("order").is_not_null())
        .group_by("annotator", "pair", "order")
        .agg(lean=_lean(pl.col("p_a").mean()))
    )
    ab, ba = (
        leans.filter(pl.col("order") == order).select(
            "annotator", "pair", pl.col("lean").alias(order)
        )
        for order in ("ab", "ba")
    )
    agree, known = pl.col("ab") == pl.col("ba"), pl.col("gold").is_not_null()
    return (
        ab.join(ba, on=["annotator", "pair"])
        .join(pairs, on="pair")
        .group_by("annotator")
        .agg(
            n_both_orders=pl.len(),
            orders_agree=agree.mean(),
            order_flip_rate=(pl.col("ab") * pl.col("ba") == -1).mean(),
            accuracy_when_orders_agree=(pl.col("ab") == pl.col("gold"))
            .filter(agree & known)
            .mean(),
            agreement_coverage=agree.filter(known).mean(),
        )
    )


def _measure_length(opinions: pl.DataFrame) -> pl.DataFrame:
    unequal = opinions.filter(pl.col("valid") & (pl.col("longer") != 0) & (pl.col("gold") != 0))
    base = (
        unequal.unique(["annotator", "pair"])
        .group_by("annotator")
        .agg(longer_wins_base=(pl.col("gold") == pl.col("longer")).mean())
    )
    rate = (
        unequal.filter(pl.col("lean") != 0)
        .group_by("annotator")
        .agg(rate=(pl.col("lean") == pl.col("longer")).mean())
    )
    return base.join(rate, on="annotator", how="left").select(
        "annotator",
        "longer_wins_base",
        longer_wins_excess=pl.col("rate") - pl.col("longer_wins_base"),
    )


def _measure_samples(opinions: pl.DataFrame) -> pl.DataFrame:
    n = pl.col("n").cast(pl.Float64)
    same = pl.sum_horizontal(pl.col(f"n_{lean}").cast(pl.Float64) ** 2 for lean in (1, 0, -1))
    return (
        opinions.filter("valid")
        .group_by("annotator", "pair", "order")
        .agg(
            pl.len().alias("n"),
            *((pl.col("lean") == lean).sum().alias(f"n_{lean}") for lean in (1, 0, -1)),
        )
        .filter(pl.col("n") > 1)
        .group_by("annotator")
        .agg(self_agreement=((same - n) / (n * (n - 1))).mean())
    )


def _bin_predictions(opinions: pl.DataFrame) -> pl.DataFrame:
    """`annotators.calibration.tabulate_reliability` of folded pairs, for all annotators at once."""
    target = (
        pl.when(pl.col("lean") == 0).then(0.5).otherwise(0.5 + pl.col("gold") * pl.col("lean") / 2)
    )
    return (
        opinions.filter(pl.col("valid") & pl.col("gold").is_not_null())
        .select("annotator", p=pl.max_horizontal("p_a", 1 - pl.col("p_a")), truth=target)
        .with_columns(at=(pl.col("p") * ECE_BINS + 1e-9).floor().clip(upper_bound=ECE_BINS - 1))
        .group_by("annotator", "at")
        .agg(
            low=pl.col("at").first() / ECE_BINS,
            high=(pl.col("at").first() + 1) / ECE_BINS,
            n=pl.len(),
            p=pl.col("p").mean(),
            truth=pl.col("truth").mean(),
        )
    )


def _measure_ece(opinions: pl.DataFrame) -> pl.DataFrame:
    gap = (pl.col("p") - pl.col("truth")).abs()
    return (
        _bin_predictions(opinions)
        .sort("annotator", "at")
        .group_by("annotator", maintain_order=True)
        .agg(ece=(gap * pl.col("n")).sum() / pl.col("n").sum())
    )


def _measure_categories(opinions: pl.DataFrame) -> pl.DataFrame:
    low, high = find_interval(pl.col("accuracy"), pl.col("pairs"))
    return (
        opinions.filter(
            pl.col("valid") & pl.col("gold").is_not_null() & pl.col("category").is_not_null()
        )
        .group_by("annotator", "category")
        .agg(
            n=pl.len(),
            pairs=pl.col("pair").n_unique(),
            accuracy=(pl.col("lean") == pl.col("gold")).mean(),
        )
        .with_columns(low=low, high=high)
        .sort("annotator", "category")
        .group_by("annotator", maintain_order=True)
        .agg(by_category=pl.struct("category", "n", "pairs", "accuracy", "low", "high"))
    )
