"""Texts as Arrow buffers, and the walk over their words.

A word is what stands between white space in the normalised text (`pipelines.clean.texts.normalise`:
NFC, lower case, runs of white space as one; punctuation stays with its word). Nothing is written
out: the walk finds the words 64 bytes at a time and hashes each, lower-cased, 8 bytes at a time.
That is the whole rule for ASCII. Other characters that are their own normal form and lower case
(`plain.py`: curly quotes, dashes, é, Chinese, emoji) are words' bytes like any other; a text with
any further one is replaced by what Polars normalises it to, so the result is that of `normalise`
for every text.

The hashes are multiply-and-fold (as in wyhash), 64 bits a word and 128 bits a text, the same on
every little-endian machine; good against chance, not against somebody who looks for collisions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from pipelines.clean.kernels.bits import (
    BLOCK,
    count_zeros,
    find_address,
    load_byte,
    load_lower,
    mark_spaces,
    multiply,
)
from pipelines.clean.kernels.plain import find_odd, list_plain
from pipelines.clean.texts import normalise

WORD = np.uint64(0x9E3779B97F4A7C15)
MORE = np.uint64(0xD6E8FEB86659FD93)
LAST = np.uint64(0xA0761D6478BD642F)
FIRST_KEY = np.uint64(0xE7037ED1A0B428DB)
OTHER_KEY = np.uint64(0x8EBC6AF09C88C6E3)
ROLL = np.uint64(0x589965CC75374CC3)
CAPITAL_A, CAPITAL_Z, SMALL = np.uint64(65), np.uint64(90), np.uint64(32)
ONES = np.uint64(0xFFFFFFFFFFFFFFFF)
ZERO, ONE, HALF = np.uint64(0), np.uint64(1), np.uint64(32)


Column = pl.Series | pa.Array | pa.ChunkedArray


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts ready for the kernels: text i is `data[starts[i] : ends[i]]`, UTF-8 in which only ASCII
    is still to be lower-cased and only ASCII white space parts words.

    Columns: data (uint8, not to be written to), starts and ends (int64, a text each).
    """

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)


def read_texts(column: Column) -> Texts:
    """A column of strings (Polars, or Arrow string and large_string) as `Texts`, copied only where
    a row needs Polars or the column comes in several pieces. A null counts as the empty text."""
    if isinstance(column, pl.Series):
        column = column.to_arrow()
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
        column = column.cast(pa.large_string())
    wide = pa.types.is_large_string(column.type)
    _, places, content = column.buffers()
    offsets = np.zeros(1, dtype=np.int64)
    if places is not None and places.size:
        given = np.frombuffer(places, dtype=np.int64 if wide else np.int32)
        offsets = given[column.offset : column.offset + len(column) + 1].astype(np.int64)
    data = np.frombuffer(content, np.uint8) if content else np.zeros(0, dtype=np.uint8)
    data, offsets = data[offsets[0] : offsets[-1]], offsets - offsets[0]
    starts, ends = offsets[:-1], offsets[1:].copy()
    if column.null_count:
        missing = column.is_null().to_numpy(zero_copy_only=False)
        ends[missing] = starts[missing]
    return _mend_odd(Texts(data, starts, ends), column)


def _mend_odd(texts: Texts, column: pa.Array) -> Texts:
    odd = find_odd(texts.data, texts.starts, texts.ends, list_plain())
    rows = np.flatnonzero(odd)
    if not len(rows):
        texts.data.setflags(write=False)
        return texts
    series = pl.Series("text", column.take(pa.array(rows)))
    mended = series.to_frame().select(normalise(pl.col("text"))).to_series().to_arrow()
    places = np.frombuffer(mended.buffers()[1], dtype=np.int64)[: len(rows) + 1]
    data = np.concatenate([texts.data, np.frombuffer(mended.buffers()[2], dtype=np.uint8)])
    data.setflags(write=False)
    starts, ends = texts.starts.copy(), texts.ends.copy()
    starts[rows] = places[:-1] + len(texts.data)
    ends[rows] = places[1:] + len(texts.data)
    return Texts(data, starts, ends)


def count_room(texts: Texts) -> int:
    """How many words the longest text can have: the room that `hash_words` needs."""
    return int((texts.ends - texts.starts).max(initial=0)) // 2 + 1


def hash_texts(texts: Texts) -> NDArray[np.uint64]:
    """The 128-bit hash of each normalised text (n, 2): equal for texts that `normalise` makes
    equal, and, but for a chance of 1 in 2^128 a pair, for no others."""
    keys = np.empty((len(texts), 2), dtype=np.uint64)
    _hash_texts(texts.data, texts.starts, texts.ends, count_room(texts), keys)
    return keys


