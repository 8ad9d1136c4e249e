"""Pairs without labels: another sample of the policy that wrote a reference, against one of another
policy.

After POLAR ("Pre-Trained Policy Discriminators are General Reward Models", arXiv 2507.05197): a
reward model learns r(prompt, reference, candidate) by telling policies apart. A pair says nothing
about quality. What tells policies apart without reading is length, so the two candidates are
matched by length, and the accuracy of two rules that see lengths alone is reported: the longer
candidate, and the one nearer to the reference's length. Both should be near one half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from annotators.signals.rows import SignalUnusable, check_columns, make_pair_row, name_signal
from annotators.talk import Row
from schemas.ids import make_id

COLUMNS = ("prompt_id", "response_id", "policy", "content")
CRITERION = "same_policy"
MOST_OWN, MOST_OTHERS = 16, 32  # candidates looked at for one prompt and policy
Lengths = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PolicyPairs:
    """What `pair_policies` made.

    Attributes:
        pairs: prompt_id, policy, other_policy, reference, positive, negative (response ids), and
            length_reference, length_positive, length_negative in characters. At most one for each
            prompt and policy.
        left_out: prompt_id, policy, reason for every other one: `one_policy`, `one_sample` (fewer
            than two responses of its own) or `no_length_match`.
        longer_accuracy, nearer_accuracy: how often the positive is the longer of the two, and the
            one nearer to the reference in length (draws count half); None without pairs.
    """

    pairs: pl.DataFrame
    left_out: pl.DataFrame
    longer_accuracy: float | None
    nearer_accuracy: float | None

    @property
    def length_only_accuracy(self) -> float | None:
        """The accuracy of the better of the two rules, or of its opposite; one half gives nothing
        away. (Over few pairs chance alone lifts it: with n pairs by about 0.5 / sqrt(n).)"""
        if self.longer_accuracy is None or self.nearer_accuracy is None:
            return None
        return max(
            max(accuracy, 1.0 - accuracy)
            for accuracy in (self.longer_accuracy, self.nearer_accuracy)
        )


def pair_policies(rollouts: pl.DataFrame, *, tolerance: float = 0.1, seed: int = 0) -> PolicyPairs:
    """One triple for each prompt and policy, where there is one.

    A text that two policies gave tells nothing and is not used. Among the triples whose candidates
    differ in length by at most `tolerance` of the longer, the one is taken that keeps both length
    rules nearest to one half over all pairs so far, then the one with the smallest difference.
    The result does not depend on the order of the rows.

    Args:
        rollouts: prompt_id, response_id, policy, content; a response sampled twice counts once.
        tolerance: from 0 (equal lengths) to 1 (any).
        seed: which candidates, of equally good ones.

    Raises:
        SignalUnusable: a column is missing, or the tolerance is outside [0, 1].
    """
    check_columns(rollouts, COLUMNS, "rollouts")
    if not 0.0 <= tolerance <= 1.0:
        raise SignalUnusable(f"the tolerance is {tolerance}; it must lie between 0 and 1")
    samples = _list_samples(rollouts, seed)
    by_prompt = {
        str(key[0]): group for key, group in samples.group_by("prompt_id", maintain_order=True)
    }
    cells = rollouts.select("prompt_id", "policy").unique().rows()
    rows, left_out = [], []
    balance = (0, 0)
    for prompt_id, policy in sorted(cells, key=lambda cell: make_id("cell", seed, *cell)):
        group = by_prompt.get(prompt_id, samples.clear())
        own = group.filter(pl.col("policy") == policy).head(MOST_OWN)
        others = group.filter(pl.col("policy") != policy).head(MOST_OTHERS)
        lengths = own["length"].to_numpy(), others["length"].to_numpy()
        if len(own) < 2 or not len(others):
            reason = "one_policy" if len(own) >= 2 else "one_sample"
            left_out.append((prompt_id, policy, reason))
            continue
        place = _choose_triple(*lengths, tolerance, balance)
        if place is None:
            left_out.append((prompt_id, policy, "no_length_match"))
            continue
        reference, positive, negative = place
        row = _make_triple(own, others, reference, positive, negative)
        balance = balance[0] + _say_longer(row), balance[1] + _say_nearer(row)
        rows.append({"prompt_id": prompt_id, "policy": policy, **row})
    schema = {
        **dict.fromkeys(("prompt_id", "policy", "other_policy"), pl.String),
        **dict.fromkeys(("reference", "positive", "negative"), pl.String),
        **dict.fromkeys(("length_reference", "length_positive", "length_negative"), pl.Int64),
    }
    names = dict.fromkeys(("prompt_id", "policy", "reason"), pl.String)
    shares = [0.5 + 0.5 * total / len(rows) if rows else None for total in balance]
    return PolicyPairs(
        pl.DataFrame(rows, schema=schema, orient="row").sort("prompt_id", "policy"),
        pl.DataFrame(left_out, schema=names, orient="row").sort("prompt_id", "policy"),
        *shares,
    )


def make_policy_rows(pairs: pl.DataFrame) -> list[Row]:
    """Rows of `judgments` with the criterion `same_policy`: which of the two candidates comes from
    the reference's policy. The criterion keeps them out of every view of which is better.

    Args:
        pairs: the `pairs` of `pair_policies`.
    """
    annotator = name_signal("policy-pairs", {})
    return [
        make_pair_row(
            annotator,
            row["prompt_id"],
            row["positive"],
            row["negative"],
            criterion=CRITERION,
            origin=[row["reference"]],
            detail={name: row[name] for name in ("reference", "policy", "other_policy")},
        )
        for row in pairs.iter_rows(named=True)
    ]


def _list_samples(rollouts: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Distinct responses of one policy alone, in an order that follows from the seed."""
    own = rollouts.select(COLUMNS).unique(("prompt_id", "response_id", "policy"))
    alone = own.filter(pl.col("policy").n_unique().over("prompt_id", "content") == 1)
    distinct = alone.sort("response_id").unique(("prompt_id", "content"), keep="first")
    ranks = [make_id("rank", seed, response_id) for response_id in distinct["response_id"]]
    return (
        distinct.with_columns(
            rank=pl.Series(ranks, dtype=pl.String),
            length=pl.col("content").str.len_chars().cast(pl.Int64),
        )
        .sort("prompt_id", "rank")
        .drop("content", "rank")
    )


