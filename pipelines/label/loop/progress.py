"""How far a loop has got: the table `iterations`, read as it stands, and what its pairs cost."""

from __future__ import annotations

from typing import Any

import polars as pl

from engines.embedder import MINILM, name_embedder
from pipelines.lake.catalogue import Lake, PastLake
from pipelines.lake.run import Run
from schemas.ids import make_id
from schemas.outcomes import LOOP_STATUSES
from schemas.recipe import Recipe

STAGE = "loop"
RULES = 1
STAMPS = ("run_id", "created_at", "place")
GOLD, RETRIEVAL, REJUDGING = "gold", "retrieval", "rejudging"
Row = dict[str, Any]

LATEST = f"""
SELECT *, list_position({list(LOOP_STATUSES)}, status) AS place FROM iterations WHERE loop_id = ?
QUALIFY row_number() OVER (PARTITION BY number ORDER BY place DESC) = 1 ORDER BY number
"""
VERDICTS = """
SELECT count(*) AS verdicts, coalesce(sum(tokens_in), 0)::BIGINT AS tokens_in,
    coalesce(sum(tokens_out), 0)::BIGINT AS tokens_out, coalesce(sum(seconds), 0.0) AS seconds
FROM (
    SELECT tokens_in, tokens_out, seconds FROM judgments
    SEMI JOIN asked USING (prompt_id, response_a, response_b)
    WHERE list_contains(?, annotator) AND criterion IS NULL
    UNION ALL
    SELECT tokens_in, tokens_out, seconds FROM attributes
    WHERE annotator = ? AND target IN (SELECT pair_id FROM asked)
)
"""
MINUTES = """
SELECT coalesce(sum(seconds), 0.0) / 60 AS minutes FROM judgments
SEMI JOIN asked USING (prompt_id, response_a, response_b)
WHERE kind = 'human' AND starts_with(annotator, 'person-') AND criterion IS NULL
"""


def name_loop(recipe: Recipe) -> str:
    """The id of a recipe's loop: who judges, how it retrieves, and by which vectors. How far it may
    go is no part of it, so that a loop that is given more goes on."""
    judges = [spec.model_dump(mode="json") for spec in recipe.judges]
    models = {spec.model: recipe.models[spec.model].model for spec in recipe.judges}
    neighbours = recipe.loop.neighbours if recipe.loop else None
    config = [recipe.name, recipe.seed, judges, models, neighbours, name_embedder(MINILM)]
    return make_id("loop", RULES, config)


def find_iterations(lake: Lake | PastLake, loop_id: str) -> list[Row]:
    """The iterations of a loop as far as each has got, in order."""
    return [
        {name: value for name, value in row.items() if name not in STAMPS}
        for row in lake.query(LATEST, [loop_id]).iter_rows(named=True)
    ]


def list_iterations(lake: Lake | PastLake, loop_id: str) -> list[Row]:
    """The same for people to read: how many `pairs` were judged and `people` asked about, and not
    which."""
    return [
        {name: value for name, value in row.items() if name not in ("loop_id", "pair_ids", "asked")}
        | {"pairs": len(row["pair_ids"]), "people": len(row["asked"])}
        for row in find_iterations(lake, loop_id)
    ]


def write_iteration(
    lake: Lake, run: Run, row: Row, status: str, reviews: list[Row] | None = None, **changes: Any
) -> Row:
    """Commit that an iteration got to `status`, in one transaction with `reviews`."""
    found = {**row, **changes, "status": status}
    tables: dict[str, list[Row]] = {"iterations": [found]}
    if reviews:
        tables["reviews"] = reviews
    said = f"iteration {found['number']} {status}"
    lake.append(tables, run=run, stage=STAGE, message=said)
    return found


def count_cost(
    lake: Lake, pairs: pl.DataFrame, row: Row, judges: list[str], writer: str | None
) -> Row:
    """verdicts, tokens_in, tokens_out, seconds and minutes of an iteration, whichever run paid.

    Args:
        pairs: pair_id, prompt_id, response_a, response_b of the candidates.
        judges, writer: the annotators who judge, and who writes attributes.
    """
    judged, asked = (
        pairs.filter(pl.col("pair_id").is_in(pl.Series(row[name], dtype=pl.String).implode()))
        .select("pair_id", "prompt_id", "response_a", "response_b")
        for name in ("pair_ids", "asked")
    )  # fmt: skip
    cost = lake.query(VERDICTS, [judges, writer or ""], asked=judged).row(0, named=True)
    return {**cost, **lake.query(MINUTES, asked=asked).row(0, named=True)}
