"""The bias audit of a recipe's pairs, as facts that a version keeps and a report shows."""

from __future__ import annotations

from typing import Any

import polars as pl

from pipelines.clean.bias import (
    audit_pairs,
    find_broken_bounds,
    measure_differences,
    tabulate_lengths,
)
from pipelines.lake.catalogue import Lake
from schemas.recipe import Recipe

DIGITS = 6
POSITIONS = """
WITH wanted AS MATERIALIZED (FROM pairs)
SELECT pair_id, avg(CASE WHEN ("order" = 'ab') = (chosen_id = response_a) THEN 1.0 ELSE -1.0 END)
    AS position
FROM judgments JOIN wanted USING (prompt_id)
WHERE valid AND p_a IS NOT NULL AND criterion IS NULL AND "order" IS NOT NULL
AND response_a = least(chosen_id, rejected_id) AND response_b = greatest(chosen_id, rejected_id)
AND list_contains(annotators, annotator)
GROUP BY pair_id
"""


def audit_bias(lake: Lake, recipe: Recipe, pairs: pl.DataFrame) -> dict[str, Any]:
    """How well each shortcut predicts the labels of `pairs`.

    Args:
        pairs: labelled pairs with the texts `chosen` and `rejected`, and the `annotators` who
            decided: where a response was shown counts by what these saw.

    Returns:
        pairs (how many), rows (of `bias.audit_pairs`), lengths (of `bias.tabulate_lengths`), and
        broken: what the recipe's bounds say.
    """
    columns = ("pair_id", "prompt_id", "chosen_id", "rejected_id", "annotators")
    positions = lake.query(POSITIONS, pairs=pairs.select(columns))
    known = pairs.drop("position", strict=False).join(
        positions, on="pair_id", how="left", maintain_order="left"
    )
    measured = measure_differences(known)
    audit = audit_pairs(measured, recipe.seed)
    return {
        "pairs": len(pairs),
        "rows": audit.with_columns(pl.col(pl.Float64).round(DIGITS)).to_dicts(),
        "lengths": tabulate_lengths(measured).with_columns(pl.col(pl.Float64).round(DIGITS))
        .to_dicts(),
        "broken": find_broken_bounds(audit, recipe.clean.bias),
    }  # fmt: skip


def render_bias(found: dict[str, Any]) -> str:
    """The audit as lines for a terminal."""
    lines = [f"{found['pairs']} pairs; accuracy of each shortcut alone (95 % interval), and AUC"]
    for row in found["rows"]:
        where = "all pairs" if row["slice"] == "all" else f"{row['slice']} {row['value']}"
        lines.append(
            f"  {where:<28} {row['shortcut']:<9} {100 * row['accuracy']:5.1f} % "
            f"({100 * row['low']:.1f} to {100 * row['high']:.1f})  AUC {row['auc']:.3f}  "
            f"n {row['n']}"
        )
    lines += [f"over its bound: {text}" for text in found["broken"]]
    return "\n".join(lines)
