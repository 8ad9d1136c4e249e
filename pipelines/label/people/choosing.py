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
    clusters: Counter[str] = Counter()
    categories: Counter[str] = Counter()

    def cover(c: Candidate) -> float:
        alike = clusters[c.cluster] if c.cluster is not None else 0
        kin = categories[c.category] if c.category is not None else 0
        return 1 / ((1 + alike) * math.sqrt(1 + kin))

    def rank(c: Candidate) -> float:
        price = max(c.seconds, 1e-9) if seconds is not None else 1.0
        return -c.worth * cover(c) / price

    heap = [(rank(c), c.key, place) for place, c in enumerate(candidates)]
    heapq.heapify(heap)
    left = math.inf if seconds is None else seconds
    taken: list[tuple[Candidate, float]] = []
    while heap and (count is None or len(taken) < count):
        stale, key, place = heapq.heappop(heap)
        candidate = candidates[place]
        if candidate.seconds > left:
            continue
        now = rank(candidate)
        if now > stale:  # coverage only falls, so what is still best when looked at again is best
            heapq.heappush(heap, (now, key, place))
            continue
        taken.append((candidate, cover(candidate)))
        left -= candidate.seconds if seconds is not None else 0.0
        if candidate.cluster is not None:
            clusters[candidate.cluster] += 1
        if candidate.category is not None:
            categories[candidate.category] += 1
    return taken
