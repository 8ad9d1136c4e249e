"""Chains of steps, seen in three ways: the views of "Rethinking Reward Models for Multi-Domain
Test-Time Scaling" as far as one reward has them.

| view | what a chain is worth |
|---|---|
| outcome | the reward of all of it (what stands after the last step) |
| process | the least of the rewards of what stands after each step, where all are numbers |
| generative | the mean of the chances that a judge gave it, where the set has them of every chain |

The least of many steps errs downwards more, the more steps there are: so accuracy is given by
length as well. All views are held against the same rightness, that of the whole chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit

from pipelines.ship.exams.intervals import Array, estimate, tally
from pipelines.ship.exams.items import Chain, Item, give_credit
from pipelines.ship.exams.probing import Reward
from pipelines.ship.exams.scoring import write_interval
from pipelines.ship.exams.slices import list_comparisons, score_lengths


def score_views(
    items: Sequence[Item], own: Sequence[Array], reward: Reward, seed: int
) -> dict[str, Any]:
    """How right each view is.

    Args:
        items: with chains.
        own: the rewards of their responses, an array an item.
        reward: what gave them.

    Returns:
        views: view -> {pairs, best_of, vote: each {score, ci} (right chains against wrong ones; the
        best of all chains of a prompt; their answers, each chain voting with its worth, None where
        a chain has no answer), deciles: of `slices.score_lengths`}; any: what a chain drawn at
        random scores, {score, ci}; torn: chains whose answer is right and a step wrong, or the
        other way.
    """
    views = {"outcome": (own, [expit(values) for values in own])}
    process = _take_least(items, reward)
    if all(np.isfinite(values).all() for values in process):
        views["process"] = (process, [expit(values) for values in process])
    if all(chain.judged for item in items for chain in item.chains):
        judged = [np.array([float(np.mean(c.judged)) for c in item.chains]) for item in items]
        views["generative"] = (judged, judged)
    every = [float(np.mean(item.right)) for item in items]
    found: dict[str, Any] = {name: _score(items, *worth, seed) for name, worth in views.items()}
    torn = sum(
        all(chain.labels) != right
        for item in items
        for chain, right in zip(item.chains, item.right, strict=True)
        if chain.labels
    )
    return {"views": found, "any": _average(items, every, seed), "torn": torn}


def _take_least(items: Sequence[Item], reward: Reward) -> list[Array]:
    """The least reward of each chain, an array an item. All are asked at once: to ask may load a
    model."""
    asked = [
        Item(item.key, item.prompt, tuple(texts), (False,) * len(texts), item.category, item.subset)
        for item in items
        for texts in map(Chain.trace, item.chains)
    ]
    least = np.array([values.min() for values in reward(asked)])
    return np.split(least, np.cumsum([len(item.chains) for item in items])[:-1])


def _score(
    items: Sequence[Item], worth: Sequence[Array], weights: Sequence[Array], seed: int
) -> dict[str, Any]:
    best = [
        float(np.asarray(item.right)[values == values.max()].mean())
        for item, values in zip(items, worth, strict=True)
    ]
    pairs = [give_credit(*pair) for pair in zip(items, worth, strict=True)]
    answered = all(chain.answer is not None for item in items for chain in item.chains)
    votes = [_vote(*pair) for pair in zip(items, weights, strict=True)] if answered else None
    return {
        "pairs": _average(items, pairs, seed),
        "best_of": _average(items, best, seed),
        "vote": _average(items, votes, seed) if votes is not None else None,
        "deciles": score_lengths(list_comparisons(items, worth), seed)["deciles"],
    }


def _vote(item: Item, weights: Array) -> float:
    """How right the answer of the greatest weight is; of several the share that is."""
    totals: dict[str | None, float] = {}
    right: dict[str | None, list[bool]] = {}
    for chain, weight, good in zip(item.chains, weights, item.right, strict=True):
        totals[chain.answer] = totals.get(chain.answer, 0.0) + float(weight)
        right.setdefault(chain.answer, []).append(good)
    most = max(totals.values())
    leading = [answer for answer, total in totals.items() if total >= most - 1e-12]
    return float(np.mean([np.mean(right[answer]) for answer in leading]))


def _average(items: Sequence[Item], credits: Sequence[float], seed: int) -> dict[str, Any]:
    prompts = [item.prompt_key for item in items]
    table = tally(prompts, ["all"] * len(prompts), list(credits), {"all": 1.0})
    return write_interval(estimate(table, seed))
