"""Joining the items of a bucket that are near: which are compared, and how (see `bands.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.clean.kernels.chunks import Store

CROWD = 16
WINDOW = 8
LOOK = 2**24
SMALL = 64


@dataclass(frozen=True, slots=True)
class Pool:
    """What is known of n items, of which u differ in their texts.

    `banded`: uint32, for each chunk its keys (bands, items), one after another; `sizes`: the items
    of each chunk; `leads` (u,): the items that stand for their equals, in the order of their keys
    (their places in it are what is joined); `shingles` of all items, item i's from `ends[i]` to
    `ends[i + 1]`.
    """

    banded: NDArray[np.uint32]
    sizes: NDArray[np.int64]
    bands: int
    leads: NDArray[np.int64]
    shingles: Store
    ends: NDArray[np.int64]
    similarity: float

    def read_band(self, band: int) -> NDArray[np.uint32]:
        """The keys of one band (n,)."""
        out, begin = [np.zeros(0, dtype=np.uint32)], 0
        for size in self.sizes.tolist():
            out.append(self.banded[begin + band * size : begin + (band + 1) * size])
            begin += self.bands * size
        return np.concatenate(out)


def join_near(
    pool: Pool, chosen: NDArray[np.bool_], parent: NDArray[np.int64], value: NDArray[np.float32]
) -> tuple[int, bool]:
    """Join the `chosen` of the u places where they share a bucket and are near.

    Args:
        parent: a forest over the places (u,), which is changed.
        value: the similarities with which places were joined (u,), which are raised.

    Returns:
        How many joins there were, and whether a bucket was too big for comparing all.
    """
    if chosen.sum() < 2:
        return 0, False
    places = np.full(len(pool.ends) - 1, -1, dtype=np.int64)
    places[pool.leads[chosen]] = np.flatnonzero(chosen)
    starts, ends = pool.ends[pool.leads], pool.ends[pool.leads + 1]
    most = int((ends - starts)[chosen].max())
    table = np.zeros(max(SMALL, 1 << (4 * most).bit_length()), dtype=np.uint64)
    slots = np.zeros(1 << (4 * len(pool.leads)).bit_length(), dtype=np.uint8)
    shingles = pool.shingles.read()
    joined, crowded = 0, False
    keys = pool.read_band(0)
    state = np.zeros(3, dtype=np.int64)  # where to go on, joins, crowds
    for band in range(pool.bands):
        following = pool.read_band((band + 1) % pool.bands)
        packed = _pick_shared(keys, places, slots)
        packed.sort()
        state[:] = 0
        while state[0] < len(packed):
            join_buckets(
                packed, following, pool.leads, shingles, starts, ends, pool.similarity, parent,
                value, table, state,
            )  # fmt: skip
            pool.shingles.forget()
        joined, crowded = joined + int(state[1]), crowded or bool(state[2])
        keys = following
    return joined, crowded


@njit(nogil=True, cache=True)
def _pick_shared(keys: Any, places: Any, slots: Any) -> Any:
    """Of the items with a place, `key << 32 | place` of all whose key another one has (and of a
    few more: only the low bits of a key choose its slot)."""
    mask = np.uint32(slots.size - 1)
    slots[:] = 0
    for row in range(keys.size):
        if places[row] >= 0:
            slot = keys[row] & mask
            slots[slot] = 1 if slots[slot] == 0 else 2
    packed = np.empty(keys.size, dtype=np.uint64)
    count = 0
    for row in range(keys.size):
        if places[row] >= 0 and slots[keys[row] & mask] == 2:
            packed[count] = (np.uint64(keys[row]) << np.uint64(32)) | np.uint64(places[row])
            count += 1
    return packed[:count]


@njit(nogil=True, cache=True)
def join_buckets(
    packed: Any, following: Any, leads: Any, shingles: Any, starts: Any, ends: Any,
    similarity: float, parent: Any, value: Any, table: Any, state: Any,
) -> None:  # fmt: skip
    """Join within buckets from `state[0]` on, until `LOOK` shingles were looked at."""
    begin, looked = state[0], 0
    low, high = np.uint64(0xFFFFFFFF), np.uint64(32)
    while begin < packed.size and looked < LOOK:
        key, stop = packed[begin] >> high, begin + 1
        while stop < packed.size and packed[stop] >> high == key:
            stop += 1
        count = stop - begin
        if count > 1:
            members = (packed[begin:stop] & low).astype(np.int64)
            window = count
            if count > CROWD:
                window = WINDOW
                state[2] = 1
                by_next = np.empty(count, dtype=np.uint64)
                for i in range(count):
                    by_next[i] = (np.uint64(following[leads[members[i]]]) << high) | np.uint64(i)
                by_next.sort()
                members = members[(by_next & low).astype(np.int64)]
            for i in range(1, count):
                last = min(i, window)
                for back in range(1, last + 2):
                    other = members[i - back] if back <= last else members[0]
                    if parent[members[i]] != parent[other]:
                        looked += _compare(
                            members[i], other, shingles, starts, ends, similarity, parent, value,
                            table, state,
                        )  # fmt: skip
        begin = stop
    state[0] = begin


@njit
def _compare(
    one: int, two: int, shingles: Any, starts: Any, ends: Any, similarity: float, parent: Any,
    value: Any, table: Any, state: Any,
) -> int:  # fmt: skip
    """Join two places whose shingles are near enough; how many shingles were looked at."""
    left, right = find_root(parent, one), find_root(parent, two)
    if left == right:
        return 0
    found = _measure(shingles[starts[one] : ends[one]], shingles[starts[two] : ends[two]], table)
    if found >= similarity:
        parent[max(left, right)] = min(left, right)
        state[1] += 1
        for place in (one, two):
            value[place] = max(value[place], np.float32(found))
    return ends[one] - starts[one] + ends[two] - starts[two]


@njit
def _measure(one: Any, two: Any, table: Any) -> float:
    """The Jaccard similarity of two lists of shingles as sets; 0 for two empty ones.

    The table (a power of two, at least `SMALL` and twice both lists) holds shingle * 4 + mark, 1
    for one of the first list, 2 of the second, 3 of both; 0 is free, as all is left."""
    size = SMALL
    while size < 2 * (one.size + two.size):
        size *= 2
    mask = size - 1
    shift = np.uint64(2)
    distinct, shared = 0, 0
    for shingle in one:
        at = np.int64(shingle) & mask
        held = np.uint64(shingle) << shift
        while table[at] != 0 and table[at] >> shift << shift != held:
            at = (at + 1) & mask
        if table[at] == 0:
            table[at] = held | np.uint64(1)
            distinct += 1
    for shingle in two:
        at = np.int64(shingle) & mask
        held = np.uint64(shingle) << shift
        while table[at] != 0 and table[at] >> shift << shift != held:
            at = (at + 1) & mask
        if table[at] == 0:
            table[at] = held | np.uint64(2)
            distinct += 1
        elif table[at] & np.uint64(3) == 1:
            table[at] |= np.uint64(2)
            shared += 1
    table[:size] = 0
    return shared / distinct if distinct else 0.0


@njit
def find_root(parent: Any, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(nogil=True, cache=True)
def find_roots(parent: Any) -> Any:
    """The root of each place's tree."""
    roots = np.empty_like(parent)
    for node in range(parent.size):
        roots[node] = find_root(parent, node)
    return roots
