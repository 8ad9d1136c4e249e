"""Opinions of people on pairs with vectors, as arrays: read, checked, and dealt into folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from annotators.people.mixture import Array, Tally
from schemas.errors import AssayError

Places = NDArray[np.int64]
Mask = NDArray[np.bool_]

RANK = 1e-12  # directions with less than this share of the greatest variance are nothing


class OpinionsUnreadable(AssayError):
    """Vectors, probabilities, annotators and pairs that do not fit together."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Opinion i says with p = `y[i]` that A is better in pair `pair[i]`; `annotator[i]` said so.

    `vectors` (pairs, r) are the given vectors in the directions that they span, scaled to a mean
    squared length of 1; weights on them times `basis` (r, d) are weights on what was given.
    `people` and `pairs` are names, sorted.
    """

    vectors: Array
    basis: Array
    pair: Places
    annotator: Places
    y: Array
    people: list[str]
    pairs: list[str]

    def tally(self, mask: Mask | None = None) -> Tally:
        """The opinions (where `mask`, with the pairs that they speak of) as the mixture takes them;
        nobody is left out."""
        from scipy.sparse import csr_array

        at = np.arange(len(self.y)) if mask is None else np.flatnonzero(mask)
        spoken, pair = np.unique(self.pair[at], return_inverse=True)
        all_are = len(spoken) == len(self.pairs)
        places = (pair, self.annotator[at])
        shape = (len(spoken), len(self.people))
        return Tally(
            self.vectors if all_are else self.vectors[spoken],
            csr_array((np.ones(len(at)), places), shape=shape),
            csr_array((self.y[at], places), shape=shape),
        )

    def limit(self, people: Places) -> Rows:
        """These annotators' opinions alone, with the pairs that they judged."""
        mask = np.isin(self.annotator, people)
        pairs, pair = np.unique(self.pair[mask], return_inverse=True)
        kept, annotator = np.unique(self.annotator[mask], return_inverse=True)
        return Rows(
            self.vectors[pairs],
            self.basis,
            pair,
            annotator,
            self.y[mask],
            [self.people[at] for at in kept],
            [self.pairs[at] for at in pairs],
        )


def read_rows(
    x: ArrayLike, y: ArrayLike, annotators: Sequence[str], pairs: Sequence[str] | None
) -> Rows:
    """See `annotators.people.prototypes.fit_prototypes` for the arguments.

    Raises:
        OpinionsUnreadable: lengths differ, a number is not finite, a p is outside [0, 1], a name
            is missing, or one pair has two vectors.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2:
        raise OpinionsUnreadable(f"vectors of shape {x.shape}: one row an opinion is needed")
    given = [str(row) for row in range(len(x))] if pairs is None else list(pairs)
    for what, length in (("y", len(y)), ("annotators", len(annotators)), ("pairs", len(given))):
        if length != len(x):
            raise OpinionsUnreadable(f"{len(x)} vectors, but {length} {what}: give one a row")
    _refuse(~np.isfinite(x).all(axis=1), "has a vector with a number that is not finite")
    _refuse(~((y >= 0) & (y <= 1)), "has no p from 0 to 1; leave out what could not be read")
    missing = [who is None or what is None for who, what in zip(annotators, given, strict=True)]
    _refuse(np.array(missing, dtype=bool), "names no annotator or no pair")
    people, annotator = _code(annotators)
    names, pair = _code(given)
    order = np.lexsort((y, annotator, pair))
    pair, annotator, y = pair[order], annotator[order], y[order]
    first = np.searchsorted(pair, np.arange(len(names)))
    distinct = x[order[first]]
    if len(names) < len(x):
        two = (distinct[pair] != x[order]).any(axis=1)
        if two.any():
            name = names[pair[two.argmax()]]
            raise OpinionsUnreadable(f"pair {name!r} has two vectors: tell all opinions on it "
                                     "from the same side")  # fmt: skip
    vectors, basis = _rotate(distinct)
    return Rows(vectors, basis, pair, annotator, y, people, names)


def deal_pairs(rows: Rows, folds: int, seed: int) -> Places:
    """A fold for each pair, by chance; where pairs are not shared, everybody's own are dealt
    evenly."""
    first = np.full(len(rows.pairs), len(rows.people))
    np.minimum.at(first, rows.pair, rows.annotator)
    chance = np.random.default_rng([seed, 1]).random(len(first))
    fold = np.empty(len(first), dtype=np.int64)
    fold[np.lexsort((chance, first))] = np.arange(len(first)) % folds
    return fold


def _code(names: Sequence[str]) -> tuple[list[str], Places]:
    """The distinct names, sorted, and the place of each given one among them."""
    if not len(names):
        return [], np.zeros(0, dtype=np.int64)
    distinct, places = np.unique(np.array([str(name) for name in names]), return_inverse=True)
    return distinct.tolist(), places


def _rotate(x: Array) -> tuple[Array, Array]:
    """The vectors in the r directions that they span, and those (r, d): the ridge keeps weights
    within them, so nothing is lost, and with fewer pairs than dimensions much is saved."""
    n, d = x.shape
    scale = np.sqrt((x**2).sum() / max(n, 1)) or 1.0
    x = x / scale
    small = x.T @ x if d <= n else x @ x.T
    values, directions = np.linalg.eigh(small)
    kept = values > RANK * max(values.max(initial=0.0), np.finfo(np.float64).tiny)
    basis = directions[:, kept] if d <= n else x.T @ (directions[:, kept] / np.sqrt(values[kept]))
    return x @ basis, basis.T / scale


def _refuse(bad: Mask, what: str) -> None:
    if bad.any():
        raise OpinionsUnreadable(f"row {int(bad.argmax())} {what} ({int(bad.sum())} such rows)")