@njit(nogil=True, cache=True)
def _hash_texts(data: Any, starts: Any, ends: Any, room: int, keys: Any) -> None:
    words, tail = np.empty(room, dtype=np.uint64), np.empty(BLOCK, dtype=np.uint8)
    for row in range(starts.size):
        _, keys[row, 0], keys[row, 1] = hash_words(data, starts[row], ends[row], words, tail)


@njit(forceinline=True)
def fold(left: Any, right: Any) -> Any:
    """A 64-bit hash of two uint64: the halves of their product, one upon the other."""
    low, high = multiply(left, right)
    return low ^ high


@njit(forceinline=True)
def hash_words(data: Any, start: int, end: int, words: Any, tail: Any) -> Any:
    """Walk the words of the text `data[start:end]`.

    Args:
        words: uint64, at least `(end - start) // 2 + 1`: gets a hash for each word.
        tail: uint8, 64 bytes to work in (they need not be cleared).

    Returns:
        How many words there are, and the two halves of the 128-bit hash of the normalised text.
    """
    count, begin = 0, 0
    first, other = FIRST_KEY, OTHER_KEY
    carry = ZERO
    base, slack = find_address(data), find_address(tail)
    limit = base + data.size
    stop = base + end
    for at in range(base + start, stop, BLOCK):
        spaces = _find_spaces(at, stop, limit, slack, tail)
        inside = ~spaces
        before = (inside << ONE) | carry
        begins, ends = inside & ~before, spaces & before
        if carry == ZERO:
            begin = at + count_zeros(begins)
            begins &= begins - ONE
        while ends != ZERO:
            low, high = _hash_word(begin, at + count_zeros(ends), limit)
            ends &= ends - ONE
            begin = at + count_zeros(begins)
            begins &= begins - ONE
            words[count] = low ^ high
            count += 1
            first, other = _take_word(first, other, low, high)
        carry = inside >> np.uint64(63)
    if carry != ZERO:
        low, high = _hash_word(begin, stop, limit)
        words[count] = low ^ high
        count += 1
        first, other = _take_word(first, other, low, high)
    return count, first, fold(other ^ np.uint64(count), WORD)


@njit(forceinline=True)
def _take_word(first: Any, other: Any, low: Any, high: Any) -> Any:
    """The two halves of a text's hash with one more word."""
    turned = (other << np.uint64(23)) | (other >> np.uint64(41))
    return fold(first ^ low ^ high, LAST), (turned ^ low) * MORE


@njit(forceinline=True)
def roll_words(words: Any, count: int, size: int, shingles: Any) -> Any:
    """Hash every run of `size` words into `shingles` (uint64, another array).

    Loop by loop over all runs, so that a processor with vectors takes several at once.

    Returns:
        How many runs there are: `count - size + 1`, or 0 for fewer words than that.
    """
    runs = max(count - size + 1, 0)
    for i in range(runs):
        shingles[i] = words[i]
    for step in range(1, size):
        for i in range(runs):
            shingles[i] = shingles[i] * ROLL + words[i + step]
    for i in range(runs):
        mixed = (shingles[i] ^ (shingles[i] >> HALF)) * WORD
        shingles[i] = mixed ^ (mixed >> HALF)
    return runs


@njit(forceinline=True)
def _find_spaces(at: int, stop: int, limit: int, slack: int, tail: Any) -> Any:
    """The white space of the 64 bytes from `at` on; all from `stop` on counts as such. What would
    reach beyond the buffer, which ends at `limit`, is copied to `tail` first."""
    if at + BLOCK <= limit:
        spaces = mark_spaces(at)
    else:
        for i in range(limit - at):
            tail[i] = load_byte(at + i)
        spaces = mark_spaces(slack)
    if stop - at < BLOCK:
        spaces |= ONES << np.uint64(stop - at)
    return spaces


@njit(forceinline=True)
def _hash_word(begin: int, stop: int, limit: int) -> Any:
    """The two halves that make a word's hash; its length is in it, for a NUL is a byte too."""
    state = WORD * np.uint64(stop - begin)
    while stop - begin > 16:
        low, high = load_lower(begin, 16)
        state = fold(state ^ low, high ^ MORE)
        begin += 16
    if begin + 16 <= limit:
        low, high = load_lower(begin, stop - begin)
    else:
        low, high = _load_last(begin, stop)
    return multiply(state ^ low, high ^ LAST)


@njit
def _load_last(begin: int, stop: int) -> Any:
    """What `load_lower` gives, where the 16 bytes would reach beyond the buffer."""
    low, high = ZERO, ZERO
    for at in range(stop - 1, begin - 1, -1):
        byte = load_byte(at)
        high = (high << np.uint64(8)) | (low >> np.uint64(56))
        low = (low << np.uint64(8)) | (byte | SMALL if CAPITAL_A <= byte <= CAPITAL_Z else byte)
    return low, high
