"""Which pairs of the pool are like the gold pairs that the reward model errs on.

Error-driven retrieval of Skywork-Reward-V2 (2507.01352, section 3.2; its code was not published, so
this is a re-implementation): a gold pair whose label the model gives the probability
p = sigma(r_chosen - r_rejected) fetches k = 8 pairs of the pool if p <= 1/2, else ceil(8 (1 - p)).
Near is by the vectors of (prompt, attributes), which the caller makes. A pool pair that several
gold pairs fetch is fetched once, for the nearest of them.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

MOST = 8
ROWS = 256
COLUMNS = 16_384
SLACK = np.float32(2e-6)
DIGITS = 6  # single precision, and another order of blocks, must not decide who is nearest

Vectors = NDArray[np.float32]
Places = NDArray[np.int64]
FETCHED = {"pool": pl.Int64, "gold": pl.Int64, "rank": pl.Int64, "similarity": pl.Float64,
           "wanted": pl.Int64}  # fmt: skip


def count_neighbours(p: ArrayLike, most: int = MOST) -> Places:
    """How many neighbours gold pairs of these probabilities fetch: `most` down to 0 (at p = 1)."""
    chance = np.asarray(p, dtype=np.float64)
    asked = np.ceil((most * (1 - chance)).round(9))
    return np.where(chance <= 0.5, most, asked).astype(np.int64)


def fetch_neighbours(gold: Vectors, p: ArrayLike, pool: Vectors, most: int = MOST) -> pl.DataFrame:
    """The pairs of the pool to work on next.

    Args:
        gold: (gold pairs, dimensions), unit rows.
        p: (gold pairs) the probability that the model gives gold's label.
        pool: (pool pairs, dimensions), unit rows; leave out what is done already.
        most: neighbours of a gold pair that the model errs on.

    Returns:
        pool and gold (places in the arrays), rank (1 is the nearest of that gold pair), similarity
        (cosine), wanted (gold pairs that fetched it); each pool pair once, by pool. All of them
        where the pool is smaller than what is asked.
    """
    counts = count_neighbours(p, most)
    places, similar = rank_nearest(gold, pool, most)
    rank = np.arange(1, places.shape[1] + 1)
    row, column = np.nonzero(rank <= counts[:, None])
    found = pl.DataFrame(
        {"pool": places[row, column], "gold": row, "rank": rank[column],
         "similarity": similar[row, column]},
        schema={name: kind for name, kind in FETCHED.items() if name != "wanted"},
    )  # fmt: skip
    return (
        found.with_columns(wanted=pl.len().over("pool").cast(pl.Int64))
        .sort("pool", pl.col("similarity").neg(), "rank", "gold")
        .unique("pool", keep="first", maintain_order=True)
        .select(*FETCHED)
    )


def find_examples(
    pairs: Vectors,
    prompts: ArrayLike,
    gold: Vectors,
    gold_prompts: ArrayLike,
    most: int = MOST,
) -> list[list[int]]:
    """The gold pairs to show a judge with each pair: up to `most` of other prompts, nearest first.

    The nearest pair of each prompt comes before any prompt's second: pairs of one prompt are near
    for the same reason, and the first few prompts would fill the room with little to learn from.

    A pair's own prompt is left out, so that gold is not judged with its own answer before the
    judge's eyes and its measured accuracy is not flattered. `prompts` and `gold_prompts` name the
    prompts, or the clusters of prompts, where none of the pair's own cluster may be shown.
    """
    own = np.asarray(prompts, dtype=object)
    others = np.asarray(gold_prompts, dtype=object)
    crowd = int(max(np.unique(others.astype(str), return_counts=True)[1], default=0))
    enough = crowd * (most + 1)  # rows that hold `most` prompts beside the pair's own
    shown = []
    for at in range(0, len(pairs), ROWS):
        places, _ = rank_nearest(pairs[at : at + ROWS], gold, enough)
        shown += [
            _take_turns([int(place) for place in row if others[place] != prompt], others)[:most]
            for row, prompt in zip(places, own[at : at + ROWS], strict=True)
        ]
    return shown


def _take_turns(places: list[int], prompts: NDArray[np.object_]) -> list[int]:
    """All places, each prompt's first before any second, in their order otherwise."""
    seen: dict[object, int] = {}
    turns = []
    for place in places:
        turn = seen[prompts[place]] = seen.get(prompts[place], -1) + 1
        turns.append(turn)
    return [places[at] for at in np.argsort(turns, kind="stable").tolist()]


