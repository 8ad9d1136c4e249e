"""The bias audit: how well does a shortcut alone predict the labels?

A reward model learns whatever predicts its labels. Where the longer response, the one with more
bold type, the one that does not decline, or the one that was shown first is chosen more often than
not, that is what it may learn. Each shortcut is tried as the whole of a reward model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from annotators.agreement import find_interval
from pipelines.clean.logistic import predict_out_of_fold
from pipelines.clean.rules.refusal import count_refusal_points
from schemas.cleaning import BiasSpec

LEAST = 20  # pairs in a slice; less says nothing
FIT_AT_MOST = (
    20_000  # pairs that a model of several features is fitted on, those with the smallest ids
)
MARKS = {
    "bold": r"\*\*[^*\n]+\*\*|__[^_\n]+__",
    "bullets": r"(?m)^\s*[-*\u2022] ",
    "numbers": r"(?m)^\s*\d+[.)] ",
    "headings": r"(?m)^#{1,6} ",
    "code": r"```|`[^`\n]+`",
    "tables": r"(?m)^\s*\|",
}
SHORTCUTS = {
    "length": ("length",),
    "format": tuple(MARKS),
    "refusal": ("refusal",),
    "position": ("position",),
    "all": ("length", *MARKS, "refusal", "position"),
}
SLICES = ("category", "source")
Floats = npt.NDArray[np.float64]


def measure_differences(pairs: pl.DataFrame) -> pl.DataFrame:
    """`pairs` with what the chosen response has more of than the rejected: `length` (log of the
    characters), each of `MARKS` (log of how often), `refusal` (points) and `position`.

    Args:
        pairs: chosen, rejected (texts), and `position`: from 1 (the chosen response was always
            shown first) to -1 (always second), null where nobody knows.
    """

    def measure(side: str) -> dict[str, pl.Expr]:
        text = pl.col(side)
        return {
            "length": text.str.len_chars().cast(pl.Float64),
            "refusal": count_refusal_points(text),
            **{name: text.str.count_matches(mark).cast(pl.Float64) for name, mark in MARKS.items()},
        }

    chosen, rejected = measure("chosen"), measure("rejected")
    return pairs.with_columns(
        (chosen["refusal"] - rejected["refusal"]).alias("refusal"),
        pl.col("position").fill_null(0.0),
        *(
            (chosen[name].log1p() - rejected[name].log1p()).alias(name)
            for name in ("length", *MARKS)
        ),
    )


def audit_pairs(pairs: pl.DataFrame, seed: int) -> pl.DataFrame:
    """How well each shortcut predicts the labels, of all pairs and in each slice of `LEAST` pairs
    that is not all of them.

    Args:
        pairs: pair_id, prompt_id, category, source, and the columns of `measure_differences`.

    Returns:
        slice (`all`, `category`, `source`), value, shortcut, n (pairs), n_differ (pairs on whose
        sides it differs), accuracy with its 95 % Wilson interval (`low`, `high`), auc with that of
        Hanley and McNeil (`auc_low`, `auc_high`), and toward: the share of the pairs that differ
        whose chosen response has more of it (null of several features).

        `accuracy` of one feature is that of the better of its two directions, of several that of a
        logistic model that did not see the pair's prompt (on at most `FIT_AT_MOST` pairs); a pair
        on whose sides nothing differs is half right.
    """
    rows = [
        {"slice": name, "value": value, "shortcut": shortcut, **_audit(part, shortcut, seed)}
        for name, value, part in _cut(pairs)
        for shortcut in SHORTCUTS
    ]
    schema = {
        **dict.fromkeys(("slice", "value", "shortcut"), pl.String),
        **dict.fromkeys(("n", "n_differ"), pl.Int64),
        **dict.fromkeys(
            ("accuracy", "low", "high", "auc", "auc_low", "auc_high", "toward"), pl.Float64
        ),
    }
    return pl.DataFrame(rows, schema=schema)


def tabulate_lengths(pairs: pl.DataFrame, bins: int = 10) -> pl.DataFrame:
    """Does the longer response win, by how much longer it is? Bins of (nearly) equal size over the
    pairs of unequal length.

    Returns:
        ratio_low, ratio_high (longer to shorter), n, longer_wins (share), low, high (95 %).
    """
    unequal = (
        pairs.filter(pl.col("length") != 0)
        .with_columns(size=pl.col("length").abs())
        .sort("size", "pair_id")
        .with_columns(bin=pl.int_range(pl.len()) * bins // pl.len())
    )
    low, high = find_interval(pl.col("longer_wins"), pl.col("n"))
    return (
        unequal.group_by("bin")
        .agg(
            ratio_low=pl.col("size").min().exp(),
            ratio_high=pl.col("size").max().exp(),
            n=pl.len().cast(pl.Int64),
            longer_wins=(pl.col("length") > 0).mean(),
        )
        .sort("bin")
        .with_columns(low=low, high=high)
        .drop("bin")
    )


def find_broken_bounds(audit: pl.DataFrame, spec: BiasSpec) -> list[str]:
    """What a recipe's bounds say of an audit: for each that is passed, the figure and the mend."""
    bounds: Mapping[str, float | None] = {name: getattr(spec, name) for name in SHORTCUTS}
    held = audit.filter(pl.col("slice").is_in(["all", spec.within or "all"]))
    return [
        f"{row['shortcut']} alone predicts {100 * row['accuracy']:.1f} % of the labels "
        f"({row['n']} pairs{_say_slice(row)}), more than the {100 * bound:g} % of "
        f"clean.bias.{row['shortcut']}; {_MENDS[row['shortcut']]}, or raise the bound"
        for row in held.to_dicts()
        if (bound := bounds[row["shortcut"]]) is not None and row["accuracy"] > bound + 1e-12
    ]


