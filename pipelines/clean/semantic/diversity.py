"""Picking what is least alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.clean.semantic.kmeans import Vectors


def choose_diverse(vectors: Vectors, count: int, taken: Vectors | None = None) -> NDArray[np.int64]:
    """The places of `count` vectors that cover all, in the order in which they were chosen: any
    beginning of the list is a choice as well.

    k-centre, greedily: the next is what is farthest from all chosen so far, the first of several
    (Gonzalez 1985: no vector is more than twice as far from a chosen one as in the best choice).
    The first is the closest to the mean, or the farthest from `taken`. Memory is a number a row.

    Args:
        vectors: (n, dimensions), unit rows.
        count: how many; all, where there are no more.
        taken: (m, dimensions), what was chosen before and need not be covered again.
    """
    chosen: list[int] = []
    if taken is not None and len(taken):
        nearest = np.full(len(vectors), -np.inf, dtype=np.float32)
        for one in taken:
            nearest = np.maximum(nearest, vectors @ one)
    elif len(vectors):
        nearest = -(vectors @ vectors.mean(axis=0))
    while len(chosen) < min(count, len(vectors)):
        chosen.append(int(nearest.argmin()))
        similar = vectors @ vectors[chosen[-1]]
        first = len(chosen) == 1 and (taken is None or not len(taken))
        nearest = similar if first else np.maximum(nearest, similar)
        nearest[chosen] = np.inf
    return np.array(chosen, dtype=np.int64)
