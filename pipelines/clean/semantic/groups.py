"""Groups of vectors that are alike.

A group is a connected component of the pairs from a similarity on, within a class: what must not be
merged whatever the vectors say differs in its class, so no chain leads from one class to another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.clean.semantic.joining import Found, Places, join_similar
from pipelines.clean.semantic.kmeans import Vectors

PENDING = 2**20


@dataclass(frozen=True, slots=True)
class Groups:
    """For each of n vectors: `first` (int64), the smallest place of its group; `value` (float64),
    its greatest similarity to another member, -1 where there is none."""

    first: Places
    value: NDArray[np.float64]


def group_similar(
    vectors: Vectors, threshold: float, classes: Sequence[object] | None = None
) -> Groups:
    """Put together what is connected by pairs of at least `threshold` within a class.

    Args:
        vectors: (n, dimensions), unit rows.
        threshold: the least cosine of a pair, above 0 and at most 1.
        classes: (n), what each is; none where all may be merged.
    """
    first = np.arange(len(vectors))
    value = np.full(len(vectors), -1.0)
    codes = _code(classes) if classes is not None else np.zeros(len(vectors), np.int64)
    pending: list[Found] = []
    for left, right, similar in join_similar(vectors, threshold):
        same = codes[left] == codes[right]
        pending.append((left[same], right[same], similar[same]))
        if sum(len(part[0]) for part in pending) >= PENDING:
            first, pending = _connect(first, value, pending), []
    first = _connect(first, value, pending)
    return Groups(first, value)


def _code(classes: Sequence[object]) -> NDArray[np.int64]:
    codes: dict[object, int] = {}
    return np.array([codes.setdefault(of, len(codes)) for of in classes], dtype=np.int64)


def _connect(first: Places, value: NDArray[np.float64], pairs: list[Found]) -> Places:
    """The groups after joining pairs; `value` is raised by them."""
    if not pairs:
        return first
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    left, right, similar = (np.concatenate(column) for column in zip(*pairs, strict=True))
    for side in (left, right):
        np.maximum.at(value, side, similar)
    count = len(first)
    rows = np.concatenate([first[left], first])
    columns = np.concatenate([first[right], np.arange(count)])
    links = coo_matrix((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(count, count))
    parts, label = connected_components(links, directed=False)
    smallest = np.full(parts, count)
    np.minimum.at(smallest, label, np.arange(count))
    merged: Places = smallest[label]
    return merged