def _choose_triple(
    own: Lengths, others: Lengths, tolerance: float, balance: tuple[int, int]
) -> tuple[int, int, int] | None:
    """Places of reference, positive and negative."""
    reference, positive, negative = own[:, None, None], own[None, :, None], others[None, None, :]
    longest = np.maximum(np.maximum(positive, negative), 1)
    gap = np.abs(positive - negative) / longest
    longer = np.sign(positive - negative)
    nearer = np.sign(np.abs(negative - reference) - np.abs(positive - reference))
    tilt = np.abs(balance[0] + longer) + np.abs(balance[1] + nearer)
    cost = np.where(gap <= tolerance, 2.0 * tilt + gap, np.inf)
    cost[np.arange(len(own)), np.arange(len(own)), :] = np.inf
    best = int(np.argmin(cost))
    if not np.isfinite(cost.flat[best]):
        return None
    first, second, third = np.unravel_index(best, cost.shape)
    return int(first), int(second), int(third)


def _make_triple(
    own: pl.DataFrame, others: pl.DataFrame, reference: int, positive: int, negative: int
) -> dict[str, str | int]:
    return {
        "other_policy": others["policy"][negative],
        "reference": own["response_id"][reference],
        "positive": own["response_id"][positive],
        "negative": others["response_id"][negative],
        "length_reference": own["length"][reference],
        "length_positive": own["length"][positive],
        "length_negative": others["length"][negative],
    }


def _say_longer(row: dict[str, str | int]) -> int:
    return int(np.sign(int(row["length_positive"]) - int(row["length_negative"])))


def _say_nearer(row: dict[str, str | int]) -> int:
    target, ours, theirs = (
        int(row[f"length_{name}"]) for name in ("reference", "positive", "negative")
    )
    return int(np.sign(abs(theirs - target) - abs(ours - target)))
