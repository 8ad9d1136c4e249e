"""Preference cycles among labelled pairs: A over B, B over C, C over A.

No score can agree with all of a cycle, so at least one of its labels is wrong. The least supported
labels of a cycle go, level by level (candidates before silver before gold, then those with fewer
annotators, then those with the smaller margin), until there is none. Labels of one level go
together: nothing tells which of them is the wrong one.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from annotators.ranking.cycles import find_cycles

RULE = "preference_cycle"


def find_contradictions(labels: pl.DataFrame) -> list[dict[str, Any]]:
    """Decision rows for the labels that must go.

    Args:
        labels: pair_id, prompt_id, chosen_id, rejected_id and their support: tier (0 is best),
            votes, margin.
    """
    rows = []
    several = labels.filter(pl.len().over("prompt_id") > 2).sort("pair_id")
    for _, group in several.group_by("prompt_id", maintain_order=True):
        rows += _break_cycles(group.to_dicts())
    return sorted(rows, key=lambda row: row["item_id"])


def _break_cycles(labels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    left = labels
    while True:
        items = sorted({label[side] for label in left for side in ("chosen_id", "rejected_id")})
        place = {item: number for number, item in enumerate(items)}
        beats = [(place[label["chosen_id"]], place[label["rejected_id"]], 1.0) for label in left]
        cycles = find_cycles(len(items), beats)
        if not cycles:
            return rows
        gone: set[str] = set()
        for cycle in cycles:
            members = {items[member] for member in cycle.members}
            inside = [label for label in left if {label["chosen_id"], label["rejected_id"]}
                      <= members]  # fmt: skip
            worst = max(_order(label) for label in inside)
            best = min(inside, key=lambda label: (_order(label), label["pair_id"]))
            chain = " > ".join(items[member][:8] for member in (*cycle.witness, cycle.witness[0]))
            for label in inside:
                if _order(label) == worst:
                    gone.add(label["pair_id"])
                    kept = None if _order(best) == worst else best["pair_id"]
                    rows.append(_make_row(label, chain, best["pair_id"], kept))
        left = [label for label in left if label["pair_id"] not in gone]


def _order(label: dict[str, Any]) -> tuple[int, int, float]:
    return label["tier"], -label["votes"], -label["margin"]


def _make_row(label: dict[str, Any], chain: str, group: str, kept: str | None) -> dict[str, Any]:
    return {
        "item_id": label["pair_id"],
        "item_kind": "pair",
        "action": "drop",
        "rule": RULE,
        "reason": f"among the least supported labels of the cycle {chain}",
        "value": label["margin"],
        "threshold": None,
        "group_id": group,
        "representative": kept,
    }
