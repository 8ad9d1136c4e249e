"""Weights of pairs: by how hard they are to tell apart, or by how sure their label is."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

Array = NDArray[np.float64]
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])|\n+")
OUTLIER = 3.0
MARGIN_PART, MARGIN_RATE = 0.1, 0.5


def split_sentences(text: str) -> list[str]:
    """The sentences of a text (after a full stop, question or exclamation mark, or a line's end);
    the text itself where it has no other."""
    found = [part.strip() for part in SENTENCE_END.split(text) if part.strip()]
    return found or [text]


def compare_sentences(chosen: ArrayLike, rejected: ArrayLike) -> float:
    """How alike two responses are: the mean over the sentences of the chosen one of the cosine to
    the sentence of the rejected one that is nearest. In [-1, 1].

    Args:
        chosen, rejected: (sentences, d): unit vectors.
    """
    return float((np.asarray(chosen) @ np.asarray(rejected).T).max(axis=1).mean())


def weigh_by_difficulty(categories: Sequence[str], alike: ArrayLike, gaps: ArrayLike) -> Array:
    """alpha_D x alpha_M of each pair, as DR-IRL (OpenReview K0Zh6mzTzc) scales its advantages:

        delta = 1 - W;  alpha_D = S(delta) / S(mean delta of the category)
        alpha_M = S(gap) / S(mean gap of the category)

    with S the logistic function. The paper takes alpha_M by the batch in which a pair is trained; a
    data set has no batches, so the gap is the pair's own. Gaps more than three standard deviations
    from their category's mean are held at three. Re-implemented from the paper's text; its code was
    never published.

    Args:
        categories: (n,).
        alike: (n,): W, see `compare_sentences`.
        gaps: (n,): the reward of the chosen response above that of the rejected one, or a margin.

    Returns:
        (n,), positive, finite; around 1 in each category.
    """
    delta = 1.0 - np.asarray(alike, dtype=np.float64)
    gap = np.asarray(gaps, dtype=np.float64)
    names = np.asarray(categories, dtype=object)
    weights = np.ones(len(names))
    for name in set(categories):
        mine = names == name
        mean, spread = gap[mine].mean(), gap[mine].std()
        held = np.clip(gap[mine], mean - OUTLIER * spread, mean + OUTLIER * spread)
        of_data = expit(delta[mine]) / expit(delta[mine].mean())
        weights[mine] = of_data * expit(held) / expit(held.mean())
    return weights


def weigh_by_margin(margins: ArrayLike) -> Array:
    """1 + 0.1 (1 - exp(-0.5 margin)): surer labels count a little more (MM-RLHF, 2502.10391, whose
    code reads this factor from its data).

    Args:
        margins: (n,), at least 0.
    """
    margin = np.asarray(margins, dtype=np.float64)
    return 1.0 + MARGIN_PART * (1.0 - np.exp(-MARGIN_RATE * margin))
