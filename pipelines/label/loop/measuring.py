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
    precision: by category, of `annotators.loop.precision.estimate_precision`, from gold that came
        with a label where the kept pairs did, and without where they did not. `unknown` says why
        there is none; where no gold says what the labels are worth, none is claimed for pairs that
        came with one.
    exam: the same pairs' likes among exam gold: by category (null is all) n, right, low, high.
    flips: see `pipelines.label.loop.auditing.measure_flips`.
    """
    pairs, outcomes = read.evidence.pairs, read.outcomes
    summary = find_summary(lake, STAGE, make_reading_scope(recipe, read.evidence))
    found: dict[str, Any] = {
        "iterations": list_iterations(lake, name_loop(recipe)),
        "reading": summary.extra.get("reading") if summary else None,
        "outcomes": dict(outcomes.group_by("rule").len().sort("rule").iter_rows()),
        "exam": check_exam(read, judgments, kept),
        "flips": measure_flips(lake, pairs),
    }
    found["precision"], found["unknown"] = estimate_kept(read, kept)
    return found


def estimate_kept(read: PoolRead, kept: pl.DataFrame) -> tuple[list[dict[str, Any]], str | None]:
    """`precision` and `unknown` of `measure_loop`."""
    pairs, outcomes = read.evidence.pairs, read.outcomes
    categories = pairs.select("pair_id", "category", "cluster_id", labelled=has_label())
    sure = pl.max_horizontal("p_a", 1 - pl.col("p_a")).alias("sure")
    mine = outcomes.join(kept, on="pair_id", how="semi").select("pair_id", sure)
    mine = mine.join(categories, on="pair_id")
    teaching = pairs.filter(pl.col("sample") & pl.col("truth").is_not_null())
    gold = hold_against(outcomes, teaching.select("pair_id", "truth"))
    unknown = None
    if not read.evidence.are_labels_measured and mine["labelled"].any():
        count = int(mine["labelled"].sum())
        unknown = (
            f"how right the labels of {count} kept pairs are is not known: they came with labels "
            f"that gold does not speak of. {MEND_LABELS}"
        )
        mine = mine.filter(~pl.col("labelled"))
        if mine.is_empty():
            return [], unknown
    gold = gold.join(categories, on="pair_id").join(mine, on="labelled", how="semi")
    try:
        table = estimate_precision(
            mine["sure"].to_numpy(), mine["category"], gold["sure"].to_numpy(),
            gold["right"].to_numpy(), gold["category"], gold["cluster_id"].to_list(),
        )  # fmt: skip
    except PrecisionUnknown as error:
        return [], "; ".join(filter(None, [unknown, str(error)]))
    return table.to_dicts(), unknown


def check_exam(read: PoolRead, judgments: pl.DataFrame, kept: pl.DataFrame) -> list[dict[str, Any]]:
    """category (null, the first row, is all), n, right, low, high: how right the label is that the
    reading would give the exam gold that it would keep; of gold that came with a label where kept
    pairs did, and without where they did not. No row without such gold."""
    pairs = read.evidence.pairs.with_columns(labelled=has_label())
    alike = pairs.join(kept, on="pair_id", how="semi")
    held = pairs.filter(on_test()).join(alike, on="labelled", how="semi")
    named = ("pair_id", "category", "cluster_id")
    voices = select_gold(judgments).join(held.select(PAIR), on=PAIR, how="semi")
    gold = settle_gold(voices).join(held.select(*PAIR, *named), on=PAIR)
    right = hold_against(read.outcomes, gold.select("pair_id", truth="p_a"))
    right = right.join(gold.select(named), on="pair_id")
    if right.is_empty():
        return []
    rows = []
    for name in (None, *right["category"].unique().sort()):
        own = right if name is None else right.filter(pl.col("category") == name)
        share = float(own.select(pl.col("right").mean()).item())
        low, high = find_interval(share, count_independent(own["right"], own["cluster_id"]))
        rows.append({"category": name, "n": len(own), "right": share, "low": low, "high": high})
    return rows
