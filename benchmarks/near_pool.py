"""Documents of about 1.2 KB with planted near-duplicates, from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

VOCABULARY = 30_000
WORDS = 150, 225
PLANTED = 0.1
EDITED = 0.05, 0.15
LETTERS = "etaoinshrdlucmfwypvbgkqjxz"


@dataclass(frozen=True, slots=True)
class Planted:
    """The planted pairs, a row each: `original` and `edit` (int64, ids), `scattered` (bool; else
    the edited words stand together), `similarity` (float64, the true Jaccard similarity of the runs
    of 5 words)."""

    original: NDArray[np.int64]
    edit: NDArray[np.int64]
    scattered: NDArray[np.bool_]
    similarity: NDArray[np.float64]


def write_pool(path: Path, count: int, seed: int = 0, size: int = 5) -> Planted:
    """Write `count` documents (id, text) of invented words, Zipf-like, whose last tenth repeats
    others with 5 to 15 % of the words changed, by halves here and there or in one span."""
    rng = np.random.default_rng(seed)
    planted = round(count * PLANTED)
    base = count - planted
    sizes = rng.integers(*WORDS, base)
    ends = np.cumsum(sizes)
    picked = pick_words(rng, int(ends[-1]))
    originals = rng.permutation(base)[:planted]
    documents = [picked[end - n : end] for end, n in zip(ends, sizes, strict=True)]
    scattered = rng.random(planted) < 0.5
    similarity = np.empty(planted)
    for i, original in enumerate(originals):
        words = documents[original].copy()
        edits = max(1, round(rng.uniform(*EDITED) * len(words)))
        start = int(rng.integers(0, len(words) - edits + 1))
        places = rng.permutation(len(words))[:edits] if scattered[i] else start + np.arange(edits)
        words[places] = pick_words(rng, edits)
        similarity[i] = measure(documents[original], words, size)
        documents.append(words)
    vocabulary = make_words(rng)
    texts = (" ".join(vocabulary[words]) for words in documents)
    pl.DataFrame({"id": range(count), "text": pl.Series(texts, dtype=pl.String)}).write_parquet(
        path, compression="snappy", row_group_size=50_000
    )
    return Planted(originals, np.arange(base, count), scattered, similarity)


def make_words(rng: np.random.Generator) -> NDArray[np.str_]:
    """Invented words, about as long as English ones."""
    weights = 1 / np.arange(2, len(LETTERS) + 2)
    lengths = rng.poisson(4.2, VOCABULARY) + 2
    drawn = "".join(rng.choice(list(LETTERS), int(lengths.sum()), p=weights / weights.sum()))
    ends = np.cumsum(lengths)
    return np.array([drawn[end - n : end] for end, n in zip(ends, lengths, strict=True)])


def pick_words(rng: np.random.Generator, count: int) -> NDArray[np.int32]:
    """Numbers of words, as often as Zipf's law has them."""
    weight = np.cumsum(1 / (np.arange(VOCABULARY) + 10.0))
    return np.searchsorted(weight, rng.random(count) * weight[-1]).astype(np.int32)


def measure(one: NDArray[np.int32], two: NDArray[np.int32], size: int) -> float:
    """The Jaccard similarity of the runs of `size` words."""
    runs = [
        {tuple(run) for run in np.lib.stride_tricks.sliding_window_view(words, size).tolist()}
        for words in (one, two)
    ]
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])
