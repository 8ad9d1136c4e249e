"""From opinions to votes: three classes (`a`, `b`, `tie`), one row a verdict.

A vote is what consensus, agreement and planning count. Ties are a class of their own everywhere:
they are neither dropped nor split in halves. Votes are frames with the columns

    item        what was judged; of `make_votes`, the two response ids with `|` between them
    annotator   who spoke
    label       `a`, `b` or `tie`

and, where they come from `make_votes`, also response_a, response_b, order and sample_index.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from schemas.errors import AssayError

LABELS = ("a", "b", "tie")
PAIR = ("response_a", "response_b")
TIE_WIDTH = 1e-9  # a mean of probabilities this near to one half is a tie


class VotesUnreadable(AssayError):
    """A frame of votes or of gold that lacks a column, or says something other than a, b, tie."""


def check_votes(votes: pl.DataFrame, columns: Sequence[str], what: str = "votes") -> None:
    """Raises:
    VotesUnreadable: a column is missing, or a label is none of a, b and tie.
    """
    missing = [name for name in columns if name not in votes.columns]
    if missing:
        raise VotesUnreadable(
            f"the {what} lack the column {', '.join(missing)}; they have {', '.join(votes.columns)}"
        )
    if "label" in columns:
        strange = votes.filter(~pl.col("label").cast(pl.String).is_in(LABELS).fill_null(False))
        if len(strange):
            row = strange.row(0, named=True)
            raise VotesUnreadable(
                f"the {what} call item {row['item']!r} {row['label']!r}: a label is one of "
                f"{', '.join(LABELS)}; leave opinions out that could not be read"
            )


def call_label(p_a: pl.Expr) -> pl.Expr:
    """The class that a probability leans to: exactly one half is a tie."""
    return (
        pl.when(p_a > 0.5 + TIE_WIDTH)
        .then(pl.lit("a"))
        .when(p_a < 0.5 - TIE_WIDTH)
        .then(pl.lit("b"))
        .when(p_a.is_not_null())
        .then(pl.lit("tie"))
    )


def select_opinions(judgments: pl.DataFrame) -> pl.DataFrame:
    """The rows of `judgments` that are about a pair as a whole, readable or not: neither single
    responses nor single criteria."""
    return judgments.filter(pl.col("response_b").is_not_null() & pl.col("criterion").is_null())


def make_votes(judgments: pl.DataFrame) -> pl.DataFrame:
    """The readable opinions about pairs as votes, one row each.

    Args:
        judgments: rows of the table `judgments`.

    Returns:
        item, response_a, response_b, annotator, order, sample_index, label.
    """
    return (
        select_opinions(judgments)
        .filter(pl.col("valid") & pl.col("p_a").is_not_null())
        .select(
            pl.concat_str("response_a", pl.lit("|"), "response_b").alias("item"),
            "response_a",
            "response_b",
            "annotator",
            "order",
            "sample_index",
            call_label(pl.col("p_a")).alias("label"),
        )
    )


def count_labels() -> list[pl.Expr]:
    """Aggregations that count the votes of a group: n_a, n_b, n_tie, n."""
    return [
        *((pl.col("label") == name).sum().cast(pl.Int64).alias(f"n_{name}") for name in LABELS),
        pl.len().cast(pl.Int64).alias("n"),
    ]


def lead_label() -> pl.Expr:
    """The class with the most of n_a, n_b, n_tie. A draw of the leaders is a tie: whatever broke
    it would favour a response for its id."""
    n_a, n_b, n_tie = (pl.col(f"n_{name}") for name in LABELS)
    return (
        pl.when((n_a > n_b) & (n_a > n_tie))
        .then(pl.lit("a"))
        .when((n_b > n_a) & (n_b > n_tie))
        .then(pl.lit("b"))
        .otherwise(pl.lit("tie"))
    )


def merge_within(votes: pl.DataFrame, by: str = "annotator") -> pl.DataFrame:
    """One vote for each item and speaker: the majority over samples and orders (self-consistency).

    Args:
        votes: item, `by`, label; any number of rows for an item and speaker.
        by: the column that says who is one speaker: `annotator`, or a column of the caller's that
            puts several annotators of one model together.

    Returns:
        item, `by`, label, n (votes merged), share (of them that say `label`); sorted by item and
        speaker. A draw of the leaders is a tie.

    Raises:
        VotesUnreadable: see `check_votes`.
    """
    check_votes(votes, ("item", by, "label"))
    counted = votes.group_by("item", by).agg(count_labels()).with_columns(label=lead_label())
    said = pl.coalesce(
        pl.when(pl.col("label") == name).then(pl.col(f"n_{name}")) for name in LABELS
    )
    return counted.select("item", by, "label", "n", share=said / pl.col("n")).sort("item", by)


def average_opinions(opinions: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """One probability for each `by`: the mean over orders of the mean over samples, so that both
    orders weigh the same where one of them lost samples.

    Args:
        opinions: p_a, order and the columns `by`; readable opinions on whole pairs.

    Returns:
        the columns `by`, and p_a; sorted.
    """
    per_order = opinions.group_by(*by, "order").agg(pl.col("p_a").mean())
    return per_order.group_by(by).agg(pl.col("p_a").mean()).sort(by)


def label_gold(gold: pl.DataFrame) -> pl.DataFrame:
    """Gold (response_a, response_b, p_a) as item, label."""
    label = {1.0: "a", 0.5: "tie", 0.0: "b"}
    return check_gold(gold).select(
        pl.concat_str("response_a", pl.lit("|"), "response_b").alias("item"),
        pl.col("p_a").replace_strict(label, return_dtype=pl.String).alias("label"),
    )


def check_gold(gold: pl.DataFrame) -> pl.DataFrame:
    """One row a pair: response_a, response_b, p_a, category (null where gold has none).

    Raises:
        VotesUnreadable: a column is missing, p_a is none of 0, 0.5, 1, or a pair has two
            different answers.
    """
    check_votes(gold, (*PAIR, "p_a"), "gold")
    category = pl.col("category") if "category" in gold.columns else pl.lit(None)
    rows = gold.select(
        *PAIR, pl.col("p_a").cast(pl.Float64), category.cast(pl.String).alias("category")
    )
    strange = rows.filter(~pl.col("p_a").is_in([0.0, 0.5, 1.0]).fill_null(False))
    if len(strange):
        raise VotesUnreadable(
            f"gold gives the pair {strange['response_a'][0]}, {strange['response_b'][0]} the "
            f"probability {strange['p_a'][0]}; it must be 0, 0.5 or 1, or be left out"
        )
    torn = rows.group_by(PAIR).agg(n=pl.col("p_a").n_unique()).filter(pl.col("n") > 1).sort(PAIR)
    if len(torn):
        raise VotesUnreadable(
            f"gold has two answers for the pair {torn['response_a'][0]}, "
            f"{torn['response_b'][0]}; keep one of them"
        )
    return rows.unique(PAIR, keep="first", maintain_order=True)
