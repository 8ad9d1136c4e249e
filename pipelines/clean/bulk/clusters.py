"""Near-duplicates among the rows of many sketches, with what was found before.

Of rows with one key the first in the order of the parts goes through the bands, one band at a time
(see `pipelines.clean.kernels.bands` for the rule). What is kept between runs is who is the first of
a key, and the forest of the clusters: rows that were compared before are not compared again. When
parts are added, keys and bands are scanned for what the new rows have, through a bitmap that fits
the processor's cache, and only what passes is sorted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.clean.bulk.sketch import Sketch
from pipelines.clean.kernels.exact import group_exact
from pipelines.clean.kernels.joining import find_root, find_roots, join_buckets

FILTER_BITS = 24
BATCH_SHINGLES = 2**25
STATE = "clusters.json"
ARRAYS = ("parent", "value", "lead")


@dataclass(frozen=True, eq=False)
class Clusters:
    """Of n rows, in the order of the sketches.

    Columns: lead (int64), the first row with the same key; root (int64), the same for all rows of a
    cluster; value (float32), the similarity with which the lead was found near another, 0 if none.
    """

    lead: NDArray[np.int64]
    root: NDArray[np.int64]
    value: NDArray[np.float32]


def cluster_rows(sketches: Sequence[Sketch], similarity: float, folder: Path) -> Clusters:
    """Cluster the rows of `sketches`, starting from what `folder` remembers of the first of them.

    Args:
        folder: where the forest is kept. It is used where it speaks of exactly the parts that come
            first here, under this similarity, and replaced by what is found now.
    """
    counts = np.array([sketch.part.rows for sketch in sketches], dtype=np.int64)
    begins = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    total = int(begins[-1])
    parent, lead = np.arange(total, dtype=np.int32), np.arange(total, dtype=np.int64)
    value = np.zeros(total, dtype=np.float32)
    known = _restore(folder, sketches, similarity, (parent, value, lead))
    if known < total:
        _find_leads(sketches, begins, known, lead)
    usable = np.concatenate([np.zeros(0, bool), *(_load_usable(s) for s in sketches)])
    chosen = np.flatnonzero((lead == np.arange(total)) & usable)
    fresh = chosen >= known
    starts, ends = np.zeros((2, total), dtype=np.int64)
    stops = [np.asarray(sketch.load("ends")) for sketch in sketches]
    rows = _Rows(sketches, begins, stops, starts, ends, np.arange(total))
    while fresh.any():
        before = find_roots(parent)[chosen]
        joined, crowded = _join(rows, chosen, fresh, similarity, parent, value)
        if not (joined and crowded):
            break
        roots = find_roots(parent)
        changed = np.zeros(total, dtype=bool)
        changed[roots[chosen][roots[chosen] != before]] = True
        chosen = np.unique(roots[chosen])
        fresh = changed[chosen]
    roots = find_roots(parent).astype(np.int64)
    if known < total:
        _remember(folder, sketches, similarity, (parent, value, lead.astype(np.int32)))
    return Clusters(lead, roots[lead], value)


def _find_leads(
    sketches: Sequence[Sketch], begins: NDArray[np.int64], known: int, lead: NDArray[np.int64]
) -> None:
    """Write the first row with the same key of the rows from `known` on, where a part begins."""
    count = int(np.searchsorted(begins, known))
    fresh = [sketch.load("item_keys") for sketch in sketches[count:]]
    marks = _mark([keys[:, 0] for keys in fresh])
    rows, keys = [], []
    for sketch, first in zip(sketches[:count], begins.tolist(), strict=False):
        part = sketch.load("item_keys")
        own = lead[first : first + len(part)] == np.arange(first, first + len(part))
        picked = _find_marked(part[:, 0], own, marks)
        rows.append(picked + first)
        keys.append(part[picked])
    rows.append(np.arange(known, len(lead)))
    place = np.concatenate(rows)
    order, starts = group_exact(np.concatenate([*keys, *fresh]))
    order = place[order]
    least = np.minimum.reduceat(order, starts)
    lead[order] = np.repeat(least, np.diff(np.append(starts, len(order))))


def _load_usable(sketch: Sketch) -> NDArray[np.bool_]:
    return (sketch.load("fault") == 0) & ~sketch.load("same")


@dataclass(frozen=True)
class _Rows:
    """Where rows lie: in which sketch, with shingles that end at which of `stops` in it, and in the
    batch of shingles in memory from `starts` to `ends` (written anew for each batch). `own` is 0,
    1, 2 …: a row stands for itself."""

    sketches: Sequence[Sketch]
    begins: NDArray[np.int64]
    stops: Sequence[NDArray[np.int64]]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    own: NDArray[np.int64]

    def read_band(self, band: int) -> NDArray[np.uint32]:
        """The keys of a band, of all rows."""
        return np.concatenate([sketch.load("bands")[band] for sketch in self.sketches])

    def measure(self, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many shingles each of these rows (ascending) has."""
        sizes = np.empty(len(wanted), dtype=np.int64)
        for number, mine, rows in self.split(wanted):
            stops = self.stops[number]
            sizes[mine] = stops[rows] - np.where(rows > 0, stops[rows - 1], 0)
        return sizes

    def gather(self, wanted: NDArray[np.int64]) -> NDArray[np.uint32]:
        """The shingles of these rows (ascending), whose starts and ends are set."""
        pieces = [np.zeros(0, dtype=np.uint32)]
        at = 0
        for number, mine, rows in self.split(wanted):
            stops = self.stops[number]
            begins = np.where(rows > 0, stops[rows - 1], 0)
            sizes = stops[rows] - begins
            places = at + np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
            self.starts[wanted[mine]], self.ends[wanted[mine]] = places[:-1], places[1:]
            pieces.append(_take(self.sketches[number].load("shingles"), begins, sizes))
            at = int(places[-1])
        return np.concatenate(pieces)

    def split(self, wanted: NDArray[np.int64]) -> Iterator[tuple[int, slice, NDArray[np.int64]]]:
        """Of these rows (ascending) those of each sketch that has some: its number, where they are
        among them, and their numbers in it."""
        cuts = np.searchsorted(wanted, self.begins)
        for number in np.flatnonzero(np.diff(cuts)).tolist():
            mine = slice(int(cuts[number]), int(cuts[number + 1]))
            yield number, mine, wanted[mine] - self.begins[number]


