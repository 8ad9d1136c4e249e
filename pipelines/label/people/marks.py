"""How far each project of a desk was read, as the last pull noted it in its row of `runs`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from annotators.desk.annotations import Held
from pipelines.lake.catalogue import Lake

FULL_AFTER = timedelta(hours=24)  # what changes without a date shows in a full reading alone
JITTER = 60.0  # seconds by which a clock may seem to move because an answer took long

Marks = dict[str, dict[str, Any]]


def find_marks(lake: Lake, stage: str, desk: str) -> Marks:
    """By project: `full` (when all of it was read, by our clock) and the fields of `Held`; or
    `gone`, where it is no longer at the desk."""
    found = lake.query(
        "SELECT summary FROM runs WHERE stage = ? AND json_extract_string(summary, '$.desk') = ? "
        "ORDER BY created_at DESC LIMIT 1",
        [stage, desk],
    )
    return json.loads(found["summary"][0])["marks"] if len(found) else {}


def read_mark(mark: Mapping[str, Any]) -> Held | None:
    """From where on a project is read; None for all of it."""
    if "top" not in mark or mark["newest"] is None:
        return None
    age = datetime.now(UTC) - datetime.fromisoformat(mark["full"])
    if not timedelta(0) <= age <= FULL_AFTER:  # less than nothing where our clock was set back
        return None
    return Held(datetime.fromisoformat(mark["newest"]), mark["tasks"], mark["top"], mark["skew"])


def make_mark(before: Mapping[str, Any], pulled: Any) -> dict[str, Any]:
    """What is noted after a pull, `before` being what was noted before it."""
    full = datetime.now(UTC).isoformat() if pulled.complete else before["full"]
    newest, skew = pulled.held.newest, pulled.held.skew
    noted = before.get("skew")
    if None not in (skew, noted) and abs(skew - noted) < JITTER:
        skew = noted  # a pull that finds nothing changes nothing
    return {
        **asdict(pulled.held),
        "newest": newest.isoformat() if newest else None,
        "skew": skew,
        "full": full,
    }
