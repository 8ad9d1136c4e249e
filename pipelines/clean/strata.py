"""What a mix looks at beside a pair's category and source, and how strata share a total."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.lake.catalogue import Lake
from schemas.mixing import MixSpec

UNKNOWN = "unknown"
LENGTHS = ("short", "medium", "long")
DESCRIBED = """
SELECT pair_id, arg_max(objectivity, rank) AS objectivity FROM wanted JOIN (
    SELECT target, objectivity, row_number() OVER (ORDER BY created_at) AS rank
    FROM attributes WHERE valid AND objectivity IS NOT NULL
) ON target IN (pair_id, prompt_id) GROUP BY pair_id
"""


def list_axes(mix: MixSpec) -> list[str]:
    """The axes that this mix looks at, category and source always."""
    used = {axis for axis, shares in mix.quotas.items() if shares} | set(mix.balance)
    return [axis for axis in mix.quotas if axis in {*used, "category", "source"}]


def add_strata(
    lake: Lake, pairs: pl.DataFrame, prompts: pl.DataFrame, rollouts: pl.DataFrame, mix: MixSpec
) -> pl.DataFrame:
    """`pairs` with the columns that the mix looks at and they lack: `difficulty`, `objectivity`
    (the newest that was written of the pair or its prompt), `length` (of the longer response),
    `cluster_id`, and `policies` (of both responses, each once). What nobody knows is `unknown`.
    """
    axes = list_axes(mix)
    found = pairs
    if "difficulty" in axes:
        found = found.with_columns(pl.col("difficulty").fill_null(UNKNOWN))
    if "objectivity" in axes:
        wanted = found.select("pair_id", "prompt_id")
        written = lake.query(DESCRIBED, wanted=wanted)
        found = found.join(written, on="pair_id", how="left", maintain_order="left")
        found = found.with_columns(pl.col("objectivity").fill_null(UNKNOWN))
    if "length" in axes:
        chars = rollouts.unique("response_id").select(
            "response_id", chars=pl.col("content").str.len_chars()
        )
        for side in ("chosen", "rejected"):
            named = chars.rename({"response_id": f"{side}_id", "chars": f"{side}_chars"})
            found = found.join(named, on=f"{side}_id", how="left", maintain_order="left")
        longer = pl.max_horizontal("chosen_chars", "rejected_chars").fill_null(0)
        found = found.with_columns(
            length=longer.cut(list(mix.length_bounds), labels=list(LENGTHS), left_closed=True).cast(
                pl.String
            )
        ).drop("chosen_chars", "rejected_chars")
    if mix.per_cluster is not None:
        clusters = prompts.select("prompt_id", "cluster_id").unique("prompt_id")
        found = found.join(clusters, on="prompt_id", how="left", maintain_order="left")
    if mix.per_policy is not None:
        found = _add_policies(found, rollouts)
    return found


def _add_policies(pairs: pl.DataFrame, rollouts: pl.DataFrame) -> pl.DataFrame:
    made = rollouts.group_by("response_id").agg(pl.col("policy").unique().sort())
    sides = [
        pairs.select("pair_id", response_id=pl.col(side)) for side in ("chosen_id", "rejected_id")
    ]
    policies = (
        pl.concat(sides)
        .join(made, on="response_id")
        .explode("policy")
        .group_by("pair_id")
        .agg(policies=pl.col("policy").unique().sort())
    )
    return pairs.join(policies, on="pair_id", how="left", maintain_order="left")


def share_out(sizes: NDArray[np.int64], total: int, temperature: float) -> NDArray[np.int64]:
    """How many of `total` each stratum gets: in proportion to size^(1/temperature), none more than
    it has, what it cannot fill going to the others in the same proportion. Whole numbers by the
    largest remainder, ties to the earlier stratum; they add up to min(total, sum of sizes).

    Args:
        sizes: (strata,): the pairs of each.
        temperature: at least 1. Temperature sampling as in multilingual pre-training (Arivazhagan
            et al. 2019).
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    room = min(int(total), int(sizes.sum()))
    shares = np.zeros(len(sizes))
    open_ones = sizes > 0
    left = float(room)
    weights = np.where(open_ones, sizes.astype(float), 1.0) ** (1.0 / temperature)
    while open_ones.any() and left > 1e-9:
        part = np.where(open_ones, weights, 0.0)
        wanted = shares + left * part / part.sum()
        full = open_ones & (wanted >= sizes - 1e-9)
        shares = np.where(full, sizes, shares) if full.any() else wanted
        left = room - shares.sum()
        open_ones &= ~full
        if not full.any():
            break
        shares = np.where(open_ones, 0.0, shares)  # shared out afresh among those with room
        left = room - shares.sum()
    whole = np.floor(shares + 1e-9).astype(np.int64)
    short = room - int(whole.sum())
    remainder = np.where(whole < sizes, shares - whole, -1.0)
    whole[np.argsort(-remainder, kind="stable")[:short]] += 1
    return whole
