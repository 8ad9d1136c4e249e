"""Rows in an order, each taken as long as no counter that it would raise is full."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

TAKEN, OVER_TOTAL = -1, -2
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_PRIME = np.uint64(0x100000001B3)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _mix(value: np.uint64) -> np.uint64:
    value = (value ^ (value >> _S30)) * _FIRST
    value = (value ^ (value >> _S27)) * _SECOND
    return value ^ (value >> _S31)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def scatter_ids(
    data: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64], seed: int
) -> NDArray[np.uint64]:
    """A place in [0, 2^64) for each id, that follows from its bytes and the seed alone (FNV-1a,
    then the finaliser of splitmix64)."""
    places = np.empty(len(starts), dtype=np.uint64)
    first = _mix(np.uint64(seed) + _GOLDEN)
    for row in range(len(starts)):
        value = first
        for at in range(starts[row], ends[row]):
            value = (value ^ np.uint64(data[at])) * _PRIME
        places[row] = _mix(value)
    return places


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def scatter_keys(keys: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """The same for ids that are hashes already, (n, 2) uint64."""
    places = np.empty(len(keys), dtype=np.uint64)
    first = _mix(np.uint64(seed) + _GOLDEN)
    for row in range(len(keys)):
        places[row] = _mix(_mix(keys[row, 0] ^ first) ^ keys[row, 1])
    return places


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def fill(
    order: NDArray[np.int64],
    counters: NDArray[np.int32],
    limits: NDArray[np.int64],
    total: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Take rows in `order` while there is room.

    Args:
        order: (n,): row numbers.
        counters: (n, k): the counters that a row raises, -1 for none; no counter twice in a row.
        limits: of each counter, the most it may reach.
        total: the most rows.

    Returns:
        For each row `TAKEN`, `OVER_TOTAL` or the first counter that was full; and what each counter
        reached.
    """
    outcome = np.empty(len(counters), dtype=np.int32)
    reached = np.zeros(len(limits), dtype=np.int64)
    taken = 0
    for place in range(len(order)):
        row = order[place]
        full = TAKEN
        for column in range(counters.shape[1]):
            counter = counters[row, column]
            if counter >= 0 and reached[counter] >= limits[counter]:
                full = counter
                break
        if full == TAKEN and taken >= total:
            full = OVER_TOTAL
        outcome[row] = full
        if full == TAKEN:
            taken += 1
            for column in range(counters.shape[1]):
                counter = counters[row, column]
                if counter >= 0:
                    reached[counter] += 1
    return outcome, reached


def order_places(places: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The rows in the order of their places (n,), of equal places the first row first.

    What is sorted are the high bits of a place with the row's number below them, which takes a
    third of the time of sorting the rows by their places; few rows share so many bits, and these
    are sorted once more.
    """
    low = np.uint64(max(1, (len(places) - 1).bit_length()))
    packed = (places >> low << low) | np.arange(len(places), dtype=np.uint64)
    packed.sort()
    return _unpack(packed, places, low)  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _unpack(
    packed: NDArray[np.uint64], places: NDArray[np.uint64], low: np.uint64
) -> NDArray[np.int64]:
    order = np.empty(len(packed), dtype=np.int64)
    mask = (np.uint64(1) << low) - np.uint64(1)
    begin = 0
    while begin < len(packed):
        high, stop = packed[begin] >> low, begin + 1
        while stop < len(packed) and packed[stop] >> low == high:
            stop += 1
        for at in range(begin, stop):
            order[at] = np.int64(packed[at] & mask)
        if stop - begin > 1:
            rows = order[begin:stop].copy()
            order[begin:stop] = rows[np.argsort(places[rows], kind="mergesort")]
        begin = stop
    return order
