"""Balanced mixing: quotas by category and by source, with the shortfall in writing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import polars as pl

from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import Decided, decide_stage, drop_decided, make_scope
from pipelines.lake.run import Run, StageSummary
from schemas.ids import make_id
from schemas.recipe import MixSpec, Recipe

STAGE = "mix"
RULES = 2


def mix_pairs(lake: Lake, run: Run, recipe: Recipe, pairs: pl.DataFrame) -> StageSummary:
    """Drop what passes a quota (`over_quota_category`, `over_quota_source`, `over_total`).

    `extra["quota"]` holds for each named category and source what was wanted and what was got.

    Args:
        pairs: clean labelled pairs with `category` and `source`.
    """

    def compute() -> Decided:
        dropped, report = choose_pairs(pairs, recipe.mix, recipe.seed)
        rows = [
            {
                "item_id": pair_id,
                "item_kind": "pair",
                "action": "drop",
                "rule": rule,
                "reason": reason,
            }
            for pair_id, rule, reason in dropped
        ]
        return Decided(rows, extra={"quota": report})

    return decide_stage(
        lake,
        run,
        stage=STAGE,
        scope=make_mix_scope(recipe, pairs),
        rows_in=len(pairs),
        compute=compute,
    )


def make_mix_scope(recipe: Recipe, pairs: pl.DataFrame) -> str:
    """The scope of the mixing of these pairs."""
    config = [recipe.seed, recipe.mix.model_dump(mode="json")]
    inputs = pairs.select(pl.concat_str("pair_id", "category", "source", separator=":")).to_series()
    return make_scope(STAGE, RULES, config, inputs)


def keep_mixed(lake: Lake, recipe: Recipe, pairs: pl.DataFrame) -> pl.DataFrame:
    """`pairs` without those that passed a quota."""
    return drop_decided(lake, pairs, "pair_id", [make_mix_scope(recipe, pairs)])


def choose_pairs(
    pairs: pl.DataFrame, mix: MixSpec, seed: int
) -> tuple[list[tuple[str, str, str]], dict[str, dict[str, dict[str, int]]]]:
    """Choose pairs in an order that hashes decide, each as long as no quota is full. Those of a
    named category or source come first; the others take the room that is left.

    Returns:
        (pair_id, rule, reason) of those left out, and the report: kind -> name -> wanted and got.
    """
    total = mix.total if mix.total is not None else len(pairs)
    wanted = {
        "category": {name: _count(share, total) for name, share in mix.categories.items()},
        "source": {name: _count(share, total) for name, share in mix.sources.items()},
    }
    got: dict[str, Counter[str]] = {"category": Counter(), "source": Counter()}
    dropped: list[tuple[str, str, str]] = []
    taken = 0
    rows = pairs.select("pair_id", "category", "source").rows()
    named = {*mix.categories}, {*mix.sources}

    def place(row: tuple[str, str, str]) -> tuple[bool, str]:
        return row[1] not in named[0] and row[2] not in named[1], make_id("mix", seed, row[0])

    for pair_id, category, source in sorted(rows, key=place):
        names = {"category": category, "source": source}
        full = [k for k, name in names.items() if name in wanted[k] and
                got[k][name] >= wanted[k][name]]  # fmt: skip
        if full:
            name = names[full[0]]
            reason = f"{full[0]} {name} has its {wanted[full[0]][name]} pairs"
            dropped.append((pair_id, f"over_quota_{full[0]}", reason))
        elif taken >= total:
            dropped.append((pair_id, "over_total", f"the total of {total} pairs is reached"))
        else:
            taken += 1
            for kind, name in names.items():
                got[kind][name] += 1
    return sorted(dropped), _report(wanted, got)


def _count(share: float, total: int) -> int:
    """The whole pairs in a share; 0.29 of 100 is 29, though their product is a hair less."""
    return math.floor(share * total + 1e-9)


def _report(
    wanted: Mapping[str, Mapping[str, int]], got: Mapping[str, Counter[str]]
) -> dict[str, Any]:
    return {
        kind: {name: {"wanted": n, "got": got[kind][name]} for name, n in names.items()}
        for kind, names in wanted.items()
    }