@njit(nogil=True, cache=True)
def _take(values: Any, begins: Any, sizes: Any) -> Any:
    out = np.empty(sizes.sum(), dtype=np.uint32)
    at = 0
    for row in range(begins.size):
        for i in range(sizes[row]):
            out[at] = values[begins[row] + i]
            at += 1
    return out


def _join(
    rows: _Rows,
    chosen: NDArray[np.int64],
    fresh: NDArray[np.bool_],
    similarity: float,
    parent: NDArray[np.int32],
    value: NDArray[np.float32],
) -> tuple[int, bool]:
    """Join the `chosen` rows that are near, where one of the two is `fresh`."""
    joined, crowded = 0, False
    state = np.zeros(3, dtype=np.int64)
    bands = _take_all(rows, chosen) if fresh.all() else _take_near(rows, chosen, chosen[fresh])
    for packed, following in bands:
        packed = packed[_find_open(packed, parent)]
        for begin, stop in _cut(packed, rows):
            part = packed[begin:stop]
            members = np.sort((part & np.uint64(0xFFFFFFFF)).astype(np.int64))
            shingles = rows.gather(members)
            most = int((rows.ends[members] - rows.starts[members]).max(initial=1))
            table = np.zeros(max(64, 1 << int(4 * most - 1).bit_length()), dtype=np.uint64)
            state[:] = 0
            while state[0] < len(part):
                join_buckets(
                    part, following, rows.own, shingles, rows.starts, rows.ends, similarity, parent,
                    value, table, state,
                )  # fmt: skip
            joined, crowded = joined + int(state[1]), crowded or bool(state[2])
    return joined, crowded


def _take_all(
    rows: _Rows, chosen: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint32]]]:
    """For each band `key << 32 | row` of the chosen rows, sorted, and the keys of the next band."""
    bands = len(rows.sketches[0].load("bands"))
    keys = rows.read_band(0)
    for band in range(bands):
        packed = _pack(keys[chosen], chosen)
        keys = rows.read_band((band + 1) % bands)
        yield packed, keys


def _take_near(
    rows: _Rows, chosen: NDArray[np.int64], fresh: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint32]]]:
    """The same, of those alone whose key a fresh one may have; elsewhere the next keys are free."""
    mapped = [np.asarray(sketch.load("bands")) for sketch in rows.sketches]
    may = np.zeros(len(rows.own), dtype=bool)
    may[chosen] = True
    following = np.empty(len(rows.own), dtype=np.uint32)
    for band in range(len(mapped[0])):
        marks = _mark([mapped[part][band][own] for part, _, own in rows.split(fresh)])
        picked, keys = [], []
        for bands, begin in zip(mapped, rows.begins.tolist(), strict=False):
            end = begin + bands.shape[1]
            own = _find_marked(bands[band], may[begin:end], marks)
            picked.append(own + begin)
            keys.append(bands[band][own])
            following[own + begin] = bands[(band + 1) % len(bands)][own]
        yield _pack(np.concatenate(keys), np.concatenate(picked)), following


