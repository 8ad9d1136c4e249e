"""What an examinee does on parts of a set: by length, where the shorter response is right, and how
far its margins can be read as probabilities. All of it is about comparisons of a right response
with a wrong one, each counting alike; intervals are over prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from annotators.calibration import fold_pairs, measure_ece, tabulate_reliability
from pipelines.ship.exams.intervals import Array, estimate, tally
from pipelines.ship.exams.items import Item, win
from pipelines.ship.exams.scoring import write_interval

DECILES = 10
ECE_BINS = 20
"""Over [0, 1]; ten of them hold what is folded to the favoured side."""


@dataclass(frozen=True)
class Comparisons:
    """Right against wrong responses, (n,) each: whose prompt, the margin (reward of the right one
    less that of the wrong one) and both lengths in characters."""

    prompts: tuple[str, ...]
    margins: Array
    right_chars: Array
    wrong_chars: Array


def list_comparisons(items: Sequence[Item], rewards: Sequence[Array]) -> Comparisons:
    """The comparisons that the items hold."""
    prompts: list[str] = []
    rows: list[tuple[float, int, int]] = []
    for item, values in zip(items, rewards, strict=True):
        pairs = item.compare()
        chars = [len(text) for text in item.responses]
        prompts += [item.prompt_key] * len(pairs)
        rows += [(values[i] - values[j], chars[i], chars[j]) for i, j in pairs]
    table = np.asarray(rows, dtype=float).reshape(-1, 3)
    return Comparisons(tuple(prompts), *table.T)


def score_lengths(found: Comparisons, seed: int) -> dict[str, Any]:
    """Accuracy by length.

    Returns:
        deciles: of the comparisons by the mean length of both responses, shortest first, as
        {chars_low, chars_high, n, score, ci} (fewer where lengths are equal);
        shorter_is_right, longer_is_right: {n, score, ci} (score None without such comparisons).
    """
    mean = (found.right_chars + found.wrong_chars) / 2
    deciles = []
    if len(mean):
        edges = np.unique(np.quantile(mean, np.linspace(0, 1, DECILES + 1)))
        at = np.clip(np.searchsorted(edges, mean, side="right") - 1, 0, max(len(edges) - 2, 0))
        for place in np.unique(at):
            inside = at == place
            deciles.append(
                {"chars_low": float(mean[inside].min()), "chars_high": float(mean[inside].max()),
                 **_score(found, inside, seed)}
            )  # fmt: skip
    return {
        "deciles": deciles,
        "shorter_is_right": _score(found, found.right_chars < found.wrong_chars, seed),
        "longer_is_right": _score(found, found.right_chars > found.wrong_chars, seed),
    }


def measure_margins(found: Comparisons) -> dict[str, Any]:
    """How far the logistic of a margin is the chance of being right.

    Returns:
        ece: the expected calibration error of that chance for the favoured response (None without
        comparisons); curve: its bins as {n, p (mean predicted), truth (share right)}.
    """
    chance = 0.5 * (1 + np.tanh(found.margins / 2))  # the logistic, without overflow
    folded, right = fold_pairs(chance, np.ones(len(chance)))
    curve = tabulate_reliability(folded, right, ECE_BINS).select("n", "p", "truth")
    return {"ece": measure_ece(folded, right, ECE_BINS), "curve": curve.to_dicts()}


def frame_curve(name: str, curve: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """The bins of `measure_margins` as `plot_calibration` draws them."""
    schema = {"n": pl.Int64, "p": pl.Float64, "truth": pl.Float64}
    return pl.DataFrame(list(curve), schema=schema).with_columns(annotator=pl.lit(name))


def _score(found: Comparisons, inside: np.ndarray, seed: int) -> dict[str, Any]:
    places = np.flatnonzero(inside)
    if not len(places):
        return {"n": 0, "score": None, "ci": [None, None]}
    won = win(found.margins[places], 0.0)
    table = tally(
        [found.prompts[p] for p in places], ["all"] * len(places), won.tolist(), {"all": 1.0}
    )
    return {"n": len(places), **write_interval(estimate(table, seed))}
