"""Errors that people mark in a text: what they mark together, and when two markings are the same.

A span is (start, end) in characters, end excluded. What it is called is not compared, and neither
is where one span ends and the next begins: only which characters are marked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

Span = tuple[int, int]
SAME = 0.5  # of all characters that either marks, the share that both must


def merge_spans(marked: Sequence[Sequence[Span]]) -> list[Span]:
    """The stretches that more than half of these people marked, in order."""
    edges: Counter[int] = Counter()
    for spans in marked:
        for start, end in _join(spans):
            edges[start] += 1
            edges[end] -= 1
    found, depth, begun = [], 0, 0
    for place in sorted(edges):
        was_most, depth = 2 * depth > len(marked), depth + edges[place]
        is_most = 2 * depth > len(marked)
        if is_most and not was_most:
            begun = place
        elif was_most and not is_most:
            found.append((begun, place))
    return found


def match_spans(one: Iterable[Span], other: Iterable[Span]) -> bool:
    """Whether two markings are the same: both are empty, or at least half (`SAME`) of the
    characters that either marks are marked by both."""
    first, second = _join(one), _join(other)
    if not first or not second:
        return not first and not second
    both = sum(
        max(0, min(end, end_2) - max(start, start_2))
        for start, end in first
        for start_2, end_2 in second
    )
    either = sum(end - start for start, end in [*first, *second]) - both
    return both >= SAME * either


def _join(spans: Iterable[Span]) -> list[Span]:
    """The same characters as stretches that do not touch; empty spans mark nothing."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if end <= start:
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found
