"""Simulated judges whose behaviour is known: what more samples, a softer pick and a filter of
samples do.

`python -m benchmarks.judging_simulations`

Three laws, each printed beside the figure it should reproduce (the targets are simulations too).
The second and the third run through the generative judge's own sums and filter
(`annotators.generative`); the first is arithmetic, finer than whole scores can tell apart, and the
soft pick is nobody's here.

1. A perfect judge. The sampler writes answers y ~ N(0, 1) and the truth is t. Taking of k answers
   the one nearest to t leaves E[(y - t)²] ~ 1 / (2 k² f(t)²), f the sampler's density.
2. A judge that is wrong in a way of its own (after 2512.19905, in one dimension; that paper's code
   is not public): the truth is 1, the judge likes answers near 2. It gives each of k answers a
   whole score from 1 to 10, two points less for each unit of distance, rounded up or down by
   chance, in a few samples, which are summed. The answer with the greatest sum is at first nearer
   to the truth, then farther: a finite k is best. Picking with the odds exp(-(y - 2)² / T) instead
   is safe at large k.
3. A meta-judge (after DeepSeek-GRM, 2504.02495). A judge's sample gives two responses whole scores
   from 1 to 10 about their true ones, 6 and 5, with noise N(0, 1.9²). Some samples are bad: useless
   (two scores drawn evenly from 1 to 10) or misled (it takes the one for the other). The sums over
   16 samples decide. A meta-judge sees good samples d standard deviations above bad ones and keeps
   the better half. The model behind the targets is not written down; noise and d were chosen so
   that the first three figures land near theirs. What can be tested is the order of the figures: a
   sharp filter gains much, a poor one little, and one that is poor enough loses to the plain vote.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from annotators.asking import Asked
from annotators.assessments import LOWEST, TOP, Assessment
from annotators.generative import Sample, add_scores, keep_best

Array = NDArray[np.float64]
Bad = Literal["useless", "misled"]

TRUTH, LIKED = 1.0, 2.0
POINTS_A_UNIT, SUMMED = 2.0, 4
BETTER, WORSE, NOISE = 6.0, 5.0, 1.9
SHARP, POOR, POORER = 6.0, 1.3, 0.3
SAMPLES = 16
BATCH = 2**21  # numbers drawn at a time


def main() -> None:
    """Print the simulated figures beside their targets."""
    show("perfect judge, k² x error of the best of k, k = 256 (limit pi, and pi e)")
    for truth, target, limit in ((0.0, 3.07, np.pi), (1.0, 8.43, np.pi * np.e)):
        error = simulate_best(256, truth, 200_000)
        show(f"  truth {truth:g}, limit {limit:.2f}", 256**2 * error, target)
    show("misspecified judge, error of the best of k by its summed scores")
    targets = {1: 1.98, 8: 0.45, 256: 0.99}
    for k in (1, 2, 4, 8, 16, 64, 256):
        show(f"  k = {k}", simulate_judge(k, 20_000 if k < 64 else 200), targets.get(k))
    show("  softmax pick, T = 1, k = 64", simulate_softmax(64, 1.0, 100_000), 0.44)
    show(f"meta-judge, {SAMPLES} samples, half of them useless: share right")
    show("  plain vote", simulate_filter("useless", 0.5, None), 0.73)
    show(f"  keep half, sharp (d = {SHARP:g})", simulate_filter("useless", 0.5, SHARP), 0.85)
    show(f"  keep half, poor (d = {POOR:g})", simulate_filter("useless", 0.5, POOR), 0.75)
    show(f"meta-judge, {SAMPLES} samples, 30 % of them misled (5): share right")
    show("  plain vote", simulate_filter("misled", 0.3, None), 0.70)
    show(f"  keep half, the same poor one (d = {POOR:g})", simulate_filter("misled", 0.3, POOR))
    show(
        f"  keep half, a poorer one (d = {POORER:g})", simulate_filter("misled", 0.3, POORER), 0.69
    )


def simulate_best(k: int, truth: float, runs: int, seed: int = 0) -> float:
    """E[(y - truth)²] of the answer nearest to the truth among k drawn from N(0, 1)."""
    return _average(k, runs, seed, truth, lambda y: np.abs(y - truth).argmin(axis=1))


def simulate_softmax(k: int, temperature: float, runs: int, seed: int = 0) -> float:
    """E[(y - TRUTH)²] of an answer picked with the odds exp(-(y - LIKED)² / temperature)."""
    picker = np.random.default_rng([seed, 1])

    def pick(y: Array) -> NDArray[np.int64]:
        noise = picker.gumbel(size=y.shape)
        return (noise - (y - LIKED) ** 2 / temperature).argmax(axis=1)

    return _average(k, runs, seed, TRUTH, pick)


def simulate_judge(k: int, runs: int, seed: int = 0) -> float:
    """E[(y - TRUTH)²] of the one of k answers that the misspecified judge scores highest over
    `SUMMED` samples, each of which sees them in an order of its own."""
    generator = np.random.default_rng(seed)
    errors = []
    for _ in range(runs):
        y = generator.normal(size=k)
        liked = TOP - POINTS_A_UNIT * np.abs(y - LIKED)
        samples = [
            make_sample(index, _write_scores(liked + generator.uniform(-0.5, 0.5, k)),
                        generator.permutation(k).tolist())
            for index in range(SUMMED)
        ]  # fmt: skip
        errors.append((y[np.argmax(add_scores(samples, k))] - TRUTH) ** 2)
    return float(np.mean(errors))


def simulate_filter(
    bad: Bad, share: float, d: float | None, runs: int = 10_000, seed: int = 0
) -> float:
    """The share of pairs decided rightly by the summed scores of `SAMPLES` samples, `share` of them
    bad; with `d`, of the half that a meta-judge of that sharpness keeps. A draw is half right."""
    generator = np.random.default_rng(seed)
    shape = (runs, SAMPLES)
    good = np.arange(SAMPLES) >= round(share * SAMPLES)
    noise = generator.normal(0, NOISE, (*shape, 2))
    scores = _write_scores(np.array([BETTER, WORSE]) + noise)
    if bad == "useless":
        spoilt = generator.integers(LOWEST, TOP + 1, (*shape, 2))
    else:
        spoilt = _write_scores(np.array([WORSE, BETTER]) + noise)
    scores = np.where(good[:, None], scores, spoilt)
    words = good * (d or 0.0) + generator.normal(0, 1, shape)
    right = 0.0
    for said, word in zip(scores, words, strict=True):
        samples = [
            make_sample(index, said[index], [(0, 1), (1, 0)][index % 2], float(word[index]))
            for index in range(SAMPLES)
        ]
        kept = samples if d is None else keep_best(samples, SAMPLES // 2)
        better, worse = add_scores(kept, 2)
        right += (better > worse) + (better == worse) / 2
    return right / runs


def make_sample(
    index: int, scores: NDArray[np.int64], shown: Sequence[int], word: float = 0.0
) -> Sample:
    """A sample that gives the responses these scores, in whatever order it was `shown` them, and of
    which the meta-judge says `word`, as log odds."""
    said = Assessment(tuple(int(scores[place]) for place in shown), (), (), "")
    meta = Asked(1 / (1 + math.exp(-word)), None, ())
    return Sample(index, None, tuple(shown), Asked(said, None, ()), meta)


def show(what: str, found: float | None = None, target: float | None = None) -> None:
    """One line of the report."""
    figure = "" if found is None else f"{found:6.2f}"
    print(f"{what:<58}{figure}" + ("" if target is None else f"   (target {target:.2f})"))


def _write_scores(quality: Array) -> NDArray[np.int64]:
    """Whole scores, on the judge's scale."""
    return np.clip(np.rint(quality), LOWEST, TOP).astype(np.int64)


def _average(
    k: int, runs: int, seed: int, truth: float, pick: Callable[[Array], NDArray[np.int64]]
) -> float:
    generator = np.random.default_rng(seed)
    total, done = 0.0, 0
    while done < runs:
        rows = min(BATCH // k + 1, runs - done)
        y = generator.normal(size=(rows, k))
        total += float(((y[np.arange(rows), pick(y)] - truth) ** 2).sum())
        done += rows
    return total / runs


if __name__ == "__main__":
    main()
