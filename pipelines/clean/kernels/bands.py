"""Near-duplicates by bands of MinHash, exactly verified, in bounded memory.

1. Items with equal texts become one (128-bit keys): crowds of copies cost a sort.
2. A band is a few places of the signature; items that agree on a whole band share a bucket. The
   widest band is taken with which a pair exactly at the threshold still meets in one of them with a
   probability of 99 % (Leskovec, Rajaraman and Ullman, 3.4). Bands are worked off one at a time.
3. In a bucket of up to 16 all are compared; in a bigger one each with the first and with the eight
   before it, in the order of the next band, so that true neighbours stand together. Two that are in
   one cluster already are not compared again. So a bucket costs its size, never its square.
4. Compared is the true Jaccard similarity of the shingles. Clusters are connected components.
5. Where a bucket was too big to compare all, those kept of all clusters go through the bands once
   more, until nothing joins: so a second dedup of what was kept finds nothing.

Items are taken in the order of their keys, so the order and the chunks in which they come change
nothing. The shingles and the keys of the bands lie in files where they are many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.clean.kernels.chunks import Store, map_chunks
from pipelines.clean.kernels.exact import group_exact, make_item_keys
from pipelines.clean.kernels.minhash import PERMUTATIONS, SHINGLE, Signed, fold_bands, sign_items
from pipelines.clean.kernels.words import Column, read_texts

SURE = 0.99
CROWD = 16
WINDOW = 8
SPILL = 2**28
LOOK = 2**24
SMALL = 64


@dataclass(frozen=True, slots=True)
class Near:
    """Who repeats whom, a row an item (n).

    Columns: kept (int64), the item that stands for the cluster: the one of least priority; same
    (int64), the item that stands for those with equal texts; value (float32), the similarity with
    which an item was found near to another (1 for one that is near to none); keys (n, k, 2) uint64
    and turned (bool), see `exact.make_item_keys`.
    """

    kept: NDArray[np.int64]
    same: NDArray[np.int64]
    value: NDArray[np.float32]
    keys: NDArray[np.uint64]
    turned: NDArray[np.bool_]


def plan_rows(similarity: float) -> int:
    """How many places of the signature make a band, for pairs from `similarity` on.

    Raises:
        ValueError: the similarity is not above 0 and at most 1.
    """
    if not 0 < similarity <= 1:
        raise ValueError(f"a similarity of {similarity}: give one above 0, at most 1")
    for rows in range(PERMUTATIONS, 1, -1):
        if 1 - (1 - similarity**rows) ** (PERMUTATIONS // rows) >= SURE:
            return rows
    return 1


def find_near(
    chunks: Iterable[Sequence[Column]],
    similarity: float,
    priority: NDArray[np.int64] | None = None,
    *,
    size: int = SHINGLE,
    threads: int = 2,
    spill: int = SPILL,
    folder: Path | None = None,
) -> Near:
    """Cluster the items of `chunks`; those of a chunk have a text in each of its columns, say
    prompt, chosen and rejected (see `minhash.sign_items`).

    Args:
        similarity: from which Jaccard similarity on two items are near.
        priority: a number for each item (n,), all different, which says who of a cluster is to stay
            (the least); as a rule the place of its id. None: the order of the keys, of equal ones
            that which comes first.
        size: words in a shingle.
        spill: bytes of shingles, and of band keys, from which on they go to a file in `folder`.
    """
    rows = plan_rows(similarity)
    bands = PERMUTATIONS // rows
    shingles, banded = Store(np.uint32, spill, folder), Store(np.uint32, spill, folder)
    keys: list[NDArray[np.uint64]] = []
    ends: list[NDArray[np.int64]] = []
    for signed, folded in map_chunks(partial(_sign, size=size, rows=rows), chunks, threads):
        ends.append(signed.ends + shingles.size)
        keys.append(signed.keys)
        shingles.append(signed.shingles)
        banded.append(folded)
    if not keys:
        keys, ends = [np.zeros((0, 1, 2), np.uint64)], [np.zeros(0, np.int64)]
    sizes = [len(piece) for piece in keys]
    all_keys, all_ends = np.concatenate(keys), np.concatenate(ends)
    item_keys, turned = make_item_keys(all_keys)
    order, begins = group_exact(item_keys)
    count = len(order)
    if priority is None:
        order = _sort_within(order, begins)
        priority = np.empty(count, dtype=np.int64)
        priority[order] = np.arange(count)
    group = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, count)))
    least = np.minimum.reduceat(priority[order], begins) if count else priority
    leads = np.empty(len(begins), dtype=np.int64)
    is_lead = priority[order] == least[group]
    leads[group[is_lead]] = order[is_lead]

    work = _Work(
        banded.read(), np.array(sizes, dtype=np.int64), bands, leads,
        shingles, np.concatenate([np.zeros(1, np.int64), all_ends]), similarity,
    )  # fmt: skip
    parent = np.arange(len(leads))
    value = np.zeros(len(leads), dtype=np.float32)
    chosen = np.arange(len(leads))
    while True:
        joined, crowded = _join(work, chosen, parent, value)
        roots = _find_roots(parent)
        kept = _choose(roots, least)
        if not (joined and crowded):
            break
        chosen = np.unique(kept)
    value[value == 0] = 1.0
    place = np.empty(count, dtype=np.int64)
    place[order] = group
    return Near(leads[kept][place], leads[place], value[place], all_keys, turned)


@dataclass(frozen=True, slots=True)
class _Work:
    banded: NDArray[np.uint32]
    sizes: NDArray[np.int64]
    bands: int
    leads: NDArray[np.int64]
    shingles: Store
    ends: NDArray[np.int64]
    similarity: float

    def read_band(self, band: int) -> NDArray[np.uint32]:
        """The keys of one band, of the items that stand for their equals."""
        out, begin = [np.zeros(0, dtype=np.uint32)], 0
        for size in self.sizes.tolist():
            out.append(self.banded[begin + band * size : begin + (band + 1) * size])
            begin += self.bands * size
        return np.concatenate(out)[self.leads]


def _sign(columns: Sequence[Column], size: int, rows: int) -> tuple[Signed, NDArray[np.uint32]]:
    signed = sign_items([read_texts(column) for column in columns], size)
    return signed, fold_bands(signed.signatures, rows)


def _sort_within(order: NDArray[np.int64], begins: NDArray[np.int64]) -> NDArray[np.int64]:
    """`order` with the rows of each group ascending."""
    group = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, len(order))))
    return order[np.lexsort((order, group))]


def _choose(roots: NDArray[np.int64], least: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each place that of its cluster with the least priority."""
    by_priority = np.argsort(least)
    first = np.full(len(roots), -1, dtype=np.int64)
    first[roots[by_priority[::-1]]] = by_priority[::-1]
    return first[roots]


