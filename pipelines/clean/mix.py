"""Balanced mixing: quotas, strata and caps, with the shortfall in writing.

Pairs come in an order that hashes of their ids and the seed decide, those that a quota names first,
and each is taken as long as nothing it counts for is full. So the choice follows from the pairs and
the seed, and a pair that is added takes the place of at most a few others: those that come last of
what it counts for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.clean.shortfall import describe_shortfalls
from pipelines.clean.strata import UNKNOWN, list_axes, share_out
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import Decided, decide_stage, drop_decided, make_scope
from pipelines.lake.run import Run, StageSummary
from schemas.mixing import MixSpec
from schemas.recipe import Recipe

STAGE = "mix"
RULES = 3
STRATUM, CLUSTER, POLICY = "stratum", "cluster", "policy"
TAKEN, OVER_TOTAL = -1, -2  # as `kernels.filling` says
UNNAMED = (STRATUM, CLUSTER, POLICY)  # no recipe names the members of these
Report = dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class Counted:
    """Something that pairs count for: `kind` (an axis, stratum, cluster, policy), the counters of
    each pair (n, w; -1 for none, none twice), and what the counters are called and may reach."""

    kind: str
    codes: NDArray[np.int32]
    names: Sequence[Any] | pl.Series
    limits: NDArray[np.int64]


def mix_pairs(lake: Lake, run: Run, recipe: Recipe, pairs: pl.DataFrame) -> StageSummary:
    """Drop what passes a quota (`over_quota_category`, …), the part of its stratum
    (`over_stratum`), a cap (`over_cluster`, `over_policy`) or `over_total`.

    `extra["quota"]` holds for each named category, source and so on what was wanted, what there was
    and what was got; `extra["strata"]` the same of strata; `extra["shortfalls"]` says in words what
    is missing and what would mend it.

    Args:
        pairs: clean labelled pairs with `category` and `source`, and what `strata.add_strata` adds.
    """

    def compute() -> Decided:
        dropped, report = choose_pairs(pairs, recipe.mix, recipe.seed)
        rows = dropped.with_columns(item_kind=pl.lit("pair"), action=pl.lit("drop"))
        strata = report.pop(STRATUM, {})
        extra = {"quota": report, "shortfalls": describe_shortfalls(report, pairs)}
        return Decided(rows.rename({"pair_id": "item_id"}), extra={**extra, "strata": strata})

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
    config = [recipe.seed, recipe.mix.model_dump(mode="json", exclude={"order"})]
    looked_at = [axis for axis in list_axes(recipe.mix) if axis in pairs.columns]
    columns = [pl.col(name).fill_null("") for name in ("pair_id", *looked_at)]
    if "cluster_id" in pairs.columns:
        columns.append(pl.col("cluster_id").fill_null(""))
    if "policies" in pairs.columns:
        columns.append(pl.col("policies").list.join(","))
    inputs = pairs.select(pl.concat_str(columns, separator=":")).to_series()
    return make_scope(STAGE, RULES, config, inputs)


def keep_mixed(lake: Lake, recipe: Recipe, pairs: pl.DataFrame) -> pl.DataFrame:
    """`pairs` without those that passed a quota or a cap."""
    return drop_decided(lake, pairs, "pair_id", [make_mix_scope(recipe, pairs)])


def choose_pairs(pairs: pl.DataFrame, mix: MixSpec, seed: int) -> tuple[pl.DataFrame, Report]:
    """Choose pairs (see the module). Those of a named category, source and so on come first; the
    others take the room that is left.

    Returns:
        pair_id, rule, reason of those left out, sorted; and the report: kind -> name -> wanted,
        got, available (the pairs there were).
    """
    from pipelines.clean.kernels.filling import scatter_ids
    from pipelines.clean.kernels.words import read_texts

    pairs = pairs.sort("pair_id")
    total = mix.total if mix.total is not None else len(pairs)
    counted = list_counted(pairs, mix, total)
    texts = read_texts(pairs["pair_id"])
    places = scatter_ids(texts.data, texts.starts, texts.ends, seed)
    outcome, reached = choose_rows(places, counted, total)
    report: Report = {kind: {} for kind in ("category", "source")}
    for part, got in zip(counted, reached, strict=True):
        if part.kind not in (CLUSTER, POLICY):
            report[part.kind] = report_counted(part, got)
    left = np.flatnonzero(outcome != TAKEN)
    described = describe_full(counted, outcome[left], total)
    reasons = [described[counter] for counter in outcome[left].tolist()]
    dropped = pl.DataFrame(
        {
            "pair_id": pairs["pair_id"].gather(left),
            "rule": pl.Series([rule for rule, _ in reasons], dtype=pl.String),
            "reason": pl.Series([reason for _, reason in reasons], dtype=pl.String),
        }
    )
    return dropped, report


def describe_full(
    counted: Sequence[Counted], outcome: NDArray[np.int32], total: int
) -> dict[int, tuple[str, str]]:
    """What `choose_rows` says of rows that were left out -> rule, reason."""
    found = {OVER_TOTAL: ("over_total", f"the total of {total} pairs is reached")}
    ends = np.cumsum([len(part.limits) for part in counted])
    for counter in np.unique(outcome[outcome >= 0]).tolist():
        place = int(np.searchsorted(ends, counter, side="right"))
        part = counted[place]
        code = counter - (int(ends[place - 1]) if place else 0)
        rule = f"over_{part.kind}" if part.kind in UNNAMED else f"over_quota_{part.kind}"
        reason = f"{part.kind} {part.names[code]} has its {part.limits[code]} pairs"
        found[counter] = (rule, reason)
    return found


def report_counted(part: Counted, got: NDArray[np.int64]) -> dict[str, dict[str, Any]]:
    """name -> wanted, got, available."""
    available = np.bincount(part.codes[part.codes >= 0], minlength=len(part.names))
    return {
        str(name): {"wanted": int(limit), "got": int(got[i]), "available": int(available[i])}
        for i, (name, limit) in enumerate(zip(part.names, part.limits, strict=True))
    }


def choose_rows(
    places: NDArray[np.uint64], counted: Sequence[Counted], total: int
) -> tuple[NDArray[np.int32], list[NDArray[np.int64]]]:
    """The same on bare columns: for each row `TAKEN`, `OVER_TOTAL` or the counter that was full
    (they are numbered over all of `counted`); and what the counters reached.

    Args:
        places: (n,): the order of the rows (`kernels.filling.scatter_ids`), the least first.
        counted: what rows count for. Those that a quota names come before all others.
    """
    from pipelines.clean.kernels.filling import fill, order_places

    if not counted and total >= len(places):
        return np.full(len(places), TAKEN, dtype=np.int32), []
    named = np.zeros(len(places), dtype=bool)
    columns, offset = [np.full((len(places), 1), -1, dtype=np.int32)], 0
    for part in counted:
        columns.append(np.where(part.codes >= 0, part.codes + offset, -1).astype(np.int32))
        offset += len(part.limits)
        if part.kind not in UNNAMED:
            named |= (part.codes >= 0).any(axis=1)
    counters = np.ascontiguousarray(np.hstack(columns[1:] or columns))
    limits = np.concatenate([np.zeros(0, np.int64), *(part.limits for part in counted)])
    last = (~named).astype(np.uint64) << np.uint64(63)
    outcome, reached = fill(order_places((places >> np.uint64(1)) | last), counters, limits, total)
    ends = np.cumsum([len(part.limits) for part in counted])
    return outcome, np.split(reached, ends[:-1]) if counted else []


def list_counted(
    pairs: pl.DataFrame, mix: MixSpec, total: int, sizes: NDArray[np.int64] | None = None
) -> list[Counted]:
    """What pairs count for under a mix: quotas, strata, clusters and policies.

    Args:
        sizes: how many pairs each row of `pairs` stands for; None: one.
    """
    counted = []
    for axis, shares in mix.quotas.items():
        if shares:
            names = list(shares)
            limits = np.array([_count(share, total) for share in shares.values()], dtype=np.int64)
            counted.append(Counted(axis, _code(pairs[axis], names), names, limits))
    if mix.balance:
        keys = pl.concat_str([pl.col(axis).cast(pl.String).fill_null(UNKNOWN)
                              for axis in mix.balance], separator=" × ")  # fmt: skip
        strata = pairs.select(keys).to_series()
        size = pl.lit(1) if sizes is None else pl.Series(sizes)
        found = pl.select(strata.alias("name"), size=size).group_by("name").agg(pl.sum("size"))
        names = found.sort("name")["name"].to_list()
        limits = share_out(found.sort("name")["size"].to_numpy(), total, mix.temperature)
        counted.append(Counted(STRATUM, _code(strata, names), names, limits))
    if mix.per_cluster is not None:
        clusters = pairs["cluster_id"]
        codes = (clusters.rank("dense").cast(pl.Int32) - 1).fill_null(-1).to_numpy()
        names = clusters.drop_nulls().unique().sort()
        limits = np.full(len(names), mix.per_cluster, dtype=np.int64)
        counted.append(Counted(CLUSTER, codes.reshape(-1, 1), names, limits))
    if mix.per_policy is not None:
        names = pairs["policies"].explode(empty_as_null=True).drop_nulls().unique().sort().to_list()
        limits = np.full(len(names), mix.per_policy, dtype=np.int64)
        codes = [_code(pairs["policies"].list.get(i, null_on_oob=True), names)
                 for i in range(max(1, pairs["policies"].list.len().max() or 0))]  # fmt: skip
        counted.append(Counted(POLICY, np.hstack(codes), names, limits))
    return counted


def _code(values: pl.Series, names: list[str]) -> NDArray[np.int32]:
    """(n, 1): the place of each value among `names`, -1 for any other."""
    if not names:
        return np.full((len(values), 1), -1, dtype=np.int32)
    places = dict(zip(names, range(len(names)), strict=True))
    coded = values.replace_strict(places, default=-1, return_dtype=pl.Int32)
    return coded.fill_null(-1).to_numpy().reshape(-1, 1)


def _count(share: float, total: int) -> int:
    """The whole pairs in a share; 0.29 of 100 is 29, though their product is a hair less."""
    return math.floor(share * total + 1e-9)
