"""What a mix could not give, by how much, and what would mend it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

MEND = {
    "category": "make about {prompts} more prompts of the category {name}",
    "source": "take about {prompts} more prompts from the source {name}",
    "difficulty": "make about {prompts} more prompts of difficulty {name}",
    "objectivity": "make about {prompts} more prompts whose objectivity is {name}",
    "length": "sample more {name} responses, or move length_bounds",
}


def describe_shortfalls(
    report: Mapping[str, Mapping[str, Mapping[str, int]]], pairs: pl.DataFrame
) -> list[dict[str, Any]]:
    """Each quota that was not met: kind, name, wanted, got, available, short, mend (a sentence).

    The prompts that are wanted follow from how many pairs a prompt of that name gave here (of any
    name, where none of that name gave one).
    """
    found = []
    for kind, names in report.items():
        for name, row in names.items():
            short = row["wanted"] - row["got"]
            if short > 0:
                mend = _advise(kind, name, row, short, pairs)
                found.append({"kind": kind, "name": name, **row, "short": short, "mend": mend})
    return sorted(found, key=lambda row: (-row["short"], row["kind"], row["name"]))


def _advise(kind: str, name: str, row: Mapping[str, int], short: int, pairs: pl.DataFrame) -> str:
    if row["available"] >= row["wanted"]:
        return "there are enough such pairs: another quota, a cap or the total kept them out"
    return MEND[kind].format(
        name=name, prompts=math.ceil(short / _measure_yield(kind, name, pairs))
    )


def _measure_yield(kind: str, name: str, pairs: pl.DataFrame) -> float:
    """Pairs a prompt."""
    if "prompt_id" not in pairs.columns:
        return 1.0
    mine = pairs.filter(pl.col(kind) == name)
    counted = mine if len(mine) else pairs
    return len(counted) / counted["prompt_id"].n_unique() if len(counted) else 1.0
