"""How near a response is to what a goal says, measured away from a baseline.

After VLM-RMs (Rocamonde et al., "Vision-Language Models are Zero-Shot Reward Models for
Reinforcement Learning", arXiv 2310.12921), with texts in the place of images: with s, g and b the
unit vectors of the response, the goal ("a formal letter") and the baseline ("a letter"),

    score = 1 - ½ ‖alpha proj_L s + (1 - alpha) s - g‖²,

where L is the line through b and g. At alpha = 0 it is the cosine of s and g; at alpha = 1 only
the place along L counts, and what goal and baseline have in common says nothing. It is a cheap
pre-label for style, tone and subject, of one embedder's making: measure it before it decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from annotators.signals.rows import SignalUnusable, check_columns, make_score_row, name_signal
from annotators.talk import Row
from engines.embedder import MINILM, embed_texts

Array = NDArray[np.float64]
SHORTEST = 1e-9  # vectors and lines shorter than this have no direction


def score_toward_goal(
    responses: ArrayLike, goal: ArrayLike, baseline: ArrayLike, *, alpha: float
) -> Array:
    """The score of each response, from -1 to 1; 1 is the goal itself. It never falls as `alpha`
    rises, so compare only what has been scored with one alpha.

    Args:
        responses: (n, d) vectors of any length; those that are zero or not finite score NaN.
        goal, baseline: (d,) vectors.
        alpha: how much of the projection, from 0 (none) to 1.

    Raises:
        SignalUnusable: alpha is outside [0, 1], the dimensions differ, or goal and baseline have
            no direction or, where alpha is not 0, are the same.
    """
    if not 0.0 <= alpha <= 1.0:
        raise SignalUnusable(f"alpha is {alpha}; it must lie between 0 and 1")
    given = np.atleast_2d(np.asarray(responses, dtype=np.float64))
    ends = [np.asarray(end, dtype=np.float64) for end in (goal, baseline)]
    if given.size == 0:
        return np.zeros(0)
    if any(end.shape != given.shape[1:] for end in ends):
        raise SignalUnusable(
            f"responses of {given.shape[1:]} dimensions, a goal of {ends[0].shape} and a baseline "
            f"of {ends[1].shape}: embed all three with one model"
        )
    vectors, target, origin = _normalise(given), *(_normalise(end) for end in ends)
    if not np.isfinite([target, origin]).all():
        raise SignalUnusable("the goal's or the baseline's vector is zero or not finite")
    line = target - origin
    away = vectors - target
    length = float(line @ line)
    if length > SHORTEST**2:
        along = np.outer(away @ line, line) / length
    elif alpha == 0.0:
        along = np.zeros_like(away)
    else:
        raise SignalUnusable("goal and baseline have the same vector: say what tells them apart")
    mixed = alpha * along + (1.0 - alpha) * away
    return np.clip(1.0 - 0.5 * (mixed**2).sum(axis=1), -1.0, 1.0)


def score_texts(
    texts: Sequence[str], goal: str, baseline: str, *, alpha: float, model: str = MINILM
) -> Array:
    """Embed and score: see `score_toward_goal`. An empty text scores NaN.

    Raises:
        SignalUnusable: see `score_toward_goal`.
        engines.embedder.EmbedderMissing: the offline embedder is not installed.
    """
    distinct = list(dict.fromkeys(text for text in texts if text.strip()))
    scores = np.full(len(texts), np.nan)
    if distinct:
        vectors = embed_texts([goal, baseline, *distinct], model)
        found = score_toward_goal(vectors[2:], vectors[0], vectors[1], alpha=alpha)
        by_text = dict(zip(distinct, found, strict=True))
        scores = np.array([by_text.get(text, np.nan) for text in texts])
    return scores


def name_goal(goal: str, baseline: str, *, alpha: float, model: str = MINILM) -> str:
    """The annotator of these settings."""
    specification = {"goal": goal, "baseline": baseline, "alpha": alpha, "model": model}
    return name_signal("goal-baseline", specification, model=model)


def make_goal_rows(
    responses: pl.DataFrame,
    scores: ArrayLike,
    goal: str,
    baseline: str,
    *,
    alpha: float,
    model: str = MINILM,
    criterion: str | None = None,
) -> list[Row]:
    """Rows of `judgments`, one a response.

    Args:
        responses: prompt_id, response_id.
        scores: one for each, in that order; NaN gives a row that is not valid.
        criterion: what the goal is about, where it is not quality as a whole.

    Raises:
        SignalUnusable: a column is missing.
    """
    check_columns(responses, ("prompt_id", "response_id"), "responses")
    annotator = name_goal(goal, baseline, alpha=alpha, model=model)
    pairs = responses.select("prompt_id", "response_id").iter_rows()
    return [
        make_score_row(
            annotator,
            prompt_id,
            response_id,
            float(score),
            reason="the response has no embedding",
            criterion=criterion,
            detail={"goal": goal, "baseline": baseline, "alpha": alpha},
        )
        for (prompt_id, response_id), score in zip(pairs, np.asarray(scores), strict=True)
    ]


def _normalise(vectors: Array) -> Array:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    usable = np.isfinite(lengths) & (lengths > SHORTEST)
    return np.divide(vectors, lengths, out=np.full_like(vectors, np.nan), where=usable)
