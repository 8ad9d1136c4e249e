"""Bulk stages: decide on a whole frame at once, once per scope.

A *scope* names a stage under one configuration on one set of inputs. Its decisions are written in
one transaction with the row in `runs` that says the scope is done, so that a killed stage leaves
nothing behind and a finished one is never computed again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from pipelines.lake.catalogue import Lake, Rows
from pipelines.lake.run import Run, StageSummary
from schemas.ids import make_id
from schemas.tables import polars_schema

DECISION_COLUMNS = (
    "item_id", "item_kind", "action", "rule", "reason", "value", "threshold", "group_id",
    "representative",
)  # fmt: skip


@dataclass(frozen=True)
class Decided:
    """The outcome of a bulk stage: decision rows (see `DECISION_COLUMNS`; a column that is not
    given is null, and an item has at most one row in a scope), further rows to append
    with them, and counts for the summary."""

    decisions: Rows
    tables: Mapping[str, Rows] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


def make_scope(stage: str, rules: int, config: Any, inputs: Iterable[str]) -> str:
    """Hash of the stage, the version of its rules, its configuration and the ids it decides on,
    in any order."""
    return make_id("scope", stage, rules, config, sorted(inputs))


def decide_stage(
    lake: Lake,
    run: Run,
    *,
    stage: str,
    scope: str,
    rows_in: int,
    compute: Callable[[], Decided],
) -> StageSummary:
    """Compute and record the decisions of a scope, unless they are there already.

    Returns the summary: the stored one where the scope was done before.
    """
    stored = find_summary(lake, stage, scope)
    if stored is not None:
        return stored
    with lake.lease(stage, run):
        stored = find_summary(lake, stage, scope)
        if stored is not None:
            return stored
        started = time.monotonic()
        outcome = compute()
        decisions = _frame(outcome.decisions).with_columns(scope=pl.lit(scope), stage=pl.lit(stage))
        by_action: dict[str, dict[str, int]] = {
            name: {} for name in ("drop", "flip", "to_review", "mark", "redact")
        }
        for action, rule, count in (
            decisions.group_by("action", "rule").len().sort("action", "rule").iter_rows()
        ):
            by_action[action][rule] = count
        dropped = by_action["drop"]
        summary = StageSummary(
            stage=stage,
            rows_in=rows_in,
            kept=rows_in - sum(dropped.values()),
            dropped=dropped,
            flipped=sum(by_action["flip"].values()),
            to_review=sum(by_action["to_review"].values()),
            seconds=time.monotonic() - started,
            scope=scope,
            extra={
                **outcome.extra,
                **({"marked": by_action["mark"]} if by_action["mark"] else {}),
                **({"redacted": by_action["redact"]} if by_action["redact"] else {}),
            },
        )
        record_run(lake, run, summary, {"decisions": decisions, **outcome.tables})
    return summary


def record_run(
    lake: Lake, run: Run, summary: StageSummary, tables: Mapping[str, Rows] | None = None
) -> None:
    """Write a finished stage to `runs`, in one transaction with `tables`."""
    row = {
        "stage": summary.stage,
        "scope": summary.scope or run.run_id,
        "recipe_hash": run.recipe_hash,
        "summary": json.dumps(summary.to_json(), ensure_ascii=False, sort_keys=True),
        "seconds": summary.seconds,
    }
    lake.append({**(tables or {}), "runs": [row]}, run=run, stage=summary.stage)


def find_summary(lake: Lake, stage: str, scope: str) -> StageSummary | None:
    """The summary of a scope that is done; None of one that is not."""
    rows = lake.query(
        "SELECT summary FROM runs WHERE stage = ? AND scope = ? ORDER BY created_at LIMIT 1",
        [stage, scope],
    )
    return StageSummary.from_json(json.loads(rows["summary"][0])) if len(rows) else None


def drop_decided(
    lake: Lake, frame: pl.DataFrame, key: str, scopes: Iterable[str | None]
) -> pl.DataFrame:
    """`frame` without the rows that a `drop` decision in one of `scopes` names by `key`."""
    wanted = pl.DataFrame({"scope": [s for s in scopes if s]}, schema={"scope": pl.String})
    dropped = lake.query(
        "SELECT DISTINCT item_id FROM decisions SEMI JOIN wanted USING (scope) "
        "WHERE action = 'drop'",
        wanted=wanted,
    )
    if dropped.is_empty():
        return frame
    return frame.join(dropped, left_on=key, right_on="item_id", how="anti", maintain_order="left")


def _frame(decisions: Rows) -> pl.DataFrame:
    schema = polars_schema("decisions")
    empty = pl.DataFrame(schema={name: schema[name] for name in DECISION_COLUMNS})
    given = (
        decisions
        if isinstance(decisions, pl.DataFrame)
        else pl.DataFrame(decisions, infer_schema_length=None)
    )
    return pl.concat([empty, given], how="diagonal_relaxed")
