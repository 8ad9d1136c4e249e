"""How right the kept labels are: estimated from the gold that teaches, checked on the gold of the
exam. This is the one place of the loop that reads exam gold, and nothing follows from it."""

from __future__ import annotations

from typing import Any

import polars as pl

from annotators.agreement import count_independent, find_interval
from annotators.gold import select_gold, settle_gold
from annotators.loop.precision import PrecisionUnknown, estimate_precision
from annotators.votes import PAIR
from pipelines.label.loop.auditing import measure_flips
from pipelines.label.loop.evidence import MEND_LABELS, has_label
from pipelines.label.loop.outcomes import PoolRead, hold_against
from pipelines.label.loop.progress import list_iterations, name_loop
from pipelines.label.loop.recycling import STAGE, make_reading_scope
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import find_summary
from pipelines.lake.teaching import on_test
from schemas.recipe import Recipe


def measure_loop(
    lake: Lake, recipe: Recipe, read: PoolRead, judgments: pl.DataFrame, kept: pl.DataFrame
) -> dict[str, Any]:
    """What the card and the report of a version say of its loop.

    Args:
        judgments: of `pipelines.label.labelling.find_judgments`, exam gold among them.
        kept: pair_id of the pairs whose label is of the reading.

    Returns:
    iterations: of the first stage, see `pipelines.label.loop.progress.list_iterations`.
    reading: see `pipelines.label.loop.recycling.describe_reading`.
    outcomes: pairs by rule, those of gold among them.
    precision: by category, of `annotators.loop.precision.estimate_precision`; gold that came with
        a label counts as much as the kept pairs that did (see `weigh_kinds`). `unknown` says why
        there is none; where no gold says what the labels are worth, none is claimed for pairs that
        came with one, and `precision` and `exam` are of the others.
    exam: the same pairs' likes among exam gold: by category (null is all) n, right, low, high.
    flips: see `pipelines.label.loop.auditing.measure_flips`.
    """
    pairs, outcomes = read.evidence.pairs, read.outcomes
    summary = find_summary(lake, STAGE, make_reading_scope(recipe, read.evidence))
    found: dict[str, Any] = {
        "iterations": list_iterations(lake, name_loop(recipe)),
        "reading": summary.extra.get("reading") if summary else None,
        "outcomes": dict(outcomes.group_by("rule").len().sort("rule").iter_rows()),
        "flips": measure_flips(lake, pairs),
    }
    mine, unclaimed = find_claimed(read, kept)
    found["precision"], unknown = estimate_kept(read, mine)
    found["exam"] = check_exam(read, judgments, mine if len(mine) else kept)
    found["unknown"] = "; ".join(filter(None, [unclaimed, unknown])) or None
    return found


def find_claimed(read: PoolRead, kept: pl.DataFrame) -> tuple[pl.DataFrame, str | None]:
    """Of the kept pairs those of which a precision can be claimed; and why not of the others."""
    labelled = read.evidence.pairs.filter(has_label()).join(kept, on="pair_id", how="semi")
    if read.evidence.are_labels_measured or labelled.is_empty():
        return kept, None
    return kept.join(labelled, on="pair_id", how="anti"), (
        f"how right the labels of {len(labelled)} kept pairs are is not known: they came with "
        f"labels that gold does not speak of. {MEND_LABELS}"
    )


def estimate_kept(read: PoolRead, kept: pl.DataFrame) -> tuple[list[dict[str, Any]], str | None]:
    """`precision` of `measure_loop`, and why there is none."""
    if kept.is_empty():
        return [], None
    pairs, outcomes = read.evidence.pairs, read.outcomes
    named = pairs.select("pair_id", "category", "cluster_id", labelled=has_label())
    sure = pl.max_horizontal("p_a", 1 - pl.col("p_a")).alias("sure")
    mine = outcomes.join(kept, on="pair_id", how="semi").select("pair_id", sure)
    mine = mine.join(named, on="pair_id")
    teaching = pairs.filter(pl.col("sample") & pl.col("truth").is_not_null())
    gold = hold_against(outcomes, teaching.select("pair_id", "truth"))
    gold = weigh_kinds(gold.join(named, on="pair_id"), mine)
    try:
        table = estimate_precision(
            mine["sure"].to_numpy(), mine["category"], gold["sure"].to_numpy(),
            gold["right"].to_numpy(), gold["category"], gold["cluster_id"].to_list(),
            gold["weight"].to_numpy(),
        )  # fmt: skip
    except PrecisionUnknown as error:
        return [], str(error)
    return table.to_dicts(), None


def weigh_kinds(gold: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """`gold` with the weight of each pair: how many kept pairs it stands for, those that came with
    a label by themselves and those without by themselves. Gold of a kind of which nothing is kept
    is left out; kept pairs of a kind without gold are spoken for by the other.

    Args:
        gold, kept: labelled, whether a pair came with a label.
    """
    count = pl.len().cast(pl.Float64)
    kinds = kept.group_by("labelled").agg(kept=count).join(
        gold.group_by("labelled").agg(known=count), on="labelled"
    )  # fmt: skip
    weights = kinds.select("labelled", weight=pl.col("kept") / pl.col("known"))
    return gold.join(weights, on="labelled", maintain_order="left")


def check_exam(read: PoolRead, judgments: pl.DataFrame, kept: pl.DataFrame) -> list[dict[str, Any]]:
    """category (null, the first row, is all), n, right, low, high: how right the label is that the
    reading would give the exam gold that it would keep, weighed as in `weigh_kinds`. No row
    without such gold."""
    pairs = read.evidence.pairs.with_columns(labelled=has_label())
    held = pairs.filter(on_test())
    named = ("pair_id", "category", "cluster_id", "labelled")
    voices = select_gold(judgments).join(held.select(PAIR), on=PAIR, how="semi")
    gold = settle_gold(voices).join(held.select(*PAIR, *named), on=PAIR)
    right = hold_against(read.outcomes, gold.select("pair_id", truth="p_a"))
    mine = pairs.join(kept, on="pair_id", how="semi")
    right = weigh_kinds(right.join(gold.select(named), on="pair_id"), mine)
    if right.is_empty():
        return []
    rows = []
    for name in (None, *right["category"].unique().sort()):
        own = right if name is None else right.filter(pl.col("category") == name)
        weight = own["weight"] / own["weight"].mean()
        share = float((own["right"] * weight).mean())  # type: ignore[arg-type]
        many = count_independent(own["right"], own["cluster_id"]) / float((weight**2).mean())  # type: ignore[arg-type]
        low, high = find_interval(share, many)
        rows.append({"category": name, "n": len(own), "right": share, "low": low, "high": high})
    return rows
