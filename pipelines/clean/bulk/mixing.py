"""The mix of the rows of a pool: what they count for is made of numbers alone.

A quota or a stratum looks at a few words of a row, which many rows share: what is said of a kind of
rows holds for each of them. And of prompts only those count that more rows have than may stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from pipelines.clean.bulk.sketch import Sketch, load_all
from pipelines.clean.kernels.filling import scatter_keys
from pipelines.clean.mix import CLUSTER, Counted, choose_rows, list_counted
from pipelines.clean.strata import LENGTHS
from schemas.mixing import MixSpec

DENSE = 2**24


def mix_rows(
    sketches: Sequence[Sketch],
    rows: NDArray[np.int64],
    keys: NDArray[np.uint64],
    mix: MixSpec,
    seed: int,
) -> tuple[NDArray[np.int32], tuple[list[Counted], list[NDArray[np.int64]], int]]:
    """Mix the `rows` (m,) of all n, as `mix.choose_pairs` does.

    Args:
        keys: (n, 2): those of the rows' texts, which with the seed say in what order they come.

    Returns:
        For each of `rows` what `mix.choose_rows` says; and what they count for (of clusters only
        those that can be full), what was reached, and the total.
    """
    total = mix.total if mix.total is not None else len(rows)
    kinds, which = sort_kinds(sketches, rows, mix)
    sizes = np.bincount(which, minlength=len(kinds))
    listed = list_counted(kinds, mix.model_copy(update={"per_cluster": None}), total, sizes)
    counted = [replace(part, codes=part.codes[which]) for part in listed]
    if mix.per_cluster is not None:
        counted.append(count_prompts(load_all(sketches, "prompt_keys")[rows], mix.per_cluster))
    outcome, reached = choose_rows(scatter_keys(keys, seed)[rows], counted, total)
    return outcome, (counted, reached, total)


def sort_kinds(
    sketches: Sequence[Sketch], rows: NDArray[np.int64], mix: MixSpec
) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """The kinds of rows there are, a column for each axis that the mix looks at; and the kind of
    each row (m,)."""
    axes = sorted({axis for axis, shares in mix.quotas.items() if shares} | set(mix.balance))
    kinds: dict[str, pl.Series] = {}
    which, count = np.zeros(len(rows), dtype=np.int64), 1
    for axis in axes:
        codes, names = _read_axis(sketches, axis, mix)
        size = len(names)
        found, which = _number(which * size + codes[rows], count * size)
        kinds = {name: column.gather(found // size) for name, column in kinds.items()}
        kinds[axis] = pl.Series(names, dtype=pl.String).gather(found % size)
        count = len(found)
    return pl.DataFrame(kinds), which


def _read_axis(
    sketches: Sequence[Sketch], axis: str, mix: MixSpec
) -> tuple[NDArray[np.int64], Sequence[str]]:
    """The name of each row (n,), as its place among those there are."""
    if axis == "length":  # a text as long as a bound is above it, as in `strata.cut_lengths`
        chars = load_all(sketches, "chars")
        return np.searchsorted(mix.length_bounds, chars, side="right"), LENGTHS
    places: dict[str, int] = {}
    codes = []
    for sketch in sketches:
        own = [places.setdefault(name, len(places)) for name in sketch.read_names(axis)]
        codes.append(np.array(own, dtype=np.int64)[sketch.load(axis)])
    return np.concatenate(codes), list(places)


def _number(values: NDArray[np.int64], most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The values there are, all below `most`, ascending; and the place of each value among them."""
    if most > DENSE:
        return np.unique(values, return_inverse=True)
    there = np.zeros(most, dtype=bool)
    there[values] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[values]


def count_prompts(keys: NDArray[np.uint64], limit: int) -> Counted:
    """Which rows (m,) count for a prompt that more than `limit` of them have, by its key."""
    many = _find_many(keys, limit, 1 << max(10, len(keys).bit_length()))
    names, places, sizes = np.unique(keys[many], return_inverse=True, return_counts=True)
    full = sizes > limit
    codes = np.full((len(keys), 1), -1, dtype=np.int32)
    codes[many, 0] = np.where(full, np.cumsum(full) - 1, -1)[places]
    limits = np.full(int(full.sum()), limit, dtype=np.int64)
    return Counted(CLUSTER, codes, pl.Series(names[full], dtype=pl.UInt64), limits)


@njit(nogil=True, cache=True)
def _find_many(keys: Any, limit: int, size: int) -> Any:
    """The rows whose key more than `limit` rows have, and of a few more: the low bits of a key say
    which of `size` counters it raises, and these end at 255."""
    counts = np.zeros(size, dtype=np.uint8)
    mask = np.uint64(size - 1)
    for row in range(keys.size):
        slot = keys[row] & mask
        if counts[slot] < 255:
            counts[slot] += 1
    out = np.empty(keys.size, dtype=np.int64)
    found = 0
    for row in range(keys.size):
        if counts[keys[row] & mask] > min(limit, 254):
            out[found] = row
            found += 1
    return out[:found]
