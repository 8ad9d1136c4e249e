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

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.clean.kernels.chunks import Store, map_chunks
from pipelines.clean.kernels.exact import group_exact, make_item_keys
from pipelines.clean.kernels.joining import Pool, find_roots, join_near
from pipelines.clean.kernels.minhash import PERMUTATIONS, SHINGLE, Signed, sign_items
from pipelines.clean.kernels.words import Column, read_texts

SURE = 0.99
SPILL = 2**27
BLOCK_ITEMS = 512


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
    shingles, banded = Store(np.uint32, spill, folder), Store(np.uint32, spill, folder)
    keys: list[NDArray[np.uint64]] = []
    ends: list[NDArray[np.int64]] = []
    for signed in map_chunks(partial(_sign, size=size, rows=rows), _cut(chunks), threads):
        ends.append(signed.ends + shingles.size)
        keys.append(signed.keys)
        shingles.append(signed.shingles)
        banded.append(signed.bands)
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

    pool = Pool(
        banded.read(), np.array(sizes, dtype=np.int64), PERMUTATIONS // rows, leads, shingles,
        np.concatenate([np.zeros(1, np.int64), all_ends]), similarity,
    )  # fmt: skip
    parent = np.arange(len(leads))
    value = np.zeros(len(leads), dtype=np.float32)
    chosen = np.ones(len(leads), dtype=np.bool_)
    while True:
        joined, crowded = join_near(pool, chosen, parent, value)
        kept = _choose(find_roots(parent), least)
        if not (joined and crowded):
            break
        chosen = kept == np.arange(len(leads))
    value[value == 0] = 1.0
    place = np.empty(count, dtype=np.int64)
    place[order] = group
    return Near(leads[kept][place], leads[place], value[place], all_keys, turned)


def _cut(chunks: Iterable[Sequence[Column]]) -> Iterator[list[Column]]:
    """The chunks in small blocks: what is worked on then stays in the processor's cache, and in
    memory that the process has already."""
    for columns in chunks:
        for begin in range(0, len(columns[0]), BLOCK_ITEMS):
            yield [column[begin : begin + BLOCK_ITEMS] for column in columns]


def _sign(columns: Sequence[Column], size: int, rows: int) -> Signed:
    return sign_items([read_texts(column) for column in columns], rows, size)


def _sort_within(order: NDArray[np.int64], begins: NDArray[np.int64]) -> NDArray[np.int64]:
    """`order` with the rows of each group ascending; most groups have one row."""
    sizes = np.diff(np.append(begins, len(order)))
    several = np.flatnonzero(np.repeat(sizes > 1, sizes))
    group = np.repeat(np.arange(len(begins)), sizes)[several]
    out, rows = order.copy(), order[several]
    out[several] = rows[np.lexsort((rows, group))]
    return out


def _choose(roots: NDArray[np.int64], least: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each place that of its cluster with the least priority."""
    by_priority = np.argsort(least)
    first = np.full(len(roots), -1, dtype=np.int64)
    first[roots[by_priority[::-1]]] = by_priority[::-1]
    return first[roots]
