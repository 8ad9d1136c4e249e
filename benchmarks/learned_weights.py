"""Learned weights of domains against equal ones: six planted domains of growing label noise.

    python -m benchmarks.learned_weights [--seeds 5]

Gold pairs are clean; the pool's six domains have 0, 5, 15, 30, 45 and 60 % of their labels flipped.
What is printed is the accuracy on clean pairs that nobody has seen, of models trained with equal
weights, with the learned ones, and on the two cleanest domains alone.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipelines.clean.learned_weights import Learned, fit_weighted, learn_weights

FLIPS = (0.0, 0.05, 0.15, 0.30, 0.45, 0.60)
CLEAN = np.array([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])


@dataclass(frozen=True)
class Trial:
    """One seed: the accuracies, and what was learned."""

    equal: float
    learned: float
    oracle: float
    found: Learned


def run_trial(seed: int, *, pairs: int = 400, gold: int = 200, dimensions: int = 32) -> Trial:
    """Plant six domains of `pairs` pairs each, and learn their weights from half of `gold`."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=dimensions)

    def draw(count: int, noise: float, flips: float) -> np.ndarray:
        vectors = rng.normal(size=(count, dimensions))
        sides = np.sign(vectors @ truth + noise * rng.logistic(size=count))
        return vectors * np.where(rng.random(count) < flips, -sides, sides)[:, None]

    pool = np.vstack([draw(pairs, 0.5, flips) for flips in FLIPS])
    member = np.repeat(np.arange(len(FLIPS)), pairs)
    domains = pl.Series([f"{place} noise {FLIPS[place]:.0%}" for place in member])
    answers, exam = draw(gold, 0.0, 0.0), draw(4000, 0.0, 0.0)
    ids = pl.Series([f"gold {seed} {place}" for place in range(gold)])
    found = learn_weights(pool, domains, answers, ids, seed=seed)
    rows = (np.ones(len(FLIPS)), found.table["weight"].to_numpy(), CLEAN)
    right = [float((exam @ fit_weighted(pool, member, weights) > 0).mean()) for weights in rows]
    return Trial(*right, found)


def main() -> None:
    """Print the trials and their means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    trials = [run_trial(seed) for seed in range(parser.parse_args().seeds)]
    for seed, trial in enumerate(trials):
        weights = " ".join(f"{weight:.2f}" for weight in trial.found.table["weight"])
        print(f"seed {seed}: equal {trial.equal:.3f}, learned {trial.learned:.3f}, "
              f"cleanest two {trial.oracle:.3f}; weights {weights}")  # fmt: skip
    means = np.mean([(t.equal, t.learned, t.oracle) for t in trials], axis=0)
    print("mean: equal {:.3f}, learned {:.3f}, cleanest two {:.3f}".format(*means))
    print(trials[0].found.table)


if __name__ == "__main__":
    main()
