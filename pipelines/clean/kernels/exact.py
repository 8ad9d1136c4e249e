"""Equal texts and equal pairs by 128-bit keys."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def make_item_keys(keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """One key for each item (n, 2) from those of its texts (n, k, 2), k being 1, 2 or 3.

    The last two of three texts, the answers, may be either way round: a pair and its mirror have
    one key.

    Returns:
        The keys, and whether an item's answers stand the other way round than in the key (False
        for k < 3): two items with one key and different such marks are mirrors.
    """
    turned = np.zeros(len(keys), dtype=np.bool_)
    if keys.shape[1] == 1:
        return np.ascontiguousarray(keys[:, 0]), turned
    if keys.shape[1] == 3:
        left, right = keys[:, 1], keys[:, 2]
        same = left[:, 0] == right[:, 0]
        turned = np.where(same, right[:, 1] < left[:, 1], right[:, 0] < left[:, 0])
        keys = keys.copy()
        keys[turned] = keys[turned][:, [0, 2, 1]]
    out = keys[:, 0].copy()
    for part in range(1, keys.shape[1]):
        out = _mix(out * np.uint64(0x9E3779B97F4A7C15) + keys[:, part])
    return out, turned


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Stafford's finaliser of 64 bits, one to one."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def group_exact(keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Put equal keys (n, 2) together.

    Returns:
        The rows in the order of their keys (n,), and where in it each group of equal ones begins.
    """
    order = np.argsort(keys[:, 0])
    first, other = keys[order, 0], keys[order, 1]
    same = first[1:] == first[:-1]
    if (same & (other[1:] != other[:-1])).any():  # half a key shared: sort by both halves
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        first, other = keys[order, 0], keys[order, 1]
        same = first[1:] == first[:-1]
    new = ~(same & (other[1:] == other[:-1]))
    starts = np.concatenate([np.zeros(min(len(keys), 1), dtype=np.int64), np.flatnonzero(new) + 1])
    return order, starts


def find_first(keys: NDArray[np.uint64], priority: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row the row that stands for its equals (n, 2): of them the one with the least
    priority (n,), which must differ from row to row."""
    order, starts = group_exact(keys)
    first = np.empty(len(keys), dtype=np.int64)
    if len(keys):
        least = np.minimum.reduceat(priority[order], starts)
        rows = np.empty(len(keys), dtype=np.int64)
        by_priority = np.argsort(priority)
        rows = by_priority[np.searchsorted(priority[by_priority], least)]
        first[order] = np.repeat(rows, np.diff(np.append(starts, len(keys))))
    return first
