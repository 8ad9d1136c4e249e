"""What tests of signals share: the contract that their rows must keep."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from annotators.talk import Row
from schemas.evidence import Judgments


def check_rows(rows: list[Row]) -> list[Row]:
    """Validate rows as the lake does, which fills what is absent; ids must be distinct."""
    run = {"run_id": "r", "created_at": datetime(2026, 1, 1)}
    absent = dict.fromkeys(Judgments.column_names())
    frame = pl.DataFrame([{**absent, **run, **row} for row in rows], infer_schema_length=None)
    Judgments.validate(frame, cast=True)
    assert len({row["judgment_id"] for row in rows}) == len(rows)
    assert all(row["kind"] == "reward_model" for row in rows)
    return rows
