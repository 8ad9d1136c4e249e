"""Spherical k-means by matrix products: parts unit vectors into blocks of what is alike.

k is the root of n (the next whole number), so that comparing all with all centres costs n^1.5.
Centres start at seeded rows and are the normalised means of what is closest to them (Dhillon and
Modha 2001). Up to `BATCH` rows every round sees all; beyond, a round sees the next `BATCH` of a
seeded shuffle and a centre is the mean of all it was ever given (Sculley 2010).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
BATCH = 65_536
ROUNDS = 6
CELLS = 2**22


def fit_centres(vectors: Vectors, k: int | None = None, seed: int = 0) -> Vectors:
    """The centres of the clusters of unit vectors.

    Args:
        vectors: (n, dimensions), unit rows.
        k: how many; none for the root of n. Never more than n.

    Returns:
        (k, dimensions), unit rows. The same for the same rows in the same order.
    """
    count = len(vectors)
    k = min(count, math.isqrt(max(count - 1, 0)) + 1 if k is None else k)
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)
    centres = vectors[order[:k]].copy()
    sums = np.zeros(centres.shape, dtype=np.float64)
    for step in range(ROUNDS if k else 0):
        if count <= BATCH:
            rows, sums = vectors, np.zeros_like(sums)
        else:
            rows = vectors[np.take(order, range(step * BATCH, (step + 1) * BATCH), mode="wrap")]
        closest, value = find_closest(rows, centres)
        sums += _add_up(rows, closest, k)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.divide(sums, lengths, out=centres.astype(np.float64), where=lengths > 0)
        centres = centres.astype(np.float32)
        empty = np.flatnonzero(np.bincount(closest, minlength=k) == 0) if step == 0 else ()
        if len(empty):  # they move to what the others are farthest from
            centres[empty] = rows[np.argsort(value, kind="stable")[: len(empty)]]
    return centres


def find_closest(vectors: Vectors, centres: Vectors) -> tuple[NDArray[np.int64], Vectors]:
    """The closest centre of each vector (n), the first of several, and its cosine (n); in blocks of
    at most 16 MB."""
    closest = np.zeros(len(vectors), dtype=np.int64)
    value = np.full(len(vectors), -1, dtype=np.float32)
    step = max(1, CELLS // max(len(centres), 1))
    for at in range(0, len(vectors) if len(centres) else 0, step):
        similar = vectors[at : at + step] @ centres.T
        best = similar.argmax(axis=1)
        closest[at : at + step] = best
        value[at : at + step] = similar[np.arange(len(best)), best]
    return closest, value


def _add_up(rows: Vectors, closest: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """The sum of the rows of each of k centres."""
    from scipy.sparse import csr_matrix

    places = np.arange(len(rows))
    chosen = csr_matrix((np.ones(len(rows), np.float32), (closest, places)), (k, len(rows)))
    found: NDArray[np.float64] = (chosen @ rows).astype(np.float64)
    return found
