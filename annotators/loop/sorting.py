"""Stage 2, without people: which pairs of a pool are kept as they are, judged again, turned round
or thrown away.

After Skywork-Reward-V2 (2507.01352, section 3.3; a re-implementation). Three readers look at the
label that a pair came with: the best reward model so far, the gold model (taught by people's labels
alone) and, where asked, the jury.

- Best-model filter: what the best model already gets right needs no jury; the rest is judged.
- Gold-model consistency: a label is kept when the gold model agrees with it, and with it the jury
  or the best model.
- What is left is thrown away, or recycled with its label turned round by the flip policy: `none`;
  `unanimous`, where all three reject the label; `all`, the paper's, every pair that is not kept.
"""

from __future__ import annotations

import polars as pl

from schemas.errors import AssayError

FLIP_POLICIES = ("none", "unanimous", "all")
READERS = ("p_gold", "p_best", "p_jury")
ACTIONS = ("keep", "judge", "flip", "discard")
ALL_WARNING = (
    "flip_policy all turns round every pair that is not kept: of the labels that it turned on a "
    "real pool with 10, 25 and 40 % of labels wrong at random, 19, 41 and 58 % were right "
    "afterwards; unanimous had 49, 74 and 85 % right. Where labels are mostly right, take none, "
    "and have people look at a sample of whatever is turned"
)
"""To print where somebody takes `all`; measured by `python -m benchmarks.loop --show 4`."""


class SortingRefused(AssayError):
    """Pairs that cannot be sorted, or a flip policy that does not exist."""


def sort_pairs(
    pairs: pl.DataFrame, flip_policy: str = "unanimous", *, judged: bool = False
) -> pl.DataFrame:
    """What becomes of each pair, and why.

    Args:
        pairs: pair_id, and what each reader gives the label it came with: p_gold, p_best, p_jury
            (probabilities; null where a reader said nothing). Above one half agrees, below rejects,
            one half and null do neither.
        flip_policy: one of `FLIP_POLICIES`.
        judged: whether the jury's round is over: what it was asked and did not answer is then
            settled without it, and no pair is `judge`.

    Returns:
        pair_id, action (of `ACTIONS`), reason, in the order of `pairs`: one row each.

    Raises:
        SortingRefused: another policy, a missing column, a pair twice, or no probability.
    """
    if flip_policy not in FLIP_POLICIES:
        raise SortingRefused(
            f"there is no flip policy {flip_policy!r}; take one of {', '.join(FLIP_POLICIES)}"
        )
    _check(pairs)
    gold, best, jury = (_hear(name) for name in READERS)
    agrees = (gold == 1) & ((jury == 1) | (best == 1))
    waits = (best != 1) & pl.col("p_jury").is_null() & (not judged)
    unanimous = (gold == -1) & (best == -1) & (jury == -1)
    turned = {"none": pl.lit(False), "unanimous": unanimous, "all": ~agrees}[flip_policy]
    action = (
        pl.when(waits).then(pl.lit("judge")).when(agrees).then(pl.lit("keep"))
        .when(turned).then(pl.lit("flip")).otherwise(pl.lit("discard"))
    )  # fmt: skip
    kept = (
        pl.when((best == 1) & (jury == 1)).then(pl.lit("gold model, best model and jury agree"))
        .when(best == 1).then(pl.lit("gold model and best model agree"))
        .otherwise(pl.lit("gold model and jury agree"))
    )  # fmt: skip
    lost = (
        pl.when(unanimous).then(pl.lit("gold model, best model and jury reject the label"))
        .when(gold == -1).then(pl.lit("the gold model rejects the label"))
        .when(gold == 0).then(pl.lit("the gold model does not say"))
        .otherwise(pl.lit("neither jury nor best model agrees with the label"))
    )  # fmt: skip
    reason = (
        pl.when(waits).then(pl.lit("the best model does not agree with the label"))
        .when(agrees).then(kept).otherwise(lost)
    )  # fmt: skip
    return pairs.select("pair_id", action=action, reason=reason)


def _hear(name: str) -> pl.Expr:
    """1 agrees, -1 rejects, 0 neither."""
    return (pl.col(name).cast(pl.Float64) - 0.5).sign().fill_null(0).cast(pl.Int8)


def _check(pairs: pl.DataFrame) -> None:
    missing = [name for name in ("pair_id", *READERS) if name not in pairs.columns]
    if missing:
        raise SortingRefused(f"the pairs lack the column {', '.join(missing)}")
    for name in READERS:
        p = pl.col(name).cast(pl.Float64)
        strange = pairs.filter(~p.is_between(0, 1))
        if len(strange):
            row = strange.row(0, named=True)
            raise SortingRefused(
                f"pair {row['pair_id']}: {name} is {row[name]}, which is no probability; "
                "leave it null where the reader said nothing"
            )
    twice = pairs.filter(pl.col("pair_id").is_duplicated())
    if len(twice):
        raise SortingRefused(f"pair {twice['pair_id'][0]} is there twice; give it one row")
