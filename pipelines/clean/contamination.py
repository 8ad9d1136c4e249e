"""Which texts repeat an evaluation prompt: the same words, or long runs of them.

Words are compared, whatever their case and what stands between them (`kernels.grams`). The kernels
compare hashes; every hit is then verified on the words themselves, so no collision is reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.clean.evaluation_sets import EvaluationSet

GRAMS = {"13gram": 13, "8gram": 8}
CHUNK = 20_000
EXCERPT_WORDS, EXCERPT_CHARS = 12, 120
OPERATORS = re.compile(r"[-+*/=<>^%|&~\u2212\u00d7\u00f7]")
HITS = {
    "item": pl.Int64,
    "method": pl.String,
    "set": pl.String,
    "row": pl.String,
    "value": pl.Float64,
    "excerpt": pl.String,
}
"""Columns of hits: `item` is the place of the text among those given, `set` and `row` name the
evaluation prompt, `value` is the share of its n-grams that the text holds (of an exact hit 1), or
the similarity of a semantic one; `excerpt` the first words that agree."""


@dataclass(frozen=True)
class References:
    """Evaluation prompts to look for: each text once, with the set and the row it came from first.

    `hashes` are those of the sets, sorted: what a result depends on.
    """

    sets: tuple[str, ...]
    rows: tuple[str, ...]
    texts: tuple[str, ...]
    hashes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def split(self, numbers: Sequence[int] | NDArray[np.int64]) -> dict[int, list[str]]:
        """The words of some of the texts."""
        from pipelines.clean.kernels.grams import split_words

        wanted = pl.Series("text", [self.texts[n] for n in numbers], dtype=pl.String)
        return dict(zip(map(int, numbers), split_words(wanted).to_list(), strict=True))

    @cached_property
    def by_key(self) -> dict[int, list[int]]:
        """Which texts have words of a certain hash; those without a word are in none."""
        from pipelines.clean.kernels.grams import key_texts, part_words

        keys, counts = key_texts(part_words(pl.Series("text", self.texts, dtype=pl.String)))
        found: dict[int, list[int]] = {}
        for number in np.flatnonzero(counts):
            found.setdefault(int(keys[number, 0]), []).append(int(number))
        return found

    def index(self, size: int) -> Any:
        """The index of the runs of `size` words, made when it is first asked for."""
        from pipelines.clean.kernels.grams import index_grams, part_words

        if size not in self._indexes:
            texts = part_words(pl.Series("text", self.texts, dtype=pl.String))
            self._indexes[size] = index_grams(texts, size)
        return self._indexes[size]

    @cached_property
    def _indexes(self) -> dict[int, Any]:
        return {}

    def name(self, number: int) -> dict[str, str]:
        """The set and the row of a text."""
        return {"set": self.sets[number], "row": self.rows[number]}


def gather_references(sets: Sequence[EvaluationSet]) -> References:
    """The prompts of several evaluation sets. Where two sets have one name, it is followed by the
    place of each."""
    names = [part.name for part in sets]
    rows: dict[str, tuple[str, str]] = {}
    for part in sets:
        name = f"{part.name} ({part.place})" if names.count(part.name) > 1 else part.name
        for key, text in zip(part.keys, part.texts, strict=True):
            rows.setdefault(text, (name, key))
    return References(
        sets=tuple(name for name, _ in rows.values()),
        rows=tuple(key for _, key in rows.values()),
        texts=tuple(rows),
        hashes=tuple(sorted(part.content_hash for part in sets)),
    )


def find_copies(
    texts: pl.Series, references: References, least: Mapping[str, float]
) -> pl.DataFrame:
    """The texts that repeat a reference word by word, in whole or in part; one row for each text
    and method, with the reference that it repeats most.

    Args:
        texts: strings; a null counts as the empty text.
        least: method (`exact`, `13gram`, `8gram`) -> the least share of a reference's different
            n-grams that a text must hold; at 0, one is enough. `exact` compares all words, and the
            operators between them: 2 + 2 is not 2 - 2.

    Returns:
        `HITS`, by item and method.
    """
    sizes = {method: size for method, size in GRAMS.items() if method in least}
    hits: list[dict[str, Any]] = []
    if not len(references) or not least:
        return pl.DataFrame(hits, schema=HITS)
    for offset in range(0, len(texts), CHUNK):
        chunk = texts.slice(offset, CHUNK)
        for hit in _search(chunk, references, sizes, least):
            hits.append({**hit, "item": offset + hit["item"]})
    return pl.DataFrame(hits, schema=HITS).sort("item", "method")


def _search(
    chunk: pl.Series, references: References, sizes: Mapping[str, int], least: Mapping[str, float]
) -> Iterable[dict[str, Any]]:
    from pipelines.clean.kernels import grams

    parted = grams.part_words(chunk)
    if sizes:
        smallest = min(sizes.values())
        keys, counts, known = grams.count_known(parted, references.index(smallest))
    else:
        keys, counts = grams.key_texts(parted)
        known = np.zeros(len(parted), dtype=np.int64)
    rows = np.flatnonzero(known)
    claims: list[tuple[str, int, list[int]]] = []
    if "exact" in least:
        same = np.isin(keys[:, 0], np.fromiter(references.by_key, dtype=np.uint64)) & (counts > 0)
        claims += [
            ("exact", int(item), references.by_key[int(keys[item, 0])])
            for item in np.flatnonzero(same)
        ]
    for method, size in sizes.items():
        index = references.index(size)
        found = grams.find_overlaps(parted, index, rows)
        enough = found.shared >= least[method] * index.counts[found.owners]
        claims += [
            (method, int(item), [int(owner)])
            for item, owner in zip(found.texts[enough], found.owners[enough], strict=True)
        ]
    items = sorted({item for _, item, _ in claims})
    words = dict(zip(items, grams.split_words(chunk.gather(items)).to_list(), strict=True))
    theirs = references.split(sorted({owner for _, _, owners in claims for owner in owners}))
    for method, item, owners in claims:
        if method == "exact":
            hit = _verify_exact(chunk[item], words[item], owners, theirs, references)
        else:
            hit = _verify_grams(
                words[item], owners[0], theirs, sizes[method], least[method], references
            )
        if hit is not None:
            yield {"item": item, "method": method, **hit}


def _verify_exact(
    text: str,
    words: list[str],
    owners: Sequence[int],
    theirs: Mapping[int, list[str]],
    references: References,
) -> dict[str, Any] | None:
    signs = OPERATORS.findall(text)
    for number in owners:
        if theirs[number] == words and OPERATORS.findall(references.texts[number]) == signs:
            return {**references.name(number), "value": 1.0, "excerpt": shorten(words)}
    return None


def _verify_grams(
    words: list[str],
    owner: int,
    theirs: Mapping[int, list[str]],
    size: int,
    least: float,
    references: References,
) -> dict[str, Any] | None:
    held = {tuple(words[i : i + size]): i for i in range(len(words) - size, -1, -1)}
    share, place = _share(held, theirs[owner], size)
    if share <= 0 or share < least:  # hashes collided: look at every reference
        everybody = references.split(range(len(references)))
        shares = [(*_share(held, other, size), -n) for n, other in everybody.items()]
        share, place, number = max(shares, key=lambda s: (s[0], s[2]), default=(0.0, 0, 0))
        owner = -number
        if share <= 0 or share < least:
            return None
    return {**references.name(owner), "value": share, "excerpt": shorten(words[place:])}


def _share(held: Mapping[tuple[str, ...], int], words: list[str], size: int) -> tuple[float, int]:
    """The share of a reference's different n-grams that are held, and where the first stands."""
    wanted = {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}
    places = [held[gram] for gram in wanted if gram in held]
    return (len(places) / len(wanted), min(places)) if places else (0.0, 0)


def shorten(words: Sequence[str]) -> str:
    """The first words, as many as an excerpt may have."""
    text = " ".join(words[:EXCERPT_WORDS])
    cut = len(words) > EXCERPT_WORDS or len(text) > EXCERPT_CHARS
    return f"{text[:EXCERPT_CHARS]} …" if cut else text
