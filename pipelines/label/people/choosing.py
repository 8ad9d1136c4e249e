"""Filling a budget with what is worth most, so that it is not all alike."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """Something to ask: what an answer is worth by itself, and the seconds that all answers to it
    together would take. Without a cluster it is like nothing else."""

    key: str
    worth: float
    seconds: float
    category: str | None = None
    cluster: str | None = None


def choose(
    candidates: Sequence[Candidate], *, count: int | None = None, seconds: float | None = None
) -> list[tuple[Candidate, float]]:
    """What to ask, best first, each with its coverage (1 for the first of its kind).

    Greedy: the next is whatever is worth most (a second of people's time, where `seconds` are to
    be filled) after its coverage, 1 / ((1 + n of its cluster) sqrt(1 + n of its category)), n those
    taken before. What no longer fits is passed over. Of equals the smaller key comes first.

    Args:
        count: the most to take.
        seconds: the time to fill.
    """
    by_kind: dict[tuple[str | None, str | None], list[tuple[float, str, Candidate]]] = {}
    for c in candidates:
        value = c.worth / max(c.seconds, 1e-9) if seconds is not None else c.worth
        by_kind.setdefault((c.category, c.cluster), []).append((-value, c.key, c))
    clusters: Counter[str | None] = Counter()
    categories: Counter[str | None] = Counter()
    # what is taken of a category lowers all of it alike, so its order within stays, and what is
    # taken of a cluster lowers that alone: a heap a category, whose entries may be too high
    rows = [sorted(members, key=lambda m: m[:2], reverse=True) for members in by_kind.values()]
    kinds = list(by_kind)
    heaps: dict[str | None, list[tuple[float, str, int]]] = {}
    for place, (category, _) in enumerate(kinds):
        heapq.heappush(heaps.setdefault(category, []), _rank(rows[place], place, 0))
    tops = [(*heap[0][:2], place) for place, heap in enumerate(heaps.values())]
    heapq.heapify(tops)
    names = list(heaps)
    left = math.inf if seconds is None else seconds
    taken: list[tuple[Candidate, float]] = []
    while tops and (count is None or len(taken) < count):
        at = heapq.heappop(tops)[2]
        heap, category = heaps[names[at]], names[at]
        stale, _, place = heapq.heappop(heap)
        cluster = kinds[place][1]
        if _rank(rows[place], place, clusters[cluster])[0] <= stale:
            candidate = rows[place].pop()[2]
            if candidate.seconds <= left:
                coverage = 1 / ((1 + clusters[cluster]) * math.sqrt(1 + categories[category]))
                taken.append((candidate, coverage))
                left -= candidate.seconds if seconds is not None else 0.0
                clusters[cluster] += cluster is not None
                categories[category] += category is not None
        if rows[place]:
            heapq.heappush(heap, _rank(rows[place], place, clusters[cluster]))
        if heap:
            spread = 1 / math.sqrt(1 + categories[category])
            heapq.heappush(tops, (heap[0][0] * spread, heap[0][1], at))
    return taken


def _rank(
    members: Sequence[tuple[float, str, Candidate]], place: int, alike: int
) -> tuple[float, str, int]:
    """The best of a kind as its entry in a heap, `alike` of its cluster being taken."""
    value, key, _ = members[-1]
    return value / (1 + alike), key, place
