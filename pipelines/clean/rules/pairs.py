"""Rules on labelled pairs: how unlike the two responses are, and how sure the label is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.clean.logistic import fit_logistic, predict, predict_out_of_fold

RIDGE = 100.0  # features have a mean square of 1
NORMAL_MAD = 1.4826  # the standard deviation of a normal variable in median absolute deviations
LEAST_SCORES = 20
LEAST_PAIRS = 100  # a reward model of fewer says nothing


def measure_length_ratio(pairs: pl.DataFrame) -> pl.Series:
    """Characters of the longer response to those of the shorter, at least 1; an empty one counts
    as one character.

    Args:
        pairs: chosen, rejected (texts).
    """
    chosen, rejected = (pl.col(side).str.len_chars().clip(1) for side in ("chosen", "rejected"))
    longer, shorter = pl.max_horizontal(chosen, rejected), pl.min_horizontal(chosen, rejected)
    return pairs.select(value=longer / shorter).to_series()


def measure_disagreement(pairs: pl.DataFrame) -> pl.Series:
    """The share of the deciding opinions that were for the other side; null where it is not known.

    Args:
        pairs: agreement.
    """
    return pairs.select(value=1 - pl.col("agreement")).to_series()


def measure_label_noise(
    chosen: npt.NDArray[np.float32],
    rejected: npt.NDArray[np.float32],
    prompts: list[str],
    seed: int,
) -> tuple[pl.Series, float]:
    """How likely each pair's label is the wrong way round, by a reward model that did not see the
    pair's prompt, and the least such probability that confident learning calls a label error.

    A label is called wrong where the model gives the opposite label at least the probability that
    it gives, on average, to the labels that are there (Northcutt, Jiang and Chuang 2021, "Confident
    learning"). Both classes are one here, for a pair has no order, so there is one such threshold.

    The probabilities are calibrated on the labels that are there: of a model that is no better than
    chance they are one half, and nothing is called wrong that a threshold above that asks for. Of
    fewer than `LEAST_PAIRS` pairs all are null.

    Args:
        chosen, rejected: embeddings, a row each pair.
        prompts: what the folds are made of.
    """
    differences = (chosen - rejected).astype(np.float64)
    p = _calibrate(predict_out_of_fold(differences, prompts, seed, ridge=RIDGE))
    if len(p) < LEAST_PAIRS:
        return pl.Series("value", [None] * len(p), dtype=pl.Float64), 1.0
    return pl.Series("value", 1 - p), float(p.mean())


def measure_outliers(pairs: pl.DataFrame, scores: pl.DataFrame) -> pl.Series:
    """How far the rewards of a pair's responses are from what is usual in their source: the larger
    robust z (distance from the median in normal deviations, by the median absolute deviation), over
    all reward models. Null where nothing is known: no score, a source with under `LEAST_SCORES`
    of a model, or one in which half of them are equal.

    Args:
        pairs: pair_id, chosen_id, rejected_id, source.
        scores: annotator, response_id, score.
    """
    sides = pl.concat(
        pairs.select("pair_id", "source", response_id=side) for side in ("chosen_id", "rejected_id")
    )
    known = sides.join(scores, on="response_id").drop_nulls("score")
    within = ["annotator", "source"]
    once = known.unique(["annotator", "source", "response_id"])
    middle = once.group_by(within).agg(
        median=pl.col("score").median(),
        spread=NORMAL_MAD * (pl.col("score") - pl.col("score").median()).abs().median(),
        n=pl.len(),
    )
    usual = middle.filter(pl.col("n") >= LEAST_SCORES, pl.col("spread") > 0)
    z = (
        known.join(usual, on=within)
        .group_by("pair_id")
        .agg(value=((pl.col("score") - pl.col("median")) / pl.col("spread")).abs().max())
    )
    return pairs.join(z, on="pair_id", how="left", maintain_order="left")["value"]


def _calibrate(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The probabilities drawn towards one half as far as the labels say that they were too sure."""
    logits = np.log(p / (1 - p))[:, None]
    return predict(logits, np.maximum(fit_logistic(logits, ridge=1e-3), 0))
