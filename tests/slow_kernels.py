"""What the compiled kernels compute, said plainly in Python: the reference of their tests."""

from __future__ import annotations

import polars as pl

from pipelines.clean.texts import normalise

MASK = 2**64 - 1
WORD, MORE, LAST = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F
FIRST_KEY, OTHER_KEY = 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3
ROLL = 0x589965CC75374CC3


def normalise_texts(texts: list[str]) -> list[str]:
    """What `pipelines.clean.texts.normalise` makes of them."""
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    return frame.select(normalise(pl.col("text"))).to_series().to_list()


def split_words(normalised: str) -> list[str]:
    """The words of a normalised text."""
    return normalised.split(" ") if normalised else []


def multiply(left: int, right: int) -> tuple[int, int]:
    """The halves of a 128-bit product."""
    return (left * right) & MASK, (left * right) >> 64


def fold(left: int, right: int) -> int:
    """The halves of a product upon each other."""
    low, high = multiply(left, right)
    return low ^ high


def hash_word(word: str) -> tuple[int, int]:
    """The two halves that make the hash of a word."""
    data = word.encode()
    state = WORD * len(data) & MASK
    pieces = [
        (int.from_bytes(data[i : i + 8], "little"), int.from_bytes(data[i + 8 : i + 16], "little"))
        for i in range(0, len(data), 16)
    ]
    for low, high in pieces[:-1]:
        state = fold(state ^ low, high ^ MORE)
    low, high = pieces[-1]
    return multiply(state ^ low, high ^ LAST)


def hash_text(normalised: str) -> tuple[list[int], int, int]:
    """A hash a word, and the two halves of the text's."""
    first, other = FIRST_KEY, OTHER_KEY
    words = []
    for word in split_words(normalised):
        low, high = hash_word(word)
        words.append(low ^ high)
        first = fold(first ^ low ^ high, LAST)
        other = (((other << 23 | other >> 41) & MASK) ^ low) * MORE & MASK
    return words, first, fold(other ^ len(words), WORD)


def roll(words: list[int], size: int) -> list[int]:
    """A hash for each run of `size` words."""
    runs = [words[i : i + size] for i in range(len(words) - size + 1)]
    out = []
    for run in runs:
        total = 0
        for word in run:
            total = (total * ROLL + word) & MASK
        mixed = ((total ^ total >> 32) * WORD) & MASK
        out.append(mixed ^ mixed >> 32)
    return out


def find_shingles(texts: list[str], size: int) -> list[int]:
    """The 32-bit shingles of an item of several normalised texts."""
    out = []
    for text in texts:
        words = hash_text(text)[0]
        runs = roll(words, size) if len(words) >= 2 * size else words
        out += [run & 0xFFFFFFFF for run in runs]
    return out


def sign(shingles: list[int], factors: list[int]) -> list[int]:
    """The least product with each factor, then the least complement of one."""
    low = 0xFFFFFFFF
    products = [[shingle * factor & low for shingle in shingles] for factor in factors]
    least = [min(row, default=low) for row in products]
    return least + [min((low - product for product in row), default=low) for row in products]


def fold_bands(signature: list[int], rows: int, weights: list[int]) -> list[int]:
    """The key of each band of `rows` places."""
    keys = []
    for band in range(len(signature) // rows):
        places = range(band * rows, band * rows + rows)
        total = weights[band] + sum(weights[place] * signature[place] for place in places)
        keys.append((total & MASK) >> 32)
    return keys


def measure(one: list[int], two: list[int]) -> float:
    """The Jaccard similarity of two lists of shingles as sets."""
    union = set(one) | set(two)
    return len(set(one) & set(two)) / len(union) if union else 0.0


def find_components(count: int, edges: list[tuple[int, int]]) -> list[set[int]]:
    """The connected components that the edges leave, by trying until nothing changes."""
    of = list(range(count))
    changed = True
    while changed:
        changed = False
        for one, two in edges:
            if of[one] != of[two]:
                of[one] = of[two] = min(of[one], of[two])
                changed = True
    return [{i for i in range(count) if of[i] == root} for root in sorted(set(of))]
