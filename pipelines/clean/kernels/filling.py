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
def scatter(
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
def fill(
    order: NDArray[np.int64],
    counters: NDArray[np.int32],
    limits: NDArray[np.int64],
    total: int,
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Take rows in `order` while there is room.

    Args:
        order: (n,): row numbers.
        counters: (n, k): the counters that a row raises, -1 for none; no counter twice in a row.
        limits: of each counter, the most it may reach.
        total: the most rows.

    Returns:
        For each row `TAKEN`, `OVER_TOTAL` or the column of the first counter that was full; and
        what each counter reached.
    """
    outcome = np.empty(len(counters), dtype=np.int8)
    reached = np.zeros(len(limits), dtype=np.int64)
    taken = 0
    for place in range(len(order)):
        row = order[place]
        full = TAKEN
        for column in range(counters.shape[1]):
            counter = counters[row, column]
            if counter >= 0 and reached[counter] >= limits[counter]:
                full = column
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
