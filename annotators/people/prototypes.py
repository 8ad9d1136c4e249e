"""Labels by the kind of person who gives them: prototypes of annotators.

Where people differ for good, the mean of their labels is nobody's label. Here annotators fall into
K prototypes, each a Bradley-Terry model on the vectors of pairs, shrunk to the pool of everybody
(`annotators.people.mixture`). K is what predicts held-out pairs best, and is 1 where people do not
differ. A prototype of fewer than `least` annotators is merged into the pool, so that none can be
read as a few persons' taste.

The aims are those of VPL (2408.10075: a latent by user, inferred from a few of their pairs) and
P-GenRM (prototypes of users, the nearest lending theirs to a newcomer); the method is a plain
mixture, fitted by expectation maximisation, and neither's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit

from annotators.agreement import find_interval
from annotators.people.held_out import Choice, average, choose_count, measure_right
from annotators.people.mixture import Array, Mixture, Prior, fit_mixture, place, score
from annotators.people.opinion_rows import OpinionsUnreadable, read_rows

LEAST = 5
MOST = 8
POOL = "pool"


@dataclass(frozen=True, eq=False)
class Prototypes:
    """What `fit_prototypes` found.

    Attributes:
        names: of the K prototypes, the largest first: `prototype_1` and so on. The last is `pool`
            where small ones were merged into it, or where nobody differs.
        weights: (K, d): p that A is better = S(x . w), S the logistic function.
        shares: (K,): of the annotators, as the mixture sees them; they add up to one.
        pool: (d,): the weights of everybody together.
        memberships: (annotators, K), in the order of `members`.
        members: annotator, prototype (the likeliest), probability, opinions; sorted.
        merged: how many annotators each prototype had that is now part of the pool.
        prior: how far the weights may be from nothing and from the pool, as chosen.
        trials: k, log_likelihood (of a held-out opinion), gain (over what k has to beat, see
            `held_out.choose_count`) and gain_error (its standard error, over annotators), accuracy
            (ties aside), merged (in a fold). One row a number of prototypes tried.
        cards: prototype, annotators, opinions (held out, ties aside), accuracy and its 95 %
            interval accuracy_low, accuracy_high, pool_accuracy: whom the labels serve how well.
            The interval takes opinions as independent. Accuracies are null for fewer annotators
            than a prototype must have.
    """

    names: tuple[str, ...]
    weights: Array
    shares: Array
    pool: Array
    memberships: Array
    members: pl.DataFrame
    merged: tuple[int, ...]
    prior: Prior
    trials: pl.DataFrame
    cards: pl.DataFrame


def fit_prototypes(
    x: ArrayLike,
    y: ArrayLike,
    annotators: Sequence[str],
    pairs: Sequence[str] | None = None,
    *,
    most: int = MOST,
    least: int = LEAST,
    seed: int = 0,
) -> Prototypes:
    """Fit prototypes, as many as predict held-out pairs best.

    Several opinions of one annotator on one pair count as independent ones: merge them first. The
    same opinions and seed give the same prototypes, whatever the order of the rows (given `pairs`).
    Above `held_out.ENOUGH` annotators, K is chosen and cards are made on that many of them.

    Args:
        x: (n, d): the vector of A less that of B, of the pair of each opinion. For judgments of
            single responses, the vector of the response with a 1 put after it: a prototype then
            has a threshold of its own.
        y: (n,): p that A is better: 1, 0, or 0.5 for a tie.
        annotators: (n,): who said so.
        pairs: (n,): the id of the pair. Opinions on one pair are held out together. Without it each
            opinion is on a pair of its own.
        most: prototypes to try.
        least: annotators that a prototype must have.
        seed: of the starts and the folds.

    Raises:
        OpinionsUnreadable: lengths differ, a number is not finite, a y is outside [0, 1], a name is
            missing, or one pair has two vectors.
    """
    rows = read_rows(x, y, annotators, pairs)
    choice = choose_count(rows, min(most, max(len(rows.people) // least, 1)), least, seed)
    tally = rows.tally()
    mixture = fit_mixture(tally, choice.k, choice.prior, least, seed)
    memberships, _ = place(score(tally, mixture.weights), mixture.shares)
    names = _name_prototypes(mixture)
    likeliest = [names[at] for at in memberships.argmax(axis=1)]
    members = pl.DataFrame(
        {
            "annotator": pl.Series(rows.people, dtype=pl.String),
            "prototype": pl.Series(likeliest, dtype=pl.String),
            "probability": memberships.max(axis=1),
            "opinions": np.bincount(rows.annotator, minlength=len(rows.people)),
        }
    )  # fmt: skip
    return Prototypes(
        names=names,
        weights=mixture.weights @ rows.basis,
        shares=mixture.shares,
        pool=mixture.pool @ rows.basis,
        memberships=memberships,
        members=members,
        merged=mixture.merged,
        prior=choice.prior,
        trials=choice.table,
        cards=_make_cards(names, members, choice, least),
    )


def predict(found: Prototypes, x: ArrayLike, memberships: ArrayLike | None = None) -> Array:
    """The p that A is better, for pairs with vectors x (n, d).

    Args:
        memberships: (K,) or (n, K): of the annotator to speak for, from `Prototypes.memberships` or
            `place_annotator`; without it, each prototype's own p.

    Returns:
        (n,), or (n, K) without memberships.
    """
    p: Array = expit(_read_vectors(found, x) @ found.weights.T)
    return p if memberships is None else (p * np.asarray(memberships)).sum(axis=1)


def place_annotator(found: Prototypes, x: ArrayLike, y: ArrayLike) -> Array:
    """The memberships (K,) of a new annotator who said y (n,) of pairs with vectors x (n, d); the
    shares, where n is 0."""
    z = _read_vectors(found, x) @ found.weights.T
    said = np.asarray(y, dtype=np.float64)[:, None]
    likelihood = (said * log_expit(z) + (1 - said) * log_expit(-z)).sum(axis=0)
    return place(likelihood, found.shares)[0]


def measure_controversy(found: Prototypes, items: Sequence[str], x: ArrayLike) -> pl.DataFrame:
    """How far the prototypes are apart on each pair, so that it can be sent to people or kept apart
    by prototype where the mean of labels would hide it.

    Returns:
        item, p_<name> for each prototype, p (their mean by shares), controversy (the greatest p
        less the least, from 0 to 1, however few hold it), split (they take different sides).
    """
    p = predict(found, x)
    columns = {f"p_{name}": p[:, at] for at, name in enumerate(found.names)}
    return pl.DataFrame({"item": pl.Series(list(items), dtype=pl.String), **columns}).with_columns(
        p=p @ found.shares,
        controversy=p.max(axis=1) - p.min(axis=1),
        split=(p.max(axis=1) > 0.5) & (p.min(axis=1) < 0.5),
    )


def _read_vectors(found: Prototypes, x: ArrayLike) -> Array:
    vectors = np.asarray(x, dtype=np.float64)
    d = found.weights.shape[1]
    if vectors.ndim != 2 or vectors.shape[1] != d:
        raise OpinionsUnreadable(f"vectors of shape {vectors.shape}, but the prototypes have {d} "
                                 "dimensions")  # fmt: skip
    return vectors


def _name_prototypes(mixture: Mixture) -> tuple[str, ...]:
    k = len(mixture.shares)
    if k == 1:
        return (POOL,)
    names = [f"prototype_{at + 1}" for at in range(k)]
    return (*names[:-1], POOL) if mixture.pooled else tuple(names)


def _make_cards(
    names: Sequence[str], members: pl.DataFrame, choice: Choice, least: int
) -> pl.DataFrame:
    rows = choice.rows
    prototype = dict(members.select("annotator", "prototype").iter_rows())
    of_person = np.array([names.index(prototype[name]) for name in rows.people], dtype=np.int64)
    own, pool = (measure_right(rows.y, p) for p in (choice.predicted, choice.pool))
    cards = []
    for at, name in enumerate(names):
        people = len(members.filter(pl.col("prototype") == name))
        mine = (of_person[rows.annotator] == at) & ~np.isnan(own)
        n = int(mine.sum())
        accuracy = average(own[mine]) if people >= least else None
        low, high = (None, None) if accuracy is None else find_interval(accuracy, n)
        cards.append(
            {
                "prototype": name,
                "annotators": people,
                "opinions": n,
                "accuracy": accuracy,
                "accuracy_low": low,
                "accuracy_high": high,
                "pool_accuracy": None if accuracy is None else average(pool[mine]),
            }
        )
    shown = ("accuracy", "accuracy_low", "accuracy_high", "pool_accuracy")
    return pl.DataFrame(cards, schema_overrides=dict.fromkeys(shown, pl.Float64))
