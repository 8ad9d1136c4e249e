"""Prototypes of real raters: DICES-350, for `benchmarks.prototypes`.

350 conversations, the same 123 raters, "unsafe?": yes, no or unsure (a tie). The place in an item's
list of scores is the rater: the raters' rates of yes spread eight times as much as they would had
the lists been shuffled. (Not so in DICES-990, whose lists have 69 to 76 places.)

A score is of one item, not of a pair. So an item is compared with the rater's own threshold: its
vector is the embedding of the conversation's end and the response, with a 1 put after it. What
prototypes then find may be no more than who is strict and who is not; so their rivals are the pool
with a threshold for each rater, and prototypes of thresholds alone. Nobody differs if the raters of
each item are shuffled: then one prototype must be chosen.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import polars as pl
from scipy.special import expit

from annotators.people.held_out import (
    FOLDS,
    SPREADS,
    average,
    measure_likelihood,
    measure_right,
)
from annotators.people.mixture import Array, Tally, climb, fit_pool
from annotators.people.newcomers import SEEN, trace_newcomers
from annotators.people.opinion_rows import Rows, deal_pairs, read_rows
from annotators.people.prototypes import LEAST, fit_prototypes, measure_controversy
from benchmarks.pandalm import print_table
from engines.embedder import embed_texts

SAID = {"Yes": 1.0, "No": 0.0, "Unsure": 0.5}
CONTEXT = 500  # characters of the conversation's end: the embedder's window is short
TINY = 1e-3


def report_raters(folder: Path) -> None:
    """Print what prototypes and their rivals predict of items held out."""
    scores, texts = read_dices(folder)
    one = np.ones((len(texts), 1))
    vectors = np.hstack([embed_texts(texts).astype(np.float64), one])
    opinions = list_scores(vectors, scores)
    found = fit_prototypes(*opinions)
    print(f"DICES-350: {scores.shape[0]} items, {scores.shape[1]} raters; items held out\n")
    print_table(found.trials)
    print("DICES-350: whom one model serves, and prototypes\n")
    print_table(found.cards)
    print("DICES-350: rivals on the same items held out\n")
    strict = fit_prototypes(*list_scores(one, scores)).trials
    rows = read_rows(*opinions)
    best = max(strict.iter_rows(named=True), key=lambda row: row["log_likelihood"])
    chosen = found.trials.filter(pl.col("k") == len(found.names)).row(0, named=True)
    print_table(pl.DataFrame([
        {"model": name, "log likelihood": row["log_likelihood"], "accuracy": row["accuracy"]}
        for name, row in (
            ("pool", found.trials.row(0, named=True)),
            ("one rate for all", strict.row(0, named=True)),
            (f"{best['k']} prototypes of rates alone", best),
            (f"{chosen['k']} prototypes", chosen),
            ("pool, a threshold for each rater", try_each(rows, found.prior.pool, False)),
            ("a model for each rater, shrunk to the pool", try_each(rows, found.prior.pool, True)),
        )
    ]))  # fmt: skip
    print("DICES-350: a new rater on new items, by items seen\n")
    k, prior = len(found.names), found.prior
    print_table(trace_newcomers(*opinions, k=k, prior=prior, least=LEAST, seen=(*SEEN, 64)))
    print("DICES-350: raters shuffled within items\n")
    shuffled = np.random.default_rng(0).permuted(scores, axis=1)
    print_table(fit_prototypes(*list_scores(vectors, shuffled)).trials)
    names = [f"{at:03d}" for at in range(len(texts))]
    apart = measure_controversy(found, names, vectors)
    entropy = np.array([_measure_entropy(row) for row in scores])
    phi = np.corrcoef(apart["controversy"].to_numpy(), entropy)[0, 1]
    print(f"prototypes take different sides on {apart['split'].sum()} of {len(apart)} items; "
          f"controversy and the entropy of an item's scores correlate at {phi:.2f}")  # fmt: skip


def read_dices(folder: Path) -> tuple[Array, list[str]]:
    """Scores (items, raters), 1 for unsafe, and texts."""
    with gzip.open(folder / "dices_350_crowdsourced.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    scores = [
        [SAID[said] for said in row["annotations"]["safety"]["individual_human_scores"]]
        for row in rows
    ]
    asked = [row["instance"] for row in rows]
    texts = [f"{one['user_prompt'][-CONTEXT:]}\n{one['response']}" for one in asked]
    return np.array(scores), texts


def list_scores(vectors: Array, scores: Array) -> tuple[Array, Array, list[str], list[str]]:
    """x, y, annotators and items, a row a score."""
    items, raters = scores.shape
    names = [f"rater{at:03d}" for at in range(raters)] * items
    return (
        np.repeat(vectors, raters, axis=0),
        scores.ravel(),
        names,
        [f"{at:03d}" for at in range(items) for _ in range(raters)],
    )


def try_each(rows: Rows, spread: float, weights: bool, seed: int = 0) -> dict[str, float | None]:
    """Everybody's own model about the pool: all weights, or a threshold alone. The prior's spread
    about the pool is the best of `SPREADS` on the very opinions predicted, in its favour."""
    fold = deal_pairs(rows, FOLDS, seed)[rows.pair]
    likelihoods = []
    for apart in SPREADS:
        p = np.full(len(rows.y), 0.5)
        for at in range(FOLDS):
            tally = rows.tally(fold != at)
            pool, vectors = fit_pool(tally, 1 / spread**2), rows.vectors
            if not weights:
                vectors = _offset(vectors, pool)
                tally = Tally(_offset(tally.vectors, pool), tally.count, tally.wins)
                pool = np.array([1 / TINY, 0.0])
            starts = np.repeat(pool[None], tally.people, axis=0)
            own = climb(tally, np.eye(tally.people), starts, pool, 1 / apart**2, steps=30)
            test = fold == at
            z = vectors @ own.T
            p[test] = expit(z[rows.pair[test], rows.annotator[test]])
        likelihoods.append(
            (measure_likelihood(rows.y, p).mean(), average(measure_right(rows.y, p)))
        )
    likelihood, accuracy = max(likelihoods)
    return {"log_likelihood": likelihood, "accuracy": accuracy}


def _offset(vectors: Array, pool: Array) -> Array:
    """The pool's logit as one dimension, whose weight the prior holds where it is, and a 1."""
    z = vectors @ pool
    return np.stack([TINY * z, np.ones(len(z))], axis=1)


def _measure_entropy(scores: Array) -> float:
    share = np.unique(scores, return_counts=True)[1] / len(scores)
    return float(-(share * np.log2(share)).sum())
