"""MinHash of texts, or of pairs of texts, in one pass over the Arrow buffers.

An item is one text, or several (prompt, chosen, rejected). Its shingles are the runs of `size`
words of each of its texts, as 32-bit hashes; a text of fewer than 2 `size` words gives its single
words instead, for it has too few runs to compare. No shingle crosses from one text into the next,
so an item is the same set whichever of its answers was preferred.

The signature is the classic one (Broder 1997): 128 permutations of the 32-bit numbers, and under
each the least value of the item's shingles. The first 64 take x to c[i] * x mod 2^32, with c[i] odd
and drawn once; the x are well mixed already, so nothing need be added. The other 64 take x to the
complement of the same products, the least of which is the complement of the greatest product: one
multiplication serves two places. The two are different shingles, as if drawn without putting back;
they stand 64 apart, so a band of up to 64 places never holds both. Of two items the share of equal
places is an unbiased estimate of the Jaccard similarity of their shingles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.clean.kernels.bits import find_address, find_ends
from pipelines.clean.kernels.words import Texts, count_room, hash_words, roll_words

PERMUTATIONS = 128
SHINGLE = 5
_drawn = np.random.Generator(np.random.PCG64(1)).integers(0, 2**31, PERMUTATIONS // 2)
FACTORS = (_drawn * 2 + 1).astype(np.uint32)
WEIGHTS = np.random.Generator(np.random.PCG64(2)).integers(0, 2**64, PERMUTATIONS, np.uint64)
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


@dataclass(frozen=True, slots=True)
class Signed:
    """What the pass over n items of k texts found.

    Columns: keys (n, k, 2) uint64, the 128-bit hash of each normalised text; bands (b, n) uint32,
    the keys of the signature's bands; shingles, uint32 hashes of all items one after
    another, repeats included; ends (n,) int64, where each item's shingles end.
    """

    keys: NDArray[np.uint64]
    bands: NDArray[np.uint32]
    shingles: NDArray[np.uint32]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends)


def sign_items(texts: Sequence[Texts], rows: int, size: int = SHINGLE) -> Signed:
    """Sign items whose first texts are `texts[0]`, whose second are `texts[1]` and so on.

    A band is `rows` places of the signature. Items that agree on all of them have the same key
    there, others by a chance of 1 in 2^32 (multilinear hashing; Lemire and Kaser 2014). The
    signature itself is not kept: an item without a word has ones in all its bits.

    Args:
        rows: places of the signature in a band.
        size: words in a shingle.
    """
    count, several = len(texts[0]), len(texts)
    room = max(count_room(column) for column in texts)
    most = sum(int((column.ends - column.starts).sum()) // 2 + count for column in texts)
    keys = np.empty((count, several, 2), dtype=np.uint64)
    bands = np.empty((PERMUTATIONS // rows, count), dtype=np.uint32)
    shingles = np.empty(most, dtype=np.uint32)
    ends = np.empty(count, dtype=np.int64)
    used = _sign(
        tuple(column.data for column in texts),
        tuple(column.starts for column in texts),
        tuple(column.ends for column in texts),
        size, rows, room, FACTORS, keys, bands, shingles, ends,
    )  # fmt: skip
    shingles.resize(used, refcheck=False)  # gives the rest of the room back
    return Signed(keys, bands, shingles, ends)


@njit(nogil=True, cache=True)
def _sign(
    data: Any,
    starts: Any,
    ends: Any,
    size: int,
    rows: int,
    room: int,
    factors: Any,
    keys: Any,
    bands: Any,
    shingles: Any,
    places: Any,
) -> int:
    words, runs = np.empty(room, dtype=np.uint64), np.empty(room, dtype=np.uint64)
    tail, signature = np.empty(64, dtype=np.uint8), np.empty(PERMUTATIONS, dtype=np.uint32)
    used = 0
    for row in range(places.size):
        first = used
        for part in range(len(data)):
            count, low, high = hash_words(
                data[part], starts[part][row], ends[part][row], words, tail
            )
            keys[row, part, 0], keys[row, part, 1] = low, high
            found = words
            if count >= 2 * size:
                count, found = roll_words(words, count, size, runs), runs
            for i in range(count):
                shingles[used + i] = np.uint32(found[i] & LOW)
            used += count
        find_ends(
            find_address(shingles) + 4 * first,
            used - first,
            find_address(factors),
            find_address(signature),
        )
        for band in range(bands.shape[0]):
            bands[band, row] = _fold_band(signature, band, rows)
        places[row] = used
    return used


@njit(forceinline=True)
def _fold_band(signature: Any, band: int, rows: int) -> Any:
    key = WEIGHTS[band]
    for place in range(band * rows, band * rows + rows):
        key += WEIGHTS[place] * np.uint64(signature[place])
    return np.uint32(key >> HALF)