def _pack(keys: NDArray[np.uint32], rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    packed = (keys.astype(np.uint64) << np.uint64(32)) | rows.astype(np.uint64)
    packed.sort()
    return packed


def _mark(keys: Sequence[NDArray[Any]]) -> NDArray[np.uint64]:
    """A bitmap of the high bits of these keys, of 32 or 64 bits."""
    marks = np.zeros(1 << (FILTER_BITS - 6), dtype=np.uint64)
    for some in keys:
        _set_marks(some, some.dtype.itemsize * 8 - FILTER_BITS, marks)
    return marks


def _find_marked(
    keys: NDArray[Any], may: NDArray[np.bool_], marks: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """The places whose key may be one of those that were marked, where they `may` be."""
    return _list_marked(keys, may, keys.dtype.itemsize * 8 - FILTER_BITS, marks)


@njit(nogil=True, cache=True)
def _set_marks(keys: Any, shift: int, marks: Any) -> None:
    six, low = np.uint64(6), np.uint64(63)
    for i in range(keys.size):
        mark = np.uint64(keys[i]) >> np.uint64(shift)
        marks[mark >> six] |= np.uint64(1) << (mark & low)


@njit(nogil=True, cache=True)
def _list_marked(keys: Any, may: Any, shift: int, marks: Any) -> Any:
    six, low, one = np.uint64(6), np.uint64(63), np.uint64(1)
    out = np.empty(keys.size, dtype=np.int64)
    count = 0
    for i in range(keys.size):
        mark = np.uint64(keys[i]) >> np.uint64(shift)
        if (marks[mark >> six] >> (mark & low)) & one and may[i]:
            out[count] = i
            count += 1
    return out[:count]


@njit(nogil=True, cache=True)
def _find_open(packed: Any, parent: Any) -> Any:
    """The places of buckets whose rows are not all in one cluster already."""
    out = np.empty(packed.size, dtype=np.int64)
    count, begin = 0, 0
    high, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    while begin < packed.size:
        stop = begin + 1
        key = packed[begin] >> high
        while stop < packed.size and packed[stop] >> high == key:
            stop += 1
        if stop - begin > 1:
            first = find_root(parent, np.int64(packed[begin] & low))
            for i in range(begin + 1, stop):
                if find_root(parent, np.int64(packed[i] & low)) != first:
                    for place in range(begin, stop):
                        out[count] = place
                        count += 1
                    break
        begin = stop
    return out[:count]


def _cut(packed: NDArray[np.uint64], rows: _Rows) -> Any:
    """Runs of whole buckets whose shingles fit in memory together."""
    if not len(packed):
        return
    members = (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)
    order = np.argsort(members)
    sizes = np.empty(len(members), dtype=np.int64)
    sizes[order] = rows.measure(members[order])
    ends = np.flatnonzero(np.diff(packed >> np.uint64(32), append=np.uint64(2**63))) + 1
    total = np.cumsum(sizes)[ends - 1]
    begin = spent = 0
    for place, end in enumerate(ends.tolist()):
        last = place == len(ends) - 1
        if last or total[place + 1] - spent > BATCH_SHINGLES:
            yield begin, end
            begin, spent = end, int(total[place])


def list_remembered(folder: Path) -> list[str]:
    """The keys of the parts that `folder` remembers, in their order."""
    file = folder / STATE
    return list(json.loads(file.read_text())["parts"]) if file.is_file() else []


def _restore(
    folder: Path, sketches: Sequence[Sketch], similarity: float, arrays: Sequence[NDArray[Any]]
) -> int:
    """Take over `ARRAYS` of the rows that were clustered before; how many those are."""
    file = folder / STATE
    if not file.is_file():
        return 0
    state = json.loads(file.read_text())
    keys = [sketch.part.key for sketch in sketches]
    if state["similarity"] != similarity or keys[: len(state["parts"])] != state["parts"]:
        return 0
    known = int(state["rows"])
    for name, array in zip(ARRAYS, arrays, strict=True):
        array[:known] = np.load(folder / state[name])
    return known


def _remember(
    folder: Path, sketches: Sequence[Sketch], similarity: float, arrays: Sequence[NDArray[Any]]
) -> None:
    """Write `ARRAYS`, and what they speak of last, so that they never disagree."""
    folder.mkdir(parents=True, exist_ok=True)
    old = folder / STATE
    before = json.loads(old.read_text()) if old.is_file() else {}
    number = int(before.get("number", 0)) + 1
    names = {name: f"{name}-{number}.npy" for name in ARRAYS}
    for name, array in zip(ARRAYS, arrays, strict=True):
        np.save(folder / names[name], array)
    content = {
        "number": number, "similarity": similarity, "rows": len(arrays[0]), **names,
        "parts": [sketch.part.key for sketch in sketches],
    }  # fmt: skip
    draft = folder / f"{STATE}.draft"
    draft.write_text(json.dumps(content))
    os.replace(draft, old)
    for name in ARRAYS:
        if before.get(name):
            (folder / before[name]).unlink(missing_ok=True)
