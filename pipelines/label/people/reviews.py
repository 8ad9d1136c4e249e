"""The table `reviews`, read as it stands now."""

from __future__ import annotations

from typing import Any

import polars as pl

from pipelines.lake.catalogue import Lake

STATUSES = ("queued", "planned", "pushed", "answered", "gone")
STAMPS = ("run_id", "created_at")
LATEST = f"""
SELECT * REPLACE (
    coalesce(question, 'preference') AS question, coalesce(role, 'work') AS role,
    coalesce(round, 0) AS round, coalesce(overlap, 1) AS overlap
) FROM reviews
QUALIFY row_number() OVER (
    PARTITION BY review_id ORDER BY list_position({list(STATUSES)}, status) DESC NULLS LAST
) = 1
"""


def find_reviews(lake: Lake, where: str = "true") -> pl.DataFrame:
    """The furthest row of each review, by id; what older lakes left empty is filled in.

    Args:
        where: SQL that the furthest row must meet.
    """
    return lake.query(f"SELECT * FROM ({LATEST}) WHERE {where} ORDER BY review_id")


def advance(review: dict[str, Any], status: str, **changes: Any) -> dict[str, Any]:
    """The row that takes a review to its next status."""
    kept = {name: value for name, value in review.items() if name not in STAMPS}
    return {**kept, "status": status, **changes}
