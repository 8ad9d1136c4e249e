"""Runs of words (n-grams) that texts share with an index of other texts, in compiled passes.

A word here is a run of letters, digits and marks, whatever stands between: `part_words` blanks the
rest, so that punctuation, case and white space change nothing. A character of a script that is
written without spaces (Chinese, Japanese, Thai …) is a word by itself.

A text is walked once. Each run of n words is looked up in a bloom filter, which has a word of it
in one cache line, and only what passes in the exact table of 64-bit hashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from pipelines.clean.kernels.bits import find_address
from pipelines.clean.kernels.plain import END, decode, skip_ascii
from pipelines.clean.kernels.words import Texts, count_room, hash_words, read_texts, roll_words
from pipelines.clean.texts import normalise

WORD = r"[\p{L}\p{N}\p{M}]"
ALONE = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
BITS_PER_KEY = 16
BLANK = np.uint8(32)
IN_WORD, BETWEEN, WORD_ALONE = np.uint8(0), np.uint8(1), np.uint8(2)
LOW6, SHIFT = np.uint64(63), np.uint64(32)
ZERO, ONE, SIX, TWELVE = np.uint64(0), np.uint64(1), np.uint64(6), np.uint64(12)


@dataclass(frozen=True, slots=True)
class GramIndex:
    """The runs of `size` words of some texts.

    `table` and `slots` are an open hash table: the hash in a slot (0 = free) and its gram's number.
    `owners[offsets[g] : offsets[g + 1]]` are the texts that gram g stands in, ascending; `counts`
    the number of different grams of each text. `bloom` answers most lookups of what is not there.
    """

    size: int
    bloom: NDArray[np.uint64]
    table: NDArray[np.uint64]
    slots: NDArray[np.int32]
    offsets: NDArray[np.int64]
    owners: NDArray[np.int32]
    counts: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Overlaps:
    """The texts that share a gram with the index (ascending), each with the text of the index of
    whose grams it holds the largest share, and how many different ones that are."""

    texts: NDArray[np.int64]
    owners: NDArray[np.int32]
    shared: NDArray[np.int32]


def split_words(texts: pl.Series) -> pl.Series:
    """The words of each text, as the kernels see them: the reference, and what verifies a hit."""
    return (
        texts.fill_null("")
        .to_frame("text")
        .select(
            normalise(pl.col("text"))
            .str.replace_all(f"({ALONE})", " $1 ")
            .str.extract_all(f"{WORD}+")
        )
        .to_series()
    )


def part_words(column: pl.Series) -> Texts:
    """A column of strings as `Texts` in which white space alone parts the words of this module."""
    texts = read_texts(column)
    data = texts.data.copy()
    kinds = _list_kinds()
    alone = np.flatnonzero(_blank_between(data, texts.starts, texts.ends, kinds))
    if not len(alone):
        return Texts(data, texts.starts, texts.ends)
    given = [texts.data[texts.starts[i] : texts.ends[i]].tobytes().decode() for i in alone]
    spread = read_texts(split_words(pl.Series("text", given)).list.join(" "))
    starts, ends = texts.starts.copy(), texts.ends.copy()
    starts[alone], ends[alone] = spread.starts + len(data), spread.ends + len(data)
    return Texts(np.concatenate([data, spread.data]), starts, ends)


def key_texts(texts: Texts) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """A 128-bit hash (two columns) of the words of each text, and how many words it has."""
    keys = np.zeros((len(texts), 2), dtype=np.uint64)
    counts = np.zeros(len(texts), dtype=np.int64)
    _hash_all(texts.data, texts.starts, texts.ends, count_room(texts), keys, counts)
    return keys, counts


def index_grams(texts: Texts, size: int) -> GramIndex:
    """Index every run of `size` words of the texts; one of fewer words has none."""
    _, words = key_texts(texts)
    total = int(np.maximum(words - size + 1, 0).sum())
    grams = np.zeros(total, dtype=np.uint64)
    owners = np.zeros(total, dtype=np.int32)
    _list_grams(texts.data, texts.starts, texts.ends, count_room(texts), size, grams, owners)
    order = np.lexsort((owners, grams))
    grams, owners = grams[order], owners[order]
    fresh = np.ones(total, dtype=np.bool_)
    fresh[1:] = (grams[1:] != grams[:-1]) | (owners[1:] != owners[:-1])
    grams, owners = grams[fresh], owners[fresh]
    first = np.ones(len(grams), dtype=np.bool_)
    first[1:] = grams[1:] != grams[:-1]
    offsets = np.append(np.flatnonzero(first), len(grams)).astype(np.int64)
    keys = grams[first]
    capacity = 1 << max(4, int(2 * len(keys)).bit_length())
    table, slots = np.zeros(capacity, np.uint64), np.zeros(capacity, np.int32)
    bloom = np.zeros(max(1, len(keys) * BITS_PER_KEY // 64), np.uint64)
    _fill(keys, table, slots, bloom)
    counts = np.bincount(owners, minlength=len(texts)).astype(np.int32)
    return GramIndex(size, bloom, table, slots, offsets, owners, counts)


def count_known(
    texts: Texts, index: GramIndex
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """One pass: what `key_texts` gives, and at how many places a text has a gram of the index."""
    keys = np.zeros((len(texts), 2), dtype=np.uint64)
    counts, known = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64)
    _scan(
        texts.data, texts.starts, texts.ends, count_room(texts), index.size, index.bloom,
        index.table, keys, counts, known,
    )  # fmt: skip
    return keys, counts, known


def find_overlaps(texts: Texts, index: GramIndex, rows: NDArray[np.int64]) -> Overlaps:
    """Which of the texts `rows` share grams with the index, and with which of its texts the most.

    Of equal shares the first text of the index is taken.
    """
    best = np.full(len(rows), -1, dtype=np.int32)
    shared = np.zeros(len(rows), dtype=np.int32)
    _match(
        texts.data, texts.starts, texts.ends, rows, count_room(texts), index.size, index.bloom,
        index.table, index.slots, index.offsets, index.owners, index.counts, best, shared,
    )  # fmt: skip
    found = best >= 0
    return Overlaps(rows[found], best[found], shared[found])


@cache
def _list_kinds() -> NDArray[np.uint8]:
    """For each code point below 0x20000, whether it is IN_WORD, BETWEEN words or a WORD_ALONE."""
    surrogates = range(0xD800, 0xE000)
    chars = pl.Series(["" if code in surrogates else chr(code) for code in range(END)])
    kinds = np.where(chars.str.contains(WORD).to_numpy(), IN_WORD, BETWEEN)
    return np.where(chars.str.contains(ALONE).to_numpy(), WORD_ALONE, kinds)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _blank_between(data: Any, starts: Any, ends: Any, kinds: Any) -> Any:
    """Make a space of every byte that belongs to no word. Returns which texts hold a word of a
    single character, whose neighbours it does not part."""
    alone = np.zeros(starts.size, dtype=np.bool_)
    for i in range(data.size):
        byte = data[i]
        letter = np.uint8((byte | np.uint8(32)) - np.uint8(97)) < 26
        digit = np.uint8(byte - np.uint8(48)) < 10
        data[i] = byte if letter | digit | (byte >= 128) else BLANK
    base = find_address(data)
    for row in range(starts.size):
        at = skip_ascii(base, starts[row], ends[row])
        while at < ends[row]:
            code, size = decode(base + at, ends[row] - at)
            kind = kinds[code] if 0 <= code < kinds.size else WORD_ALONE
            if kind == WORD_ALONE:
                alone[row] = True
            elif kind == BETWEEN:
                for i in range(at, at + size):
                    data[i] = BLANK
            at = skip_ascii(base, at + size, ends[row])
    return alone


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _hash_all(data: Any, starts: Any, ends: Any, room: int, keys: Any, counts: Any) -> None:
    words, tail = np.zeros(room, dtype=np.uint64), np.zeros(64, dtype=np.uint8)
    for row in range(starts.size):
        count, first, other = hash_words(data, starts[row], ends[row], words, tail)
        keys[row, 0], keys[row, 1], counts[row] = first, other, count


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _list_grams(
    data: Any, starts: Any, ends: Any, room: int, size: int, grams: Any, owners: Any
) -> None:
    words, tail = np.zeros(room, dtype=np.uint64), np.zeros(64, dtype=np.uint8)
    runs = np.zeros(room, dtype=np.uint64)
    at = 0
    for row in range(starts.size):
        count, _, _ = hash_words(data, starts[row], ends[row], words, tail)
        for i in range(roll_words(words, count, size, runs)):
            grams[at] = runs[i] | ONE  # 0 is a free slot
            owners[at] = row
            at += 1


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _fill(keys: Any, table: Any, slots: Any, bloom: Any) -> None:
    mask = np.uint64(table.size - 1)
    for number in range(keys.size):
        key = keys[number]
        place = (key >> SHIFT) & mask
        while table[place] != ZERO:
            place = (place + ONE) & mask
        table[place] = key
        slots[place] = number
        block = ((key >> SHIFT) * np.uint64(bloom.size)) >> SHIFT
        bloom[block] |= _mark(key)


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def _mark(key: Any) -> Any:
    """The three bits of a key in its block of the filter; bit 0 of a key says nothing."""
    key >>= ONE
    return (
        (ONE << (key & LOW6)) | (ONE << ((key >> SIX) & LOW6)) | (ONE << ((key >> TWELVE) & LOW6))
    )


@njit(forceinline=True)  # type: ignore[untyped-decorator]
def _find(key: Any, bloom: Any, table: Any) -> Any:
    """The place of a key in the table, or -1."""
    bits = _mark(key)
    block = ((key >> SHIFT) * np.uint64(bloom.size)) >> SHIFT
    if bloom[block] & bits != bits:
        return np.int64(-1)
    mask = np.uint64(table.size - 1)
    place = (key >> SHIFT) & mask
    while table[place] != ZERO:
        if table[place] == key:
            return np.int64(place)
        place = (place + ONE) & mask
    return np.int64(-1)


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _scan(
    data: Any, starts: Any, ends: Any, room: int, size: int, bloom: Any, table: Any, keys: Any,
    counts: Any, known: Any,
) -> None:  # fmt: skip
    words, tail = np.zeros(room, dtype=np.uint64), np.zeros(64, dtype=np.uint8)
    runs = np.zeros(room, dtype=np.uint64)
    for row in range(starts.size):
        count, first, other = hash_words(data, starts[row], ends[row], words, tail)
        keys[row, 0], keys[row, 1], counts[row] = first, other, count
        total = 0
        for i in range(roll_words(words, count, size, runs)):
            total += _find(runs[i] | ONE, bloom, table) >= 0
        known[row] = total


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _match(
    data: Any, starts: Any, ends: Any, rows: Any, room: int, size: int, bloom: Any, table: Any,
    slots: Any, offsets: Any, owners: Any, counts: Any, best: Any, shared: Any,
) -> None:  # fmt: skip
    words, tail = np.zeros(room, dtype=np.uint64), np.zeros(64, dtype=np.uint8)
    runs = np.zeros(room, dtype=np.uint64)
    seen = np.full(offsets.size - 1, -1, dtype=np.int64)
    tally = np.zeros(counts.size, dtype=np.int32)
    touched = np.zeros(counts.size, dtype=np.int32)
    for at in range(rows.size):
        row = rows[at]
        count, _, _ = hash_words(data, starts[row], ends[row], words, tail)
        fresh = 0
        for i in range(roll_words(words, count, size, runs)):
            place = _find(runs[i] | ONE, bloom, table)
            if place < 0 or seen[slots[place]] == at:
                continue
            gram = slots[place]
            seen[gram] = at
            for j in range(offsets[gram], offsets[gram + 1]):
                owner = owners[j]
                if tally[owner] == 0:
                    touched[fresh] = owner
                    fresh += 1
                tally[owner] += 1
        for i in range(fresh):
            owner = touched[i]
            mine, held = np.int64(tally[owner]), best[at]
            if held >= 0:
                ours, theirs = mine * counts[held], np.int64(shared[at]) * counts[owner]
                if ours < theirs or (ours == theirs and owner > held):
                    continue
            best[at], shared[at] = owner, mine
        for i in range(fresh):
            tally[touched[i]] = 0