def _say_slice(row: Mapping[str, Any]) -> str:
    return "" if row["slice"] == "all" else f" of {row['slice']} {row['value']}"


_MENDS = {
    "length": "set clean.bias.match_length: true to drop what passes it",
    "format": "ask judges that are told to overlook layout, or add pairs of like layout",
    "refusal": "set clean.quality.refusal to drop refusals",
    "position": "ask the judges in both orders (orders: both)",
    "all": "mend the shortcuts that predict most (assay bias)",
}


def _cut(pairs: pl.DataFrame) -> list[tuple[str, str, pl.DataFrame]]:
    parts = [("all", "all", pairs)] if len(pairs) else []
    for name in SLICES:
        for (value,), part in sorted(pairs.group_by(name), key=lambda item: str(item[0][0])):
            if LEAST <= len(part) < len(pairs):
                parts.append((name, str(value), part))
    return parts


def _audit(pairs: pl.DataFrame, shortcut: str, seed: int) -> dict[str, Any]:
    columns = SHORTCUTS[shortcut]
    toward = None
    if len(columns) == 1:
        score = pairs[columns[0]].to_numpy().astype(np.float64)
        differ = np.count_nonzero(score)
        right = float(_share_right(score).mean())
        if differ:
            toward = float(np.count_nonzero(score > 0) / differ)
        score, accuracy = (score if right >= 0.5 else -score), max(right, 1 - right)
    else:
        chosen = pairs.sort("pair_id").head(FIT_AT_MOST)  # ids are hashes
        features = chosen.select(columns).to_numpy().astype(np.float64)
        differ = int((pairs.select(columns).to_numpy() != 0).any(axis=1).sum())
        p = predict_out_of_fold(features, chosen["prompt_id"].to_list(), seed)
        score = p - 0.5
        accuracy = float(_share_right(score).mean())
    n = len(score)
    low, high = find_interval(accuracy, n)
    auc = _find_auc(score)
    half = 1.96 * _find_auc_error(auc, n)
    return {
        "n": len(pairs),
        "n_differ": int(differ),
        "accuracy": accuracy,
        "low": float(low),
        "high": float(high),
        "auc": auc,
        "auc_low": max(0.0, auc - half),
        "auc_high": min(1.0, auc + half),
        "toward": toward,
    }


def _share_right(score: Floats) -> Floats:
    return np.where(np.abs(score) < 1e-12, 0.5, score > 0)


def _find_auc(score: Floats) -> float:
    """The chance that a pair shown the right way round scores above one shown the wrong way."""
    from scipy.stats import rankdata

    n = len(score)
    ranks = rankdata(np.concatenate([score, -score]))
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * n))


def _find_auc_error(auc: float, n: int) -> float:
    """The standard error by Hanley and McNeil 1982, of n pairs each way round."""
    one, two = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (n - 1) * (one - auc**2 + two - auc**2)
    return math.sqrt(max(0.0, spread)) / n
