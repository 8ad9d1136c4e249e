"""What the quality rules left in a version and said something of: defects that its rows name, and
texts in which personal numbers and addresses are covered before they leave the lake."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import polars as pl

from pipelines.clean.rules.pii import redact
from pipelines.lake.catalogue import Lake
from schemas.cleaning import PiiRule

FINDINGS = """
SELECT item_id, action, rule FROM decisions
WHERE list_contains(?, scope) AND action IN ('mark', 'redact')
"""
PARTS = {"pair": "pair_id", "prompt": "prompt_id", "chosen": "chosen_id", "rejected": "rejected_id"}


def find_findings(lake: Lake, scopes: Iterable[str], pairs: pl.DataFrame) -> pl.DataFrame:
    """The marks and redactions in `scopes` that touch `pairs` (pair_id, prompt_id, chosen_id,
    rejected_id).

    Returns:
        pair_id, part (`pair`, `prompt`, `chosen` or `rejected`), item_id, action, rule.
    """
    found = lake.query(FINDINGS, [sorted(scopes)])
    parts = pl.concat(
        pairs.select(pl.col("pair_id"), part=pl.lit(part), item_id=pl.col(column))
        for part, column in PARTS.items()
    )
    return parts.join(found, on="item_id").unique().sort(pl.all())


def list_content(findings: pl.DataFrame, pii: PiiRule | None) -> list[list[Any]]:
    """What findings add to the content that a fingerprint speaks of: nothing where there are none,
    so that a version without them keeps the fingerprint of its pairs."""
    rows: list[list[Any]] = [
        [item_id, action, rule]
        for item_id, action, rule in findings.select("item_id", "action", "rule")
        .unique()
        .sort(pl.all())
        .iter_rows()
    ]
    if pii is not None and (findings["action"] == "redact").any():
        rows.append(["redact", sorted(pii.kinds), pii.region])
    return rows


def read_scopes(lake: Lake, name: str, version: int) -> tuple[list[str], dict[str, Any]]:
    """The scopes of a published version and its recipe."""
    row = lake.query(
        "SELECT scopes, recipe FROM versions WHERE name = ? AND version = ?", [name, version]
    ).row(0, named=True)
    return list(row["scopes"]), json.loads(row["recipe"])


def make_cover(recipe: Mapping[str, Any]) -> Callable[[str], str]:
    """What covers a text as a version's recipe says; a recipe that redacts nothing leaves it."""
    rule = ((recipe.get("clean") or {}).get("quality") or {}).get("pii")
    if not rule or rule.get("then") != "redact":
        return lambda text: text
    pii = PiiRule.model_validate(rule)
    return lambda text: redact(text, pii.kinds, pii.region)


def cover_rows(rows: pl.DataFrame, findings: pl.DataFrame, cover: Callable[[str], str]
               ) -> pl.DataFrame:  # fmt: skip
    """Rows of an export with `defects` (`part:rule`, sorted; empty for most) and with the texts
    covered that a redaction names.

    Args:
        rows: pair_id and the lists of messages `prompt`, `chosen`, `rejected`.
    """
    marks = (
        findings.filter(action="mark")
        .group_by("pair_id")
        .agg(defects=pl.format("{}:{}", "part", "rule").sort())
    )
    named = rows.join(marks, on="pair_id", how="left", maintain_order="left").with_columns(
        pl.col("defects").fill_null(pl.lit([], dtype=pl.List(pl.String)))
    )
    for part in ("prompt", "chosen", "rejected"):
        ids = findings.filter(action="redact", part=part)["pair_id"].unique()
        if len(ids):
            touched = named["pair_id"].is_in(ids.implode())
            messages = [
                [{**message, "content": cover(message["content"])} for message in said] if hit
                else said
                for said, hit in zip(named[part], touched, strict=True)
            ]  # fmt: skip
            column = pl.Series(part, messages, dtype=named.schema[part])
            named = named.with_columns(column)
    return named
