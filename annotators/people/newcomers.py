"""What prototypes know about somebody new, by how many of their opinions were seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from annotators.people.held_out import (
    FOLDS,
    average,
    limit_people,
    measure_likelihood,
    measure_right,
    predict_rows,
)
from annotators.people.mixture import Array, Mixture, Prior, fit_mixture, place, score
from annotators.people.opinion_rows import Mask, Rows, deal_pairs, read_rows

SEEN = (0, 2, 4, 8, 16)
DRAWS = 5


def trace_newcomers(
    x: ArrayLike,
    y: ArrayLike,
    annotators: Sequence[str],
    pairs: Sequence[str] | None = None,
    *,
    k: int,
    prior: Prior,
    least: int,
    seen: Sequence[int] = SEEN,
    seed: int = 0,
) -> pl.DataFrame:
    """How well k prototypes predict an annotator they have not met, on pairs they have not met.

    A fifth of the annotators and a fifth of the pairs are left out in turn, and the prototypes come
    from the rest. Each newcomer is placed by opinions on other pairs, drawn at random `DRAWS`
    times, and predicted on the pairs left out: the same opinions whatever the number seen. Only
    those take part who have max(seen) opinions on other pairs.

    Args:
        x, y, annotators, pairs: as for `annotators.people.prototypes.fit_prototypes`.
        k, prior: as that function chose them.
        least: annotators that a prototype must have.
        seen: numbers of opinions.

    Returns:
        seen, annotators, opinions (predicted), log_likelihood (of an opinion), accuracy (ties
        aside), pool_accuracy (the pool on the same opinions). Null where nobody takes part.

    Raises:
        OpinionsUnreadable: see `fit_prototypes`.
    """
    rows = limit_people(read_rows(x, y, annotators, pairs), seed)
    fold = deal_pairs(rows, FOLDS, seed)[rows.pair]
    generator = np.random.default_rng([seed, 3])
    group = (generator.permutation(len(rows.people)) % FOLDS)[rows.annotator]
    others = np.bincount(rows.annotator[fold != group], minlength=len(rows.people))
    tested = (fold == group) & (others >= max(seen, default=0))[rows.annotator]
    ranks = [_rank_at_random(rows, fold != group, generator) for _ in range(DRAWS)]
    found = np.full((len(seen), DRAWS, len(rows.y)), 0.5)
    pool = np.full(len(rows.y), 0.5)
    for at in np.unique(group[tested]):
        mixture = fit_mixture(rows.tally((fold != at) & (group != at)), k, prior, least, seed)
        here = tested & (group == at)
        alone = Mixture(mixture.pool[None], np.ones(1), mixture.pool)
        pool[here] = predict_rows(rows, here, alone, np.ones((len(rows.people), 1)))
        for place_seen, n in enumerate(seen):
            for draw, rank in enumerate(ranks):
                shown = rows.tally((group == at) & (rank < n))
                memberships, _ = place(score(shown, mixture.weights), mixture.shares)
                found[place_seen, draw, here] = predict_rows(rows, here, mixture, memberships)
    y = rows.y[tested]
    return pl.DataFrame(
        {
            "seen": list(seen),
            "annotators": len(np.unique(rows.annotator[tested])),
            "opinions": len(y),
            "log_likelihood": [average(measure_likelihood(y, p[:, tested])) for p in found],
            "accuracy": [average(measure_right(y, p[:, tested])) for p in found],
            "pool_accuracy": average(measure_right(y, pool[tested])),
        },
        schema_overrides=dict.fromkeys(("log_likelihood", "accuracy", "pool_accuracy"), pl.Float64),
    )


def _rank_at_random(rows: Rows, mask: Mask, generator: np.random.Generator) -> Array:
    """A random order of each annotator's rows of `mask`, from 0; infinity elsewhere."""
    at = np.flatnonzero(mask)
    at = at[np.lexsort((generator.random(len(at)), rows.annotator[at]))]
    counts = np.bincount(rows.annotator[at], minlength=len(rows.people))
    starts = np.cumsum(counts) - counts
    rank = np.full(len(mask), np.inf)
    rank[at] = np.arange(len(at)) - starts[rows.annotator[at]]
    return rank
