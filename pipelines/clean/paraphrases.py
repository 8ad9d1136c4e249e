"""Which texts say what an evaluation prompt says in other words.

A text is a hit where the cosine of its vector to that of its closest reference reaches a threshold.
Before anything is embedded, static vectors rule out what is far from every reference. Where the
numbers come from: `benchmarks/decontamination.py`, and docs/cleaning.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engines.static_vectors import fit_static
from pipelines.clean.contamination import HITS, References, shorten

WORD = r"[\p{L}\p{N}]"
STATIC_LEAST = 0.5
"""The least static cosine to some reference at which a text is embedded at all."""
BLOCK = 512
Vectors = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]


def find_paraphrases(
    texts: pl.Series, references: References, embed: Embed, threshold: float, model: str
) -> pl.DataFrame:
    """The texts that are close to a reference, each with the closest, as `HITS`.

    Args:
        texts: strings; nulls and texts without a word are never close.
        embed: gives unit vectors; asked for every reference and for what is not ruled out.
        threshold: the least cosine of a hit.
        model: whose token vectors do the ruling out.
    """
    known = _find_worded(pl.Series("text", references.texts, dtype=pl.String))
    items = _find_worded(texts)
    if not len(known) or not len(items):
        return pl.DataFrame([], schema=HITS)
    sources = [references.texts[number] for number in known]
    asked = texts.gather(items)
    distinct = asked.unique(maintain_order=True)
    places = dict(zip(distinct, range(len(distinct)), strict=True))
    near = rule_out(distinct.to_list(), sources, model)
    best, value = find_closest(embed(distinct.gather(near).to_list()), embed(sources))
    found = {int(at): (b, v) for at, b, v in zip(near, best, value, strict=True) if v >= threshold}
    words = references.split(sorted({int(known[b]) for b, _ in found.values()}))
    rows: list[dict[str, Any]] = []
    for item, text in zip(items, asked, strict=True):
        if (hit := found.get(places[text])) is not None:
            number = int(known[hit[0]])
            rows.append({
                "item": int(item),
                "method": "semantic",
                **references.name(number),
                "value": float(hit[1]),
                "excerpt": shorten(words[number]),
            })  # fmt: skip
    return pl.DataFrame(rows, schema=HITS)


def _find_worded(texts: pl.Series) -> NDArray[np.int64]:
    """The places of the texts that have a word."""
    return np.flatnonzero(texts.fill_null("").str.contains(WORD).to_numpy())


def rule_out(texts: Sequence[str], references: Sequence[str], model: str) -> NDArray[np.int64]:
    """The places of the texts that may be close to a reference, by static vectors."""
    static = fit_static(references, model)
    _, value = find_closest(static.embed(texts), static.embed(references))
    return np.flatnonzero(value >= STATIC_LEAST)


def find_closest(vectors: Vectors, references: Vectors) -> tuple[NDArray[np.int64], Vectors]:
    """The closest reference of each vector (the first of several) and its cosine; both unit."""
    best = np.zeros(len(vectors), dtype=np.int64)
    value = np.full(len(vectors), -1, dtype=np.float32)
    if not len(references):
        return best, value
    for at in range(0, len(vectors), BLOCK):
        similar = vectors[at : at + BLOCK] @ references.T
        best[at : at + BLOCK] = similar.argmax(axis=1)
        value[at : at + BLOCK] = similar.max(axis=1)
    return best, value
