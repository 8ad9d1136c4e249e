"""Editions of a pool: what its newest file says of a pair stands for what older ones said.

Each file that is imported under one name is an edition, and so is each revision of a file; the one
that was imported last is the newest. Where it speaks of a pair, what older editions said of that
pair by the same annotator no longer counts, unless it says that too. Opinions on pairs that it
does not speak of stay. All of them stay in `judgments`.
"""

from __future__ import annotations

import polars as pl

from pipelines.lake.catalogue import Lake

SUPERSEDED = """
WITH known AS (
    SELECT * FROM imports WHERE list_contains(?, source) AND judgment_ids IS NOT NULL
), editions AS (
    SELECT source, file_hash, revision,
        row_number() OVER (ORDER BY max(created_at), file_hash, revision) AS edition
    FROM known GROUP BY source, file_hash, revision
), rows AS (
    SELECT edition, unnest(judgment_ids) AS judgment_id
    FROM known JOIN editions USING (source, file_hash, revision)
), said AS (
    SELECT judgment_id, annotator, response_a, response_b, max(edition) AS edition
    FROM judged JOIN rows USING (judgment_id) GROUP BY ALL
), newest AS (
    SELECT annotator, response_a, response_b, max(edition) AS edition FROM said GROUP BY ALL
)
SELECT judged.judgment_id FROM judged JOIN newest USING (annotator, response_a, response_b)
ANTI JOIN said ON said.judgment_id = judged.judgment_id AND said.edition = newest.edition
"""


def drop_superseded(lake: Lake, judgments: pl.DataFrame, pools: list[str]) -> pl.DataFrame:
    """`judgments` without what newer editions of the pools of these names have replaced.

    What was imported by an Assay that did not note the judgments of a row (schema 3 or older)
    can be replaced, and replaces nothing.
    """
    judged = judgments.select("judgment_id", "annotator", "response_a", "response_b")
    superseded = lake.query(SUPERSEDED, [pools], judged=judged)
    return judgments.join(superseded, on="judgment_id", how="anti", maintain_order="left")