def _join(
    work: _Work, chosen: NDArray[np.int64], parent: NDArray[np.int64], value: NDArray[np.float32]
) -> tuple[int, bool]:
    """Join the `chosen` places that are near; how many joins, and was a bucket a crowd?"""
    shingles = work.shingles.read()
    starts, ends = work.ends[work.leads], work.ends[work.leads + 1]
    most = int((ends - starts)[chosen].max(initial=1))
    table = np.zeros(max(SMALL, 1 << int(4 * most - 1).bit_length()), dtype=np.uint64)
    joined, crowded = 0, False
    keys = work.read_band(0) if len(chosen) > 1 else np.zeros(0, np.uint32)
    state = np.zeros(3, dtype=np.int64)  # where to go on, joins, crowds
    for band in range(work.bands if len(chosen) > 1 else 0):
        following = work.read_band((band + 1) % work.bands)
        packed = (keys[chosen].astype(np.uint64) << np.uint64(32)) | chosen.astype(np.uint64)
        packed.sort()
        state[:] = 0
        while state[0] < len(packed):
            _join_buckets(
                packed, following, shingles, starts, ends, work.similarity, parent, value, table,
                state,
            )  # fmt: skip
            work.shingles.forget()
        joined, crowded = joined + int(state[1]), crowded or bool(state[2])
        keys = following
    return joined, crowded


@njit(nogil=True, cache=True)
def _join_buckets(
    packed: Any, following: Any, shingles: Any, starts: Any, ends: Any, similarity: float,
    parent: Any, value: Any, table: Any, state: Any,
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
                    by_next[i] = (np.uint64(following[members[i]]) << high) | np.uint64(i)
                by_next.sort()
                members = members[(by_next & low).astype(np.int64)]
            for i in range(1, count):
                for back in range(1, min(i, window) + 1):
                    looked += _compare(
                        members[i],
                        members[i - back],
                        shingles,
                        starts,
                        ends,
                        similarity,
                        parent,
                        value,
                        table,
                        state,
                    )
                if i > window:
                    looked += _compare(
                        members[i],
                        members[0],
                        shingles,
                        starts,
                        ends,
                        similarity,
                        parent,
                        value,
                        table,
                        state,
                    )
        begin = stop
    state[0] = begin


@njit
def _compare(
    one: int, two: int, shingles: Any, starts: Any, ends: Any, similarity: float, parent: Any,
    value: Any, table: Any, state: Any,
) -> int:  # fmt: skip
    """Join two places whose shingles are near enough; how many shingles were looked at."""
    left, right = _find_root(parent, one), _find_root(parent, two)
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
def _find_root(parent: Any, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(nogil=True, cache=True)
def _find_roots(parent: Any) -> Any:
    return np.array([_find_root(parent, node) for node in range(parent.size)])
