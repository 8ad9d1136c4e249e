"""Preference cycles: a beats b, b beats c, and c beats a.

No scores can agree with a cycle, so a pair inside one is reported and not exported as it stands.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotators.ranking.standing import Comparison, Pair


@dataclass(frozen=True)
class Cycle:
    """Items of which each beats each other, be it by a chain. `members` are all of them, ascending;
    `witness` is a shortest cycle among them: each beats the next, and the last the first."""

    members: tuple[int, ...]
    witness: tuple[int, ...]


def find_cycles(n: int, comparisons: Sequence[Comparison]) -> list[Cycle]:
    """The strongly connected components, of two items or more, of the graph in which i beats j
    where the mean margin of their comparisons is positive. Ties and failures beat nobody.

    Args:
        n: items; comparisons speak of 0..n-1.
    """
    labels = label_components(n, average_margins(comparisons), strong=True)
    beaten = _list_beaten(n, average_margins(comparisons))
    cycles = []
    for label in dict.fromkeys(labels):
        members = tuple(int(item) for item in np.flatnonzero(labels == label))
        if len(members) > 1:
            cycles.append(Cycle(members, _find_shortest(members, beaten)))
    return cycles


def average_margins(comparisons: Sequence[Comparison]) -> dict[Pair, float]:
    """The mean margin of each pair that came back, its key the smaller index first."""
    found: dict[Pair, list[float]] = {}
    for i, j, margin in comparisons:
        if not math.isnan(margin):
            found.setdefault((min(i, j), max(i, j)), []).append(margin if i < j else -margin)
    return {pair: math.fsum(margins) / len(margins) for pair, margins in found.items()}


def label_components(n: int, margins: Mapping[Pair, float], *, strong: bool) -> NDArray[np.int64]:
    """A label per item, equal for those that comparisons join: by any chain, or, if `strong`, by
    chains of wins in both directions."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    if n == 0:
        return np.zeros(0, dtype=np.int64)
    pairs = (
        [(i, j) for i, row in enumerate(_list_beaten(n, margins)) for j in row]
        if strong
        else list(margins)
    )
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = csr_array((np.ones(len(pairs)), (rows, columns)), shape=(n, n))
    return connected_components(graph, connection="strong" if strong else "weak")[1]


def _list_beaten(n: int, margins: Mapping[Pair, float]) -> list[list[int]]:
    """For each item those that it beats, ascending."""
    beaten: list[list[int]] = [[] for _ in range(n)]
    for (i, j), margin in sorted(margins.items()):
        if margin:
            winner, loser = (i, j) if margin > 0 else (j, i)
            beaten[winner].append(loser)
    return [sorted(row) for row in beaten]


def _find_shortest(members: tuple[int, ...], beaten: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """A shortest cycle, the one through the smallest item among several of its length."""
    best: tuple[int, ...] = ()
    for start in members:
        before: dict[int, int] = {}
        queue = deque([start])
        while queue and start not in before:
            item = queue.popleft()
            for other in beaten[item]:
                if other not in before:
                    before[other] = item
                    queue.append(other)
        path = [before[start]]
        while path[-1] != start:
            path.append(before[path[-1]])
        if not best or len(path) < len(best):
            best = tuple(reversed(path))
    return best
