"""What a report says of how far to trust its annotators, from what was measured of them.

Annotators are numbered by name, and the numbers stand for them at the head of the tables that have
an annotator a column. Figures that cannot be known are None; nothing here is formatted.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from annotators.agreement import NAMES
from pipelines.label.reliability import Reliability
from pipelines.ship.figures_reliability import tint

CARDS_AT_MOST = 40
COLUMNS_AT_MOST = 15
CYCLES_AT_MOST = 5
DIGITS = 9  # sums of floats may differ in their last digits from one reading to the next

Cell = dict[str, Any]


def describe_reliability(found: Reliability) -> dict[str, Any]:
    """The facts of the section "Reliability", for its template.

    Args:
        found: see `pipelines.label.reliability.measure_annotators`.

    Returns:
        gold: pairs, ties (of them), sources (names).
        cards: those of annotators with an opinion on a pair as a whole, with a `number`; of more
            than `CARDS_AT_MOST`, those with the most opinions, and `cards_left_out` counts the
            rest.
        apart: names of those who spoke of single responses or criteria alone.
        columns: number and annotator of the at most `COLUMNS_AT_MOST` cards with the most opinions.
        categories: category, cells (a column each: value, n, low, high, colour; or None), most
            pairs first.
        kappas, errors: a matrix each, rows of number, annotator, cells (value, n, colour, None
            where two share no pair or nothing can be said, or "same" on the diagonal), with its
            own `heads`; None where nobody can be compared.
        points: annotator, low, high, n, p, truth of the reliability plot.
        plans: for all of gold, then the categories that have enough of it; `thin_plans` are those
            that have not.
        rankings, policies, failures: what is known of those that judge groups or single responses,
            a row each (see `pipelines.label.reliability.Reliability`).
        cycles: prompt_id, cycle of the first `CYCLES_AT_MOST` preference cycles.
    """
    spoken = found.cards.filter(pl.col("n") > 0)
    cards = _keep_most(spoken, CARDS_AT_MOST).with_row_index("number", 1)
    columns = _keep_most(cards, COLUMNS_AT_MOST)
    heads = columns.select("number", "annotator").to_dicts()
    overall, by_category = found.plans[:1], found.plans[1:]
    if len(by_category) == 1 and by_category[0].n_gold == overall[0].n_gold:
        by_category = []  # one category is all of gold
    return {
        "gold": {
            "pairs": len(found.gold),
            "ties": len(found.gold.filter(pl.col("p_a") == 0.5)),
            "sources": found.sources,
        },
        "cards": cards.drop("by_category").to_dicts(),
        "cards_left_out": len(spoken) - len(cards),
        "apart": found.cards.filter(pl.col("n") == 0)["annotator"].to_list(),
        "columns": heads,
        "categories": _tabulate_categories(columns),
        "kappas": _tabulate_pairs(found.kappas, "kappa", heads),
        "errors": _tabulate_pairs(found.errors, "phi", heads),
        "points": found.curves.to_dicts(),
        "plans": overall + [plan for plan in by_category if plan.enough],
        "thin_plans": [plan for plan in by_category if not plan.enough],
        "rankings": found.rankings.to_dicts(),
        "cycles": found.cycles.head(CYCLES_AT_MOST).to_dicts(),
        "policies": found.policies.to_dicts(),
        "failures": found.failures.to_dicts(),
    }


def _keep_most(cards: pl.DataFrame, most: int) -> pl.DataFrame:
    """The `most` cards with the most opinions, by name."""
    return cards.sort(["n", "annotator"], descending=[True, False]).head(most).sort("annotator")


def _tabulate_categories(columns: pl.DataFrame) -> list[dict[str, Any]]:
    """Accuracy by category and annotator, where anybody has one, most pairs first. White is one
    half."""
    said: dict[str, dict[str, Cell]] = {}
    for name, rows in columns.select("annotator", "by_category").iter_rows():
        for row in rows or []:
            colour = tint(2 * round(row["accuracy"], DIGITS) - 1)
            cell = {"value": row["accuracy"], "n": row["pairs"], "colour": colour}
            cell |= {"low": row["low"], "high": row["high"]}
            said.setdefault(row["category"], {})[name] = cell
    names = columns["annotator"].to_list()
    return [
        {"category": category, "cells": [cells.get(name) for name in names]}
        for category, cells in sorted(said.items(), key=_count_pairs)
    ]


def _count_pairs(row: tuple[str, dict[str, Cell]]) -> tuple[int, str]:
    category, cells = row
    return -max(cell["n"] for cell in cells.values()), category


def _tabulate_pairs(
    pairs: pl.DataFrame, value: str, heads: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """A matrix of those of `heads` who can be compared with one of the others."""
    cells: dict[tuple[str, str], Cell | None] = {}
    known = {head["annotator"] for head in heads}
    for row in pairs.iter_rows(named=True):
        one, other = (row[name] for name in NAMES)
        if one in known and other in known:
            number = row[value]
            cell = None
            if number is not None:
                cell = {"value": number, "n": row["n"], "colour": tint(round(number, DIGITS))}
            cells[one, other] = cells[other, one] = cell
    met = {name for pair in cells for name in pair}
    if not met:
        return None
    shown = [head for head in heads if head["annotator"] in met]
    names = [head["annotator"] for head in shown]
    rows = [
        {**head, "cells": ["same" if name == head["annotator"]
                           else cells.get((head["annotator"], name)) for name in names]}
        for head in shown
    ]  # fmt: skip
    return {"heads": shown, "rows": rows}