def rank_nearest(vectors: Vectors, corpus: Vectors, k: int) -> tuple[Places, NDArray[np.float64]]:
    """Places in `corpus` and cosines, (n, k) each, nearest first and the first of equals; fewer
    columns where the corpus has fewer rows. Exact; memory is blocks of 16 MB.

    Cosines are rounded to `DIGITS` places.
    """
    k = min(k, len(corpus))
    places = np.zeros((len(vectors), k), dtype=np.int64)
    values = np.zeros((len(vectors), k))
    if not k:
        return places, values
    for at in range(0, len(vectors), ROWS):
        rows = np.asarray(vectors[at : at + ROWS], dtype=np.float32)
        near = np.zeros((len(rows), 0), dtype=np.int64)
        close = np.zeros((len(rows), 0))
        for start in range(0, len(corpus), COLUMNS):
            similar = rows @ np.asarray(corpus[start : start + COLUMNS], dtype=np.float32).T
            if near.shape[1] == k:
                near, close = _improve(near, close, similar, start)
                continue
            here, how = _take_best(similar, k)
            near, close = np.hstack([near, here + start]), np.hstack([close, how])
            best = np.argsort(-close, axis=1, kind="stable")[:, :k]
            near, close = (np.take_along_axis(all_, best, 1) for all_ in (near, close))
        places[at : at + len(rows)], values[at : at + len(rows)] = near, close
    return places, values


def _improve(
    near: Places, close: NDArray[np.float64], similar: Vectors, start: int
) -> tuple[Places, NDArray[np.float64]]:
    """The best k of those so far and of a further block, whose first place is `start`. Only what
    is nearer than the last so far is looked at: of equals the first stay."""
    least = close[:, -1] + 0.25 * 10.0**-DIGITS
    row, column = np.nonzero(similar > least.astype(np.float32)[:, None])
    value = similar[row, column].astype(np.float64).round(DIGITS)
    better = value > close[row, -1]
    row, column, value = row[better], column[better] + start, value[better]
    if not len(row):
        return near, close
    some, place = np.unique(row, return_inverse=True)
    k = near.shape[1]
    every = np.concatenate([np.repeat(np.arange(len(some)), k), place])
    columns = np.concatenate([near[some].ravel(), column])
    values = np.concatenate([close[some].ravel(), value])
    order = np.lexsort((columns, -values, every))
    first = np.searchsorted(every[order], np.arange(len(some)))
    best = order[(first[:, None] + np.arange(k)).ravel()]
    near[some], close[some] = columns[best].reshape(-1, k), values[best].reshape(-1, k)
    return near, close


def _take_best(similar: Vectors, k: int) -> tuple[Places, NDArray[np.float64]]:
    """The k greatest of each row after rounding, sorted, the first of equals."""
    n = similar.shape[1]
    k = min(k, n)
    least = np.partition(similar, n - k, axis=1)[:, n - k, None] - SLACK
    row, column = np.nonzero(similar >= least)  # a few more than k, or many equals
    value = similar[row, column].astype(np.float64).round(DIGITS)
    order = np.lexsort((column, -value, row))
    row, column, value = row[order], column[order], value[order]
    first = np.searchsorted(row, np.arange(len(similar)))
    best = (first[:, None] + np.arange(k)).ravel()
    return column[best].reshape(-1, k), value[best].reshape(-1, k)
