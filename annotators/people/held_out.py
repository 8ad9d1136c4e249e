"""How many prototypes to have, by what they predict of pairs that they have not seen.

Pairs are held out, not opinions: a pair that others have judged is known already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy.special import expit

from annotators.people.mixture import Array, Mixture, Prior, fit_mixture, place, score
from annotators.people.opinion_rows import Mask, Places, Rows, deal_pairs

FOLDS = 5
SPREADS = (0.1, 0.3, 1.0, 3.0, 10.0)  # logits, see `Prior`
SURE = 2.0  # standard errors by which more prototypes must be better
SLIGHT = 0.001  # log likelihood of an opinion; less is no reason for more prototypes
PATIENCE = 2  # counts in a row that bring nothing, after which no greater one is tried; one, where
# it is worse by as much as better is asked for
ENOUGH = 1_000  # annotators to choose on, where there are more
FLOOR = 1e-9  # no prediction is surer than this
TABLE = dict.fromkeys(("log_likelihood", "gain", "gain_error", "accuracy", "merged"), pl.Float64)


@dataclass(frozen=True, eq=False)
class Choice:
    """`k` and `prior` as chosen, the `table` of what was tried (`Prototypes.trials`), the `rows`
    it was tried on, and the p predicted for each of them by the `pool` and by k prototypes."""

    k: int
    prior: Prior
    table: pl.DataFrame
    rows: Rows
    pool: Array
    predicted: Array


@dataclass(frozen=True, eq=False)
class Trial:
    """What `k` prototypes predicted of all rows, each from the other folds; the log likelihood of
    these, `worth`; how many prototypes were `merged`, on average; and the `pools` of the folds."""

    k: int
    prior: Prior
    predicted: Array
    worth: float
    merged: float
    pools: tuple[Array, ...]


def choose_count(rows: Rows, most: int, least: int, seed: int) -> Choice:
    """Choose by the log likelihood of held-out pairs, each annotator placed by the other pairs.

    The prior's spreads come first, out of `SPREADS`: the pool's by what the pool predicts, the
    prototypes' by what two of them predict. Then k prototypes take the place of fewer only if the
    gain of an opinion is more than `SLIGHT`, and than `SURE` of its standard errors, annotators
    being the sample. What two have to beat is the better of the pool and one prototype with a
    spread of its own about it: else they could win by being less shrunk, where nobody differs.
    Prototypes of under `least` annotators are merged into the pool before they predict.
    """
    rows = limit_people(rows, seed)
    fold = deal_pairs(rows, FOLDS, seed)

    def attempt(k: int, prior: Prior, known: Trial | None = None) -> Trial:
        pools = known.pools if known else (None,) * FOLDS
        return _predict_folds(rows, fold, k, prior, least, seed, pools)

    pool = _climb_spreads(lambda spread: attempt(1, Prior(spread, 0.0)), len(SPREADS) // 2)
    width = pool.prior.pool
    kept, table, idle = pool, [_compare(rows, pool, pool)], 0
    for k in range(2, most + 1):
        if k == 2:
            start = SPREADS.index(width)
            trial = _climb_spreads(lambda apart: attempt(2, Prior(width, apart), pool), start)
            prior, alone = trial.prior, attempt(1, trial.prior, pool)
            rival = alone if alone.worth > pool.worth else pool
        else:
            trial, rival = attempt(k, prior, pool), rival if kept is pool else kept
        table.append(_compare(rows, trial, rival))
        gain, doubt = table[-1]["gain"], SURE * table[-1]["gain_error"]
        kept, idle = (trial, 0) if gain > max(doubt, SLIGHT) else (kept, idle + 1)
        if gain < -doubt or idle == PATIENCE:
            break
    tried = pl.DataFrame(table, schema_overrides=TABLE)
    return Choice(kept.k, kept.prior, tried, rows, pool.predicted, kept.predicted)


def limit_people(rows: Rows, seed: int) -> Rows:
    """At most `ENOUGH` annotators, drawn by chance."""
    if len(rows.people) <= ENOUGH:
        return rows
    drawn = np.random.default_rng([seed, 2]).choice(len(rows.people), ENOUGH, replace=False)
    return rows.limit(np.sort(drawn))


def predict_rows(rows: Rows, mask: Mask, mixture: Mixture, memberships: Array) -> Array:
    """The p that A is better of the rows of `mask`, by what their annotators belong to."""
    p = expit(rows.vectors @ mixture.weights.T)
    joined: Array = (p[rows.pair[mask]] * memberships[rows.annotator[mask]]).sum(axis=1)
    return joined


def measure_likelihood(y: Array, p: Array) -> Array:
    """The log likelihood of opinions y under predictions p; a tie counts half for each side."""
    p = np.clip(p, FLOOR, 1 - FLOOR)
    found: Array = y * np.log(p) + (1 - y) * np.log1p(-p)
    return found


def measure_right(y: Array, p: Array) -> Array:
    """1 where p takes the opinion's side, one half where it takes none; NaN of ties."""
    right: Array = np.where(y == 0.5, np.nan, (1 + np.sign(p - 0.5) * np.sign(y - 0.5)) / 2)
    return right


def average(values: Array) -> float | None:
    """The mean of what is known, None where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _climb_spreads(attempt: Callable[[float], Trial], start: int) -> Trial:
    """From one spread on to the next while that predicts better; first upward, else downward."""
    best = first = attempt(SPREADS[start])
    for way in (1, -1):
        at = start + way
        while 0 <= at < len(SPREADS):
            trial = attempt(SPREADS[at])
            if trial.worth <= best.worth:
                break
            best, at = trial, at + way
        if best is not first:
            break
    return best


def _predict_folds(
    rows: Rows,
    fold: Places,
    k: int,
    prior: Prior,
    least: int,
    seed: int,
    pools: Sequence[Array | None],
) -> Trial:
    found, fitted = np.full(len(rows.y), 0.5), []
    for at in range(FOLDS):
        test = fold[rows.pair] == at
        tally = rows.tally(~test)
        mixture = fit_mixture(tally, k, prior, least, seed, pools[at])
        memberships, _ = place(score(tally, mixture.weights), mixture.shares)
        found[test] = predict_rows(rows, test, mixture, memberships)
        fitted.append(mixture)
    worth = float(measure_likelihood(rows.y, found).sum())
    merged = sum(len(mixture.merged) for mixture in fitted) / FOLDS
    return Trial(k, prior, found, worth, merged, tuple(mixture.pool for mixture in fitted))


def _compare(rows: Rows, trial: Trial, rival: Trial) -> dict[str, Any]:
    """A row of the table. The gain's error is that of a ratio: gains over opinions, annotators
    drawn."""
    likelihood = measure_likelihood(rows.y, trial.predicted)
    ahead = likelihood - measure_likelihood(rows.y, rival.predicted)
    people, n = len(rows.people), max(len(rows.y), 1)
    gain = float(ahead.sum() / n)
    off = np.bincount(rows.annotator, ahead - gain, minlength=people)
    return {
        "k": trial.k,
        "log_likelihood": average(likelihood),
        "gain": gain,
        "gain_error": float(np.sqrt((off**2).sum() * people / max(people - 1, 1)) / n),
        "accuracy": average(measure_right(rows.y, trial.predicted)),
        "merged": trial.merged,
    }
