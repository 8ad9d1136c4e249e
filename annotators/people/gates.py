"""Whether a batch of people's work is good enough to be released as gold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from annotators.agreement import find_interval
from annotators.people.agreement import measure_alpha
from annotators.people.annotations import take_gold, take_latest
from annotators.votes import LABELS


@dataclass(frozen=True)
class Bars:
    """What a batch must reach.

    Attributes:
        overlap: people who must have answered an item.
        overlap_share: the share of the items that so many must have answered.
        alpha: Krippendorff's, nominal, over the labels. He asks for 0.8 to rely on data, and for
            0.667 to conclude anything tentatively.
        gold_labels: labels on hidden gold that the batch must hold.
        gold_accuracy: the share of them that must be right.
    """

    overlap: int = 2
    overlap_share: float = 0.95
    alpha: float = 0.667
    gold_labels: int = 30
    gold_accuracy: float = 0.8


BARS = Bars()


@dataclass(frozen=True)
class Gate:
    """One thing that a batch must reach: `value` as measured, None where it could not be, which
    does not pass (but for alpha, see `check_gates`); `sentence` says it to people."""

    name: str
    value: float | None
    bar: float
    passed: bool
    sentence: str


@dataclass(frozen=True)
class GateReport:
    """All gates of a batch, each with what was measured; it passes where they all do."""

    batch: str | None
    passed: bool
    gates: tuple[Gate, ...]


def check_gates(
    annotations: pl.DataFrame,
    gold: pl.DataFrame,
    bars: Bars = BARS,
    *,
    labels: Sequence[str] | None = LABELS,
) -> tuple[GateReport, ...]:
    """Hold each batch against the bars.

    Alpha and accuracy are compared as measured, and the sentence gives their intervals. Leave
    the annotators out first who were set aside (`standing.measure_standing`), for what counts
    is what would be released. An item that nobody answered is in no frame: that all were is for the
    caller to know.

    Where everybody gave every item the same label, alpha is not defined: nothing tells agreement
    from people who always say that. Then hidden gold decides: it passes where both gates of gold
    do (and at a bar of -1, which asks for no agreement).

    Args:
        annotations: see `annotators.people.annotations`.
        gold: item, label: the truth about the hidden items.
        labels: see `annotations.take_latest`.

    Returns:
        A report a batch, by name; its gates are `overlap`, `alpha`, `gold_labels` and
        `gold_accuracy`.

    Raises:
        VotesUnreadable: see `annotations.take_latest` and `annotations.take_gold`.
    """
    truth = take_gold(gold, labels)
    batches = take_latest(annotations, labels).partition_by("batch", maintain_order=True)
    return tuple(_check_batch(rows, truth, bars) for rows in batches)


def _check_batch(rows: pl.DataFrame, truth: pl.DataFrame, bars: Bars) -> GateReport:
    scored = rows.filter(pl.col("label").is_not_null()).join(truth, on="item")
    right = int((scored["label"] == scored["truth"]).sum())
    gold = (
        _check_gold_labels(len(scored), bars),
        _check_gold_accuracy(right, len(scored), bars),
    )
    alpha = _check_alpha(rows, bars, gold_passed=all(gate.passed for gate in gold))
    gates = (_check_overlap(rows, bars), alpha, *gold)
    return GateReport(rows["batch"][0], all(gate.passed for gate in gates), gates)


def _check_overlap(rows: pl.DataFrame, bars: Bars) -> Gate:
    people = rows.group_by("item").len()["len"]
    enough = int((people >= bars.overlap).sum())
    share = enough / len(people)
    must = f"; {bars.overlap_share:.0%} must be" if bars.overlap_share else ""
    return _hold(
        "overlap", share, bars.overlap_share,
        f"{enough} of {len(people)} items ({share:.1%}) were answered by {bars.overlap} people or "
        f"more{must}",
    )  # fmt: skip


def _check_alpha(rows: pl.DataFrame, bars: Bars, *, gold_passed: bool) -> Gate:
    alpha = measure_alpha(rows)
    if alpha.value is None and not alpha.items:
        sentence = "agreement cannot be told from chance: no item has two labels"
        return _hold("alpha", None, bars.alpha, sentence)
    if alpha.value is None:
        said = (
            f"all labels of the {alpha.items} items with two or more are the same, and such "
            "perfect agreement cannot be told from chance"
        )
        if gold_passed:
            sentence = f"{said}; the people are right on hidden gold, which decides instead"
        else:
            sentence = (
                f"{said}: only labels on hidden gold could show that people do not just always say "
                "the same, and the batch has too few that are right (review.gold_rate mixes it in; "
                "review.min_alpha: -1 asks for no agreement)"
            )
        return Gate("alpha", None, bars.alpha, gold_passed or bars.alpha <= -1, sentence)
    known = "" if alpha.low is None else f" (95 % interval {alpha.low:.3f} to {alpha.high:.3f})"
    return _hold(
        "alpha", alpha.value, bars.alpha,
        f"Krippendorff's alpha is {alpha.value:.3f}{known} over {alpha.items} items with two "
        f"labels or more; it must be {bars.alpha:g} at least",
    )  # fmt: skip


def _check_gold_labels(n: int, bars: Bars) -> Gate:
    return _hold(
        "gold_labels", n, bars.gold_labels,
        f"the batch holds {n} labels on hidden gold; {bars.gold_labels} are the least to judge by",
    )  # fmt: skip


def _check_gold_accuracy(right: int, n: int, bars: Bars) -> Gate:
    if not n:
        sentence = "no item of hidden gold has a label, so accuracy is not known"
        return _hold("gold_accuracy", None, bars.gold_accuracy, sentence)
    low, high = find_interval(right / n, float(n))
    return _hold(
        "gold_accuracy", right / n, bars.gold_accuracy,
        f"{right} of {n} labels on hidden gold are right ({right / n:.1%}, 95 % interval {low:.1%} "
        f"to {high:.1%}); {bars.gold_accuracy:.0%} must be",
    )  # fmt: skip


def _hold(name: str, value: float | None, bar: float, sentence: str) -> Gate:
    return Gate(name, value, bar, value is not None and value >= bar, sentence)
