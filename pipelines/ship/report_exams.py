"""What the report says of exams: the newest of each set, and their figures."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from pipelines.lake.catalogue import Lake
from pipelines.ship.exams.slices import frame_curve
from pipelines.ship.figures_exams import plot_best_of, plot_forecast
from pipelines.ship.figures_reliability import plot_calibration
from pipelines.ship.publish import Published
from pipelines.ship.sources.taking import SOURCES

NEWEST = """
SELECT set_name, detail FROM grades WHERE name = ? AND version = ? AND set_name <> ?
QUALIFY row_number() OVER (PARTITION BY set_name ORDER BY created_at DESC, grade_id) = 1
ORDER BY set_name <> 'held-out pairs', set_name
"""


def describe_exams(lake: Lake, version: Published) -> dict[str, Any]:
    """The newest result of each set (see `pipelines.ship.exams.taking.take_exams`) under `sets`,
    those with items only; `figures`: calibration, best_of and forecast."""
    rows = lake.query(NEWEST, [version.name, version.version, SOURCES])
    sets = [_complete(result) for result in map(json.loads, rows["detail"]) if result["n"]]
    curves = [frame_curve(one["set"], one["calibration"]["curve"]) for one in sets]
    forecasts = [{"labels": None, **one["forecast"]} for one in sets if one.get("forecast")]
    return {
        "sets": sets,
        "forecast": forecasts[0] if forecasts else None,
        "figures": {
            "calibration": plot_calibration(pl.concat(curves), "exam-calibration"),
            "best_of": plot_best_of({one["set"]: one["best_of"] for one in sets}),
            "forecast": plot_forecast(forecasts[0] if forecasts else None),
        }
        if sets
        else {},
    }


def _complete(result: dict[str, Any]) -> dict[str, Any]:
    """A result with what was not counted yet when it was kept."""
    rows = {who: {"of": None, **row} for who, row in result["rows"].items()}
    return {"cut": None, **result, "rows": rows}
